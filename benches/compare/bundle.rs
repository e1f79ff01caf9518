//! The bundles that are measured: busybox in a root of its own, and the config of `benches/bundle`, which is like the
//! one podman writes (namespaces, limits, masked paths, an allow-list of 445 system calls).

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::resource::{Resource, getrlimit};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::Result;

/// A folder with both; removed when dropped.
pub struct Bundles {
    folder: TempDir,
}

impl Bundles {
    /// Makes the root and both bundles.
    pub fn make() -> Result<Bundles> {
        let bundles = Bundles { folder: tempfile::Builder::new().prefix("isolate-compare-").tempdir()? };
        make_root(&bundles.root())?;
        let config = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/bundle/config.json");
        let mut config: Value = serde_json::from_slice(&fs::read(config)?)?;
        config["root"]["path"] = json!(bundles.root());
        config["process"]["rlimits"] = limits()?;
        for (name, args) in [("true", json!(["/bin/true"])), ("sleep", json!(["/bin/sleep", "1000"]))] {
            config["process"]["args"] = args;
            fs::create_dir(bundles.folder.path().join(name))?;
            fs::write(bundles.folder.path().join(name).join("config.json"), serde_json::to_vec(&config)?)?;
        }
        Ok(bundles)
    }

    /// The root of both.
    pub fn root(&self) -> PathBuf {
        self.folder.path().join("rootfs")
    }

    /// A folder for states of the floor.
    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// The bundle whose program ends at once.
    pub fn ending(&self) -> PathBuf {
        self.folder.path().join("true")
    }

    /// The bundle whose program stays.
    pub fn staying(&self) -> PathBuf {
        self.folder.path().join("sleep")
    }
}

/// The caller's own hard limits: not every machine lets root raise them.
fn limits() -> Result<Value> {
    let of = |name: &str, resource| -> Result<Value> {
        let (_, hard) = getrlimit(resource)?;
        Ok(json!({"type": name, "soft": hard, "hard": hard}))
    };
    Ok(json!([of("RLIMIT_NOFILE", Resource::RLIMIT_NOFILE)?, of("RLIMIT_NPROC", Resource::RLIMIT_NPROC)?]))
}

fn make_root(root: &Path) -> Result<()> {
    for folder in ["bin", "dev", "etc", "proc", "root", "run", "sys", "tmp", "var/tmp"] {
        fs::create_dir_all(root.join(folder))?;
    }
    let busybox = ["/usr/bin/busybox", "/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
    let busybox = busybox.ok_or("there is no busybox; install busybox-static")?;
    fs::copy(busybox, root.join("bin/busybox"))?;
    for name in ["true", "sleep", "sh"] {
        symlink("busybox", root.join("bin").join(name))?;
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n")?;
    match Command::new(root.join("bin/true")).status()?.success() {
        true => Ok(()),
        false => Err(format!("{busybox} does not run by itself; install busybox-static").into()),
    }
}
