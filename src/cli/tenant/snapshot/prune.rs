//! `isolate tenant snapshot prune`. The runtime process, with the caller's privilege.

use clap::{Arg, ArgMatches, Command, value_parser};
use serde::Serialize;

use crate::cli::tenant::{table, targets};
use crate::cli::{arg, print};
use crate::error::{Error, Explain, Kind, Result};
use crate::tenant::estate::Estate;
use crate::tenant::name::Name;
use crate::tenant::retention::{self, Rules};
use crate::tenant::snapshots;

const EXAMPLES: &str = "Examples:
  What would go:
    isolate tenant snapshot prune --keep-last 3 --keep-daily 7 --keep-weekly 4 --dry-run web1
  From a timer or cron, after a snapshot of now:
    isolate tenant snapshot create web1
    isolate tenant snapshot prune --keep-daily 7 --yes web1

A rule keeps the newest snapshot of each of the last N hours, days or weeks that have one; what no rule keeps goes.
Snapshots with a note stay, unless --noted is given.";

/// The parser of `prune`.
pub fn command() -> Command {
    Command::new("prune")
        .about("Remove the snapshots that no rule keeps")
        .arg(targets::name())
        .args([
            rule("keep-last", "Keep the newest N"),
            rule("keep-hourly", "Keep one of each of N hours"),
            rule("keep-daily", "Keep one of each of N days"),
            rule("keep-weekly", "Keep one of each of N weeks"),
            arg::flag("noted", "Those with a note, too"),
            arg::flag("dry-run", "Only tell what would go"),
        ])
        .arg(targets::yes())
        .arg(table::json_flag())
        .after_help(EXAMPLES)
}

fn rule(name: &'static str, help: &'static str) -> Arg {
    arg::value(name, "N", help).value_parser(value_parser!(u32).range(1..=10_000))
}

#[derive(Serialize)]
struct Line {
    name: Name,
    created: String,
    kept: bool,
}

/// Removes them.
///
/// # Errors
/// Exit code 21 without a rule; as [`snapshots::remove`].
pub fn run(matches: &ArgMatches, estate: &Estate) -> Result<i32> {
    let (tenant, _lock) = super::held(matches, estate, "snapshot prune")?;
    let doing = || format!("cannot prune the snapshots of tenant '{}'", tenant.name);
    let count = |name| matches.get_one::<u32>(name).copied().unwrap_or(0);
    let rules = Rules {
        last: count("keep-last"),
        hourly: count("keep-hourly"),
        daily: count("keep-daily"),
        weekly: count("keep-weekly"),
    };
    if rules.is_empty() {
        let error = Error::new("no rule says what is kept").hint("give --keep-last 3, for instance");
        return Err(error.kind(Kind::Usage).code(21)).doing(doing);
    }
    snapshots::settle(estate, &tenant).doing(doing)?;
    let all = snapshots::all(&tenant).doing(doing)?;
    let stays = |noted: bool| noted && !matches.get_flag("noted");
    let (fixed, rest): (Vec<_>, Vec<_>) = all.into_iter().partition(|one| {
        // A time nobody can read is no reason to remove anything.
        stays(one.note.is_some()) || retention::seconds(&one.created).is_none()
    });
    let times: Vec<u64> = rest.iter().filter_map(|one| retention::seconds(&one.created)).collect();
    let kept = retention::kept(&times, rules);
    let line =
        |one: &snapshots::Snapshot, kept| Line { name: one.name.clone(), created: one.created.clone(), kept };
    let mut lines: Vec<Line> = fixed.iter().map(|one| line(one, true)).collect();
    lines.extend(rest.iter().enumerate().map(|(index, one)| line(one, kept.contains(&index))));
    lines.sort_by(|one, other| one.created.cmp(&other.created));
    let going = lines.iter().filter(|line| !line.kept).count();
    if !matches.get_flag("dry-run") && going > 0 {
        targets::confirm(matches, &format!("Remove {going} of {} snapshots?", lines.len())).doing(doing)?;
        for line in lines.iter().filter(|line| !line.kept) {
            snapshots::remove(estate, &tenant, &line.name).doing(doing)?;
        }
    }
    if matches.get_flag("json") {
        return print(table::versioned("snapshots", &lines)?);
    }
    let word = |kept| {
        if kept {
            "kept"
        } else if matches.get_flag("dry-run") {
            "would go"
        } else {
            "removed"
        }
    };
    let rows = lines.iter().map(|line| vec![line.name.to_string(), word(line.kept).to_owned()]);
    let rows: Vec<Vec<String>> = rows.collect();
    if rows.is_empty() { Ok(0) } else { print(table::rows(&rows)) }
}
