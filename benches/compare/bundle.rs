//! The bundles that are measured: busybox in a root of its own, and the config of `benches/bundle`, which is like the
//! one podman writes (namespaces, limits, masked paths, an allow-list of 445 system calls).

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::resource::{Resource, getrlimit};
use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::Result;

/// A folder with both; removed when dropped.
pub struct Bundles {
    folder: TempDir,
    state: TempDir,
}

impl Bundles {
    /// Makes the root and both bundles.
    pub fn make() -> Result<Bundles> {
        let named = || {
            let mut builder = tempfile::Builder::new();
            builder.prefix("isolate-compare-");
            builder
        };
        let bundles = Bundles { folder: named().tempdir()?, state: named().tempdir_in(memory_folder())? };
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

    /// A folder for the states of a candidate.
    pub fn state(&self, name: &str) -> PathBuf {
        self.state.path().join(name)
    }

    /// The bundle whose program ends at once.
    pub fn ending(&self) -> PathBuf {
        self.folder.path().join("true")
    }

    /// The bundle whose program ends at once, with another limit on its memory.
    pub fn limited(&self, bytes: u64) -> Result<PathBuf> {
        let mut config: Value = serde_json::from_slice(&fs::read(self.ending().join("config.json"))?)?;
        config["linux"]["resources"]["memory"] = json!({"limit": bytes, "swap": 512 << 20});
        let folder = self.folder.path().join("limited");
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("config.json"), serde_json::to_vec(&config)?)?;
        Ok(folder)
    }

    /// The bundle whose program stays.
    pub fn staying(&self) -> PathBuf {
        self.folder.path().join("sleep")
    }
}

/// Where states lie: on a tmpfs, as `/run` is one on any host. On a disk each new file costs more than all else that is done
/// with it, and some candidates make more files than others.
fn memory_folder() -> PathBuf {
    let is_tmpfs = |path: &&str| statfs(*path).is_ok_and(|fs| fs.filesystem_type() == TMPFS_MAGIC);
    match ["/run", "/dev/shm"].iter().find(|path| is_tmpfs(path)) {
        Some(path) => PathBuf::from(path),
        None => {
            eprintln!(
                "compare: neither /run nor /dev/shm is a tmpfs: states lie on a disk, and the figures with them"
            );
            std::env::temp_dir()
        }
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
