//! Instructions, written from the last to the first, so that what a jump leads to is known when the jump is
//! written. Pure.
//!
//! All jumps of BPF lead forward; a conditional one skips at most 255 instructions. A target further away
//! gets an unconditional jump in between, and actions are repeated where that is nearer.

use seccompiler::{BpfProgram, SeccompCmpArgLen, SeccompCondition, SeccompRule};

use super::profile::Condition;
use super::verdicts::{Check, Run, Runs, Verdict, Width};
use crate::error::{Error, Result};
use crate::sys::bpf::{Comparison, Instruction};

/// How far a conditional jump reaches.
const REACH: usize = u8::MAX as usize;

/// An instruction to jump to: its place, counted from the end of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label(usize);

/// A program in the making.
#[derive(Default)]
pub struct Assembler {
    /// Last instruction first.
    reversed: Vec<Instruction>,
    /// Where the nearest copy of an action stands.
    actions: Vec<(u32, Label)>,
    /// Where checks stand that may be needed again.
    checks: Vec<(Vec<Check>, Width, Label)>,
}

impl Assembler {
    /// Puts `instruction` before everything written so far.
    pub fn emit(&mut self, instruction: Instruction) -> Label {
        self.reversed.push(instruction);
        Label(self.reversed.len() - 1)
    }

    /// The program, first instruction first.
    pub fn finish(mut self) -> Vec<Instruction> {
        self.reversed.reverse();
        self.reversed
    }

    /// A comparison that leads to `yes` or `no`.
    pub fn branch(&mut self, comparison: Comparison, k: u32, yes: Label, no: Label) -> Label {
        // One less, because a jump for `no` may come between.
        let yes = self.within(REACH - 1, yes);
        let no = self.within(REACH, no);
        let (jt, jf) = (self.distance(yes) as u8, self.distance(no) as u8);
        self.emit(Instruction::branch(comparison, k, jt, jf))
    }

    /// Makes the next instruction written be followed by `label`.
    pub fn next(&mut self, label: Label) {
        self.within(0, label);
    }

    /// A balanced search for the run that holds the number in the accumulator.
    ///
    /// # Errors
    /// A condition that cannot be expressed.
    pub fn tree(&mut self, runs: &Runs, default: u32) -> Result<Label> {
        self.subtree(&groups(runs.as_slice()), default)
    }

    fn subtree(&mut self, groups: &[Group<'_>], default: u32) -> Result<Label> {
        match groups {
            [] => self.action(default),
            [group] => self.group(group, default),
            _ => {
                let (low, high) = groups.split_at(groups.len() / 2);
                let yes = self.subtree(high, default)?;
                let no = self.subtree(low, default)?;
                Ok(self.branch(Comparison::AtLeast, high[0].base.start, yes, no))
            }
        }
    }

    fn group(&mut self, group: &Group<'_>, default: u32) -> Result<Label> {
        let mut label = self.verdict(&group.base.verdict, group.base.width, default)?;
        for exception in group.exceptions.iter().rev() {
            let yes = self.verdict(&exception.verdict, exception.width, default)?;
            label = self.branch(Comparison::Equal, exception.start, yes, label);
        }
        Ok(label)
    }

    /// Carries out `verdict`; checks that hold none give `default`.
    ///
    /// # Errors
    /// A condition that cannot be expressed.
    pub fn verdict(&mut self, verdict: &Verdict, width: Width, default: u32) -> Result<Label> {
        match verdict {
            Verdict::Always(action) => self.action(*action),
            Verdict::Checked(checks) => self.checked(checks, width, default),
        }
    }

    /// Ends with `action`: at a copy near enough, else at a new one.
    fn action(&mut self, action: u32) -> Result<Label> {
        let known = self.actions.iter().position(|(known, _)| *known == action);
        match known.map(|at| self.actions[at].1) {
            // Not at the very limit: something will still stand between.
            Some(label) if self.distance(label) < REACH / 2 => Ok(label),
            _ => Ok(self.new_action(action)),
        }
    }

    fn new_action(&mut self, action: u32) -> Label {
        let label = self.emit(Instruction::end(action));
        match self.actions.iter_mut().find(|(known, _)| *known == action) {
            Some(known) => known.1 = label,
            None => self.actions.push((action, label)),
        }
        label
    }

    /// One check after the other, then the default.
    fn checked(&mut self, checks: &[Check], width: Width, default: u32) -> Result<Label> {
        let known = self.checks.iter().find(|(known, wide, _)| known == checks && *wide == width);
        if let Some((_, _, label)) = known {
            return Ok(*label);
        }
        let last = self.reversed.len().checked_sub(1).map(Label);
        let mut label = match last {
            Some(last) if self.reversed[last.0] == Instruction::end(default) => last,
            _ => self.new_action(default),
        };
        for check in checks.iter().rev() {
            self.new_action(check.action);
            for instruction in conditions(check, width)?.iter().rev() {
                label = self.emit(*instruction);
            }
        }
        self.checks.push((checks.to_vec(), width, label));
        Ok(label)
    }

    /// `label`, or a jump to it if it is more than `reach` away from the next instruction.
    fn within(&mut self, reach: usize, label: Label) -> Label {
        match self.distance(label) {
            near if near <= reach => label,
            far => self.emit(Instruction::skip(far as u32)),
        }
    }

    /// How many instructions stand between the next one written and `label`.
    fn distance(&self, label: Label) -> usize {
        self.reversed.len() - label.0 - 1
    }
}

/// A run of numbers with one verdict, but for a few single numbers within it: those cost one comparison
/// each, where a search for ranges needs two.
struct Group<'a> {
    base: &'a Run,
    exceptions: Vec<&'a Run>,
}

/// How many numbers a group excepts at most: they are compared one after the other.
const EXCEPTIONS: usize = 3;

fn groups(runs: &[Run]) -> Vec<Group<'_>> {
    let mut groups = Vec::with_capacity(runs.len());
    let mut rest = runs;
    while let [base, following @ ..] = rest {
        let mut exceptions = Vec::new();
        rest = following;
        while let [single, after, ..] = rest {
            let resumes = after.verdict == base.verdict && after.width == base.width;
            if !resumes || after.start != single.start + 1 || exceptions.len() == EXCEPTIONS {
                break;
            }
            exceptions.push(single);
            rest = &rest[2..];
        }
        groups.push(Group { base, exceptions });
    }
    groups
}

/// Goes on past its end plus one instruction unless all conditions hold; then on at its end.
fn conditions(check: &Check, width: Width) -> Result<Vec<Instruction>> {
    let length = match width {
        Width::Half => SeccompCmpArgLen::Dword,
        Width::Full => SeccompCmpArgLen::Qword,
    };
    let one = |c: &Condition| SeccompCondition::new(c.argument, length.clone(), c.operator.clone(), c.value);
    let all: std::result::Result<Vec<_>, _> = check.conditions.iter().map(one).collect();
    let rule = all.and_then(SeccompRule::new).map_err(|fault| Error::new(fault.to_string()))?;
    let fragment = BpfProgram::from(rule);
    // A fragment starts with two jumps, into itself and past itself. Nothing ever takes the second as long
    // as there are at most six conditions, so both can go.
    let start = if check.conditions.len() <= 6 { 2 } else { 0 };
    let instruction = |from: &seccompiler::sock_filter| Instruction {
        code: from.code,
        jt: from.jt,
        jf: from.jf,
        k: from.k,
    };
    Ok(fragment.get(start..).unwrap_or_default().iter().map(instruction).collect())
}
