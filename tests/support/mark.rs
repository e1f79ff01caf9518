//! A folder of the host that an attack is aimed at, and what must be the same of the host afterwards.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::bundle::Bundle;

/// Files of the kernel that are a way to root of the host when written.
const KERNEL_FILES: [&str; 3] =
    ["/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/kernel/sysrq"];

/// The folder, as it was when it was made.
pub struct Mark {
    /// Where it is.
    pub folder: PathBuf,
    before: BTreeMap<PathBuf, String>,
    kernel: Vec<String>,
}

impl Mark {
    /// Makes `mark` beside the bundle's root, with a file `precious`, one called `ptmx` and one called `null`, as an
    /// attack on `/dev` looks for them.
    pub fn new(bundle: &Bundle) -> Mark {
        let folder = bundle.host_folder("mark");
        for name in ["precious", "ptmx", "null"] {
            fs::write(folder.join(name), "of the host").unwrap();
        }
        Mark { before: look(&folder), folder, kernel: kernel_files() }
    }

    /// Its path as text.
    pub fn path(&self) -> &str {
        self.folder.to_str().unwrap()
    }

    /// What a link has to say to lead to it from anywhere.
    pub fn climb(&self) -> String {
        format!("/../../../../../../../..{}", self.path())
    }

    /// Fails unless nothing in it has changed, nothing is mounted in it, and the kernel's files are the same.
    #[track_caller]
    pub fn is_untouched(&self) {
        assert_eq!(look(&self.folder), self.before, "the host's folder has changed");
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let inside: Vec<_> = mounts.lines().filter(|line| line.contains(self.path())).collect();
        assert!(inside.is_empty(), "mounted on the host: {inside:?}");
        assert_eq!(kernel_files(), self.kernel, "files of the host's kernel have changed");
    }
}

fn kernel_files() -> Vec<String> {
    KERNEL_FILES.iter().map(|file| fs::read_to_string(file).unwrap_or_default()).collect()
}

/// Every path below `folder`, with inode, mode, owner and content.
fn look(folder: &Path) -> BTreeMap<PathBuf, String> {
    let mut seen = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let (path, data) = (entry.path(), entry.metadata().unwrap());
        let content = fs::read(&path).unwrap_or_default();
        let what = format!("{} {:o} {} {content:?}", data.ino(), data.mode(), data.uid());
        if data.is_dir() {
            seen.extend(look(&path));
        }
        seen.insert(path, what);
    }
    seen
}
