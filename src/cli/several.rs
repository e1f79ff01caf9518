//! `--regex` of `kill` and `delete`: one command on every container whose name matches. The runtime process,
//! with the caller's privilege.

use clap::{Arg, ArgMatches};
use regex_lite::Regex;

use super::arg;
use crate::container::{self, Runtime};
use crate::error::{Error, Kind, Result};
use crate::ids::ContainerId;

/// `--regex`, as in crun.
pub fn regex() -> Arg {
    arg::flag("regex", "ID is a regular expression: do it to every container whose name has a match")
        .short('r')
}

/// Does `each` to the container that ID names, or with [`regex`] to all that match, going on after failures.
///
/// # Errors
/// What `each` failed with, all of them together; or ID is no regular expression.
pub fn for_each(
    matches: &ArgMatches,
    runtime: &Runtime,
    each: impl Fn(&ContainerId) -> Result<()>,
) -> Result<()> {
    if !matches.get_flag("regex") {
        return each(&arg::container_id(matches)?);
    }
    let pattern = compile(&arg::text(matches, "id").unwrap_or_default())?;
    let mut failures = Vec::new();
    for state in container::list(runtime)?.into_iter().filter(|state| pattern.is_match(&state.id)) {
        if let Err(error) = ContainerId::new(state.id.as_str()).and_then(|id| each(&id)) {
            failures.push(format!("{}: {error}", state.id));
        }
    }
    match failures.is_empty() {
        true => Ok(()),
        false => Err(Error::new(failures.join("\n"))),
    }
}

fn compile(pattern: &str) -> Result<Regex> {
    let broken =
        |error| Error::new(format!("invalid regular expression {pattern:?}: {error}")).kind(Kind::Usage);
    Regex::new(pattern).map_err(broken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_anywhere_in_a_name_and_a_broken_one_is_told() {
        assert!(compile("b[0-9]+").unwrap().is_match("web12"));
        assert!(!compile("^b[0-9]+$").unwrap().is_match("web12"));
        assert!(compile("a(").unwrap_err().to_string().starts_with("invalid regular expression \"a(\": "));
    }
}
