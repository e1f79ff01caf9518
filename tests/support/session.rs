//! What all tests of one run share: the runtime under test, a temporary folder, the mark that every
//! cgroup and folder of this run carries, and the reaper of orphaned containers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::unistd::geteuid;

use super::child;
use super::need::find_program;

static SESSION: OnceLock<Session> = OnceLock::new();
static COUNTER: AtomicU64 = AtomicU64::new(0);

/// The facts of this run.
pub struct Session {
    /// The runtime under test.
    pub runtime: PathBuf,
    /// The folder all bundles and state roots lie in.
    pub folder: PathBuf,
    /// `isolate-test-PID`: part of every cgroup and folder of this run.
    pub mark: String,
}

impl Session {
    /// `isolate`, `runc` or `crun`, by the binary's name.
    pub fn flavour(&self) -> &str {
        self.runtime.file_name().and_then(|name| name.to_str()).unwrap_or_default()
    }

    /// Whether the runtime under test is ours.
    pub fn is_isolate(&self) -> bool {
        !["runc", "crun", "youki"].contains(&self.flavour())
    }

    /// A command of the runtime with its private state root.
    pub fn command(&self, root: &Path) -> Command {
        let mut command = Command::new(&self.runtime);
        command.arg("--root").arg(root);
        if self.flavour() == "runc" && !geteuid().is_root() {
            command.args(["--rootless", "true"]);
        }
        command
    }
}

/// The run under way.
pub fn session() -> &'static Session {
    SESSION.get().expect("the suite has opened its session")
}

/// A name that no other bundle, container or file of this run has.
pub fn unique(prefix: &str) -> String {
    format!("{prefix}{}", COUNTER.fetch_add(1, Ordering::Relaxed))
}

/// Makes the folder, finds the runtime, becomes the reaper of every orphan below this process.
pub fn open() {
    let mark = format!("isolate-test-{}", std::process::id());
    let folder = std::env::temp_dir().join(&mark);
    fs::create_dir_all(&folder).expect("a temporary folder");
    super::bundle::copy_busybox(&folder);
    child::start_reaper();
    let runtime = match super::vanish::asked_for() {
        Some((calls, errno)) => {
            super::vanish::program_without(&folder, &runtime_under_test(), &calls, &errno)
        }
        None => runtime_under_test(),
    };
    let _ = SESSION.set(Session { runtime, folder, mark });
}

/// Removes what the run itself has made: its folder, and its empty parent cgroups.
pub fn close() {
    let session = session();
    super::cgroup::remove_empty_parents();
    if let Err(error) = fs::remove_dir_all(&session.folder) {
        println!("warning: {}: {error}", session.folder.display());
    }
}

/// A file or folder of the repository. An ordinary user may not be able to read where it was built, so that
/// `tests/run` names a copy.
pub fn repository(path: &str) -> PathBuf {
    let copy = std::env::var_os("ISOLATE_TEST_REPOSITORY").map(PathBuf::from);
    copy.unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into()).join(path)
}

fn runtime_under_test() -> PathBuf {
    match std::env::var("ISOLATE_TEST_RUNTIME") {
        Ok(name) if name.contains('/') => fs::canonicalize(&name).expect("ISOLATE_TEST_RUNTIME exists"),
        Ok(name) if !name.is_empty() => find_program(&name).expect("ISOLATE_TEST_RUNTIME is on the PATH"),
        _ => PathBuf::from(env!("CARGO_BIN_EXE_isolate")),
    }
}
