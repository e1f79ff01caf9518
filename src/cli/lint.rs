//! `isolate lint`: the weaknesses of a bundle's config. The runtime process, with the caller's privilege; changes
//! nothing, and makes no container.

use std::fmt::Write;

use clap::{Arg, ArgMatches, Command};

use super::{arg, json, print};
use crate::container::{self, Runtime};
use crate::error::Result;
use crate::lint::{Finding, RULES, Reach};

/// The exit code when something was found.
const FOUND: i32 = 3;

const LONG: &str = "\
Print the weaknesses of a bundle's config: what an attacker in the container gains by each, and what to write
instead. No container is made, and root is not needed.

How far a weakness leads: 'host', to the host itself; 'others', to the host's processes or other containers;
'wall', no further by itself, but a wall is missing that would hold when another one falls.

The exit code is 0 when nothing was found, 3 when something was, 1 when the config cannot be read or has faults
for which no container would be made.";

/// The parser of `lint`.
pub fn command() -> Command {
    Command::new("lint")
        .about("Print what is weak in a bundle's config, and what an attacker gains by it")
        .long_about(LONG)
        .arg(arg::path("bundle", "DIR", "The bundle's folder [default: the current one]").short('b'))
        .arg(arg::path("config", "FILE", "The config, if it is not config.json in the bundle").short('f'))
        .arg(reach())
        .arg(arg::flag("list", "Print the rules instead"))
        .arg(arg::format(["text", "json"]))
        .arg(arg::flag("json", "The same as --format json"))
        .after_help(EXAMPLES)
}

const EXAMPLES: &str = "Examples:
  What is weak in a bundle:
    isolate lint --bundle /srv/web
  Only what leads to the host, for a script that must not go on then:
    isolate lint --bundle /srv/web --reach host || exit 1
  For programs:
    isolate lint --bundle /srv/web --json | jq -r '.[] | .at + \": \" + .what'";

fn reach() -> Arg {
    arg::value("reach", "HOW-FAR", "Only what leads at least so far")
        .value_parser(["host", "others", "wall"])
        .default_value("wall")
}

/// Prints the findings.
///
/// # Errors
/// As [`container::lint`].
pub fn run(matches: &ArgMatches, _runtime: &Runtime) -> Result<i32> {
    let as_json = matches.get_flag("json") || arg::text(matches, "format").as_deref() == Some("json");
    if matches.get_flag("list") {
        return print(if as_json { json(&RULES, 2)? } else { rules() });
    }
    let bundle = arg::absolute(matches, "bundle")?;
    let bundle = bundle.map_or_else(|| arg::make_absolute(std::path::Path::new(".")), Ok)?;
    let mut findings = container::lint(&bundle, arg::absolute(matches, "config")?.as_deref())?;
    let most = match arg::text(matches, "reach").as_deref() {
        Some("host") => Reach::Host,
        Some("others") => Reach::Others,
        _ => Reach::Wall,
    };
    findings.retain(|finding| finding.reach <= most);
    print(if as_json { json(&findings, 2)? } else { text(&findings) })?;
    Ok(if findings.is_empty() { 0 } else { FOUND })
}

fn text(findings: &[Finding]) -> String {
    let mut text = String::new();
    for Finding { rule, reach, at, what, gain, instead } in findings {
        let reach = word(*reach);
        // A config may hold anything; it must not look like lines of ours.
        let what: String = what.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{reach}: {at}: {what} [{rule}]\n  gain: {gain}\n  instead: {instead}");
    }
    let count = |reach| findings.iter().filter(|finding| finding.reach == reach).count();
    let (host, others, wall) = (count(Reach::Host), count(Reach::Others), count(Reach::Wall));
    let _ = write!(
        text,
        "{} found: {host} to the host, {others} to others, {wall} walls missing",
        findings.len()
    );
    text
}

fn word(reach: Reach) -> &'static str {
    match reach {
        Reach::Host => "host",
        Reach::Others => "others",
        Reach::Wall => "wall",
    }
}

fn rules() -> String {
    let lines = RULES.iter().map(|rule| {
        format!("{}: {}\n  gain: {}\n  instead: {}", rule.name, rule.about, rule.gain, rule.instead)
    });
    lines.collect::<Vec<_>>().join("\n")
}
