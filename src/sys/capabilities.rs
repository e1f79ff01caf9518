//! Capabilities of the calling thread (capabilities(7)), whole sets at a time: each set is read and written
//! in one call, where the crate `caps` makes two for every change of one. Names are that crate's.
//!
//! The container's child runs this, as root of its user namespace, to become less.

#![allow(unsafe_code)]

use std::str::FromStr;

use caps::Capability;
use nix::errno::Errno;

use crate::error::{Error, Result};

/// linux/capability.h, _LINUX_CAPABILITY_VERSION_3: sets of 64 bits, in two halves.
const VERSION: u32 = 0x2008_0522;

/// A set: bit `n` stands for capability number `n`.
pub type Set = u64;

/// The three sets that one call reads or writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sets {
    /// What permission checks look at.
    pub effective: Set,
    /// What may be made effective.
    pub permitted: Set,
    /// What an exec may hand on.
    pub inheritable: Set,
}

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Half {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// The set of the capabilities with these names; others are left out.
pub fn parse(names: &[String]) -> Set {
    let known = names.iter().filter_map(|name| Capability::from_str(name).ok());
    known.map(|capability| 1 << capability.index()).fold(0, |all, bit: Set| all | bit)
}

/// The sets of the calling thread (capget(2)).
///
/// # Errors
/// None that a kernel gives; kept for an outer seccomp filter.
pub fn read() -> Result<Sets> {
    let header = Header { version: VERSION, pid: 0 };
    let mut halves = [Half::default(); 2];
    // SAFETY: both outlive the call; the version in the header says that there are two halves.
    let result = unsafe { libc::syscall(libc::SYS_capget, &raw const header, halves.as_mut_ptr()) };
    Errno::result(result).map_err(|errno| Error::sys("capget", errno))?;
    let join = |half: fn(&Half) -> u32| u64::from(half(&halves[0])) | u64::from(half(&halves[1])) << 32;
    Ok(Sets {
        effective: join(|half| half.effective),
        permitted: join(|half| half.permitted),
        inheritable: join(|half| half.inheritable),
    })
}

/// Makes these the sets of the calling thread (capset(2)).
///
/// # Errors
/// EPERM for what may not be gained: a permitted capability, an effective one that is not permitted, an
/// inheritable one from outside the bounding set.
pub fn write(sets: Sets) -> Result<()> {
    let header = Header { version: VERSION, pid: 0 };
    let half = |shift: u32| Half {
        effective: (sets.effective >> shift) as u32,
        permitted: (sets.permitted >> shift) as u32,
        inheritable: (sets.inheritable >> shift) as u32,
    };
    let halves = [half(0), half(32)];
    // SAFETY: both outlive the call; the version in the header says that there are two halves.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw const header, halves.as_ptr()) };
    let call = || format!("capset(effective {:#x}, permitted {:#x})", sets.effective, sets.permitted);
    Errno::result(result).map(drop).map_err(|errno| Error::sys(call(), errno))
}

/// The last capability that every kernel has on which we run: CAP_AUDIT_READ, of 3.16.
const EVERYWHERE: libc::c_ulong = 37;

/// Drops all but `keep` from the bounding set, for good (prctl(2), PR_CAPBSET_DROP). What is not in it needs
/// no privilege to be dropped.
///
/// # Errors
/// EPERM without CAP_SETPCAP; whatever keeps a capability in the set, such as the filter of an outer container.
pub fn lower_bounding_set(keep: Set) -> Result<()> {
    for number in (0..64).filter(|number| keep & (1 << number) == 0) {
        match prctl(libc::PR_CAPBSET_DROP, number, 0) {
            Ok(_) => {}
            // There are no more than this. The call alone does not say so: a filter around us may answer with EINVAL.
            Err(Errno::EINVAL) if number > EVERYWHERE && !is_known(number) => break,
            Err(_) if prctl(libc::PR_CAPBSET_READ, number, 0) == Ok(0) => {}
            Err(errno) => return Err(Error::sys(format!("prctl(PR_CAPBSET_DROP, {number})"), errno)),
        }
    }
    Ok(())
}

fn is_known(number: libc::c_ulong) -> bool {
    prctl(libc::PR_CAPBSET_READ, number, 0) != Err(Errno::EINVAL)
}

/// Makes the capabilities of `set` ambient: programs without capabilities of their own keep them.
///
/// # Errors
/// EPERM for one that is not both permitted and inheritable.
pub fn raise_ambient(set: Set) -> Result<()> {
    for number in (0..64).filter(|number| set & (1 << number) != 0) {
        let raise = libc::PR_CAP_AMBIENT_RAISE as libc::c_ulong;
        prctl(libc::PR_CAP_AMBIENT, raise, number)
            .map_err(|errno| Error::sys(format!("prctl(PR_CAP_AMBIENT_RAISE, {number})"), errno))?;
    }
    Ok(())
}

fn prctl(option: i32, first: libc::c_ulong, second: libc::c_ulong) -> Result<i32, Errno> {
    // SAFETY: these options take numbers.
    Errno::result(unsafe { libc::prctl(option, first, second, 0, 0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bits_and_unknown_ones_are_left_out() {
        let names = ["CAP_CHOWN", "CAP_SYS_ADMIN", "CAP_CHECKPOINT_RESTORE", "CAP_NEVER"].map(str::to_owned);
        assert_eq!(parse(&names), 1 | 1 << 21 | 1 << 40);
    }

    #[test]
    fn what_is_read_agrees_with_the_kernels_own_words_and_can_be_written_back() {
        let sets = read().unwrap();
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let of = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
            u64::from_str_radix(line.trim(), 16).unwrap()
        };
        let told = Sets { effective: of("CapEff:"), permitted: of("CapPrm:"), inheritable: of("CapInh:") };
        assert_eq!(sets, told);
        write(sets).unwrap();
        assert_eq!(read().unwrap(), sets);
    }

    #[test]
    fn what_is_not_permitted_cannot_be_made_effective() {
        // Sets are a thread's own: this one gives up its last, and ends.
        let refused = std::thread::spawn(|| {
            write(Sets::default()).unwrap();
            write(Sets { effective: 1, ..Sets::default() }).unwrap_err().errno()
        });
        assert_eq!(refused.join().unwrap(), Some(Errno::EPERM));
    }
}
