//! System calls by name: their numbers in the three ABIs of an x86-64 kernel, and the calls that i386
//! hides behind `socketcall` and `ipc`. Plain data and a look-up: any process, no privilege, no system call.
//!
//! The numbers are generated from lists kept beside this file (`generate`), which come from the kernel's
//! exported headers. No number of an architecture stands anywhere else in the crate.

mod table;

use table::SYSCALLS;

#[cfg(not(target_arch = "x86_64"))]
compile_error!("the tables of system calls know x86-64 (with i386 and x32) only");

/// `AUDIT_ARCH_X86_64` of linux/audit.h: what `seccomp_data.arch` holds for x86-64 and for x32.
pub const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
/// `AUDIT_ARCH_I386` of linux/audit.h.
pub const AUDIT_ARCH_I386: u32 = 0x4000_0003;
/// `__X32_SYSCALL_BIT`: set in the number of every call made through x32.
pub const X32_SYSCALL_BIT: u32 = 0x4000_0000;

/// What the table holds where an ABI or a multiplexer lacks a call.
const NONE: u16 = u16::MAX;

/// A way to enter an x86-64 kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Abi {
    /// 64-bit: the native one.
    X86_64,
    /// 32-bit, `int 0x80` and its kin: arguments are 32 bits wide, and it has `socketcall` and `ipc`.
    X86,
    /// 32-bit pointers in 64-bit mode: the numbers carry [`X32_SYSCALL_BIT`].
    X32,
}

/// One of the two calls of i386 that stand for many: their first argument says for which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Multiplexer {
    /// `socketcall(call, args)`: `call` is compared whole.
    Socketcall,
    /// `ipc(call, …)`: the upper 16 bits of `call` are a version, which the kernel strips.
    Ipc,
}

impl Multiplexer {
    /// Its own name.
    pub fn name(self) -> &'static str {
        match self {
            Multiplexer::Socketcall => "socketcall",
            Multiplexer::Ipc => "ipc",
        }
    }

    /// The bits of its first argument in which the kernel looks for the sub-call.
    pub fn mask(self) -> u32 {
        match self {
            Multiplexer::Socketcall => u32::MAX,
            Multiplexer::Ipc => 0xffff,
        }
    }
}

/// One name and what it is called by.
#[derive(Debug, PartialEq, Eq)]
pub struct Syscall {
    name: &'static str,
    numbers: [u16; COLUMNS],
}

/// The three ABIs, in the order of [`Abi`], and the two multiplexers.
const COLUMNS: usize = 5;

impl Syscall {
    const fn new(name: &'static str, numbers: [u16; COLUMNS]) -> Syscall {
        Syscall { name, numbers }
    }

    /// Its name, as in the kernel's `__NR_` constants.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Its number in `abi`, without [`X32_SYSCALL_BIT`]; `None` where the ABI has no such call.
    pub fn number(&self, abi: Abi) -> Option<u32> {
        self.column(abi as usize)
    }

    /// Its number as a sub-call of `multiplexer` on i386, if it is one.
    pub fn sub_call(&self, multiplexer: Multiplexer) -> Option<u32> {
        match multiplexer {
            Multiplexer::Socketcall => self.column(3),
            Multiplexer::Ipc => self.column(4),
        }
    }

    fn column(&self, column: usize) -> Option<u32> {
        let number = self.numbers[column];
        (number != NONE).then_some(u32::from(number))
    }
}

/// Slots of the hash table: a power of two, at least twice the number of names so that runs stay short.
const SLOTS: usize = 1024;
const EMPTY: u16 = u16::MAX;
static INDEX: [u16; SLOTS] = index();

/// The call of that name, if any of the three ABIs has it, be it through a multiplexer only (`send`).
pub fn find(name: &str) -> Option<&'static Syscall> {
    let mut slot = hash(name.as_bytes());
    while INDEX[slot] != EMPTY {
        let syscall = &SYSCALLS[usize::from(INDEX[slot])];
        if syscall.name == name {
            return Some(syscall);
        }
        slot = (slot + 1) % SLOTS;
    }
    None
}

/// Open addressing with linear probing, built by the compiler.
const fn index() -> [u16; SLOTS] {
    assert!(SYSCALLS.len() * 2 <= SLOTS);
    let mut index = [EMPTY; SLOTS];
    let mut row = 0;
    while row < SYSCALLS.len() {
        let mut slot = hash(SYSCALLS[row].name.as_bytes());
        while index[slot] != EMPTY {
            slot = (slot + 1) % SLOTS;
        }
        index[slot] = row as u16;
        row += 1;
    }
    index
}

/// FNV-1a, folded to a slot. The names looked up come from a config: the worst they can do is one run of
/// full slots, which is short because the table is fixed.
const fn hash(name: &[u8]) -> usize {
    let mut hash: u32 = 0x811c_9dc5;
    let mut at = 0;
    while at < name.len() {
        hash = (hash ^ name[at] as u32).wrapping_mul(0x0100_0193);
        at += 1;
    }
    (hash ^ (hash >> 16)) as usize % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_and_no_other() {
        for syscall in &SYSCALLS {
            assert_eq!(find(syscall.name), Some(syscall));
        }
        for name in ["", "no_such_call", "READ", "read\0", "reads"] {
            assert_eq!(find(name), None, "{name:?}");
        }
    }

    #[test]
    fn names_are_sorted_and_numbers_of_an_abi_are_distinct() {
        assert!(SYSCALLS.windows(2).all(|pair| pair[0].name < pair[1].name));
        for abi in [Abi::X86_64, Abi::X86, Abi::X32] {
            let mut numbers: Vec<u32> = SYSCALLS.iter().filter_map(|call| call.number(abi)).collect();
            let all = numbers.len();
            numbers.sort_unstable();
            numbers.dedup();
            assert_eq!(numbers.len(), all, "{abi:?}");
        }
    }

    #[test]
    fn native_numbers_are_those_of_libc() {
        let known = [
            ("read", libc::SYS_read),
            ("getppid", libc::SYS_getppid),
            ("socket", libc::SYS_socket),
            ("clone3", libc::SYS_clone3),
            ("openat2", libc::SYS_openat2),
            ("seccomp", libc::SYS_seccomp),
            ("futex_waitv", libc::SYS_futex_waitv),
        ];
        for (name, number) in known {
            let found = find(name).and_then(|call| call.number(Abi::X86_64));
            assert_eq!(found.map(i64::from), Some(number), "{name}");
        }
    }

    #[test]
    fn the_other_abis_have_their_own_numbers() {
        let number = |name, abi| find(name).and_then(|call| call.number(abi));
        assert_eq!(number("socketcall", Abi::X86), Some(102));
        assert_eq!(number("socketcall", Abi::X86_64), None);
        assert_eq!(number("rt_sigaction", Abi::X32), Some(512));
        assert_eq!(number("accept", Abi::X86), None);
        let accept = find("accept").unwrap();
        assert_eq!(accept.sub_call(Multiplexer::Socketcall), Some(5));
        assert_eq!(accept.sub_call(Multiplexer::Ipc), None);
        assert_eq!(find("semop").unwrap().sub_call(Multiplexer::Ipc), Some(1));
        assert!(find("send").is_some());
    }
}
