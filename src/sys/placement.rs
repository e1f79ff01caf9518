//! On which CPUs the calling thread runs, and from which memory nodes it gets its pages. Needs no privilege;
//! the cpuset of the thread's cgroup bounds both.

#![allow(unsafe_code)]

use nix::errno::Errno;

/// Bits of one word of a mask.
const WORD: usize = libc::c_ulong::BITS as usize;

/// Bytes of a mask with more CPUs than any kernel has; the kernel looks at those it knows.
const ALL_CPUS: [libc::c_ulong; 128] = [libc::c_ulong::MAX; 128];

fn mask(numbers: &[u32]) -> Vec<libc::c_ulong> {
    let words = numbers.iter().max().map_or(1, |largest| *largest as usize / WORD + 1);
    let mut mask = vec![0; words];
    for number in numbers {
        mask[*number as usize / WORD] |= 1 << (*number as usize % WORD);
    }
    mask
}

/// Lets the calling thread run on these CPUs alone (sched_setaffinity(2)).
///
/// # Errors
/// EINVAL when it may run on none of them.
pub fn set_cpus(cpus: &[u32]) -> Result<(), Errno> {
    set_affinity(&mask(cpus))
}

/// Lets the calling thread run on every CPU that its cgroup allows.
///
/// # Errors
/// The errno.
pub fn set_all_cpus() -> Result<(), Errno> {
    set_affinity(&ALL_CPUS)
}

fn set_affinity(mask: &[libc::c_ulong]) -> Result<(), Errno> {
    // SAFETY: the kernel reads as many bytes as the slice has.
    let result = unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, size_of_val(mask), mask.as_ptr()) };
    Errno::result(result).map(drop)
}

/// The memory policy of the calling thread, kept over exec (set_mempolicy(2)). `mode` is an MPOL_ number
/// with MPOL_F_ bits.
///
/// # Errors
/// EINVAL for a mode or flag that the kernel does not know, and for nodes it does not have or the cpuset
/// does not allow.
pub fn set_memory_policy(mode: u32, nodes: &[u32]) -> Result<(), Errno> {
    let mask = mask(nodes);
    // One more than there are bits: the kernel does not count the last.
    let (pointer, bits) = match nodes.is_empty() {
        true => (std::ptr::null(), 0),
        false => (mask.as_ptr(), mask.len() * WORD + 1),
    };
    // SAFETY: the kernel reads `bits - 1` bits from `mask`, which has as many and outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, pointer, bits) };
    Errno::result(result).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_has_a_bit_for_each_number() {
        assert_eq!(mask(&[0, 3]), [0b1001]);
        assert_eq!(mask(&[65]), [0, 0b10]);
        assert_eq!(mask(&[]), [0]);
    }

    #[test]
    fn a_cpu_that_is_not_there_is_refused_and_all_are_taken() {
        assert_eq!(set_cpus(&[60_000]), Err(Errno::EINVAL));
        assert_eq!(set_all_cpus(), Ok(()));
    }
}
