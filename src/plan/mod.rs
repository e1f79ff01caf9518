//! A plan: what will be done to make a container, step by step, as plain data. Pure.
//!
//! [`compile()`] turns a config into a [`Plan`] without touching the kernel; [`check`] looks for an order
//! that cannot be right; `Display` shows the plan to people (`isolate plan`). [`crate::apply`] walks the
//! list and decides nothing. Each step carries *why* it is there: the JSON path of the config that asked
//! for it, or the rule of the runtime that did (`default`).

pub mod annotations;
mod cache;
pub mod cgroup;
pub mod check;
mod compile;
pub mod config;
mod devices;
pub mod features;
#[cfg(test)]
mod fields_tests;
mod ids;
mod mount_id_maps;
pub mod mount_options;
mod mounts;
mod namespaces;
mod net_devices;
#[cfg(test)]
mod old_kernels_tests;
mod placement;
mod print;
mod process;
mod rlimits;
mod root;
mod running;
pub mod seccomp;
mod step;

pub use cache::{CacheGroup, Making};
pub use compile::{Options, Start, compile, compile_exec};
pub use ids::{IdMap, writer as map_writer};
pub use mounts::may_cover_procfs;
pub use process::hooks;
pub use running::{compile_mounts, compile_unmounts};
pub use step::*;

use serde::Serialize;

/// Which process carries a step out, with which privilege, and when. The order here is the order in time
/// for each process; the runtime's `Beside` runs while the child is in `Setup`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// The runtime, before the clone, with the caller's privilege.
    Host,
    /// The runtime, after the clone, beside the child.
    Beside,
    /// The child, with the old root still visible.
    Setup,
    /// The child, after the pivot: no host path can be reached any more.
    Inside,
    /// The child, giving up its privileges one after the other, up to exec.
    Last,
}

impl Stage {
    /// Whether the child (and not the runtime) carries the stage out.
    pub fn is_child(self) -> bool {
        self >= Stage::Setup
    }
}

/// One step, when it is done, and what asked for it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Planned {
    /// Process and privilege.
    pub stage: Stage,
    /// JSON path of the config that asked for the step, or `default`.
    pub why: String,
    /// What is done.
    #[serde(flatten)]
    pub step: Step,
}

/// The whole list, in order of time within each process.
#[derive(Debug, Clone, PartialEq, Serialize, Default)]
pub struct Plan {
    /// What is done.
    pub steps: Vec<Planned>,
    /// Downgrades, with their consequence.
    pub warnings: Vec<String>,
    /// What is ignored, as the specification demands: names that are no system call here, and (for
    /// `isolate plan` only) properties that no version of the specification knows.
    pub ignored: Vec<String>,
}

impl Plan {
    fn push(&mut self, stage: Stage, why: impl Into<String>, step: Step) {
        self.steps.push(Planned { stage, why: why.into(), step });
    }

    /// The steps of one stage.
    pub fn stage(&self, stage: Stage) -> impl Iterator<Item = &Planned> {
        self.steps.iter().filter(move |planned| planned.stage == stage)
    }

    /// The first descriptor that the program does not get.
    pub fn close_from(&self) -> u32 {
        let mut steps = self.steps.iter().map(|planned| &planned.step);
        steps
            .find_map(|step| if let Step::CloseFrom { first } = step { Some(*first) } else { None })
            .unwrap_or(3)
    }

    /// The steps the child walks, in order.
    pub fn child(&self) -> impl Iterator<Item = &Planned> {
        self.steps.iter().filter(|planned| planned.stage.is_child())
    }
}

/// What `create` without options asks for, for tests.
#[cfg(test)]
pub(crate) fn test_options() -> Options {
    Options {
        id: crate::ids::ContainerId::new("c").unwrap(),
        no_pivot: false,
        no_new_keyring: false,
        console: ConsoleTo::Runtime,
        start: Start::OnCommand,
        close_from: 3,
        env: Vec::new(),
        notify: None,
        cgroups: true,
        cgroup_parent: None,
    }
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
        systemd: None,
        resctrl: Default::default(),
        namespaces: ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"].map(str::to_owned).to_vec(),
    }
}
