//! `isolate tenant limits`, `stats` and `top`: what tenants use of what they may. The runtime process, with the
//! caller's privilege; changes nothing.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use clap::{ArgMatches, Command, value_parser};

use super::{table, targets};
use crate::cli::{arg, print};
use crate::error::{Explain, Result};
use crate::tenant::allowance::Cpus;
use crate::tenant::estate::Estate;
use crate::tenant::measure::{self, Line, Used};
use crate::tenant::name::Name;

/// The parser of `limits`.
pub fn command() -> Command {
    let examples = "Examples:\n    isolate tenant limits web1\n  Has it ever been short of something?\n    \
                    isolate tenant limits --json web1 | jq '.limits[] | select(.fails > 0)'";
    Command::new("limits")
        .about("Show what a tenant uses of each resource, the most it used, its limit, and how often that was hit")
        .arg(targets::name())
        .arg(table::header_flag())
        .arg(table::json_flag())
        .after_help(examples)
}

/// Prints them.
///
/// # Errors
/// Exit code 14 without the tenant.
pub fn run(matches: &ArgMatches, estate: &Estate) -> Result<i32> {
    let name = targets::read_name(matches)?;
    let lines =
        measure::limits(estate, &name).doing(|| format!("cannot show the limits of tenant '{name}'"))?;
    if matches.get_flag("json") {
        return print(table::versioned("limits", &lines)?);
    }
    let rows: Vec<Vec<String>> = lines.iter().map(limit_row).collect();
    print(table::table(&["RESOURCE", "USED", "PEAK", "LIMIT", "FAILS"], &rows, matches))
}

fn limit_row(line: &Line) -> Vec<String> {
    let text = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |number| line.unit.shown(number));
    let fails = line.fails.map_or_else(|| "-".to_owned(), |fails| fails.to_string());
    let limit = match (line.resource, line.limit) {
        ("cpus", Some(thousandths)) => String::from(Cpus(u32::try_from(thousandths).unwrap_or(u32::MAX))),
        (_, limit) => text(limit),
    };
    vec![line.resource.to_owned(), text(line.used), text(line.peak), limit, fails]
}

/// The parser of `stats`.
pub fn stats_command() -> Command {
    let examples =
        "Examples:\n    isolate tenant stats\n    isolate tenant stats --json web1 | jq .stats[0].ram";
    Command::new("stats")
        .about("Show what running tenants use now; all of them, or those that are named")
        .args(targets::several())
        .arg(table::header_flag())
        .arg(table::json_flag())
        .after_help(examples)
}

/// Prints it.
///
/// # Errors
/// Exit code 14 for a tenant that is not there.
pub fn run_stats(matches: &ArgMatches, estate: &Estate) -> Result<i32> {
    let used = all(matches, estate)?;
    if matches.get_flag("json") {
        return print(table::versioned("stats", &used)?);
    }
    let rows: Vec<Vec<String>> = used.iter().map(|used| row(used, seconds(used.cpu_ns))).collect();
    print(table::table(&["NAME", "CPU", "RAM", "RAM-LIMIT", "TASKS", "READ", "WRITTEN"], &rows, matches))
}

/// The parser of `top`.
pub fn top_command() -> Command {
    let examples = "Examples:\n    isolate tenant top\n  Three times, five seconds apart, for a file:\n    isolate tenant top --count 3 --interval 5 > top.txt";
    Command::new("top")
        .about("Show again and again what running tenants use, the busiest first")
        .args(targets::several())
        .arg(
            arg::value("interval", "SECONDS", "Time between two looks [default: 2]")
                .value_parser(value_parser!(u32).range(1..=3600)),
        )
        .arg(arg::value("count", "N", "End after N looks").value_parser(value_parser!(u32).range(1..)))
        .arg(table::header_flag())
        .after_help(examples)
}

/// Prints until it is interrupted.
///
/// # Errors
/// As [`run_stats`].
pub fn run_top(matches: &ArgMatches, estate: &Estate) -> Result<i32> {
    let pause = Duration::from_secs(matches.get_one::<u32>("interval").copied().unwrap_or(2).into());
    let count = matches.get_one::<u32>("count").copied();
    let mut before = (Instant::now(), totals(&all(matches, estate)?));
    let mut looks = 0;
    while count.is_none_or(|count| looks < count) {
        std::thread::sleep(pause);
        let (now, mut used) = (Instant::now(), all(matches, estate)?);
        let took = now.duration_since(before.0);
        let share = |used: &Used| {
            let past = before.1.get(&used.name).copied().unwrap_or(used.cpu_ns);
            used.cpu_ns.saturating_sub(past).saturating_mul(1000)
                / u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).max(1)
        };
        used.sort_by_key(|used| std::cmp::Reverse(share(used)));
        let rows: Vec<Vec<String>> = used
            .iter()
            .map(|used| row(used, format!("{}.{}%", share(used) / 10, share(used) % 10)))
            .collect();
        let text =
            table::table(&["NAME", "CPU", "RAM", "RAM-LIMIT", "TASKS", "READ", "WRITTEN"], &rows, matches);
        let clear = if std::io::stdout().is_terminal() { "\x1b[H\x1b[2J" } else { "" };
        print(format_args!("{clear}{text}"))?;
        before = (now, totals(&used));
        looks += 1;
    }
    Ok(0)
}

fn totals(used: &[Used]) -> BTreeMap<Name, u64> {
    used.iter().map(|used| (used.name.clone(), used.cpu_ns)).collect()
}

/// Those that are named, or all that run.
fn all(matches: &ArgMatches, estate: &Estate) -> Result<Vec<Used>> {
    let words = arg::texts(matches, "names");
    let every = words.is_empty();
    let names =
        if every { estate.names()? } else { targets::resolve(words, matches.get_flag("all"), estate)? };
    let mut found = vec![];
    for name in names {
        match measure::used(estate, &name) {
            Ok(Some(used)) => found.push(used),
            Ok(None) => {}
            // Of all it is one that is incomplete, or has just been destroyed.
            Err(_) if every => {}
            Err(error) => return Err(error.doing(format!("cannot show what tenant '{name}' uses"))),
        }
    }
    Ok(found)
}

fn row(used: &Used, cpu: String) -> Vec<String> {
    use crate::tenant::measure::Unit::{Bytes, Count};
    let text =
        |unit: measure::Unit, number: Option<u64>| number.map_or_else(|| "-".to_owned(), |n| unit.shown(n));
    vec![
        used.name.to_string(),
        cpu,
        text(Bytes, used.ram),
        text(Bytes, used.ram_limit),
        text(Count, used.tasks),
        text(Bytes, Some(used.read)),
        text(Bytes, Some(used.written)),
    ]
}

fn seconds(nanoseconds: u64) -> String {
    format!("{}.{}s", nanoseconds / 1_000_000_000, nanoseconds / 100_000_000 % 10)
}
