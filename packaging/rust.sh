# Sourced by the scripts that build isolate: finds cargo, checks its age, installs the C linker that Rust calls.
# A caller's working folder is the repository.

# Ends the script unless there is a Rust of at least the version that Cargo.toml names.
check_rust() {
  local wanted found
  wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
  if [ -x "$HOME/.cargo/bin/cargo" ]; then export PATH=$PATH:$HOME/.cargo/bin; fi
  if ! command -v cargo >/dev/null; then
    echo "isolate is built with Rust $wanted or newer, and there is no cargo here. To get it:
    apt-get install -y curl && curl -sSf https://sh.rustup.rs | sh -s -- -y
  or, on Debian 13 and newer: apt-get install -y rustup && rustup default stable" >&2
    exit 2
  fi
  found=$(rustc --version | cut -d' ' -f2)
  if [ "$(printf '%s\n' "$wanted" "${found%%-*}" | sort -V | head -n 1)" != "$wanted" ]; then
    echo "isolate is built with Rust $wanted or newer, and this is $found. To get it: rustup update stable" >&2
    exit 2
  fi
}

# Installs the linker where it is missing: no crate has C sources, but rustc links with cc.
install_linker() {
  if command -v cc >/dev/null; then return; fi
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "rustc needs a C linker: apt-get install gcc libc6-dev, as root" >&2
    exit 2
  fi
  apt-get update -q </dev/null || true
  DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends gcc libc6-dev </dev/null
}
