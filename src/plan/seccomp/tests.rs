//! What the compiler promises, and random profiles against a plain reading of their rules.

use oci_spec::runtime::{LinuxSeccomp, LinuxSyscall};
use serde_json::{Value, json};

use super::interpret::{Data, run};
use super::plainly::plainly;
use super::*;
use crate::sys::seccomp::{LOG, SPEC_ALLOW, TSYNC};
use crate::sys::syscalls::find;

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const KILL: u32 = libc::SECCOMP_RET_KILL_THREAD;
const PODMAN: &str = include_str!("../../../tests/data/seccomp/podman.json");

fn errno(errno: i32) -> u32 {
    libc::SECCOMP_RET_ERRNO | errno as u32
}

fn config(value: Value) -> LinuxSeccomp {
    serde_json::from_value(value).unwrap()
}

fn fault(value: Value) -> String {
    compile(&config(value)).unwrap_err().to_string()
}

fn call(abi: Abi, name: &str, args: [u64; 6]) -> Data {
    let number = find(name).unwrap().number(abi).unwrap();
    match abi {
        Abi::X86_64 => Data { arch: AUDIT_ARCH_X86_64, number, args },
        Abi::X32 => Data { arch: AUDIT_ARCH_X86_64, number: number | X32_SYSCALL_BIT, args },
        Abi::X86 => Data { arch: AUDIT_ARCH_I386, number, args },
    }
}

/// What the profile gives `name` with these first arguments.
fn asked<const N: usize>(profile: &LinuxSeccomp, abi: Abi, name: &str, first: [u64; N]) -> u32 {
    let mut args = [0; 6];
    args[..N].copy_from_slice(&first);
    run(&compile(profile).unwrap().program, &call(abi, name, args)).unwrap().0
}

#[test]
fn podmans_profile_takes_few_instructions_and_short_paths() {
    let filter = compile(&config(serde_json::from_str(PODMAN).unwrap())).unwrap();
    let steps = |arch, number| run(&filter.program, &Data { arch, number, args: [0; 6] }).unwrap().1;
    let longest = (0..512).map(|number| steps(AUDIT_ARCH_X86_64, number)).max().unwrap();
    println!("{} instructions, at most {longest} a native call", filter.program.len());
    assert_eq!(filter.program.len(), 306);
    assert_eq!(longest, 31);
}

#[test]
fn podmans_profile_means_what_it_says() {
    let podman = config(serde_json::from_str(PODMAN).unwrap());
    assert_eq!(asked(&podman, Abi::X86_64, "read", []), ALLOW);
    assert_eq!(asked(&podman, Abi::X86_64, "mount", []), ALLOW);
    assert_eq!(asked(&podman, Abi::X86_64, "kexec_load", []), errno(libc::EPERM));
    assert_eq!(asked(&podman, Abi::X86_64, "personality", [8]), ALLOW);
    assert_eq!(asked(&podman, Abi::X86_64, "personality", [9]), errno(libc::ENOSYS));
    assert_eq!(asked(&podman, Abi::X86_64, "socket", [2, 1, 0]), ALLOW);
    assert_eq!(asked(&podman, Abi::X86_64, "socket", [40, 1, 0]), errno(libc::EPERM));
    assert_eq!(asked(&podman, Abi::X86_64, "socket", [16, 3, 9]), errno(libc::EINVAL));
    assert_eq!(asked(&podman, Abi::X86_64, "socket", [16, 3, 0]), ALLOW);
    assert_eq!(asked(&podman, Abi::X86, "_llseek", []), ALLOW);
    assert_eq!(asked(&podman, Abi::X32, "rt_sigaction", []), ALLOW);
}

#[test]
fn an_architecture_that_is_not_named_kills() {
    let native = config(json!({"defaultAction": "SCMP_ACT_ALLOW"}));
    assert_eq!(asked(&native, Abi::X86_64, "read", []), ALLOW);
    assert_eq!(asked(&native, Abi::X86, "read", []), KILL);
    assert_eq!(asked(&native, Abi::X32, "read", []), KILL);
    let all = config(json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures":
        ["SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_ARM", "SCMP_ARCH_S390X"]}));
    assert_eq!(asked(&all, Abi::X86, "read", []), ALLOW);
    assert_eq!(asked(&all, Abi::X32, "read", []), ALLOW);
    let skipped = Data { arch: AUDIT_ARCH_X86_64, number: u32::MAX, args: [0; 6] };
    assert_eq!(run(&compile(&native).unwrap().program, &skipped).unwrap().0, ALLOW);
}

#[test]
fn all_architectures_of_the_spec_are_accepted() {
    let names = "X86 X86_64 X32 ARM AARCH64 MIPS MIPS64 MIPS64N32 MIPSEL MIPSEL64 MIPSEL64N32 PPC PPC64 \
                 PPC64LE S390 S390X PARISC PARISC64 RISCV64 LOONGARCH64 M68K SH SHEB";
    let names: Vec<String> = names.split_whitespace().map(|name| format!("SCMP_ARCH_{name}")).collect();
    assert_eq!(names.len(), 23);
    compile(&config(json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": names}))).unwrap();
}

#[test]
fn calls_newer_than_the_profile_give_enosys_if_the_default_refuses() {
    let profile = |default| {
        config(json!({"defaultAction": default, "syscalls":
            [{"names": ["read", "openat2"], "action": "SCMP_ACT_LOG"}]}))
    };
    for refusing in ["SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP"] {
        let action = asked(&profile(refusing), Abi::X86_64, "futex_waitv", []);
        assert_eq!(action, errno(libc::ENOSYS), "{refusing}");
    }
    assert_eq!(asked(&profile("SCMP_ACT_ERRNO"), Abi::X86_64, "write", []), errno(libc::EPERM));
    for passing in ["SCMP_ACT_ALLOW", "SCMP_ACT_TRACE"] {
        let action = asked(&profile(passing), Abi::X86_64, "futex_waitv", []);
        assert_ne!(action, errno(libc::ENOSYS), "{passing}");
    }
}

#[test]
fn a_rule_without_args_beats_those_with_and_the_first_one_wins() {
    let profile = config(json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
        {"names": ["dup"], "action": "SCMP_ACT_TRAP", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]},
        {"names": ["dup"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["dup"], "action": "SCMP_ACT_LOG"},
    ]}));
    assert_eq!(asked(&profile, Abi::X86_64, "dup", [1]), ALLOW);
}

#[test]
fn conditions_of_a_rule_must_all_hold_unless_two_look_at_one_argument() {
    let arg = |index, value| json!({"index": index, "value": value, "op": "SCMP_CMP_EQ"});
    let profile = |args: [Value; 2]| {
        config(json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls":
            [{"names": ["dup2"], "action": "SCMP_ACT_ALLOW", "args": args}]}))
    };
    let both = profile([arg(0, 1), arg(1, 2)]);
    assert_eq!(asked(&both, Abi::X86_64, "dup2", [1, 2]), ALLOW);
    assert_eq!(asked(&both, Abi::X86_64, "dup2", [1, 3]), errno(libc::EPERM));
    let either = profile([arg(0, 1), arg(0, 2)]);
    assert_eq!(asked(&either, Abi::X86_64, "dup2", [2]), ALLOW);
    assert_eq!(asked(&either, Abi::X86_64, "dup2", [3]), errno(libc::EPERM));
}

#[test]
fn i386_calls_are_the_same_through_their_multiplexer() {
    let profile = config(json!({"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86"],
    "syscalls": [
        {"names": ["send", "semop"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["bind"], "action": "SCMP_ACT_TRAP",
         "args": [{"index": 0, "value": 9, "op": "SCMP_CMP_EQ"}]},
        {"names": ["socket"], "action": "SCMP_ACT_ALLOW",
         "args": [{"index": 0, "value": 2, "op": "SCMP_CMP_EQ"}]},
    ]}));
    assert_eq!(asked(&profile, Abi::X86, "socketcall", [9]), ALLOW, "send");
    assert_eq!(asked(&profile, Abi::X86, "ipc", [1]), ALLOW, "semop");
    assert_eq!(asked(&profile, Abi::X86, "ipc", [0x1_0001]), ALLOW, "semop of another version");
    let trap = libc::SECCOMP_RET_TRAP;
    assert_eq!(asked(&profile, Abi::X86, "socketcall", [2]), trap, "bind, its descriptor unseen");
    assert_eq!(asked(&profile, Abi::X86, "socketcall", [1, 2]), errno(libc::EPERM), "socket, family unseen");
    assert_eq!(asked(&profile, Abi::X86, "socketcall", [3]), errno(libc::EPERM), "connect");
}

#[test]
fn i386_arguments_are_compared_in_their_lower_half() {
    let profile = config(json!({"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86"],
        "syscalls": [{"names": ["dup"], "action": "SCMP_ACT_ALLOW",
            "args": [{"index": 0, "value": u64::MAX, "op": "SCMP_CMP_EQ"}]}]}));
    assert_eq!(asked(&profile, Abi::X86, "dup", [0xffff_ffff]), ALLOW);
    assert_eq!(asked(&profile, Abi::X86_64, "dup", [0xffff_ffff]), errno(libc::EPERM));
}

#[test]
fn flags_are_spec_allow_unless_there_is_a_list() {
    let flags = |value: Value| compile(&config(value)).unwrap().flags;
    assert_eq!(flags(json!({"defaultAction": "SCMP_ACT_ALLOW"})), SPEC_ALLOW);
    assert_eq!(flags(json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": []})), 0);
    let both = json!(["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG"]);
    assert_eq!(flags(json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": both})), TSYNC | LOG);
}

#[test]
fn names_no_abi_knows_are_warnings() {
    let filter = compile(&config(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls":
        [{"names": ["read", "no_such"], "action": "SCMP_ACT_ERRNO"}]})));
    let warning = "linux.seccomp.syscalls[0].names[1]: \"no_such\" is no system call here, ignored";
    assert_eq!(filter.unwrap().warnings, [warning]);
}

#[test]
fn every_fault_is_told_with_its_place() {
    let one = json!({"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1});
    let ret = "only SCMP_ACT_ERRNO and SCMP_ACT_TRACE take it, not SCMP_ACT_ALLOW";
    assert_eq!(fault(one), format!("linux.seccomp.defaultErrnoRet: {ret}"));
    let many = json!({"defaultAction": "SCMP_ACT_NOTIFY", "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
    "syscalls": [
        {"names": [], "action": "SCMP_ACT_ERRNO", "errnoRet": 65536},
        {"names": ["", "dup"], "action": "SCMP_ACT_NOTIFY",
         "args": [{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]},
    ]});
    let expected = [
        "linux.seccomp.syscalls[0].errnoRet: 65536 is larger than 65535",
        "linux.seccomp.syscalls[0].names: it names no system call",
        "linux.seccomp.syscalls[1].names[0]: it is empty",
        "linux.seccomp.syscalls[1].args[0].index: 6 is no argument, they are 0 to 5",
    ];
    assert_eq!(fault(many), expected.join("; "));
}

#[test]
fn a_filter_the_kernel_would_refuse_for_its_length_is_an_error() {
    let rule = |value: u32| {
        json!({"names": ["dup"], "action": "SCMP_ACT_ERRNO",
               "args": [{"index": 0, "value": value, "op": "SCMP_CMP_EQ"}]})
    };
    let rules: Vec<Value> = (0..1000).map(rule).collect();
    let text = fault(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}));
    assert!(text.starts_with("linux.seccomp: the filter takes 50"), "{text}");
}

/// xorshift64*: the same numbers in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16) % end
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }

    fn value(&mut self) -> u64 {
        match self.below(6) {
            0 => self.below(4) << 32 | self.below(4),
            1 => self.of(&[u64::MAX, 1 << 63, 0xffff_ffff, 1 << 32, 0xffff_0000_0001]),
            2 => self.below(24),
            _ => self.below(4),
        }
    }

    fn names(&mut self) -> Vec<&'static str> {
        const NAMES: [&str; 24] = [
            "read",
            "write",
            "socket",
            "bind",
            "send",
            "semop",
            "shmat",
            "socketcall",
            "ipc",
            "dup",
            "dup2",
            "_llseek",
            "openat2",
            "rt_sigaction",
            "getppid",
            "clone",
            "clone3",
            "personality",
            "accept",
            "ioctl",
            "futex_waitv",
            "exit",
            "nonsense",
            "fork",
        ];
        (0..=self.below(4)).map(|_| self.of(&NAMES)).collect()
    }

    fn rule(&mut self, multiplexers: bool) -> Value {
        const ACTIONS: [&str; 7] = ["ERRNO", "ALLOW", "TRAP", "LOG", "TRACE", "KILL_PROCESS", "KILL"];
        const OPERATORS: [&str; 7] = ["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"];
        let action = self.of(&ACTIONS);
        let arg = |random: &mut Random| {
            json!({"index": random.below(3), "value": random.value(), "valueTwo": random.value(),
                   "op": format!("SCMP_CMP_{}", random.of(&OPERATORS))})
        };
        let count = self.of(&[0, 1, 1, 1, 2, 2, 3]);
        let args: Vec<Value> = (0..count).map(|_| arg(self)).collect();
        // Rules with args for a multiplexer itself and for its sub-calls mix in ways that are tested alone.
        let own = |name: &&str| multiplexers || args.is_empty() || !["socketcall", "ipc"].contains(name);
        let names: Vec<&str> = [vec!["nonsense"], self.names()].concat().into_iter().filter(own).collect();
        let mut rule = json!({"names": names, "action": format!("SCMP_ACT_{action}"), "args": args});
        if action == "ERRNO" && self.below(2) == 0 {
            rule["errnoRet"] = json!(self.below(3) + 1);
        }
        rule
    }

    fn profile(&mut self) -> Value {
        let default = self.of(&["ERRNO", "ALLOW", "KILL", "TRAP", "LOG", "TRACE", "KILL_PROCESS"]);
        let rules: Vec<Value> = (0..self.below(24)).map(|_| self.rule(false)).collect();
        let mut architectures = vec!["SCMP_ARCH_X86_64"];
        for other in ["SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_PPC64"] {
            if self.below(2) == 0 {
                architectures.push(other);
            }
        }
        json!({"defaultAction": format!("SCMP_ACT_{default}"), "architectures": architectures, "syscalls": rules})
    }

    fn data(&mut self) -> Data {
        let args = std::array::from_fn(|_| self.value());
        let abi = self.of(&[Abi::X86_64, Abi::X86, Abi::X32]);
        let names = self.names();
        match names.iter().find(|name| find(name).is_some_and(|call| call.number(abi).is_some())) {
            Some(name) if self.below(8) > 0 => call(abi, name, args),
            _ => Data {
                arch: self.of(&[AUDIT_ARCH_X86_64, AUDIT_ARCH_I386, 0xc000_00b7]),
                number: self.of(&[
                    0,
                    500,
                    1000,
                    0x3fff_ffff,
                    0x4000_0000,
                    0x4000_03ff,
                    u32::MAX,
                    u32::MAX - 1,
                ]),
                args,
            },
        }
    }
}

#[test]
fn random_profiles_compile_to_what_their_rules_say() {
    let mut random = Random(0x1505_2026);
    for round in 0..2000 {
        let json = random.profile();
        let profile = config(json.clone());
        let filter = compile(&profile).unwrap();
        for _ in 0..60 {
            let data = random.data();
            let (action, _) = run(&filter.program, &data).unwrap();
            assert_eq!(action, plainly(&profile, &data), "round {round}: {data:x?}\n{json:#}");
        }
    }
}

#[test]
fn long_programs_jump_where_their_rules_say() {
    let mut random = Random(7);
    let names: Vec<String> = ["read", "dup", "ioctl", "semop", "exit"].map(str::to_owned).into();
    for _ in 0..40 {
        let mut profile = random.profile();
        let mut rules: Vec<Value> = (0..40).map(|_| random.rule(false)).collect();
        rules.retain(|rule| rule["args"] != json!([]));
        profile["syscalls"] = json!(rules);
        profile["architectures"] = json!(["SCMP_ARCH_X86", "SCMP_ARCH_X32"]);
        let profile = config(profile);
        let filter = compile(&profile).unwrap();
        assert!(filter.program.len() > 255, "{}", filter.program.len());
        for _ in 0..200 {
            let data = random.data();
            assert_eq!(
                run(&filter.program, &data).unwrap().0,
                plainly(&profile, &data),
                "{data:x?} {names:?}"
            );
        }
    }
}

#[test]
fn a_rule_for_a_multiplexer_itself_counts_beside_its_sub_calls() {
    let profile = config(json!({"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86"],
    "syscalls": [
        {"names": ["bind"], "action": "SCMP_ACT_LOG"},
        {"names": ["socketcall"], "action": "SCMP_ACT_ALLOW",
         "args": [{"index": 0, "value": 3, "op": "SCMP_CMP_EQ"}]},
    ]}));
    assert_eq!(asked(&profile, Abi::X86, "socketcall", [2]), libc::SECCOMP_RET_LOG);
    assert_eq!(asked(&profile, Abi::X86, "socketcall", [3]), ALLOW);
    let whole = config(json!({"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86"],
        "syscalls": [{"names": ["socketcall"], "action": "SCMP_ACT_ALLOW"},
                     {"names": ["bind"], "action": "SCMP_ACT_TRAP"}]}));
    assert_eq!(asked(&whole, Abi::X86, "socketcall", [2]), ALLOW);
}

#[test]
fn the_deepest_rule_list_is_read_as_one_syscall_each() {
    let rule: LinuxSyscall =
        serde_json::from_value(json!({"names": ["dup"], "action": "SCMP_ACT_LOG"})).unwrap();
    let mut profile = config(json!({"defaultAction": "SCMP_ACT_ALLOW"}));
    profile.set_syscalls(Some(vec![rule; 100_000]));
    assert_eq!(asked(&profile, Abi::X86_64, "dup", []), libc::SECCOMP_RET_LOG);
}
