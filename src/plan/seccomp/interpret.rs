//! Runs a filter as the kernel would, for tests and fuzzing: only the instructions seccomp knows, any other is a panic.

#![allow(clippy::panic)]

use crate::sys::bpf::Instruction;

/// What a filter sees of a call.
#[derive(Debug, Clone, Copy)]
pub struct Data {
    /// `seccomp_data.arch`.
    pub arch: u32,
    /// `seccomp_data.nr`.
    pub number: u32,
    /// `seccomp_data.args`.
    pub args: [u64; 6],
}

impl Data {
    fn word(&self, offset: u32) -> u32 {
        let half = |at: u32| (self.args[(at / 8) as usize] >> (at % 8 * 8)) as u32;
        match offset {
            0 => self.number,
            4 => self.arch,
            16..64 if offset.is_multiple_of(4) => half(offset - 16),
            _ => panic!("load from {offset}"),
        }
    }
}

/// The action `program` returns, and the number of instructions that took.
pub fn run(program: &[Instruction], data: &Data) -> (u32, usize) {
    let (mut accumulator, mut at, mut steps) = (0, 0, 0);
    loop {
        let Instruction { code, jt, jf, k } = program[at];
        at += 1;
        steps += 1;
        let jump = |holds: bool| usize::from(if holds { jt } else { jf });
        match code {
            0x20 => accumulator = data.word(k),
            0x54 => accumulator &= k,
            0x05 => at += k as usize,
            0x15 => at += jump(accumulator == k),
            0x25 => at += jump(accumulator > k),
            0x35 => at += jump(accumulator >= k),
            0x06 => return (k, steps),
            _ => panic!("instruction {code:#x}"),
        }
    }
}
