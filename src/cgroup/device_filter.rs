//! Device control on cgroup v2: rules compiled to a program of the kernel's BPF machine (pure), and that program
//! attached to the container's folder. The runtime process, as root of the host.
//!
//! Every bit that is asked for (read, write, mknod) is decided by the last rule about the device that speaks of that
//! bit, and all must be allowed. So `c 1:3 r` and `c 1:3 w` together allow reading and writing, as with v1.
//!
//! The program is attached beside others (BPF_F_ALLOW_MULTI): service managers and engines have their own, which stay,
//! and each must allow. It belongs to the folder, not to any service manager's unit: a daemon-reload does not touch it.

use std::ffi::CStr;

use nix::errno::Errno;

use super::OpenGroup;
use super::device::{Access, DeviceRule, DeviceType};
use crate::error::{Error, Kind, Result};
use crate::sys::ebpf::{Instruction, attach_device_program, find_device_program, load_device_program};

/// By this name an update finds the program that it replaces.
const NAME: &CStr = c"isolate_devices";

const WHY: &str = "linux.resources.devices";

/// Makes `rules` the device rules of the folder, in the place of former ones of ours.
///
/// # Errors
/// When the kernel takes no such program.
pub(super) fn apply(open: &OpenGroup, rules: &[DeviceRule]) -> Result<()> {
    if rules.is_empty() {
        return Ok(());
    }
    let failed = |call: &str, errno: Errno| {
        let error = Error::sys(format!("bpf({call}) for {:?}", open.dir), errno).at(WHY);
        match errno {
            Errno::EPERM => error.because("the caller may not load device filters here").hint(
                "inside another container, that one needs CAP_BPF and CAP_NET_ADMIN and bpf(2) in its filter",
            ),
            Errno::ENOSYS | Errno::EINVAL => error
                .because("this kernel has no device filters for cgroups (CONFIG_CGROUP_BPF)")
                .kind(Kind::Unsupported),
            _ => error,
        }
    };
    let program =
        load_device_program(&compile(rules), NAME).map_err(|errno| failed("BPF_PROG_LOAD", errno))?;
    let former = find_device_program(&open.fd, NAME).map_err(|errno| failed("BPF_PROG_QUERY", errno))?;
    attach_device_program(&open.fd, &program, former.as_ref())
        .map_err(|errno| failed("BPF_PROG_ATTACH", errno))
}

/// Fields of `struct bpf_cgroup_dev_ctx`.
const ACCESS_TYPE: i16 = 0;
const MAJOR: i16 = 4;
const MINOR: i16 = 8;

/// Registers: the verdict, the context, and what is read from it.
const VERDICT: u8 = 0;
const CONTEXT: u8 = 1;
const TYPE: u8 = 2;
/// What is asked for and not decided yet.
const ASKED: u8 = 3;
const MAJOR_NUMBER: u8 = 4;
const MINOR_NUMBER: u8 = 5;

/// The rules as a program: from the last one to the first, until everything that is asked for is decided.
fn compile(rules: &[DeviceRule]) -> Vec<Instruction> {
    let mut program = vec![
        load(TYPE, ACCESS_TYPE),
        with(AND, TYPE, 0xffff),
        load(ASKED, ACCESS_TYPE),
        with(SHIFT_RIGHT, ASKED, 16),
        load(MAJOR_NUMBER, MAJOR),
        load(MINOR_NUMBER, MINOR),
    ];
    for rule in rules.iter().rev() {
        match rule.device {
            DeviceType::All => {
                program.extend(end(rule.allow));
                return program;
            }
            DeviceType::Char | DeviceType::Block => add(&mut program, rule),
        }
    }
    program.extend(end(false));
    program
}

/// One rule: comparisons that lead past it, then what it decides.
fn add(program: &mut Vec<Instruction>, rule: &DeviceRule) {
    let kind = if rule.device == DeviceType::Block { 1 } else { 2 };
    let wanted = [(TYPE, Some(kind)), (MAJOR_NUMBER, rule.major), (MINOR_NUMBER, rule.minor)];
    let wanted: Vec<(u8, u32)> =
        wanted.into_iter().filter_map(|(register, value)| Some((register, value?))).collect();
    let decision = decide(rule);
    let length = wanted.len() + decision.len();
    for (index, (register, value)) in wanted.into_iter().enumerate() {
        program.push(jump(JUMP_IF_NOT_EQUAL, register, value, length - index - 1));
    }
    program.extend(decision);
}

fn decide(rule: &DeviceRule) -> Vec<Instruction> {
    let bits = bits(rule.access);
    let mut decision = match rule.allow {
        true => vec![with(AND, ASKED, !bits), jump(JUMP_IF_NOT_EQUAL, ASKED, 0, 2)],
        false => vec![jump(JUMP_IF_ANY_OF, ASKED, bits, 1), jump(JUMP, 0, 0, 2)],
    };
    decision.extend(end(rule.allow));
    decision
}

/// `BPF_DEVCG_ACC_`.
fn bits(access: Access) -> u32 {
    u32::from(access.mknod) | u32::from(access.read) << 1 | u32::from(access.write) << 2
}

/// Operation codes: 32-bit arithmetic and jumps with a constant (KERNEL(5.1) for the jumps).
const AND: u8 = 0x54;
const SHIFT_RIGHT: u8 = 0x74;
const MOVE: u8 = 0xb4;
const LOAD_WORD: u8 = 0x61;
const JUMP: u8 = 0x05;
const JUMP_IF_NOT_EQUAL: u8 = 0x56;
const JUMP_IF_ANY_OF: u8 = 0x46;
const EXIT: u8 = 0x95;

fn load(register: u8, offset: i16) -> Instruction {
    Instruction { code: LOAD_WORD, registers: register | CONTEXT << 4, offset, immediate: 0 }
}

fn with(code: u8, register: u8, value: u32) -> Instruction {
    Instruction { code, registers: register, offset: 0, immediate: value.cast_signed() }
}

fn jump(code: u8, register: u8, value: u32, over: usize) -> Instruction {
    // Never more than the instructions of one rule.
    let offset = i16::try_from(over).unwrap_or(i16::MAX);
    Instruction { code, registers: register, offset, immediate: value.cast_signed() }
}

fn end(allow: bool) -> [Instruction; 2] {
    let exit = Instruction { code: EXIT, registers: 0, offset: 0, immediate: 0 };
    [with(MOVE, VERDICT, u32::from(allow)), exit]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(allow: bool, text: &str) -> DeviceRule {
        let (kind, rest) = text.split_at(1);
        let device = match kind {
            "a" => DeviceType::All,
            "c" => DeviceType::Char,
            _ => DeviceType::Block,
        };
        let mut words = rest.split_whitespace();
        let numbers = words.next().unwrap_or("*:*");
        let letters = words.next().unwrap_or("rwm");
        let (major, minor) = numbers.split_once(':').unwrap();
        let access = Access {
            read: letters.contains('r'),
            write: letters.contains('w'),
            mknod: letters.contains('m'),
        };
        let (major, minor) = (major.parse().ok(), minor.parse().ok());
        DeviceRule { allow, device, major, minor, access, why: String::new() }
    }

    /// Runs a program as the kernel does; a jump or a read out of bounds fails the test.
    fn run(program: &[Instruction], asked: &str) -> bool {
        let request = rule(true, asked);
        let kind = if request.device == DeviceType::Block { 1 } else { 2 };
        let context = [bits(request.access) << 16 | kind, request.major.unwrap(), request.minor.unwrap()];
        let mut registers = [0u32; 6];
        let mut at = 0;
        for _ in 0..10_000 {
            let now = program[at];
            let target = usize::from(now.registers & 0xf);
            let value = now.immediate.cast_unsigned();
            at += 1;
            let over = usize::try_from(now.offset).unwrap_or(0);
            match now.code {
                LOAD_WORD => registers[target] = context[over / 4],
                AND => registers[target] &= value,
                SHIFT_RIGHT => registers[target] >>= value,
                MOVE => registers[target] = value,
                JUMP => at += over,
                JUMP_IF_NOT_EQUAL => at += if registers[target] != value { over } else { 0 },
                JUMP_IF_ANY_OF => at += if registers[target] & value != 0 { over } else { 0 },
                EXIT => return registers[0] != 0,
                other => panic!("no such operation: {other:#x}"),
            }
        }
        panic!("the program does not end");
    }

    fn allows(rules: &[(bool, &str)], asked: &str) -> bool {
        let rules: Vec<DeviceRule> = rules.iter().map(|(allow, text)| rule(*allow, text)).collect();
        run(&compile(&rules), asked)
    }

    #[test]
    fn nothing_is_allowed_without_a_rule() {
        assert!(!allows(&[], "c 1:3 r"));
        assert!(!allows(&[(false, "a")], "c 1:3 r"));
        assert!(allows(&[(true, "a")], "b 8:0 rwm"));
    }

    #[test]
    fn the_last_rule_that_matches_wins() {
        let allowed_again = [(false, "a"), (true, "c 10:229 rwm"), (false, "c 10:* w"), (true, "c 10:229 w")];
        assert!(allows(&allowed_again, "c 10:229 rw"));
        assert!(!allows(&allowed_again[..3], "c 10:229 rw"));
        assert!(allows(&allowed_again[..3], "c 10:229 r"));
        assert!(!allows(&[(true, "c 1:3 r"), (false, "a")], "c 1:3 r"));
    }

    #[test]
    fn what_is_asked_may_be_allowed_by_several_rules() {
        let split = [(true, "c 1:3 r"), (true, "c 1:* w")];
        assert!(allows(&split, "c 1:3 rw"));
        assert!(!allows(&split, "c 1:3 rwm"));
        assert!(!allows(&split, "c 1:4 r"));
    }

    #[test]
    fn types_and_large_numbers_are_told_apart() {
        let rules = [(true, "c 4294967295:2147483648 r"), (true, "b 8:0 r")];
        assert!(allows(&rules, "c 4294967295:2147483648 r"));
        assert!(!allows(&rules, "b 4294967295:2147483648 r"));
        assert!(!allows(&rules, "c 8:0 r"));
        assert!(allows(&rules, "b 8:0 r"));
    }

    #[test]
    fn the_program_agrees_with_the_rules_read_bit_by_bit() {
        let mut seed = 1u64;
        let mut random = move |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        for _ in 0..2000 {
            let rules: Vec<DeviceRule> = (0..random(6))
                .map(|_| {
                    let number = |n: u64| if n == 0 { "*".to_owned() } else { n.to_string() };
                    let letters: String = "rwm".chars().filter(|_| random(2) == 1).collect();
                    let letters = if letters.is_empty() { "r".to_owned() } else { letters };
                    let kind = ["c", "b", "c", "b", "a"][random(5) as usize];
                    let text = format!("{kind} {}:{} {letters}", number(random(3)), number(random(3)));
                    rule(random(2) == 1, &text)
                })
                .collect();
            let program = compile(&rules);
            for letter in ["r", "w", "m", "rw", "rwm"] {
                let asked = format!("{} 1:2 {letter}", if random(2) == 1 { "c" } else { "b" });
                assert_eq!(run(&program, &asked), by_hand(&rules, &asked), "{rules:?} {asked}");
            }
        }
    }

    fn by_hand(rules: &[DeviceRule], asked: &str) -> bool {
        let request = rule(true, asked);
        let asked = bits(request.access);
        [1, 2, 4].into_iter().filter(|bit| asked & bit != 0).all(|bit| {
            let last = rules.iter().rev().find(|rule| {
                let same = |wanted: Option<u32>, is: Option<u32>| wanted.is_none() || wanted == is;
                let named = rule.device == request.device
                    && same(rule.major, request.major)
                    && same(rule.minor, request.minor)
                    && bits(rule.access) & bit != 0;
                rule.device == DeviceType::All || named
            });
            last.is_some_and(|rule| rule.allow)
        })
    }
}
