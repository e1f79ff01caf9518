//! `isolate tenant template ls`. The runtime process, with the caller's privilege; changes nothing.

use clap::{ArgMatches, Command};

use crate::cli::print;
use crate::cli::tenant::table;
use crate::error::Result;
use crate::tenant::estate::Estate;
use crate::tenant::look::mode_word;
use crate::tenant::stock;

/// The parser of `ls`.
pub fn command() -> Command {
    let examples = "Examples:\n    isolate tenant template ls\n    isolate tenant template ls --json | jq -r '.templates[].name'";
    Command::new("ls")
        .about("List the imported templates")
        .arg(table::header_flag())
        .arg(table::json_flag())
        .after_help(examples)
}

/// Prints them.
///
/// # Errors
/// As [`stock::list`].
pub fn run(matches: &ArgMatches, estate: &Estate) -> Result<i32> {
    let templates = stock::list(estate)?;
    if matches.get_flag("json") {
        return print(table::versioned("templates", &templates)?);
    }
    let rows: Result<Vec<Vec<String>>> = templates
        .iter()
        .map(|template| {
            let init = template.init.as_ref().map_or("-", |init| mode_word(init.mode));
            let size = indicatif::HumanBytes(template.bytes).to_string();
            let digest: String = template.digest.chars().take(19).collect();
            let users = stock::users(estate, &template.name)?.len().to_string();
            Ok(vec![template.name.to_string(), size, init.to_owned(), users, digest, template.source.clone()])
        })
        .collect();
    print(table::table(&["TEMPLATE", "SIZE", "INIT", "TENANTS", "DIGEST", "SOURCE"], &rows?, matches))
}
