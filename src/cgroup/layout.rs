//! Which cgroup hierarchies this host has: v1, v2, or both side by side (hybrid). A value; `probe` fills it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The kernel interface of one hierarchy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Version {
    /// One hierarchy per (set of) controllers: cgroup-v1/cgroups.rst.
    V1,
    /// The unified hierarchy: cgroup-v2.rst.
    V2,
}

/// One mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hierarchy {
    /// The kernel interface.
    pub version: Version,
    /// Controllers that can be used in it: `["cpu", "cpuacct"]`; `["name=systemd"]` for a named one.
    /// For v2: what the mount point's `cgroup.controllers` says.
    pub controllers: Vec<String>,
    /// Where it is mounted: `/sys/fs/cgroup/memory`.
    pub mount_point: PathBuf,
    /// The caller's own cgroup in it, from the mount point: `/user.slice`.
    pub own: PathBuf,
    /// The controllers that a caller without root's privilege has in cgroups that it makes beside its own: those of the
    /// folder above, if that is delegated to it. Empty on v1, and for root.
    #[serde(default)]
    pub delegated: Vec<String>,
}

/// All hierarchies of a host, v1 ones in the order of `/proc/self/cgroup`, v2 last.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Layout {
    /// The hierarchies; none on a host without cgroups.
    pub hierarchies: Vec<Hierarchy>,
}

impl Hierarchy {
    /// Its name in plans, state files and messages: the last name of a v1 mount point, `unified` for v2.
    pub fn name(&self) -> String {
        match (self.version, self.mount_point.file_name()) {
            (Version::V1, Some(name)) => name.to_string_lossy().into_owned(),
            _ => "unified".to_owned(),
        }
    }

    /// Whether `controller` can be used in it.
    pub fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|c| c == controller)
    }
}

impl Layout {
    /// The hierarchy in which `controller` can be used.
    pub fn find(&self, controller: &str) -> Option<&Hierarchy> {
        self.hierarchies.iter().find(|h| h.has(controller))
    }

    /// The v2 hierarchy, with or without controllers.
    pub fn unified(&self) -> Option<&Hierarchy> {
        self.hierarchies.iter().find(|h| h.version == Version::V2)
    }
}
