//! A plain reading of a profile's rules, one by one, for tests and fuzzing: the specification that the compiled
//! program is held against. Slow, and shares nothing with the compiler but the tables of calls.

use oci_spec::runtime::{Arch, LinuxSeccomp, LinuxSeccompArg, LinuxSeccompOperator as Operator};

use super::interpret::Data;
use crate::sys::syscalls::{AUDIT_ARCH_I386, AUDIT_ARCH_X86_64, Abi, Multiplexer, X32_SYSCALL_BIT, find};

const KILL: u32 = libc::SECCOMP_RET_KILL_THREAD;

fn errno(errno: i32) -> u32 {
    libc::SECCOMP_RET_ERRNO | errno as u32
}

/// The action that the rules of `config` give the call `data`.
pub fn plainly(config: &LinuxSeccomp, data: &Data) -> u32 {
    let has = |arch| config.architectures().iter().flatten().any(|named| *named == arch);
    let default = config.default_action().as_u32(config.default_errno_ret());
    let x32 = data.number & X32_SYSCALL_BIT != 0 || data.number >= X32_SYSCALL_BIT;
    let abi = match data.arch {
        AUDIT_ARCH_I386 if has(Arch::ScmpArchX86) => Abi::X86,
        AUDIT_ARCH_X86_64 if !x32 => Abi::X86_64,
        AUDIT_ARCH_X86_64 if has(Arch::ScmpArchX32) => Abi::X32,
        AUDIT_ARCH_X86_64 if data.number == u32::MAX => return default,
        _ => return KILL,
    };
    let number = if abi == Abi::X32 { data.number - X32_SYSCALL_BIT } else { data.number };
    let is = |name: &String| find(name).and_then(|call| call.number(abi)) == Some(number);
    if let Some(action) = of_call(config, &is, data, abi, default) {
        return action;
    }
    for multiplexer in [Multiplexer::Socketcall, Multiplexer::Ipc] {
        let own = find(multiplexer.name()).and_then(|call| call.number(Abi::X86));
        if abi == Abi::X86 && Some(number) == own {
            let mentioned =
                |name: &String| find(name).is_some_and(|call| call.sub_call(multiplexer).is_some());
            if !all_names(config).any(&mentioned) {
                break;
            }
            return of_sub_call(config, multiplexer, data.args[0] as u32 & multiplexer.mask(), default);
        }
    }
    let newest = all_names(config).filter_map(|name| find(name)?.number(abi)).max();
    let lenient = ["ALLOW", "LOG", "TRACE"].iter().any(|a| config.default_action().to_string().ends_with(a));
    if !lenient && newest.is_some_and(|newest| number > newest) { errno(libc::ENOSYS) } else { default }
}

fn all_names(config: &LinuxSeccomp) -> impl Iterator<Item = &String> {
    config.syscalls().iter().flatten().flat_map(|rule| rule.names())
}

fn effective(
    config: &LinuxSeccomp,
    is: &dyn Fn(&String) -> bool,
    default: u32,
) -> Vec<(u32, Vec<LinuxSeccompArg>)> {
    let named = config.syscalls().iter().flatten().filter(|rule| rule.names().iter().any(is));
    let all =
        named.map(|rule| (rule.action().as_u32(rule.errno_ret()), rule.args().clone().unwrap_or_default()));
    all.filter(|(action, _)| *action != default).collect()
}

fn of_call(
    config: &LinuxSeccomp,
    is: &dyn Fn(&String) -> bool,
    data: &Data,
    abi: Abi,
    default: u32,
) -> Option<u32> {
    let rules = effective(config, is, default);
    if let Some((action, _)) = rules.iter().find(|(_, args)| args.is_empty()) {
        return Some(*action);
    }
    let mut alternatives = Vec::new();
    for (action, args) in rules {
        let twice = (0..6).any(|index| args.iter().filter(|arg| arg.index() == index).count() > 1);
        match twice {
            true => alternatives.extend(args.into_iter().map(|arg| (action, vec![arg]))),
            false => alternatives.push((action, args)),
        }
    }
    let holding = |args: &[LinuxSeccompArg]| args.iter().all(|arg| holds(arg, data, abi));
    let matching = alternatives.into_iter().filter(|(_, args)| holding(args));
    // Of those that hold, the one libseccomp asks first; of equals, the first of the file.
    matching.reduce(|a, b| if before(&b.1, &a.1, abi) { b } else { a }).map(|(action, _)| action)
}

fn half(abi: Abi, value: u64) -> u64 {
    if abi == Abi::X86_64 { value } else { value & 0xffff_ffff }
}

fn before(a: &[LinuxSeccompArg], b: &[LinuxSeccompArg], abi: Abi) -> bool {
    let key = |arg: &LinuxSeccompArg| {
        let value = half(abi, arg.value());
        match arg.op() {
            Operator::ScmpCmpMaskedEq => {
                (arg.index(), 3, half(abi, arg.value() & arg.value_two().unwrap_or(0)))
            }
            Operator::ScmpCmpEq | Operator::ScmpCmpNe => (arg.index(), 3, value),
            Operator::ScmpCmpLt | Operator::ScmpCmpLe => (arg.index(), 2, u64::MAX - value),
            Operator::ScmpCmpGt | Operator::ScmpCmpGe => (arg.index(), 1, value),
        }
    };
    let sorted = |args: &[LinuxSeccompArg]| {
        let mut args = args.to_vec();
        args.sort_by_key(LinuxSeccompArg::index);
        args.iter().map(key).collect::<Vec<_>>()
    };
    let (a, b) = (sorted(a), sorted(b));
    let common = a.len().min(b.len());
    if a[..common] != b[..common] { a[..common] > b[..common] } else { a.len() < b.len() }
}

fn holds(arg: &LinuxSeccompArg, data: &Data, abi: Abi) -> bool {
    let (seen, value) = (half(abi, data.args[arg.index()]), half(abi, arg.value()));
    match arg.op() {
        Operator::ScmpCmpNe => seen != value,
        Operator::ScmpCmpLt => seen < value,
        Operator::ScmpCmpLe => seen <= value,
        Operator::ScmpCmpEq => seen == value,
        Operator::ScmpCmpGe => seen >= value,
        Operator::ScmpCmpGt => seen > value,
        Operator::ScmpCmpMaskedEq => {
            seen & value == half(abi, arg.value() & arg.value_two().unwrap_or_default())
        }
    }
}

fn of_sub_call(config: &LinuxSeccomp, by: Multiplexer, sub_call: u32, default: u32) -> u32 {
    let is = |name: &String| find(name).and_then(|call| call.sub_call(by)) == Some(sub_call);
    let rules = effective(config, &is, default);
    if let Some((action, _)) = rules.iter().find(|(_, args)| args.is_empty()) {
        return *action;
    }
    let actions = rules.iter().map(|(action, _)| *action).chain([default]);
    actions.min_by_key(|action| (action & 0xffff_0000).cast_signed()).unwrap_or(default)
}
