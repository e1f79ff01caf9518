//! Which namespaces are new, joined or shared, and which process has to enter them when
//! (`linux.namespaces`, `linux.timeOffsets`). Pure.

use std::path::PathBuf;

use oci_spec::runtime::{Linux, LinuxNamespaceType};

use super::{Namespace, Plan, Stage, Step};
use crate::error::{Error, Result};
use crate::host::Host;

/// The namespaces of a container.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Namespaces {
    new: Vec<(Namespace, String)>,
    joined: Vec<(Namespace, PathBuf, String)>,
    /// Lines for `timens_offsets`.
    offsets: Vec<String>,
}

impl Namespaces {
    /// Reads the config.
    ///
    /// # Errors
    /// When the kernel lacks a kind.
    pub fn read(linux: Option<&Linux>, host: &Host) -> Result<Namespaces> {
        let mut found = Namespaces::default();
        let listed = linux.and_then(|linux| linux.namespaces().as_ref());
        for (index, entry) in listed.into_iter().flatten().enumerate() {
            let namespace = Namespace::from(entry.typ());
            let why = format!("linux.namespaces[{index}]");
            if !host.namespaces.iter().any(|name| name == namespace.proc_name()) {
                let why_not = format!("this kernel has no {} namespaces", namespace.proc_name());
                return Err(Error::new(why_not).at(why));
            }
            match entry.path() {
                Some(path) if !path.as_os_str().is_empty() => {
                    found.joined.push((namespace, path.clone(), why));
                }
                _ => found.new.push((namespace, why)),
            }
        }
        let offsets = linux.and_then(|linux| linux.time_offsets().as_ref());
        found.offsets = offsets
            .into_iter()
            .flatten()
            .map(|(clock, offset)| {
                format!("{clock} {} {}", offset.secs().unwrap_or(0), offset.nanosecs().unwrap_or(0))
            })
            .collect();
        found.offsets.sort();
        Ok(found)
    }

    /// Whether the container gets a new one.
    pub fn is_new(&self, namespace: Namespace) -> bool {
        self.new.iter().any(|(kind, _)| *kind == namespace)
    }

    /// Whether it enters an existing one.
    pub fn is_joined(&self, namespace: Namespace) -> bool {
        self.joined.iter().any(|(kind, ..)| *kind == namespace)
    }

    /// Whether it is in another than the runtime's.
    pub fn is_own(&self, namespace: Namespace) -> bool {
        self.is_new(namespace) || self.is_joined(namespace)
    }

    /// Whether a second process is needed: a new pid namespace must belong to the user namespace, and
    /// both it and a time namespace are entered only by being born in them.
    pub fn needs_fork(&self, host: &Host) -> bool {
        use Namespace::{Pid, Time, User};
        let late_pid = self.is_joined(User) && self.is_new(Pid);
        let late_join = !host.sys_admin && (self.is_joined(Pid) || self.is_joined(Time));
        let late_time = self.is_new(Time) && self.is_own(User);
        late_pid || late_join || late_time
    }

    /// The runtime's part: joins what the child shall be born in, and sets up a time namespace.
    /// The runtime can only go first where it may mount, and never into a user or mount namespace,
    /// from which it could not return.
    pub fn plan_host(&self, plan: &mut Plan, host: &Host) {
        if !host.sys_admin {
            return;
        }
        for (namespace, path, why) in self.joined.iter().filter(|(kind, ..)| self.joins_early(*kind, host)) {
            let step = Step::JoinNamespace { namespace: *namespace, path: path.clone() };
            plan.push(Stage::Host, why, step);
        }
        if !self.is_own(Namespace::User) {
            self.plan_time(plan, Stage::Host);
        }
    }

    /// The namespaces the first child is born in.
    pub fn at_clone(&self, host: &Host) -> Vec<Namespace> {
        let born = |kind: &Namespace| match kind {
            Namespace::User => true,
            Namespace::Pid => !self.needs_fork(host),
            _ => false,
        };
        self.new.iter().map(|(kind, _)| *kind).filter(born).collect()
    }

    /// The child's part, up to being in every namespace but the cgroup one.
    pub fn plan_child(&self, plan: &mut Plan, host: &Host) {
        let late = |kind: &Namespace| !self.joins_early(*kind, host);
        let user_first = |kind: &Namespace| *kind != Namespace::User;
        let mut joined: Vec<_> = self.joined.iter().filter(|(kind, ..)| late(kind)).collect();
        joined.sort_by_key(|(kind, ..)| user_first(kind));
        for (namespace, path, why) in joined {
            let step = Step::JoinNamespace { namespace: *namespace, path: path.clone() };
            plan.push(Stage::Setup, why, step);
            if *namespace == Namespace::User {
                plan.push(Stage::Setup, why, Step::BecomeRoot);
            }
        }
        if let Some((_, why)) = self.new.iter().find(|(kind, _)| *kind == Namespace::User) {
            plan.push(Stage::Setup, why, Step::BecomeRoot);
        }
        if self.is_own(Namespace::User) || !host.sys_admin {
            self.plan_time(plan, Stage::Setup);
        }
        if self.needs_fork(host) {
            let pid = self.new.iter().map(|(kind, _)| *kind).filter(|kind| *kind == Namespace::Pid);
            plan.push(Stage::Setup, "linux.namespaces", Step::Fork { namespaces: pid.collect() });
        }
        let unshared = [Namespace::Mount, Namespace::Network, Namespace::Ipc, Namespace::Uts];
        let namespaces: Vec<_> = unshared.into_iter().filter(|kind| self.is_new(*kind)).collect();
        if !namespaces.is_empty() {
            plan.push(Stage::Setup, "linux.namespaces", Step::Unshare { namespaces });
        }
    }

    /// Whether the runtime enters it before the clone, for the child to be born there. Into pid and time
    /// namespaces there is no other way. The others, too, where the child could not go itself: from its new
    /// user namespace. Root of an inner user namespace could not come back from them, so there the child goes.
    fn joins_early(&self, kind: Namespace, host: &Host) -> bool {
        match kind {
            Namespace::User | Namespace::Mount => false,
            Namespace::Pid | Namespace::Time => host.sys_admin,
            _ => host.privileged || (host.sys_admin && self.is_new(Namespace::User)),
        }
    }

    fn plan_time(&self, plan: &mut Plan, stage: Stage) {
        if let Some((_, why)) = self.new.iter().find(|(kind, _)| *kind == Namespace::Time) {
            plan.push(stage, why, Step::NewTimeNamespace { offsets: self.offsets.clone() });
        }
    }
}

impl Namespace {
    /// All kinds.
    pub const ALL: [Namespace; 8] = [
        Namespace::User,
        Namespace::Mount,
        Namespace::Pid,
        Namespace::Network,
        Namespace::Ipc,
        Namespace::Uts,
        Namespace::Cgroup,
        Namespace::Time,
    ];

    /// Its name below `/proc/PID/ns`.
    pub fn proc_name(self) -> &'static str {
        match self {
            Namespace::User => "user",
            Namespace::Mount => "mnt",
            Namespace::Pid => "pid",
            Namespace::Network => "net",
            Namespace::Ipc => "ipc",
            Namespace::Uts => "uts",
            Namespace::Cgroup => "cgroup",
            Namespace::Time => "time",
        }
    }
}

impl From<LinuxNamespaceType> for Namespace {
    fn from(kind: LinuxNamespaceType) -> Namespace {
        match kind {
            LinuxNamespaceType::User => Namespace::User,
            LinuxNamespaceType::Mount => Namespace::Mount,
            LinuxNamespaceType::Pid => Namespace::Pid,
            LinuxNamespaceType::Network => Namespace::Network,
            LinuxNamespaceType::Ipc => Namespace::Ipc,
            LinuxNamespaceType::Uts => Namespace::Uts,
            LinuxNamespaceType::Cgroup => Namespace::Cgroup,
            LinuxNamespaceType::Time => Namespace::Time,
        }
    }
}
