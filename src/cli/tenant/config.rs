//! `isolate tenant config`: the settings of a tenant, and those that wait for its next start. The runtime process,
//! with the caller's privilege; changes nothing.

use clap::{ArgMatches, Command};
use serde_json::{Map, Value, json};

use super::{table, targets};
use crate::cli::print;
use crate::container::Status;
use crate::error::{Explain, Result};
use crate::tenant::adjust::{pending, shown};
use crate::tenant::estate::{Estate, Tenant};
use crate::tenant::keys::KEYS;
use crate::tenant::look;

const EXAMPLES: &str = "Examples:
    isolate tenant config web1
    isolate tenant config --json web1 | jq -r .config.ram";

/// The parser of `config`.
pub fn command() -> Command {
    Command::new("config")
        .about("Show the settings of a tenant, as 'set' takes them")
        .arg(targets::name())
        .arg(table::header_flag())
        .arg(table::json_flag())
        .after_help(EXAMPLES)
}

/// Prints them.
///
/// # Errors
/// Exit code 14 when there is no such tenant, or its settings cannot be read.
pub fn run(matches: &ArgMatches, estate: &Estate) -> Result<i32> {
    let name = targets::read_name(matches)?;
    let doing = || format!("cannot show the settings of tenant '{name}'");
    let tenant = estate.tenant(&name).doing(doing)?;
    let running = look::status(estate, &name).doing(doing)? != Status::Stopped;
    let pending = if running { pending(estate, &tenant) } else { vec![] };
    if matches.get_flag("json") {
        let waiting: Map<String, Value> =
            pending.iter().map(|(key, old)| (key.name.to_owned(), json!({"now": old}))).collect();
        let mut object = json!({"version": 1, "config": settings(&tenant)});
        object["pending"] = Value::Object(waiting);
        return print(crate::cli::json(&object, 2)?);
    }
    let rows: Vec<Vec<String>> = KEYS
        .iter()
        .map(|key| {
            let waits = pending.iter().find(|(other, _)| other.name == key.name);
            let note = waits.map(|(_, old)| format!("until its next start: {}", shown(old.as_ref())));
            vec![key.name.to_owned(), shown(tenant.config.value(key).as_ref()), note.unwrap_or_default()]
        })
        .collect();
    print(table::table(&["SETTING", "VALUE", ""], &rows, matches))
}

fn settings(tenant: &Tenant) -> Map<String, Value> {
    KEYS.iter().map(|key| (key.name.to_owned(), json!(tenant.config.value(key)))).collect()
}
