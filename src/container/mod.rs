//! The lifecycle of a container and its legal transitions: create, start, exec, kill, pause, update, delete.
//!
//! The runtime process runs this, with the caller's privilege. Each command is one public function that
//! takes plain values, and returns what the command line prints or an [`crate::error::Error`].

pub mod console;
pub mod foreground;
pub mod listen_fds;
pub mod notify;
pub mod terminal;

mod create;
mod delete;
mod events;
mod exec;
mod kept;
mod kill;
mod lint;
mod mounts;
mod pause;
mod query;
mod run;
mod start;
mod statistics;
mod update;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::ids::ContainerId;

pub use create::{create, plan};
pub use delete::delete;
pub use events::{Event, events};
pub use exec::exec;
pub use kill::kill;
pub use lint::lint;
pub use mounts::{add_mounts, remove_mounts};
pub use pause::{pause, resume};
pub use query::{list, processes, state};
pub use run::run;
pub use start::start;
pub use statistics::{Interface, Usage, statistics};
pub use update::update;

/// What the global options say: where state lies and how cgroups are managed.
#[derive(Debug, Clone)]
pub struct Runtime {
    /// The folder of states (`--root`), absolute.
    pub root: PathBuf,
    /// Whether that is where it is without `--root`.
    pub is_default_root: bool,
    /// How cgroups are made.
    pub cgroup_manager: CgroupManager,
    /// `--rootless`: `None` lets the host decide.
    pub rootless: Option<bool>,
}

/// How cgroups are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CgroupManager {
    /// Files below `/sys/fs/cgroup`.
    #[default]
    Cgroupfs,
    /// Scopes of systemd, over D-Bus.
    Systemd,
    /// No cgroup at all: the container stays in the caller's.
    Disabled,
}

/// Options of `create` that `run` shares.
#[derive(Debug, Clone)]
pub struct CreateOptions {
    /// The container's name.
    pub id: ContainerId,
    /// The bundle folder.
    pub bundle: PathBuf,
    /// The config file, when it is not `BUNDLE/config.json`.
    pub config: Option<PathBuf>,
    /// A unix socket that gets the terminal's master end.
    pub console_socket: Option<PathBuf>,
    /// A unix socket that gets a pidfd of the container's init.
    pub pidfd_socket: Option<PathBuf>,
    /// A file that gets the init's pid.
    pub pid_file: Option<PathBuf>,
    /// Use `MS_MOVE` and `chroot` instead of `pivot_root` (a root on the initial ramfs).
    pub no_pivot: bool,
    /// Stay in the caller's session keyring.
    pub no_new_keyring: bool,
    /// How many descriptors after the standard ones (and after systemd's LISTEN_FDS) the container keeps.
    pub preserve_fds: u32,
}

/// What `run` adds.
#[derive(Debug, Clone, Copy, Default)]
pub struct RunOptions {
    /// Return once the container runs.
    pub detach: bool,
    /// Do not become the reaper of orphaned descendants.
    pub no_subreaper: bool,
    /// Keep the state after the container has ended.
    pub keep: bool,
}

/// Which of the config's capabilities a program of `exec` begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Privilege {
    /// Those of the config.
    #[default]
    Config,
    /// None; it may gain those of the bounding set by set-user-id programs.
    BoundingOnly,
}

/// What `exec` runs and how.
#[derive(Debug, Clone, Default)]
pub struct ExecOptions {
    /// A file with an OCI `process` object; wins over all fields below that describe the process.
    pub process: Option<PathBuf>,
    /// The command and its arguments.
    pub args: Vec<String>,
    /// `--cwd`.
    pub cwd: Option<String>,
    /// `--env`, in order.
    pub env: Vec<String>,
    /// `--tty`.
    pub tty: bool,
    /// `--user UID[:GID]`.
    pub user: Option<(u32, Option<u32>)>,
    /// `--additional-gids`.
    pub additional_gids: Vec<u32>,
    /// `--detach`.
    pub detach: bool,
    /// `--pid-file`.
    pub pid_file: Option<PathBuf>,
    /// `--console-socket`.
    pub console_socket: Option<PathBuf>,
    /// `--pidfd-socket`.
    pub pidfd_socket: Option<PathBuf>,
    /// `--process-label` (SELinux).
    pub process_label: Option<String>,
    /// `--apparmor`.
    pub apparmor: Option<String>,
    /// `--no-new-privs`.
    pub no_new_privs: bool,
    /// `--cap`, in order, as given.
    pub caps: Vec<String>,
    /// `--preserve-fds`.
    pub preserve_fds: u32,
    /// `--cgroup [CONTROLLER[,…]:]PATH`, in order.
    pub cgroup: Vec<String>,
    /// `--ignore-paused`.
    pub ignore_paused: bool,
    /// `--no-subreaper`.
    pub no_subreaper: bool,
    /// For callers inside the program that run it as an ordinary user of the container.
    pub privilege: Privilege,
}

/// What a container is doing. Derived from the kernel, never stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// A `create` is under way, or died on the way.
    Creating,
    /// Made, and waiting for `start`.
    Created,
    /// The user's program runs.
    Running,
    /// Frozen.
    Paused,
    /// The user's program has ended.
    Stopped,
}

/// What `state` prints (runtime-spec, `runtime.md` "State", with runc's additions).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// Version of the specification the state follows.
    pub oci_version: String,
    /// The container's name.
    pub id: String,
    /// The init's pid on the host; 0 once stopped.
    pub pid: i32,
    /// What it is doing.
    pub status: Status,
    /// The bundle, absolute.
    pub bundle: String,
    /// The root filesystem, absolute.
    pub rootfs: String,
    /// When it was created, RFC 3339 with nanoseconds, UTC.
    pub created: String,
    /// The config's annotations.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// Name of the user that owns the state folder.
    pub owner: String,
}
