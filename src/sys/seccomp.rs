//! seccomp(2): loading a filter into the calling thread, and asking the kernel what it can do.
//!
//! [`load`] runs in the container's init, after everything else that needs a system call the filter may
//! deny; with CAP_SYS_ADMIN in its user namespace, or with no_new_privs set. It never sets no_new_privs:
//! that is `process.noNewPrivileges`, and a filter must not change what setuid programs do. For this
//! reason `seccompiler::apply_filter` cannot be used, which always sets it.

#![allow(unsafe_code)]

use std::os::fd::{FromRawFd, OwnedFd};

use libc::{
    SECCOMP_FILTER_FLAG_LOG, SECCOMP_FILTER_FLAG_NEW_LISTENER, SECCOMP_FILTER_FLAG_SPEC_ALLOW,
    SECCOMP_FILTER_FLAG_TSYNC, SECCOMP_FILTER_FLAG_TSYNC_ESRCH, SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
};
use nix::errno::Errno;

use super::bpf::Instruction;
use crate::error::{Error, Kind, Result};

/// Synchronise all threads of the process to this filter.
pub const TSYNC: u32 = SECCOMP_FILTER_FLAG_TSYNC as u32;
/// Log every action but ALLOW.
pub const LOG: u32 = SECCOMP_FILTER_FLAG_LOG as u32;
/// Leave the mitigation of Speculative Store Bypass off.
pub const SPEC_ALLOW: u32 = SECCOMP_FILTER_FLAG_SPEC_ALLOW as u32;
/// Let only fatal signals interrupt a call that a listener has received.
pub const WAIT_KILLABLE_RECV: u32 = SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV as u32;

/// The flags by the names OCI gives them.
const FLAGS: [(&str, u32); 4] = [
    ("SECCOMP_FILTER_FLAG_TSYNC", TSYNC),
    ("SECCOMP_FILTER_FLAG_LOG", LOG),
    ("SECCOMP_FILTER_FLAG_SPEC_ALLOW", SPEC_ALLOW),
    ("SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", WAIT_KILLABLE_RECV),
];

/// The actions by the names OCI gives them, in the order `features` lists them.
const ACTIONS: [(&str, u32); 9] = [
    ("SCMP_ACT_ALLOW", libc::SECCOMP_RET_ALLOW),
    ("SCMP_ACT_ERRNO", libc::SECCOMP_RET_ERRNO),
    ("SCMP_ACT_KILL", libc::SECCOMP_RET_KILL_THREAD),
    ("SCMP_ACT_KILL_PROCESS", libc::SECCOMP_RET_KILL_PROCESS),
    ("SCMP_ACT_KILL_THREAD", libc::SECCOMP_RET_KILL_THREAD),
    ("SCMP_ACT_LOG", libc::SECCOMP_RET_LOG),
    ("SCMP_ACT_NOTIFY", libc::SECCOMP_RET_USER_NOTIF),
    ("SCMP_ACT_TRACE", libc::SECCOMP_RET_TRACE),
    ("SCMP_ACT_TRAP", libc::SECCOMP_RET_TRAP),
];

/// Loads `program` into the calling thread (every thread, with [`TSYNC`]). Makes one system call when it
/// succeeds, and none after it: the filter may deny any.
///
/// # Errors
/// EACCES without CAP_SYS_ADMIN and without no_new_privs; EINVAL for a program or flags that the kernel does
/// not take (the error names such flags); with [`TSYNC`], a thread that has a filter of its own.
pub fn load(program: &[Instruction], flags: u32) -> Result<()> {
    match set_filter(program, flags) {
        Ok(0) => Ok(()),
        Ok(thread) => Err(Error::new(format!("thread {thread} has a seccomp filter of its own"))),
        Err(errno) => Err(explain(errno, flags, program.len())),
    }
}

/// Loads `program` into the calling thread; the descriptor tells of calls with SECCOMP_RET_USER_NOTIF, has
/// the lowest free number, and closes on exec. Makes one system call when it succeeds, and none after it.
///
/// # Errors
/// As [`load`]; EBUSY when the thread has a filter with a listener already.
pub fn load_with_listener(program: &[Instruction], flags: u32) -> Result<OwnedFd> {
    // Two meanings of a positive result: with this flag it is always the descriptor.
    let esrch = if flags & TSYNC != 0 { SECCOMP_FILTER_FLAG_TSYNC_ESRCH as u32 } else { 0 };
    let all = flags | esrch | SECCOMP_FILTER_FLAG_NEW_LISTENER as u32;
    let fd = set_filter(program, all).map_err(|errno| explain(errno, flags, program.len()))?;
    // SAFETY: the kernel has just given us this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

fn set_filter(program: &[Instruction], flags: u32) -> nix::Result<i64> {
    let length = u16::try_from(program.len()).map_err(|_| Errno::E2BIG)?;
    // The kernel only reads the program; `sock_fprog` has no const pointer.
    let filter = program.as_ptr().cast::<libc::sock_filter>().cast_mut();
    let argument = libc::sock_fprog { len: length, filter };
    seccomp(libc::SECCOMP_SET_MODE_FILTER, flags, (&raw const argument).cast())
}

/// The OCI names of the actions this kernel has, NOTIFY among them.
pub fn supported_actions() -> Vec<&'static str> {
    let available =
        |action: &u32| seccomp(libc::SECCOMP_GET_ACTION_AVAIL, 0, std::ptr::from_ref(action).cast()) == Ok(0);
    ACTIONS.iter().filter(|(_, action)| available(action)).map(|(name, _)| *name).collect()
}

/// The OCI names of the flags this kernel has.
pub fn supported_flags() -> Vec<&'static str> {
    FLAGS.iter().filter(|(_, flag)| is_supported(*flag)).map(|(name, _)| *name).collect()
}

/// Asks by a filter that cannot be read: a kernel that knows the flag gets as far as EFAULT, one that does
/// not says EINVAL, and nothing is loaded.
fn is_supported(flag: u32) -> bool {
    let with = match flag {
        WAIT_KILLABLE_RECV => SECCOMP_FILTER_FLAG_NEW_LISTENER as u32,
        _ => 0,
    };
    seccomp(libc::SECCOMP_SET_MODE_FILTER, flag | with, std::ptr::null()) == Err(Errno::EFAULT)
}

fn explain(errno: Errno, flags: u32, length: usize) -> Error {
    let set: Vec<&str> = FLAGS.iter().filter(|(_, flag)| flags & flag != 0).map(|(name, _)| *name).collect();
    let shown = if set.is_empty() { "0".to_owned() } else { set.join("|") };
    let call = format!("seccomp(SECCOMP_SET_MODE_FILTER, {shown}, {length} instructions)");
    let error = Error::sys(call, errno);
    match errno {
        Errno::EACCES => error.because("it takes CAP_SYS_ADMIN or process.noNewPrivileges"),
        Errno::EINVAL => match FLAGS.iter().find(|(_, flag)| flags & flag != 0 && !is_supported(*flag)) {
            Some((name, _)) => {
                error.because(format!("this kernel does not know {name}")).kind(Kind::Unsupported)
            }
            None => error,
        },
        _ => error,
    }
}

fn seccomp(operation: libc::c_uint, flags: u32, argument: *const libc::c_void) -> nix::Result<i64> {
    // SAFETY: the kernel reads at most what `argument` points to for this operation: a `sock_fprog` whose
    // pointer and length are those of a live slice, a `u32`, or nothing (null). It writes nothing there.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, operation, flags, argument) };
    Errno::result(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_kernel_has_the_old_actions_and_flags() {
        let actions = supported_actions();
        assert!(actions.contains(&"SCMP_ACT_ERRNO") && actions.contains(&"SCMP_ACT_ALLOW"), "{actions:?}");
        let flags = supported_flags();
        assert!(flags.contains(&"SECCOMP_FILTER_FLAG_SPEC_ALLOW"), "{flags:?}");
    }

    #[test]
    fn an_unknown_flag_is_not_supported() {
        assert!(!is_supported(1 << 30));
    }

    #[test]
    fn a_program_the_kernel_refuses_is_an_error_with_the_call() {
        let error = load(&[], SPEC_ALLOW).unwrap_err().to_string();
        let call = "seccomp(SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, 0 instructions): EINVAL";
        assert_eq!(error, call);
    }
}
