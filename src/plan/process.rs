//! `process`: who the program is, what it may do, and the order in which privilege is given up. Pure.
//!
//! The order is the kernel's: the bounding set can be lowered only with CAP_SETPCAP; groups before users;
//! the program is looked up, and the folder entered, as the user, so that permissions count; without
//! `noNewPrivileges` a seccomp filter needs CAP_SYS_ADMIN, so it comes before the last capabilities go,
//! and with it after, so that the filter has as little of ours as possible to let through.

use std::path::PathBuf;

use oci_spec::runtime::{IOPriorityClass, LinuxPersonalityDomain, LinuxSchedulerPolicy, Process};

use super::{CapabilitySets, Hook, HookKind, Plan, Scheduler, Stage, Step, Token};
use crate::error::{Error, Explain, Result};
use crate::host::Host;

/// What the caller decides about the process.
pub struct Around<'a> {
    /// JSON path of the process object.
    pub place: &'a str,
    /// The first descriptor it does not get.
    pub close_from: u32,
    /// Whether groups can be changed at all (not in a single-id user namespace).
    pub may_set_groups: bool,
    /// Whether those of the caller stay.
    pub keep_groups: bool,
    /// Compiled filter, with the path that asked for it.
    pub seccomp: Option<super::seccomp::Filter>,
    /// Who listens to it.
    pub listener: Option<&'a super::seccomp::Listener>,
    /// What runs right before the program.
    pub hooks: Vec<Hook>,
    /// Whether it waits for `isolate start`.
    pub wait: bool,
    /// More environment.
    pub env: &'a [String],
    /// When limits are set ([`limits_stage`]).
    pub limits: Stage,
    /// What annotations ask for, in order.
    pub walls: Vec<(String, Step)>,
}

/// Plans the limits. In a user namespace the runtime sets them from outside: a raised hard limit needs a
/// right there that its root does not have. Elsewhere the child sets its own: the runtime could only do it
/// with CAP_SYS_RESOURCE, once the child is another user.
pub fn plan_limits(plan: &mut Plan, process: &Process, place: &str, stage: Stage) {
    for (index, limit) in process.rlimits().iter().flatten().enumerate() {
        let (name, resource) = super::rlimits::resource(limit.typ());
        let step = Step::Rlimit { name: name.to_owned(), resource, soft: limit.soft(), hard: limit.hard() };
        plan.push(stage, format!("{place}.rlimits[{index}]"), step);
    }
}

/// Which program of a container it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// The container's own.
    Init,
    /// One of `exec`.
    Exec,
}

/// The walls that annotations ask for.
///
/// # Errors
/// When one of them has a word that it does not know.
pub fn walls(spec: &oci_spec::runtime::Spec, whose: Whose) -> Result<Vec<(String, Step)>> {
    use super::annotations::{CORE_SCHEDULING, LANDLOCK, says};
    let mut walls = Vec::new();
    if says(spec, CORE_SCHEDULING, "own")? {
        walls.push((format!("annotations[{CORE_SCHEDULING:?}]"), Step::OwnCore));
    }
    if says(spec, LANDLOCK, "root")? && whose == Whose::Init {
        walls.push((format!("annotations[{LANDLOCK:?}]"), Step::Landlock));
    }
    Ok(walls)
}

/// What an init without a program is while it waits: root of its namespaces, with no rights.
pub fn nothing() -> Process {
    let mut process = Process::default();
    process.set_args(None).set_env(None).set_rlimits(None);
    process.set_capabilities(None);
    process
}

/// Which process sets the limits.
pub fn limits_stage(in_user_namespace: bool) -> Stage {
    if in_user_namespace { Stage::Beside } else { Stage::Last }
}

/// The last steps, up to exec.
///
/// # Errors
/// When groups are asked for that cannot be set, or there is no command.
pub fn plan_last(plan: &mut Plan, process: &Process, around: Around<'_>) -> Result<()> {
    let place = around.place;
    let at = |field: &str| format!("{place}.{field}");
    plan.push(Stage::Last, "default", Step::CloseFrom { first: around.close_from });
    plan_attributes(plan, process, place);
    let user = process.user();
    let mut sets = capability_sets(process);
    drop_impossible_ambient(plan, &mut sets);
    plan.push(Stage::Last, at("user.uid"), Step::OwnStdio { uid: user.uid() });
    let no_new_privileges = process.no_new_privileges().unwrap_or(false);
    if no_new_privileges {
        plan.push(Stage::Last, at("noNewPrivileges"), Step::NoNewPrivileges);
    }
    let keep = names(process.capabilities().as_ref().and_then(|sets| sets.bounding().as_ref()));
    plan.push(Stage::Last, at("capabilities.bounding"), Step::BoundingSet { keep });
    let groups = supplementary(process, around.may_set_groups).at(|| at("user.additionalGids"))?;
    let groups = groups.filter(|_| !around.keep_groups);
    let (uid, gid) = (user.uid(), user.gid());
    let effective = sets.effective.clone();
    plan.push(Stage::Last, at("user"), Step::User { uid, gid, groups, effective });
    plan.push(Stage::Last, at("user.umask"), Step::Umask { mask: user.umask().unwrap_or(0o022) });
    plan.push(Stage::Last, at("cwd"), Step::Cwd { path: process.cwd().clone() });
    let mut env: Vec<String> = process.env().iter().flatten().cloned().collect();
    env.extend(around.env.iter().cloned());
    let args: Vec<String> = process.args().iter().flatten().cloned().collect();
    // A config without a process is made all the same; `start` refuses it.
    if !args.is_empty() {
        plan.push(Stage::Last, at("args"), Step::FindExecutable { args, env });
    }
    if around.limits == Stage::Last {
        plan_limits(plan, process, place, Stage::Last);
    }
    if let Some((filter, listener)) = around.seccomp.as_ref().zip(around.listener) {
        let step = Step::SeccompNotify { filter: filter.clone(), handover: listener.handover };
        plan.push(Stage::Last, "linux.seccomp", step);
        plan.push(Stage::Last, "default", Step::Await { token: Token::Listened });
    }
    plan.push(Stage::Last, "default", Step::Tell { token: Token::Ready });
    plan.push(Stage::Last, "default", Step::Await { token: Token::Commit });
    if around.wait {
        plan.push(Stage::Last, "default", Step::AwaitStart);
    }
    if !around.hooks.is_empty() {
        let step = Step::Hooks { kind: HookKind::StartContainer, hooks: around.hooks };
        plan.push(Stage::Last, "hooks.startContainer", step);
    }
    for (why, step) in around.walls {
        plan.push(Stage::Last, why, step);
    }
    let drop = Step::Capabilities(sets);
    match around.seccomp.filter(|_| around.listener.is_none()) {
        Some(filter) if no_new_privileges => {
            plan.push(Stage::Last, at("capabilities"), drop);
            plan.push(Stage::Last, "linux.seccomp", Step::Seccomp(filter));
        }
        Some(filter) => {
            plan.push(Stage::Last, "linux.seccomp", Step::Seccomp(filter));
            plan.push(Stage::Last, at("capabilities"), drop);
        }
        None => plan.push(Stage::Last, at("capabilities"), drop),
    }
    plan.push(Stage::Last, at("args"), Step::Exec);
    Ok(())
}

fn plan_attributes(plan: &mut Plan, process: &Process, place: &str) {
    let at = |field: &str| format!("{place}.{field}");
    if let Some(wanted) = process.scheduler() {
        plan.push(Stage::Last, at("scheduler"), Step::Scheduler(scheduler(wanted)));
    }
    if let Some(wanted) = process.io_priority() {
        plan.push(Stage::Last, at("ioPriority"), Step::IoPriority { value: io_priority(wanted) });
    }
}

/// Labels of AppArmor and SELinux, while the host's procfs is in sight.
///
/// # Errors
/// When the kernel does not have it enabled.
pub fn plan_labels(plan: &mut Plan, process: &Process, place: &str, host: &Host) -> Result<()> {
    let at = |field: &str| format!("{place}.{field}");
    let labels = [
        ("apparmorProfile", process.apparmor_profile(), host.apparmor, "apparmor/exec", "exec "),
        ("selinuxLabel", process.selinux_label(), host.selinux, "exec", ""),
    ];
    for (field, label, enabled, file, prefix) in labels {
        let Some(label) = label.as_ref().filter(|label| !label.is_empty()) else { continue };
        if !enabled {
            return Err(Error::new("this host's kernel does not have it enabled")
                .at(at(field))
                .hint(format!("remove {} from the config", at(field))));
        }
        let step = Step::ExecLabel { file: file.to_owned(), label: format!("{prefix}{label}") };
        plan.push(Stage::Setup, at(field), step);
    }
    Ok(())
}

/// `linux.personality` (personality(2)).
pub fn plan_personality(plan: &mut Plan, linux: Option<&oci_spec::runtime::Linux>) {
    let Some(wanted) = linux.and_then(|linux| linux.personality().as_ref()) else { return };
    let persona = match wanted.domain() {
        LinuxPersonalityDomain::PerLinux => 0,
        LinuxPersonalityDomain::PerLinux32 => 0x0008,
    };
    plan.push(Stage::Last, "linux.personality", Step::Personality { persona });
}

fn names(set: Option<&oci_spec::runtime::Capabilities>) -> Vec<String> {
    let mut names: Vec<String> = set.into_iter().flatten().map(|cap| format!("CAP_{cap}")).collect();
    names.sort();
    names
}

/// The four sets that can be set at once; an absent set is an empty one.
fn capability_sets(process: &Process) -> CapabilitySets {
    let Some(sets) = process.capabilities() else { return CapabilitySets::default() };
    CapabilitySets {
        effective: names(sets.effective().as_ref()),
        permitted: names(sets.permitted().as_ref()),
        inheritable: names(sets.inheritable().as_ref()),
        ambient: names(sets.ambient().as_ref()),
    }
}

/// A capability can be ambient only while it is permitted and inheritable (capabilities(7)); others are left
/// out with a warning, as runc does.
fn drop_impossible_ambient(plan: &mut Plan, sets: &mut CapabilitySets) {
    let CapabilitySets { permitted, inheritable, ambient, .. } = sets;
    let is_possible = |name: &String| permitted.contains(name) && inheritable.contains(name);
    for name in ambient.iter().filter(|name| !is_possible(name)) {
        let why = "it is not both permitted and inheritable";
        plan.warnings.push(format!("can't raise ambient capability {name}: {why}"));
    }
    ambient.retain(is_possible);
}

fn supplementary(process: &Process, may_set_groups: bool) -> Result<Option<Vec<u32>>> {
    let groups: Vec<u32> = process.user().additional_gids().iter().flatten().copied().collect();
    match (may_set_groups, groups.is_empty()) {
        (true, _) => Ok(Some(groups)),
        (false, true) => Ok(None),
        (false, false) => Err(Error::new("groups cannot be set in a user namespace with a single id")
            .hint("remove additionalGids, or give the user a range in /etc/subgid")),
    }
}

fn scheduler(wanted: &oci_spec::runtime::Scheduler) -> Scheduler {
    let policy = match wanted.policy() {
        LinuxSchedulerPolicy::SchedOther => libc::SCHED_OTHER,
        LinuxSchedulerPolicy::SchedFifo => libc::SCHED_FIFO,
        LinuxSchedulerPolicy::SchedRr => libc::SCHED_RR,
        LinuxSchedulerPolicy::SchedBatch => libc::SCHED_BATCH,
        LinuxSchedulerPolicy::SchedIso => 4,
        LinuxSchedulerPolicy::SchedIdle => libc::SCHED_IDLE,
        LinuxSchedulerPolicy::SchedDeadline => libc::SCHED_DEADLINE,
    };
    let flags = wanted.flags().iter().flatten().map(|flag| scheduler_flag(*flag)).sum();
    Scheduler {
        policy: u32::try_from(policy).unwrap_or_default(),
        flags,
        nice: wanted.nice().unwrap_or(0),
        priority: wanted.priority().and_then(|value| u32::try_from(value).ok()).unwrap_or(0),
        runtime: wanted.runtime().unwrap_or(0),
        deadline: wanted.deadline().unwrap_or(0),
        period: wanted.period().unwrap_or(0),
    }
}

/// SCHED_FLAG_ bits of sched_setattr(2), which libc does not have as one set.
fn scheduler_flag(flag: oci_spec::runtime::LinuxSchedulerFlag) -> u64 {
    use oci_spec::runtime::LinuxSchedulerFlag as Flag;
    match flag {
        Flag::SchedResetOnFork => 0x01,
        Flag::SchedFlagReclaim => 0x02,
        Flag::SchedFlagDLOverrun => 0x04,
        Flag::SchedFlagKeepPolicy => 0x08,
        Flag::SchedFlagKeepParams => 0x10,
        Flag::SchedFlagUtilClampMin => 0x20,
        Flag::SchedFlagUtilClampMax => 0x40,
    }
}

/// ioprio_set(2): the class in the upper bits, the level in the lower 13.
fn io_priority(wanted: &oci_spec::runtime::LinuxIOPriority) -> u32 {
    let class = match wanted.class() {
        IOPriorityClass::IoprioClassRt => 1,
        IOPriorityClass::IoprioClassBe => 2,
        IOPriorityClass::IoprioClassIdle => 3,
    };
    (class << 13) | u32::try_from(wanted.priority()).unwrap_or(0)
}

/// Reads the hooks of one kind.
pub fn hooks(listed: Option<&Vec<oci_spec::runtime::Hook>>) -> Vec<Hook> {
    let read = |hook: &oci_spec::runtime::Hook| Hook {
        path: PathBuf::from(hook.path()),
        args: hook.args().iter().flatten().cloned().collect(),
        env: hook.env().iter().flatten().cloned().collect(),
        timeout: hook.timeout().and_then(|seconds| u64::try_from(seconds).ok()),
    };
    listed.into_iter().flatten().map(read).collect()
}
