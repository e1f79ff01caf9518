//! Reading `linux.seccomp`: every fault at once, names resolved, what has no effect dropped. Pure.

use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArg, LinuxSeccompFilterFlag as Flag,
    LinuxSeccompOperator as Operator, LinuxSyscall,
};
use seccompiler::SeccompCmpOp;

use super::listener::notifies;
use crate::error::{Error, Result};
use crate::sys::seccomp::{LOG, SPEC_ALLOW, TSYNC, WAIT_KILLABLE_RECV};
use crate::sys::syscalls::{self, Syscall};

/// How many warnings or faults are told one by one.
const TOLD: usize = 32;

/// A profile that can be compiled.
pub struct Profile {
    /// What a call that no rule matches gets: a `SECCOMP_RET_` value.
    pub default: u32,
    /// The architectures named.
    pub architectures: Vec<Arch>,
    /// Every call that any rule names, also one without effect: the newest of them is what the profile knows.
    pub named: Vec<&'static Syscall>,
    /// The rules with an effect, in the order of the config.
    pub rules: Vec<Rule>,
    /// `SECCOMP_FILTER_FLAG_` bits.
    pub flags: u32,
    /// Names that are no call of this machine.
    pub warnings: Vec<String>,
}

impl Profile {
    /// Whether `arch` is named.
    pub fn has(&self, arch: Arch) -> bool {
        self.architectures.contains(&arch)
    }
}

/// One action for some calls.
pub struct Rule {
    /// For which calls: a part of [`Profile::named`].
    pub calls: std::ops::Range<usize>,
    /// A `SECCOMP_RET_` value with its data.
    pub action: u32,
    /// It holds if all conditions of one of these lists hold; if there is no list, always.
    pub alternatives: Vec<Vec<Condition>>,
}

/// A comparison of one argument.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    /// Which argument, 0 to 5.
    pub argument: u8,
    /// How it is compared; the mask of MASKED_EQ is within.
    pub operator: SeccompCmpOp,
    /// With what.
    pub value: u64,
}

/// Reads and checks the whole object.
///
/// # Errors
/// All faults, each with its place in the config.
pub fn read(config: &LinuxSeccomp) -> Result<Profile> {
    let mut reader = Reader::default();
    let default_ret = config.default_errno_ret();
    let default = reader.action(config.default_action(), default_ret, "defaultErrnoRet");
    let flags = reader.flags(config.flags().as_deref(), notifies(config));
    let mut rules = Vec::new();
    for (at, syscall) in config.syscalls().iter().flatten().enumerate() {
        let rule = reader.rule(at, syscall);
        if rule.action != default {
            rules.push(rule);
        }
    }
    reader.refuse()?;
    let architectures = config.architectures().clone().unwrap_or_default();
    let warnings = told(reader.unknown, "more names are no system call either");
    Ok(Profile { default, architectures, named: reader.named, rules, flags, warnings })
}

/// What is gathered on the way through the config.
#[derive(Default)]
struct Reader {
    named: Vec<&'static Syscall>,
    faults: Findings,
    unknown: Findings,
}

/// The first few findings, and the number of all.
#[derive(Default)]
struct Findings {
    first: Vec<(String, String)>,
    count: usize,
}

impl Findings {
    fn add(&mut self, place: impl FnOnce() -> String, what: impl Into<String>) {
        self.count += 1;
        if self.first.len() < TOLD {
            self.first.push((format!("linux.seccomp.{}", place()), what.into()));
        }
    }
}

impl Reader {
    fn refuse(&mut self) -> Result<()> {
        let mut faults = std::mem::take(&mut self.faults);
        match faults.count {
            0 => Ok(()),
            1 => {
                let (place, why) = faults.first.remove(0);
                Err(Error::new(why).at(place))
            }
            _ => Err(Error::new(told(faults, "more faults").join("; "))),
        }
    }

    fn action(&mut self, action: Action, ret: Option<u32>, ret_place: &str) -> u32 {
        let takes_ret = matches!(action, Action::ScmpActErrno | Action::ScmpActTrace);
        match ret {
            Some(_) if !takes_ret => {
                let why = format!("only SCMP_ACT_ERRNO and SCMP_ACT_TRACE take it, not {action}");
                self.faults.add(|| ret_place.to_owned(), why);
                action.as_u32(None)
            }
            Some(ret) if ret > u32::from(u16::MAX) => {
                self.faults.add(|| ret_place.to_owned(), format!("{ret} is larger than 65535"));
                action.as_u32(None)
            }
            ret => action.as_u32(ret),
        }
    }

    fn flags(&self, flags: Option<&[Flag]>, notifies: bool) -> u32 {
        let Some(flags) = flags else { return SPEC_ALLOW };
        let mut bits = 0;
        for flag in flags {
            bits |= match flag {
                Flag::SeccompFilterFlagLog => LOG,
                Flag::SeccompFilterFlagTsync => TSYNC,
                Flag::SeccompFilterFlagSpecAllow => SPEC_ALLOW,
                // The kernel takes it for a listener alone.
                Flag::SeccompFilterFlagWaitKillableRecv if !notifies => 0,
                Flag::SeccompFilterFlagWaitKillableRecv => WAIT_KILLABLE_RECV,
            };
        }
        bits
    }

    fn rule(&mut self, at: usize, syscall: &LinuxSyscall) -> Rule {
        let ret_place = format!("syscalls[{at}].errnoRet");
        let action = self.action(syscall.action(), syscall.errno_ret(), &ret_place);
        let calls = self.names(at, syscall.names());
        let args = syscall.args().as_deref().unwrap_or_default();
        Rule { calls, action, alternatives: self.alternatives(at, args) }
    }

    fn names(&mut self, at: usize, names: &[String]) -> std::ops::Range<usize> {
        let start = self.named.len();
        if names.is_empty() {
            self.faults.add(|| format!("syscalls[{at}].names"), "it names no system call");
        }
        for (index, name) in names.iter().enumerate() {
            let place = || format!("syscalls[{at}].names[{index}]");
            match syscalls::find(name) {
                Some(call) => self.named.push(call),
                None if name.is_empty() => self.faults.add(place, "it is empty"),
                None => self.unknown.add(place, format!("{name:?} is no system call here, ignored")),
            }
        }
        start..self.named.len()
    }

    fn alternatives(&mut self, at: usize, args: &[LinuxSeccompArg]) -> Vec<Vec<Condition>> {
        let mut conditions = Vec::with_capacity(args.len());
        let mut seen = [0; 6];
        for (index, arg) in args.iter().enumerate() {
            match seen.get_mut(arg.index()) {
                Some(count) => *count += 1,
                None => {
                    let why = format!("{} is no argument, they are 0 to 5", arg.index());
                    self.faults.add(|| format!("syscalls[{at}].args[{index}].index"), why);
                }
            }
            conditions.push(condition(arg));
        }
        if conditions.is_empty() {
            Vec::new()
        } else if seen.iter().any(|count| *count > 1) {
            conditions.into_iter().map(|condition| vec![condition]).collect()
        } else {
            vec![conditions]
        }
    }
}

/// For MASKED_EQ, `value` is the mask and `valueTwo` what must be left of the argument.
fn condition(arg: &LinuxSeccompArg) -> Condition {
    let (operator, value) = match arg.op() {
        Operator::ScmpCmpNe => (SeccompCmpOp::Ne, arg.value()),
        Operator::ScmpCmpLt => (SeccompCmpOp::Lt, arg.value()),
        Operator::ScmpCmpLe => (SeccompCmpOp::Le, arg.value()),
        Operator::ScmpCmpEq => (SeccompCmpOp::Eq, arg.value()),
        Operator::ScmpCmpGe => (SeccompCmpOp::Ge, arg.value()),
        Operator::ScmpCmpGt => (SeccompCmpOp::Gt, arg.value()),
        Operator::ScmpCmpMaskedEq => {
            (SeccompCmpOp::MaskedEq(arg.value()), arg.value_two().unwrap_or_default())
        }
    };
    Condition { argument: arg.index() as u8, operator, value }
}

/// One line a finding, and one for those beyond [`TOLD`].
fn told(findings: Findings, rest: &str) -> Vec<String> {
    let beyond = findings.count - findings.first.len();
    let mut lines: Vec<String> =
        findings.first.into_iter().map(|(place, what)| format!("{place}: {what}")).collect();
    if beyond > 0 {
        lines.push(format!("{beyond} {rest}"));
    }
    lines
}
