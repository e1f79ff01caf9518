//! What each call of one ABI gets: an action, or a list of checks of its arguments. Pure.
//!
//! The order of checks is libseccomp's, because profiles are written against it: it sorts the conditions of
//! a rule by argument, and the rules of a call so that the higher argument, then the equalities, then `<`,
//! then `>`, then the larger value (for `<` the smaller) comes first, whatever their order in the file.
//! podman's profile depends on it: it denies `socket` where argument 0 is 40 and allows it where it is not 16.
//! (libseccomp merges rules into one tree; where rules with *different* actions overlap, share a condition
//! and differ below it, its tree may answer differently from its own order, and on 32-bit ABIs it errs with
//! LE. We keep to the order, and to what the rules say.)
//!
//! `socketcall` and `ipc` take the arguments of their sub-call where a filter cannot look (`socketcall`: in
//! memory). libseccomp checks the wrong ones or none, so that a rule with `args` is easily passed by. Here the
//! sub-call gets what the rule without `args` says, else the strictest of the default and all rules with
//! `args`. A rule for `socketcall` itself without `args`, as in podman's profile, beats all that.

use std::cmp::Ordering;

use seccompiler::SeccompCmpOp;

use super::profile::{Condition, Profile, Rule};
use crate::sys::syscalls::{Abi, Multiplexer, Syscall, find};

/// How much of an argument is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    /// The lower 32 bits.
    Half,
    /// All 64 bits.
    Full,
}

/// What a call gets.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// This action.
    Always(u32),
    /// The action of the first check that holds, else the default action. Never empty.
    Checked(Vec<Check>),
}

/// An action, if all conditions hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    /// A `SECCOMP_RET_` value.
    pub action: u32,
    /// At least one.
    pub conditions: Vec<Condition>,
}

/// The verdicts of one ABI, by number.
pub struct Verdicts {
    calls: Vec<Call>,
    default: u32,
    beyond: u32,
    width: Width,
}

/// The rules of one call.
#[derive(Default, Clone)]
struct Call {
    always: Option<u32>,
    checks: Vec<Check>,
}

/// One verdict for all numbers from `start` to the next run.
#[derive(Debug, PartialEq)]
pub struct Run {
    /// The first number.
    pub start: u32,
    /// What the calls get.
    pub verdict: Verdict,
    /// How their arguments are compared.
    pub width: Width,
}

/// Runs by number, the first from 0 on, no two neighbours equal.
#[derive(Debug, Default, PartialEq)]
pub struct Runs(Vec<Run>);

/// The verdicts of `abi`.
pub fn of(profile: &Profile, abi: Abi) -> Verdicts {
    let newest = profile.named.iter().filter_map(|call| call.number(abi)).max();
    let beyond = match newest {
        Some(_) if refuses(profile.default) => libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32,
        _ => profile.default,
    };
    let width = if abi == Abi::X86_64 { Width::Full } else { Width::Half };
    let calls = vec![Call::default(); newest.map_or(0, |newest| newest as usize + 1)];
    let mut verdicts = Verdicts { calls, default: profile.default, beyond, width };
    for rule in &profile.rules {
        for call in profile.named[rule.calls.clone()].iter().filter_map(|call| call.number(abi)) {
            verdicts.calls[call as usize].add(rule, width);
        }
    }
    if abi == Abi::X86 {
        verdicts.demultiplex(profile, Multiplexer::Socketcall);
        verdicts.demultiplex(profile, Multiplexer::Ipc);
    }
    verdicts.sort();
    verdicts
}

/// Whether runc gives ENOSYS for calls beyond the profile: not where the default lets them pass, and TRACE
/// and NOTIFY count as passing, since whoever is asked can answer for itself.
fn refuses(default: u32) -> bool {
    let action = default & libc::SECCOMP_RET_ACTION_FULL;
    let passing = [
        libc::SECCOMP_RET_ALLOW,
        libc::SECCOMP_RET_LOG,
        libc::SECCOMP_RET_TRACE,
        libc::SECCOMP_RET_USER_NOTIF,
    ];
    !passing.contains(&action)
}

impl Call {
    fn add(&mut self, rule: &Rule, width: Width) {
        if rule.alternatives.is_empty() {
            self.always.get_or_insert(rule.action);
        }
        for conditions in &rule.alternatives {
            let mut conditions: Vec<Condition> = conditions.iter().map(|c| narrow(c, width)).collect();
            conditions.sort_by_key(|condition| condition.argument);
            self.checks.push(Check { action: rule.action, conditions });
        }
    }

    /// The strictest that any rule or the default says, for where arguments cannot be seen; of equally
    /// strict ones the first rule's.
    fn blind(&self, default: u32) -> u32 {
        let actions = self.checks.iter().map(|check| check.action).chain([default]);
        self.always.or_else(|| actions.min_by_key(|action| strictness(*action))).unwrap_or(default)
    }
}

impl Verdicts {
    /// Adds to `multiplexer` what the profile says of its sub-calls.
    fn demultiplex(&mut self, profile: &Profile, multiplexer: Multiplexer) {
        let mut calls: Vec<(u32, Call)> = Vec::new();
        for rule in &profile.rules {
            let named = &profile.named[rule.calls.clone()];
            for number in named.iter().filter_map(|call: &&Syscall| call.sub_call(multiplexer)) {
                let at = calls.iter().position(|(known, _)| *known == number).unwrap_or_else(|| {
                    calls.push((number, Call::default()));
                    calls.len() - 1
                });
                calls[at].1.add(rule, self.width);
            }
        }
        let Some(own) = find(multiplexer.name()).and_then(|call| call.number(Abi::X86)) else { return };
        if self.calls.len() <= own as usize {
            self.grow(own, calls.is_empty());
        }
        let default = self.default;
        let Some(own) = self.calls.get_mut(own as usize) else { return };
        own.checks.extend(calls.iter().filter_map(|(number, call)| {
            let action = call.blind(default);
            (action != default).then(|| Check { action, conditions: vec![selects(multiplexer, *number)] })
        }));
    }

    /// Makes room for a multiplexer that lies beyond all calls the profile names (then what lies between
    /// keeps its ENOSYS).
    fn grow(&mut self, number: u32, nothing_to_say: bool) {
        if nothing_to_say {
            return;
        }
        let between = Call { always: Some(self.beyond), checks: Vec::new() };
        self.calls.resize(number as usize, between);
        self.calls.push(Call::default());
    }

    fn sort(&mut self) {
        for call in &mut self.calls {
            call.checks.sort_by(|a, b| order(&a.conditions, &b.conditions));
            call.checks.dedup_by(|later, first| later.conditions == first.conditions);
        }
    }

    /// The verdicts as runs over all numbers from 0 on.
    pub fn runs(self) -> Runs {
        let mut runs = Runs::default();
        let end = self.calls.len() as u32;
        for (number, call) in self.calls.into_iter().enumerate() {
            let verdict = match call.always {
                Some(action) => Verdict::Always(action),
                None if call.checks.is_empty() => Verdict::Always(self.default),
                None => Verdict::Checked(call.checks),
            };
            runs.push(number as u32, verdict, self.width);
        }
        runs.push(end, Verdict::Always(self.beyond), self.width);
        runs
    }
}

impl Runs {
    /// From `start` on, which lies after all others, `verdict` holds.
    pub fn push(&mut self, start: u32, verdict: Verdict, width: Width) {
        match self.0.last() {
            Some(last) if last.verdict == verdict && same(&verdict, width, last.width) => {}
            _ => self.0.push(Run { start, verdict, width }),
        }
    }

    /// Appends `other`, moved up by `offset`.
    pub fn append(&mut self, offset: u32, other: Runs) {
        for run in other.0 {
            self.push(offset + run.start, run.verdict, run.width);
        }
    }

    /// The runs in the order of numbers.
    pub fn as_slice(&self) -> &[Run] {
        &self.0
    }
}

/// Only a check sees how wide an argument is.
fn same(verdict: &Verdict, a: Width, b: Width) -> bool {
    matches!(verdict, Verdict::Always(_)) || a == b
}

/// The condition as this ABI sees it: 32-bit ABIs lack the upper halves, and bits outside the mask of a
/// MASKED_EQ do not count.
fn narrow(condition: &Condition, width: Width) -> Condition {
    let cut = |value: u64| if width == Width::Half { value & u64::from(u32::MAX) } else { value };
    let (operator, value) = match &condition.operator {
        SeccompCmpOp::MaskedEq(mask) => (SeccompCmpOp::MaskedEq(cut(*mask)), condition.value & mask),
        operator => (operator.clone(), condition.value),
    };
    Condition { argument: condition.argument, operator, value: cut(value) }
}

/// Chooses the sub-call of a multiplexer.
fn selects(multiplexer: Multiplexer, number: u32) -> Condition {
    let operator = SeccompCmpOp::MaskedEq(u64::from(multiplexer.mask()));
    Condition { argument: 0, operator, value: u64::from(number) }
}

/// libseccomp's order of the rules of a call: see the top of the file.
fn order(a: &[Condition], b: &[Condition]) -> Ordering {
    let ranks = b.iter().map(rank).zip(a.iter().map(rank));
    let first_difference = ranks.map(|(b, a)| b.cmp(&a)).find(|order| order.is_ne());
    first_difference.unwrap_or_else(|| a.len().cmp(&b.len()))
}

fn rank(condition: &Condition) -> (u8, u8, u64) {
    let (operator, value) = match condition.operator {
        SeccompCmpOp::Eq | SeccompCmpOp::Ne | SeccompCmpOp::MaskedEq(_) => (3, condition.value),
        SeccompCmpOp::Le | SeccompCmpOp::Lt => (2, !condition.value),
        SeccompCmpOp::Ge | SeccompCmpOp::Gt => (1, condition.value),
    };
    (condition.argument, operator, value)
}

/// The kernel's order of actions, strictest first: as signed numbers, so that KILL_PROCESS leads.
fn strictness(action: u32) -> i32 {
    (action & libc::SECCOMP_RET_ACTION_FULL).cast_signed()
}
