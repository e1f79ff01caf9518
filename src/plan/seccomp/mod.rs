//! `linux.seccomp`: from the config to a program the kernel loads. Pure: no system call, no file; the
//! runtime compiles, and `sys::seccomp::load` installs the result in the container's init.
//!
//! A profile is read and checked ([`profile`]), turned into one verdict a call for each ABI ([`verdicts`]),
//! and the runs of equal verdicts become a search tree ([`assemble`]), because the time the kernel takes to
//! load a filter is the length of its paths times the number of calls.
//!
//! What it means is what runc with libseccomp makes of the same config:
//!
//! - **Rules of one call.** A rule without `args` beats those with `args`, the first such rule the later
//!   ones. Rules with `args` are tried in libseccomp's order, not in the file's: see [`verdicts`]. A rule
//!   whose action is the default action is dropped. Conditions of a rule must all hold; if two of them look
//!   at the same argument, each becomes a rule of its own.
//! - **Architectures.** Native is always in. `SCMP_ARCH_X86` and `SCMP_ARCH_X32` are in when named; a call
//!   through one that is not named kills the thread. All other names are accepted and add nothing, since an
//!   x86-64 kernel never reports them (libseccomp would add dead branches, and refuse big-endian ones).
//! - **Names.** A name that no ABI knows is a warning. A name only some ABIs know counts for those.
//! - **New calls.** If the default action refuses (ERRNO, TRAP, KILL…), calls with a number above the
//!   highest that the profile names give ENOSYS, so that programs fall back to what the profile knew.
//! - **i386.** A rule for `socket` also holds for `socketcall(SYS_SOCKET)`, and so on for all sub-calls of
//!   `socketcall` and `ipc`. Here we are stricter than libseccomp, see [`verdicts`].
//! - **x32 and i386 arguments** are compared in their lower 32 bits.
//! - **Flags.** No list means SPEC_ALLOW, as in runc; an empty list means none.
//!
//! - **`SCMP_ACT_NOTIFY`**: see [`listener`]. Without a rule of that action `listenerPath` and
//!   `listenerMetadata` mean nothing, and neither does WAIT_KILLABLE_RECV, as with libseccomp.

mod assemble;
mod listener;
mod profile;
mod verdicts;

pub mod interpret;
#[cfg(any(test, fuzzing))]
pub mod plainly;
#[cfg(test)]
mod tests;

use oci_spec::runtime::{Arch, LinuxSeccomp};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::sys::bpf::{Comparison, Field, Instruction, MAX_INSTRUCTIONS};
use crate::sys::syscalls::{AUDIT_ARCH_I386, AUDIT_ARCH_X86_64, Abi, X32_SYSCALL_BIT};
use assemble::{Assembler, Label};
pub use listener::{Handover, Listener, plan_beside, read as read_listener};
use profile::Profile;
use verdicts::{Runs, Verdict, Width};

/// A compiled filter: what `sys::seccomp::load` takes, and what the user should know about it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Filter {
    /// The program, at most 4096 instructions.
    pub program: Vec<Instruction>,
    /// `SECCOMP_FILTER_FLAG_` bits.
    pub flags: u32,
    /// Names that are no system call here, each with its place in the config.
    pub warnings: Vec<String>,
}

/// Compiles the `linux.seccomp` object of a config.
///
/// # Errors
/// Every fault of the object with its place in the config; or a program that the kernel would not take
/// because it is longer than 4096 instructions.
pub fn compile(config: &LinuxSeccomp) -> Result<Filter> {
    let profile = profile::read(config)?;
    let program = program(&profile)?;
    Ok(Filter { program, flags: profile.flags, warnings: profile.warnings })
}

/// The whole program: one look at the architecture, then a tree over the numbers for each.
fn program(profile: &Profile) -> Result<Vec<Instruction>> {
    let x86_64 = runs_of_x86_64(profile);
    let mut assembler = Assembler::default();
    let kill = Verdict::Always(libc::SECCOMP_RET_KILL_THREAD);
    let i386 = match profile.has(Arch::ScmpArchX86) {
        true => Some(numbers(&mut assembler, &verdicts::of(profile, Abi::X86).runs(), profile.default)?),
        false => None,
    };
    let native = numbers(&mut assembler, &x86_64, profile.default)?;
    let mut other = assembler.verdict(&kill, Width::Full, profile.default)?;
    if let Some(i386) = i386 {
        other = assembler.branch(Comparison::Equal, AUDIT_ARCH_I386, i386, other);
    }
    assembler.branch(Comparison::Equal, AUDIT_ARCH_X86_64, native, other);
    assembler.emit(Instruction::load(Field::Architecture));
    let program = assembler.finish();
    match program.len() {
        length if length <= MAX_INSTRUCTIONS => Ok(program),
        length => Err(Error::new(format!(
            "the filter takes {length} instructions, the kernel takes at most {MAX_INSTRUCTIONS}"
        ))
        .at("linux.seccomp")
        .hint("use fewer rules with args, or fewer architectures")),
    }
}

/// The tree over the numbers of one architecture, after loading the number.
fn numbers(assembler: &mut Assembler, runs: &Runs, default: u32) -> Result<Label> {
    let tree = assembler.tree(runs, default)?;
    assembler.next(tree);
    Ok(assembler.emit(Instruction::load(Field::Number)))
}

/// x86-64 and x32 share an architecture: the numbers from bit 30 on are x32's. Without x32 they kill, but
/// for -1, which a tracer puts there to skip a call: it gets the default action, as from libseccomp.
fn runs_of_x86_64(profile: &Profile) -> Runs {
    let mut runs = verdicts::of(profile, Abi::X86_64).runs();
    if profile.has(Arch::ScmpArchX32) {
        runs.append(X32_SYSCALL_BIT, verdicts::of(profile, Abi::X32).runs());
    } else {
        runs.push(X32_SYSCALL_BIT, Verdict::Always(libc::SECCOMP_RET_KILL_THREAD), Width::Full);
        runs.push(u32::MAX, Verdict::Always(profile.default), Width::Full);
    }
    runs
}
