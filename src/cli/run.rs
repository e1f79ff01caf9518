//! `isolate run`: makes a container, starts it, and stays with it unless detached. The runtime process, with
//! the caller's privilege.

use clap::{ArgMatches, Command};

use super::arg::{self, flag};
use super::create;
use crate::container::{self, RunOptions, Runtime};
use crate::error::Result;

/// The parser of `run`.
pub fn command() -> Command {
    Command::new("run")
        .about("Make and start a container, wait for it, and remove it")
        .args(create::arguments())
        .arg(flag("detach", "Return once it runs; delete removes it").short('d'))
        .arg(flag("keep", "Do not remove it after it has ended"))
        .arg(flag("no-subreaper", "Do not become the parent of descendants that lose theirs"))
        .arg(arg::id())
        .after_help(EXAMPLES)
}

const EXAMPLES: &str = "Examples:
  In the foreground; the exit code is the program's, or 128 and the signal that ended it:
    isolate run --bundle /srv/web web1
  In the background:
    isolate run --detach --bundle /srv/web web1
    isolate delete --force web1";

/// Runs it, and returns the exit code.
///
/// # Errors
/// As [`container::run`].
pub fn run(matches: &ArgMatches, runtime: &Runtime) -> Result<i32> {
    let create = create::options(matches, arg::container_id(matches)?)?;
    container::run(runtime, &create, options(matches))
}

fn options(matches: &ArgMatches) -> RunOptions {
    RunOptions {
        detach: matches.get_flag("detach"),
        no_subreaper: matches.get_flag("no-subreaper"),
        keep: matches.get_flag("keep"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::usage::{Parsed, parse};

    #[test]
    fn run_takes_what_create_takes_and_its_own() {
        let args = "-d --keep -no-subreaper -b /b -f /c id".split(' ').map(Into::into);
        let Parsed::Matches(matches) = parse(command(), args).unwrap() else { panic!("help") };
        let run = options(&matches);
        assert!(run.detach && run.keep && run.no_subreaper);
        let create = create::options(&matches, arg::container_id(&matches).unwrap()).unwrap();
        assert_eq!((create.bundle, create.config), ("/b".into(), Some("/c".into())));
    }
}
