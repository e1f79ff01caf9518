//! Signals by the names and numbers people and engines give. Pure, any process, no privilege; and
//! putting them back to how a fresh program expects them.

#![allow(unsafe_code)]

use crate::error::{Error, Result};

/// The first real-time signal of a program: the kernel's 32 and 33 belong to the C library's threads, and
/// every engine counts `RTMIN` from 34.
const RTMIN: i32 = 34;
/// The last signal of the kernel (`_NSIG`).
const RTMAX: i32 = 64;

/// Names without `SIG`, as in signal(7), with its synonyms.
const NAMES: [(&str, i32); 35] = [
    ("HUP", libc::SIGHUP),
    ("INT", libc::SIGINT),
    ("QUIT", libc::SIGQUIT),
    ("ILL", libc::SIGILL),
    ("TRAP", libc::SIGTRAP),
    ("ABRT", libc::SIGABRT),
    ("IOT", libc::SIGIOT),
    ("BUS", libc::SIGBUS),
    ("FPE", libc::SIGFPE),
    ("KILL", libc::SIGKILL),
    ("USR1", libc::SIGUSR1),
    ("SEGV", libc::SIGSEGV),
    ("USR2", libc::SIGUSR2),
    ("PIPE", libc::SIGPIPE),
    ("ALRM", libc::SIGALRM),
    ("TERM", libc::SIGTERM),
    ("STKFLT", libc::SIGSTKFLT),
    ("CHLD", libc::SIGCHLD),
    ("CLD", libc::SIGCHLD),
    ("CONT", libc::SIGCONT),
    ("STOP", libc::SIGSTOP),
    ("TSTP", libc::SIGTSTP),
    ("TTIN", libc::SIGTTIN),
    ("TTOU", libc::SIGTTOU),
    ("URG", libc::SIGURG),
    ("XCPU", libc::SIGXCPU),
    ("XFSZ", libc::SIGXFSZ),
    ("VTALRM", libc::SIGVTALRM),
    ("PROF", libc::SIGPROF),
    ("WINCH", libc::SIGWINCH),
    ("IO", libc::SIGIO),
    ("POLL", libc::SIGPOLL),
    ("PWR", libc::SIGPWR),
    ("SYS", libc::SIGSYS),
    ("UNUSED", libc::SIGSYS),
];

/// The number of `TERM`, `SIGTERM`, `sigterm`, `15`, `RTMIN+3`, `RTMAX-1`. 0 asks only whether the process
/// is there, as in kill(2).
///
/// # Errors
/// When there is no such signal, or the number is outside 0 to 64.
pub fn parse(text: &str) -> Result<i32> {
    let number = match text.bytes().next() {
        Some(b'0'..=b'9') => text.parse().ok(),
        _ => named(&text.to_ascii_uppercase()),
    };
    number.filter(|n| (0..=RTMAX).contains(n)).ok_or_else(|| {
        Error::new(format!("unknown signal {text:?}"))
            .hint("use a name such as TERM or SIGKILL, a number from 0 to 64, RTMIN+n or RTMAX-n")
    })
}

fn named(text: &str) -> Option<i32> {
    let name = text.strip_prefix("SIG").unwrap_or(text);
    if let Some(offset) = name.strip_prefix("RTMIN") {
        return realtime(RTMIN, offset, '+');
    }
    if let Some(offset) = name.strip_prefix("RTMAX") {
        return realtime(RTMAX, offset, '-');
    }
    NAMES.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}

/// `base` itself, or `base` moved by a signed decimal `offset` whose sign is `sign`.
fn realtime(base: i32, offset: &str, sign: char) -> Option<i32> {
    let number = match offset.strip_prefix(sign) {
        None => return offset.is_empty().then_some(base),
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse::<i32>().ok()?,
        Some(_) => return None,
    };
    let moved = if sign == '+' { base.checked_add(number) } else { base.checked_sub(number) };
    moved.filter(|n| (RTMIN..=RTMAX).contains(n))
}

/// Which signals get their default action back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reset {
    /// All of them, and the mask is emptied.
    All,
    /// All but SIGPIPE, which stays ignored as long as this program writes to hooks and sockets.
    AllButPipe,
    /// SIGPIPE, and the mask is emptied: what [`Reset::AllButPipe`] has left.
    Pipe,
}

/// Gives signals their default action and an empty mask, as a fresh program expects: ignored signals
/// and masks survive exec, and Rust's start-up ignores SIGPIPE.
pub fn reset(which: Reset) {
    let default = libc::sigaction {
        sa_sigaction: libc::SIG_DFL,
        // SAFETY: a signal set is plain integers, for which all zeroes is the empty set.
        sa_mask: unsafe { std::mem::zeroed() },
        sa_flags: 0,
        sa_restorer: None,
    };
    let is_meant =
        |signal: &libc::c_int| which == Reset::All || (*signal == libc::SIGPIPE) == (which == Reset::Pipe);
    for signal in (1..=libc::SIGRTMAX()).filter(is_meant) {
        // SAFETY: `default` outlives the call; the kernel refuses the few numbers that cannot be set.
        unsafe { libc::sigaction(signal, &raw const default, std::ptr::null_mut()) };
    }
    if which != Reset::AllButPipe {
        let _ = nix::sys::signal::SigSet::empty().thread_set_mask();
    }
}

/// Lets a command begin with no signal blocked, whatever the runtime keeps back for itself.
pub fn unblock_in(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt;
    let unblock = || nix::sys::signal::SigSet::empty().thread_set_mask().map_err(std::io::Error::from);
    // SAFETY: the closure makes one system call and neither allocates nor takes a lock.
    unsafe { command.pre_exec(unblock) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_a_name_with_or_without_sig_or_a_number() {
        for text in ["TERM", "SIGTERM", "sigterm", "term", "15", "015"] {
            assert_eq!(parse(text).unwrap(), 15, "{text}");
        }
        assert_eq!(parse("KILL").unwrap(), 9);
        assert_eq!(parse("0").unwrap(), 0);
        assert_eq!(parse("64").unwrap(), 64);
    }

    #[test]
    fn realtime_signals_are_counted_from_both_ends() {
        for (text, number) in
            [("RTMIN", 34), ("SIGRTMIN+3", 37), ("rtmin+30", 64), ("RTMAX", 64), ("RTMAX-30", 34)]
        {
            assert_eq!(parse(text).unwrap(), number, "{text}");
        }
    }

    #[test]
    fn what_is_no_signal_is_refused() {
        for text in [
            "",
            "SIG",
            "SIGSIGTERM",
            "FOO",
            "-1",
            "+1",
            "65",
            "15x",
            "1 5",
            "RTMIN+31",
            "RTMIN-1",
            "RTMIN+",
            "RTMIN++1",
            "RTMAX+1",
            "RTMAX-31",
            "99999999999",
            "RTMIN+99999999999",
            "é",
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}
