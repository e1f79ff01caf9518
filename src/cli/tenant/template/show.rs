//! `isolate tenant template show`. The runtime process, with the caller's privilege; changes nothing.

use clap::{ArgMatches, Command};

use crate::cli::print;
use crate::cli::tenant::table;
use crate::error::{Error, Result};
use crate::tenant::estate::Estate;
use crate::tenant::stock;

/// The parser of `show`.
pub fn command() -> Command {
    let examples = "Examples:\n    isolate tenant template show busybox\n    isolate tenant template show --json busybox";
    Command::new("show")
        .about("Show what is known of a template, and who uses it")
        .arg(super::name())
        .arg(table::json_flag())
        .after_help(examples)
}

/// Prints it.
///
/// # Errors
/// Exit code 91 when there is none.
pub fn run(matches: &ArgMatches, estate: &Estate) -> Result<i32> {
    let name = super::read_name(matches)?;
    let (template, root) = stock::find(estate, &name)?;
    let users = stock::users(estate, &name)?;
    let mut value = serde_json::to_value(&template).map_err(|error| Error::new(error.to_string()))?;
    if let Some(object) = value.as_object_mut() {
        object.insert("root".to_owned(), root.display().to_string().into());
        object.insert(
            "tenants".to_owned(),
            users.iter().map(|name| name.as_str().to_owned()).collect::<Vec<_>>().into(),
        );
    }
    if matches.get_flag("json") {
        return print(table::versioned("template", &value)?);
    }
    let lines =
        value.as_object().into_iter().flatten().filter(|(key, value)| *key != "format" && !value.is_null());
    let text = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let lines: Vec<String> = lines.map(|(key, value)| format!("{key:<8} {}", text(value))).collect();
    print(lines.join("\n"))
}
