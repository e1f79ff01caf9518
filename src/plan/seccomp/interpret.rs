//! Runs a filter as the kernel would, for tests, fuzzing and `isolate lint`: only the instructions seccomp knows.

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
    fn word(&self, offset: u32) -> Option<u32> {
        let half = |at: u32| self.args.get((at / 8) as usize).map(|arg| (arg >> (at % 8 * 8)) as u32);
        match offset {
            0 => Some(self.number),
            4 => Some(self.arch),
            16..64 if offset.is_multiple_of(4) => half(offset - 16),
            _ => None,
        }
    }
}

/// The action `program` returns, and the number of instructions that took; `None` when it is no program that the
/// kernel would take as a filter.
pub fn run(program: &[Instruction], data: &Data) -> Option<(u32, usize)> {
    let (mut accumulator, mut at, mut steps) = (0, 0, 0);
    loop {
        // Jumps only lead forward, so this ends.
        let Instruction { code, jt, jf, k } = *program.get(at)?;
        at += 1;
        steps += 1;
        let jump = |holds: bool| usize::from(if holds { jt } else { jf });
        match code {
            0x20 => accumulator = data.word(k)?,
            0x54 => accumulator &= k,
            0x05 => at += k as usize,
            0x15 => at += jump(accumulator == k),
            0x25 => at += jump(accumulator > k),
            0x35 => at += jump(accumulator >= k),
            0x06 => return Some((k, steps)),
            _ => return None,
        }
    }
}
