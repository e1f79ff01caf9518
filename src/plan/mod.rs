//! A plan: what will be done to make a container, step by step, as plain data.

pub mod config;
pub mod features;
pub mod mount_options;

use serde::Serialize;

/// A list of steps.
#[derive(Debug, Clone, PartialEq, Serialize, Default)]
pub struct Plan {
    /// Placeholder until the engine lands.
    pub warnings: Vec<String>,
}

/// A host to test against: Linux 6.12, root, no cgroups, no security module.
#[cfg(test)]
pub(crate) fn test_host() -> crate::host::Host {
    crate::host::Host {
        kernel: (6, 12),
        uid: 0,
        gid: 0,
        initial_user_namespace: true,
        privileged: true,
        sys_admin: true,
        subuids: Vec::new(),
        subgids: Vec::new(),
        newidmap: false,
        cgroups: Default::default(),
        apparmor: false,
        selinux: false,
        namespaces: ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"].map(str::to_owned).to_vec(),
    }
}
