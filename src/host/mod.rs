//! The `Host` value: facts about this machine and the caller, probed once, then only looked at.
//!
//! It is an *input* of compilation ([`crate::plan::compile`]), so that what this host cannot do is refused
//! before anything has happened, and so that old kernels and odd hosts are tested by writing a `Host` down.

pub mod probe;

use serde::{Deserialize, Serialize};

use crate::cgroup::layout::Layout;
use crate::cgroup::unit::Manager;

/// Where resctrl is mounted by convention.
pub const RESCTRL: &str = "/sys/fs/resctrl";

/// The filesystem by which cache and memory bandwidth are shared out (resctrl.rst of the kernel).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resctrl {
    /// Neither kernel nor processor have it, or one of them does not.
    #[default]
    Missing,
    /// It is there, and not mounted.
    NotMounted,
    /// It is mounted at `/sys/fs/resctrl`.
    Mounted,
}

/// Facts about the machine, its kernel and the calling process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Host {
    /// Kernel release as `(major, minor)`.
    pub kernel: (u32, u32),
    /// Effective user and group of the caller, in its own user namespace.
    pub uid: u32,
    /// See `uid`.
    pub gid: u32,
    /// Whether the caller is in the initial user namespace (by inode, not by the look of its maps).
    pub initial_user_namespace: bool,
    /// Whether the caller may do what root of the host may: effective uid 0 in the initial user namespace.
    pub privileged: bool,
    /// Whether the caller may mount in its own mount namespace (effective CAP_SYS_ADMIN there).
    pub sys_admin: bool,
    /// Subordinate ids of the caller from `/etc/subuid`, as (first, count); empty when it has none.
    pub subuids: Vec<(u32, u32)>,
    /// The same from `/etc/subgid`.
    pub subgids: Vec<(u32, u32)>,
    /// Whether `newuidmap` and `newgidmap` are on the PATH.
    pub newidmap: bool,
    /// The cgroup hierarchies that are mounted, and the caller's place in them.
    pub cgroups: Layout,
    /// The service manager that makes cgroups, if it is to.
    #[serde(default)]
    pub systemd: Option<Manager>,
    /// Whether AppArmor is enabled.
    pub apparmor: bool,
    /// Whether SELinux is enabled.
    pub selinux: bool,
    /// Whether cache and memory bandwidth can be shared out here.
    #[serde(default)]
    pub resctrl: Resctrl,
    /// Namespace types the kernel offers (`ls /proc/self/ns`).
    pub namespaces: Vec<String>,
}
