//! `isolate kill`: sends a signal to a container. The runtime process, with the caller's privilege.

use clap::{Arg, ArgMatches, Command};

use super::{arg, several};
use crate::container::{self, Runtime};
use crate::error::Result;
use crate::sys::signal;

/// The parser of `kill`.
pub fn command() -> Command {
    let help = "A name, with or without SIG, a number, RTMIN+n or RTMAX-n";
    Command::new("kill")
        .about("Send a signal to a container's first process, or to all of them")
        .arg(arg::flag("all", "Send it to every process of the container").short('a'))
        .arg(several::regex())
        .arg(arg::id())
        .arg(Arg::new("signal").value_name("SIGNAL").default_value("TERM").help(help))
        .after_help(EXAMPLES)
}

const EXAMPLES: &str = "Examples:
  Ask it to end, then make it:
    isolate kill web1
    isolate kill web1 KILL
  Every process in it:
    isolate kill --all web1 SIGHUP
  Every container whose name begins with web:
    isolate kill --regex '^web' TERM";

/// Sends it.
///
/// # Errors
/// As [`container::kill`]; or there is no such signal.
pub fn run(matches: &ArgMatches, runtime: &Runtime) -> Result<i32> {
    let signal = signal::parse(&arg::text(matches, "signal").unwrap_or_default())?;
    let all = matches.get_flag("all");
    several::for_each(matches, runtime, |id| container::kill(runtime, id, signal, all))?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::usage::{Parsed, parse};

    #[test]
    fn the_signal_is_term_unless_given() {
        for (args, all, signal) in
            [("id", false, "TERM"), ("--all id 9", true, "9"), ("id KILL -a", true, "KILL")]
        {
            let parsed = parse(command(), args.split(' ').map(Into::into)).unwrap();
            let Parsed::Matches(matches) = parsed else { panic!("help") };
            assert_eq!(arg::text(&matches, "signal").as_deref(), Some(signal));
            assert_eq!((matches.get_flag("all"), matches.get_flag("regex")), (all, false));
        }
        let error = parse(command(), "a 9 c".split(' ').map(Into::into)).unwrap_err().to_string();
        assert!(error.starts_with("\"kill\" requires between 1 and 2 argument(s)"), "{error}");
    }
}
