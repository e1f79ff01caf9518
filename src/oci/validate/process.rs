//! Rules of the `process` object: what is executed, as whom, with which rights and limits. Pure.

use std::collections::HashSet;

use oci_spec::runtime::{
    LinuxCapabilities, LinuxIOPriority, LinuxSchedulerPolicy, PosixRlimit, Process, Scheduler, User,
};

use super::{check_absolute, check_id, check_text};
use crate::oci::fault::{Faults, quoted};

/// `at` is the path of the object with its dot: `process.`, or nothing when it stands for itself.
pub(super) fn check(process: &Process, at: &str, faults: &mut Faults) {
    check_arguments(process, at, faults);
    check_absolute(process.cwd(), &format!("{at}cwd"), faults);
    for (index, variable) in process.env().iter().flatten().enumerate() {
        check_variable(variable, &format!("{at}env[{index}]"), faults);
    }
    check_user(process.user(), at, faults);
    if let Some(capabilities) = process.capabilities() {
        check_capabilities(capabilities, at, faults);
    }
    check_rlimits(process.rlimits().as_deref().unwrap_or_default(), at, faults);
    check_labels(process, at, faults);
    if let Some(score) = process.oom_score_adj()
        && !(-1000..=1000).contains(&score)
    {
        faults.add(format!("{at}oomScoreAdj"), format!("{score} is out of range: -1000 to 1000"));
    }
    if let Some(scheduler) = process.scheduler() {
        check_scheduler(scheduler, &format!("{at}scheduler"), faults);
    }
    if let Some(priority) = process.io_priority() {
        check_io_priority(priority, &format!("{at}ioPriority"), faults);
    }
}

fn check_arguments(process: &Process, at: &str, faults: &mut Faults) {
    let arguments = process.args().as_deref().unwrap_or_default();
    match arguments.first() {
        None => faults.add(format!("{at}args"), "it is missing or empty: there is nothing to execute"),
        Some(program) if program.is_empty() => {
            faults.add(format!("{at}args[0]"), "it is empty: there is nothing to execute");
        }
        Some(_) => {}
    }
    for (index, argument) in arguments.iter().enumerate() {
        check_text(argument, format!("{at}args[{index}]"), faults);
    }
}

/// As runc: `NAME=value`, the name not empty, no NUL.
pub(super) fn check_variable(variable: &str, place: &str, faults: &mut Faults) {
    match variable.split_once('=') {
        None => faults.add(place, format!("{} is not NAME=value", quoted(variable))),
        Some(("", _)) => faults.add(place, format!("{} has no name before the =", quoted(variable))),
        Some(_) => {
            check_text(variable, place, faults);
        }
    }
}

fn check_user(user: &User, at: &str, faults: &mut Faults) {
    check_id(user.uid(), format!("{at}user.uid"), faults);
    check_id(user.gid(), format!("{at}user.gid"), faults);
    for (index, gid) in user.additional_gids().iter().flatten().enumerate() {
        check_id(*gid, format!("{at}user.additionalGids[{index}]"), faults);
    }
    if let Some(umask) = user.umask()
        && umask > 0o777
    {
        faults.add(format!("{at}user.umask"), format!("{umask} is out of range: 0 to 511 (0777)"));
    }
}

/// The kernel's capset(2) refuses an effective capability that is not permitted.
fn check_capabilities(capabilities: &LinuxCapabilities, at: &str, faults: &mut Faults) {
    let empty = HashSet::new();
    let permitted = capabilities.permitted().as_ref().unwrap_or(&empty);
    let effective = capabilities.effective().as_ref().unwrap_or(&empty);
    let mut missing: Vec<String> =
        effective.difference(permitted).map(|capability| format!("CAP_{capability}")).collect();
    missing.sort();
    for capability in missing {
        faults.add(format!("{at}capabilities.effective"), format!("{capability} is not in permitted"));
    }
}

fn check_rlimits(limits: &[PosixRlimit], at: &str, faults: &mut Faults) {
    let mut seen = HashSet::new();
    for (index, limit) in limits.iter().enumerate() {
        let place = format!("{at}rlimits[{index}]");
        let name = limit.typ();
        if !seen.insert(name.to_string()) {
            faults.add(format!("{place}.type"), format!("{name} is given twice"));
        }
        if limit.soft() > limit.hard() {
            let why = format!("{name}: soft {} is above hard {}", limit.soft(), limit.hard());
            faults.add(place, why);
        }
    }
}

fn check_labels(process: &Process, at: &str, faults: &mut Faults) {
    let labels = [("apparmorProfile", process.apparmor_profile()), ("selinuxLabel", process.selinux_label())];
    for (name, label) in labels {
        if let Some(label) = label {
            check_text(label, format!("{at}{name}"), faults);
        }
    }
}

/// sched(7) and sched_setattr(2), as runc checks them.
fn check_scheduler(scheduler: &Scheduler, place: &str, faults: &mut Faults) {
    use LinuxSchedulerPolicy::{SchedBatch, SchedDeadline, SchedFifo, SchedOther, SchedRr};
    let policy = scheduler.policy();
    let nice = scheduler.nice().unwrap_or(0);
    if nice != 0 && !matches!(policy, SchedOther | SchedBatch) {
        faults.add(format!("{place}.nice"), "only SCHED_OTHER and SCHED_BATCH have a nice value");
    } else if !(-20..=19).contains(&nice) {
        faults.add(format!("{place}.nice"), format!("{nice} is out of range: -20 to 19"));
    }
    let priority = scheduler.priority().unwrap_or(0);
    if matches!(policy, SchedFifo | SchedRr) {
        if !(1..=99).contains(&priority) {
            faults.add(format!("{place}.priority"), format!("{priority} is out of range: 1 to 99"));
        }
    } else if priority != 0 {
        faults.add(format!("{place}.priority"), "only SCHED_FIFO and SCHED_RR have a priority");
    }
    let times = [
        ("runtime", scheduler.runtime()),
        ("deadline", scheduler.deadline()),
        ("period", scheduler.period()),
    ];
    if *policy == SchedDeadline {
        check_deadline(scheduler, place, faults);
        return;
    }
    for (name, time) in times {
        if time.unwrap_or(0) != 0 {
            faults.add(format!("{place}.{name}"), "only SCHED_DEADLINE has one");
        }
    }
}

/// sched_setattr(2): `runtime <= deadline <= period`, a period of 0 being the deadline.
fn check_deadline(scheduler: &Scheduler, place: &str, faults: &mut Faults) {
    let [runtime, deadline, period] =
        [scheduler.runtime(), scheduler.deadline(), scheduler.period()].map(|time| time.unwrap_or(0));
    if runtime == 0 || deadline == 0 {
        faults.add(place, "SCHED_DEADLINE needs a runtime and a deadline");
    } else if runtime > deadline || period != 0 && deadline > period {
        faults.add(place, "SCHED_DEADLINE needs runtime <= deadline <= period");
    }
}

fn check_io_priority(priority: &LinuxIOPriority, place: &str, faults: &mut Faults) {
    if !(0..=7).contains(&priority.priority()) {
        let why = format!("{} is out of range: 0 to 7", priority.priority());
        faults.add(format!("{place}.priority"), why);
    }
}
