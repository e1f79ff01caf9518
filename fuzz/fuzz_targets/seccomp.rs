//! A profile's compiled filter, interpreted, against a plain reading of its rules, for calls near what the rules name.

use arbitrary::{Result, Unstructured};
use isolate::plan::seccomp::interpret::{self, Data};
use isolate::plan::seccomp::{compile, plainly::plainly};
use isolate::sys::syscalls::{AUDIT_ARCH_I386, AUDIT_ARCH_X86_64, Abi, X32_SYSCALL_BIT, find};
use oci_spec::runtime::LinuxSeccomp;
use serde_json::{Value, json};

const NAMES: &[&str] = &[
    "read",
    "write",
    "socket",
    "bind",
    "connect",
    "listen",
    "accept",
    "accept4",
    "send",
    "sendto",
    "recvmsg",
    "semop",
    "semget",
    "msgsnd",
    "shmat",
    "shmget",
    "dup",
    "dup2",
    "dup3",
    "_llseek",
    "openat",
    "openat2",
    "rt_sigaction",
    "getppid",
    "clone",
    "clone3",
    "personality",
    "ioctl",
    "futex_waitv",
    "exit",
    "exit_group",
    "nonsense",
    "fork",
    "mmap",
    "mmap2",
    "chown32",
    "waitpid",
    "arch_prctl",
    "io_uring_setup",
    "execve",
    "ptrace",
    "keyctl",
    "bpf",
    "socketcall",
    "ipc",
];
const ACTIONS: &[&str] = &["ERRNO", "ALLOW", "TRAP", "LOG", "TRACE", "KILL_PROCESS", "KILL", "KILL_THREAD"];
const OPERATORS: &[&str] = &["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"];

fn number(input: &mut Unstructured<'_>) -> Result<u64> {
    Ok(match input.int_in_range(0..=3)? {
        0 => input.int_in_range(0..=5)?,
        1 => *input.choose(&[u64::MAX, 1 << 63, 0xffff_ffff, 1 << 32, 0xffff_0000_0001, 0x7fff_ffff])?,
        2 => input.int_in_range(0..=3u64)? << 32 | input.int_in_range(0..=3u64)?,
        _ => input.arbitrary()?,
    })
}

fn rule(input: &mut Unstructured<'_>) -> Result<Value> {
    let action = *input.choose(ACTIONS)?;
    let count = *input.choose(&[0, 0, 1, 1, 1, 2, 2, 3, 6])?;
    let argument = |input: &mut Unstructured<'_>| {
        Ok(json!({"index": input.int_in_range(0..=5)?, "value": number(input)?, "valueTwo": number(input)?,
                  "op": format!("SCMP_CMP_{}", input.choose(OPERATORS)?)}))
    };
    let args = (0..count).map(|_| argument(input)).collect::<Result<Vec<_>>>()?;
    let amount = input.int_in_range(1..=4)?;
    let mut names = (0..amount).map(|_| input.choose(NAMES).copied()).collect::<Result<Vec<_>>>()?;
    // Rules with args for a multiplexer itself and for its sub-calls mix in ways that are tested alone.
    if !args.is_empty() {
        names.retain(|name| !["socketcall", "ipc"].contains(name));
        names.push("nonsense");
    }
    let mut rule = json!({"names": names, "action": format!("SCMP_ACT_{action}"), "args": args});
    if ["ERRNO", "TRACE"].contains(&action) && input.arbitrary()? {
        rule["errnoRet"] = json!(input.int_in_range(0..=133)?);
    }
    Ok(rule)
}

fn profile(input: &mut Unstructured<'_>) -> Result<Value> {
    let default = *input.choose(ACTIONS)?;
    let rules = (0..input.int_in_range(0..=40)?).map(|_| rule(input)).collect::<Result<Vec<_>>>()?;
    let mut architectures = vec!["SCMP_ARCH_X86_64"];
    for other in ["SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_ARM"] {
        if input.arbitrary()? {
            architectures.push(other);
        }
    }
    Ok(
        json!({"defaultAction": format!("SCMP_ACT_{default}"), "architectures": architectures, "syscalls": rules}),
    )
}

fn call(input: &mut Unstructured<'_>) -> Result<Data> {
    let mut args = [0; 6];
    for arg in &mut args {
        *arg = number(input)?;
    }
    let abi = *input.choose(&[Abi::X86_64, Abi::X86_64, Abi::X86, Abi::X32])?;
    let arch = if abi == Abi::X86 { AUDIT_ARCH_I386 } else { AUDIT_ARCH_X86_64 };
    let known = find(input.choose(NAMES)?).and_then(|call| call.number(abi));
    let number = match known.filter(|_| input.ratio(7u8, 8u8).unwrap_or(true)) {
        Some(number) => number,
        None => *input.choose(&[0, 500, 1000, 0x3fff_ffff, u32::MAX, u32::MAX - 1])?,
    };
    let number = if abi == Abi::X32 { number | X32_SYSCALL_BIT } else { number };
    Ok(Data { arch: if input.ratio(1u8, 16u8)? { input.arbitrary()? } else { arch }, number, args })
}

fn compare(input: &mut Unstructured<'_>) -> Result<()> {
    let json = profile(input)?;
    let Ok(config) = serde_json::from_value::<LinuxSeccomp>(json.clone()) else { return Ok(()) };
    let Ok(filter) = compile(&config) else { return Ok(()) };
    assert!(filter.program.len() <= 4096);
    for _ in 0..32 {
        let data = call(input)?;
        let Some((action, _)) = interpret::run(&filter.program, &data) else {
            unreachable!("a program that no kernel takes")
        };
        assert_eq!(action, plainly(&config, &data), "{data:x?}\n{json:#}");
    }
    Ok(())
}

pub fn run(data: &[u8]) {
    let _ = compare(&mut Unstructured::new(data));
}
