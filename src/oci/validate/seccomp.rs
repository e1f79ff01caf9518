//! Rules of `linux.seccomp` that need no table of system calls. Pure.

use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction, LinuxSyscall};

use super::check_path;
use crate::oci::fault::Faults;

const AT: &str = "linux.seccomp";

/// System calls have six arguments.
const LAST_ARGUMENT: usize = 5;

/// The largest errno a filter can return (the kernel's MAX_ERRNO), and the 16 bits a tracer gets.
const LARGEST_ERRNO: u32 = 4095;
const LARGEST_TRACE: u32 = 65535;

pub(super) fn check(seccomp: &LinuxSeccomp, faults: &mut Faults) {
    let default = seccomp.default_action();
    check_errno(default, seccomp.default_errno_ret(), format!("{AT}.defaultErrnoRet"), faults);
    check_listener(seccomp, faults);
    for (index, rule) in seccomp.syscalls().iter().flatten().enumerate() {
        check_rule(rule, &format!("{AT}.syscalls[{index}]"), faults);
    }
}

fn check_listener(seccomp: &LinuxSeccomp, faults: &mut Faults) {
    let path = seccomp.listener_path().as_ref().filter(|path| !path.as_os_str().is_empty());
    if let Some(path) = path {
        check_path(path, format!("{AT}.listenerPath"), faults);
    }
    let metadata = seccomp.listener_metadata().as_deref().unwrap_or_default();
    if !metadata.is_empty() && path.is_none() {
        faults.add(format!("{AT}.listenerMetadata"), "it needs listenerPath");
    }
}

fn check_rule(rule: &LinuxSyscall, place: &str, faults: &mut Faults) {
    if rule.names().is_empty() {
        faults.add(format!("{place}.names"), "it is empty");
    }
    for (index, name) in rule.names().iter().enumerate() {
        if name.is_empty() {
            faults.add(format!("{place}.names[{index}]"), "it is empty");
        }
    }
    check_errno(rule.action(), rule.errno_ret(), format!("{place}.errnoRet"), faults);
    for (index, argument) in rule.args().iter().flatten().enumerate() {
        if argument.index() > LAST_ARGUMENT {
            let why = format!("{} is out of range: 0 to {LAST_ARGUMENT}", argument.index());
            faults.add(format!("{place}.args[{index}].index"), why);
        }
    }
}

fn check_errno(action: LinuxSeccompAction, errno: Option<u32>, place: String, faults: &mut Faults) {
    let Some(errno) = errno else { return };
    let largest = match action {
        LinuxSeccompAction::ScmpActErrno => LARGEST_ERRNO,
        LinuxSeccompAction::ScmpActTrace => LARGEST_TRACE,
        other => return faults.add(place, format!("{other} returns no errno")),
    };
    if errno > largest {
        faults.add(place, format!("{errno} is out of range: 0 to {largest}"));
    }
}
