//! Names the place where the kernel enters the program: `src/sys/entry.rs` says why it is not the usual one. In a release,
//! the functions that the commands of a container's life use lie beside each other (`packaging/functions.order`, made by
//! `benches/order/run`): they take a third of the memory and of the page faults that they take all over the binary.

use std::process::Command;

const ORDER: &str = "packaging/functions.order";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed={ORDER}");
    if variable("CARGO_CFG_TARGET_ARCH") != "x86_64" {
        return;
    }
    println!("cargo:rustc-link-arg-bin=isolate=-Wl,-e,isolate_entry");
    if variable("PROFILE") == "release" && links_with_lld() {
        let folder = variable("CARGO_MANIFEST_DIR");
        println!("cargo:rustc-link-arg-bin=isolate=-Wl,--symbol-ordering-file={folder}/{ORDER}");
        // Names that this compiler does not give are passed over.
        println!("cargo:rustc-link-arg-bin=isolate=-Wl,--no-warn-symbol-ordering");
    }
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

/// Whether the linker is rustc's own, which knows the option: since Rust 1.90 on this target, unless something else is asked for.
fn links_with_lld() -> bool {
    let flags = variable("CARGO_ENCODED_RUSTFLAGS");
    let is_other =
        ["linker", "fuse-ld"].iter().any(|word| flags.contains(word)) || !variable("RUSTC_LINKER").is_empty();
    if is_other || variable("TARGET") != "x86_64-unknown-linux-gnu" {
        return false;
    }
    let version = Command::new(variable("RUSTC"))
        .arg("--version")
        .output()
        .map(|output| output.stdout)
        .unwrap_or_default();
    let version = String::from_utf8_lossy(&version).into_owned();
    let minor = version.split('.').nth(1).and_then(|minor| minor.parse::<u32>().ok());
    // Distributions build their rustc without it.
    let has_lld = Command::new(variable("RUSTC")).args(["--print", "sysroot"]).output().is_ok_and(|output| {
        let root = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        std::path::Path::new(&root).join("lib/rustlib/x86_64-unknown-linux-gnu/bin/gcc-ld/ld.lld").exists()
    });
    has_lld && minor.is_some_and(|minor| minor >= 90)
}
