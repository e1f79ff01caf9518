//! `isolate plan`: what `create` would do, without doing it. The runtime process, with the caller's privilege;
//! changes nothing.

use clap::{Arg, ArgMatches, Command};

use super::{arg, create, json, print};
use crate::container::{self, Runtime};
use crate::error::Result;
use crate::ids::ContainerId;

/// The parser of `plan`.
pub fn command() -> Command {
    Command::new("plan")
        .about("Print what create would do on this host, step by step, without doing it")
        .args(create::arguments())
        .arg(arg::format(["text", "json"]))
        .arg(arg::flag("json", "The same as --format json"))
        .arg(Arg::new("id").value_name("ID").default_value("plan").help("The name it would have"))
        .after_help(EXAMPLES)
}

const EXAMPLES: &str = "Examples:
  What a bundle asks for, and what this host would refuse:
    isolate plan --bundle /srv/web
  Only the mounts (each step says which part of the config wants it):
    isolate plan --bundle /srv/web | grep mounts
  For programs:
    isolate plan --bundle /srv/web --format json";

/// Prints the plan.
///
/// # Errors
/// As [`container::plan`].
pub fn run(matches: &ArgMatches, runtime: &Runtime) -> Result<i32> {
    let id: ContainerId = arg::container_id(matches)?;
    let plan = container::plan(runtime, &create::options(matches, id)?)?;
    let as_json = matches.get_flag("json") || arg::text(matches, "format").as_deref() == Some("json");
    match as_json {
        true => print(json(&plan, 2)?),
        false => print(plan.to_string().trim_end()),
    }
}
