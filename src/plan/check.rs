//! A second, pure look at a finished plan: an order that cannot be right is a fault of this program, found
//! before anything happens. It is what the fuzzer hammers.

use super::{Plan, Planned, Stage, Step};
use crate::error::{Error, Result};

/// Whether a plan keeps a rule.
type Rule = fn(&Plan) -> bool;

/// Checks the whole list.
///
/// # Errors
/// Names the first rule that is broken; such an error is a bug of the compiler of plans.
pub fn check(plan: &Plan) -> Result<()> {
    let rules: [(&str, Rule); 6] = [
        ("the last step is exec or the end, and there is only one", end_is_last),
        ("stages follow each other", stages_are_in_order),
        ("no host path is used after the pivot", host_paths_before_pivot),
        ("a bind has its source", sources_before_binds),
        ("every word that is awaited is said by the other process", words_are_paired),
        ("privileges go after everything that needs them", privileges_last),
    ];
    match rules.iter().find(|(_, holds)| !holds(plan)) {
        None => Ok(()),
        Some((rule, _)) => Err(Error::new(format!("the plan breaks the rule \"{rule}\""))
            .hint("this is a bug: please report it")),
    }
}

fn position(plan: &Plan, wanted: impl Fn(&Step) -> bool) -> Option<usize> {
    plan.steps.iter().position(|planned| wanted(&planned.step))
}

fn end_is_last(plan: &Plan) -> bool {
    let is_end = |step: &Step| matches!(step, Step::Exec | Step::Done);
    position(plan, is_end).is_some_and(|index| index + 1 == plan.steps.len())
}

fn stages_are_in_order(plan: &Plan) -> bool {
    plan.steps.is_sorted_by_key(|planned| planned.stage)
}

fn host_paths_before_pivot(plan: &Plan) -> bool {
    let is_pivot = |step: &Step| matches!(step, Step::Pivot | Step::MoveRoot);
    let Some(pivot) = position(plan, is_pivot) else { return true };
    let on_host = |planned: &Planned| {
        matches!(
            planned.step,
            Step::OpenSource { .. }
                | Step::HookOutput { .. }
                | Step::BindRoot { .. }
                | Step::JoinNamespace { .. }
                | Step::Chroot { .. }
        )
    };
    !plan.steps[pivot..].iter().any(on_host)
}

fn sources_before_binds(plan: &Plan) -> bool {
    plan.steps.iter().enumerate().all(|(index, planned)| match planned.step {
        Step::Bind { slot: wanted, .. } => plan.steps[..index]
            .iter()
            .any(|earlier| matches!(earlier.step, Step::OpenSource { slot, .. } if slot == wanted)),
        _ => true,
    })
}

/// Each process hears the words in the order in which the other says them.
fn words_are_paired(plan: &Plan) -> bool {
    let words = |child: bool, said: bool| {
        let of_process = plan.steps.iter().filter(move |planned| planned.stage.is_child() == child);
        of_process.filter_map(move |planned| match planned.step {
            Step::Tell { token } if said => Some(token),
            Step::Await { token } if !said => Some(token),
            _ => None,
        })
    };
    words(true, true).eq(words(false, false)) && words(false, true).eq(words(true, false))
}

fn privileges_last(plan: &Plan) -> bool {
    let user = position(plan, |step| matches!(step, Step::User { .. }));
    // A child that executes nothing keeps what it has to its end.
    let Some(user) = user else { return position(plan, |step| *step == Step::Done).is_some() };
    let needs_root =
        |planned: &Planned| planned.stage < Stage::Last || matches!(planned.step, Step::BoundingSet { .. });
    !plan.steps[user..].iter().any(needs_root)
}
