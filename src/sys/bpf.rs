//! Classic BPF as seccomp takes it: one instruction, and the few kinds a filter is made of. Plain data:
//! any process, no privilege, no system call.

use libc::{BPF_ABS, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W};
use serde::Serialize;

/// The most instructions the kernel takes in one program (`BPF_MAXINSNS` of linux/bpf_common.h).
pub const MAX_INSTRUCTIONS: usize = 4096;

/// One instruction, laid out as the kernel's `struct sock_filter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[repr(C)]
pub struct Instruction {
    /// What to do.
    pub code: u16,
    /// How many instructions to skip if a comparison holds.
    pub jt: u8,
    /// How many to skip if it does not.
    pub jf: u8,
    /// The operand.
    pub k: u32,
}

const _: () = {
    assert!(size_of::<Instruction>() == size_of::<libc::sock_filter>());
    assert!(align_of::<Instruction>() == align_of::<libc::sock_filter>());
    assert!(std::mem::offset_of!(Instruction, jt) == std::mem::offset_of!(libc::sock_filter, jt));
    assert!(std::mem::offset_of!(Instruction, jf) == std::mem::offset_of!(libc::sock_filter, jf));
    assert!(std::mem::offset_of!(Instruction, k) == std::mem::offset_of!(libc::sock_filter, k));
};

/// A field of `struct seccomp_data`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// The system call's number.
    Number,
    /// The architecture, an `AUDIT_ARCH_` constant.
    Architecture,
}

/// A comparison of the accumulator with a constant, unsigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// Equal.
    Equal,
    /// Greater or equal.
    AtLeast,
}

impl Instruction {
    /// All fields in one number: code, `jt`, `jf`, `k`, the first in the highest bits.
    pub fn to_bits(self) -> u64 {
        u64::from(self.code) << 48 | u64::from(self.jt) << 40 | u64::from(self.jf) << 32 | u64::from(self.k)
    }

    /// The instruction of [`Instruction::to_bits`].
    pub fn from_bits(bits: u64) -> Instruction {
        Instruction {
            code: (bits >> 48) as u16,
            jt: (bits >> 40) as u8,
            jf: (bits >> 32) as u8,
            k: bits as u32,
        }
    }

    /// Loads a field into the accumulator.
    pub fn load(field: Field) -> Instruction {
        let offset = match field {
            Field::Number => std::mem::offset_of!(libc::seccomp_data, nr),
            Field::Architecture => std::mem::offset_of!(libc::seccomp_data, arch),
        };
        Instruction { code: (BPF_LD | BPF_W | BPF_ABS) as u16, jt: 0, jf: 0, k: offset as u32 }
    }

    /// Ends the program with `action`, a `SECCOMP_RET_` value and its data.
    pub fn end(action: u32) -> Instruction {
        Instruction { code: (BPF_RET | BPF_K) as u16, jt: 0, jf: 0, k: action }
    }

    /// Skips `count` instructions.
    pub fn skip(count: u32) -> Instruction {
        Instruction { code: (BPF_JMP | BPF_JA) as u16, jt: 0, jf: 0, k: count }
    }

    /// Skips `jt` instructions if the accumulator compares so with `k`, else `jf`.
    pub fn branch(comparison: Comparison, k: u32, jt: u8, jf: u8) -> Instruction {
        let operator = match comparison {
            Comparison::Equal => BPF_JEQ,
            Comparison::AtLeast => BPF_JGE,
        };
        Instruction { code: (BPF_JMP | operator | BPF_K) as u16, jt, jf, k }
    }
}
