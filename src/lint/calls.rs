//! `linux.seccomp`: the filter is compiled, and asked about the calls with a history of faults. Pure.

use super::rules::{self, Rule};
use super::view::View;
use super::{Findings, Reach};
use crate::error::Result;
use crate::plan::seccomp::interpret::{Data, run};
use crate::plan::seccomp::{self, Filter};
use crate::sys::syscalls::{self, AUDIT_ARCH_X86_64, Abi};

/// CLONE_NEWUSER, and the number of the ioctl that types into a terminal.
const NEW_USER: u64 = libc::CLONE_NEWUSER as u64;
const TIOCSTI: u64 = libc::TIOCSTI;

/// The calls of each rule, with the arguments that make them dangerous.
const CALLS: [(&Rule, &str, [u64; 6]); 16] = [
    (rules::CALL_KEYRING, "keyctl", [0; 6]),
    (rules::CALL_KEYRING, "add_key", [0; 6]),
    (rules::CALL_KEYRING, "request_key", [0; 6]),
    (rules::CALL_BPF, "bpf", [0; 6]),
    (rules::CALL_USERFAULTFD, "userfaultfd", [0; 6]),
    (rules::CALL_PTRACE, "ptrace", [0; 6]),
    (rules::CALL_USER_NAMESPACE, "unshare", [NEW_USER, 0, 0, 0, 0, 0]),
    (rules::CALL_USER_NAMESPACE, "clone", [NEW_USER, 0, 0, 0, 0, 0]),
    // Its flags lie in memory, where no filter can look.
    (rules::CALL_USER_NAMESPACE, "clone3", [0; 6]),
    (rules::CALL_TIOCSTI, "ioctl", [0, TIOCSTI, 0, 0, 0, 0]),
    // The kernel looks at the lower half only (CVE-2019-10063).
    (rules::CALL_TIOCSTI, "ioctl", [0, TIOCSTI | 1 << 32, 0, 0, 0, 0]),
    (rules::CALL_IO_URING, "io_uring_setup", [0; 6]),
    (rules::CALL_IO_URING, "io_uring_enter", [0; 6]),
    (rules::CALL_IO_URING, "io_uring_register", [0; 6]),
    (rules::CALL_PERF, "perf_event_open", [0; 6]),
    (rules::CALL_PTRACE, "process_vm_writev", [0; 6]),
];

/// Number that no call has: what new ones will get.
const UNKNOWN: u32 = 0x3fff_fff0;

/// Asks the filter.
///
/// # Errors
/// When it cannot be compiled.
pub fn examine(view: &View<'_>, findings: &mut Findings) -> Result<()> {
    let Some(config) = view.linux().and_then(|linux| linux.seccomp().as_ref()) else {
        findings.add(rules::NO_SECCOMP, Reach::Wall, "linux.seccomp", "it is not set");
        return Ok(());
    };
    let filter = seccomp::compile(config)?;
    if allows(&filter, UNKNOWN, [0; 6]) {
        let what = format!("it is {}", config.default_action());
        findings.add(rules::SECCOMP_DEFAULT, Reach::Wall, "linux.seccomp.defaultAction", what);
    }
    for rule in rules::RULES {
        let of_rule = CALLS.iter().filter(|(of, ..)| of.name == rule.name);
        let mut names: Vec<&str> = of_rule
            .filter(|(_, name, args)| allows_call(&filter, name, *args))
            .map(|(_, name, _)| *name)
            .collect();
        names.dedup();
        if !names.is_empty() {
            let what = format!("{} allowed", names.join(", "));
            findings.add(rule, Reach::Wall, "linux.seccomp.syscalls", what);
        }
    }
    Ok(())
}

fn allows_call(filter: &Filter, name: &str, args: [u64; 6]) -> bool {
    let number = syscalls::find(name).and_then(|call| call.number(Abi::X86_64));
    number.is_some_and(|number| allows(filter, number, args))
}

fn allows(filter: &Filter, number: u32, args: [u64; 6]) -> bool {
    let action = run(&filter.program, &Data { arch: AUDIT_ARCH_X86_64, number, args });
    let action = action.map(|(action, _)| action & libc::SECCOMP_RET_ACTION_FULL);
    matches!(action, Some(libc::SECCOMP_RET_ALLOW | libc::SECCOMP_RET_LOG))
}
