//! `isolate ps`: the processes of a container, as the host sees them. The runtime process, with the caller's
//! privilege; runs the host's `ps` for the table, changes nothing.

use std::process::{Command as Process, Stdio};

use clap::{Arg, ArgMatches, Command};

use super::{arg, json, print};
use crate::container::{self, Runtime};
use crate::error::{Call, Error, Explain, Result};

/// The parser of `ps`.
pub fn command() -> Command {
    let options = Arg::new("options").value_name("PS_OPTIONS").num_args(0..).trailing_var_arg(true);
    Command::new("ps")
        .about("List the processes of a container")
        .arg(arg::format(["table", "json"]).short('f'))
        .arg(arg::id())
        .arg(options.allow_hyphen_values(true).help("Options of the host's ps [default: -ef]"))
        .after_help(EXAMPLES)
}

const EXAMPLES: &str = "Examples:
  As ps(1) shows them, with its columns of your choice (PID must be one of them):
    isolate ps web1
    isolate ps web1 -o pid,rss,args
  Their pids on the host, as JSON:
    isolate ps --format json web1";

/// Prints them.
///
/// # Errors
/// As [`container::processes`]; or the host's `ps` fails or shows no pids.
pub fn run(matches: &ArgMatches, runtime: &Runtime) -> Result<i32> {
    let pids = container::processes(runtime, &arg::container_id(matches)?)?;
    if arg::text(matches, "format").as_deref() == Some("json") {
        return print(json(&pids, 0)?);
    }
    let options = arg::texts(matches, "options");
    let options = if options.is_empty() { vec!["-ef".to_owned()] } else { options };
    print(filter(&host_ps(&options)?, &pids)?)
}

/// What `ps options` prints on this host.
fn host_ps(options: &[String]) -> Result<String> {
    let mut ps = Process::new("ps");
    ps.args(options).stdin(Stdio::null());
    let output = ps.output().call(|| "execve(\"ps\")").hint(|| "use --format json, which needs no ps")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().find(|line| !line.trim().is_empty()).unwrap_or("it says nothing");
        return Err(Error::new(format!("ps {}: {}: {said}", options.join(" "), output.status)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The head of `table`, and its lines whose PID is one of `pids`, which ascend.
fn filter(table: &str, pids: &[i32]) -> Result<String> {
    let mut lines = table.lines();
    let head = lines.next().unwrap_or_default();
    let column = head.split_whitespace().position(|name| name == "PID");
    let column = column.ok_or_else(|| {
        Error::new("the output of ps has no column PID").hint("add pid to the columns: -o pid,...")
    })?;
    let pid = |line: &str| line.split_whitespace().nth(column).and_then(|field| field.parse::<i32>().ok());
    let ours = lines.filter(|line| pid(line).is_some_and(|pid| pids.binary_search(&pid).is_ok()));
    Ok(std::iter::once(head).chain(ours).collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::usage::{Parsed, parse};

    const TABLE: &str = "UID          PID    PPID CMD\nroot           1       0 init\nroot          42       1 \
        sh 1\nroot         421      42 ps 42\n";

    #[test]
    fn only_the_containers_own_lines_are_shown() {
        let expected = "UID          PID    PPID CMD\nroot          42       1 sh 1";
        assert_eq!(filter(TABLE, &[42, 99]).unwrap(), expected);
        assert_eq!(filter(TABLE, &[]).unwrap(), "UID          PID    PPID CMD");
    }

    #[test]
    fn a_table_without_pids_is_refused() {
        for table in ["", "USER CMD\nroot init\n"] {
            let error = filter(table, &[1]).unwrap_err().to_string();
            assert!(error.starts_with("the output of ps has no column PID"), "{error}");
        }
    }

    #[test]
    fn options_after_the_name_belong_to_ps() {
        let args = ["-f", "json", "id", "-f", "-o", "pid"].map(Into::into);
        let Parsed::Matches(matches) = parse(command(), args).unwrap() else { panic!("help") };
        assert_eq!(arg::text(&matches, "format").as_deref(), Some("json"));
        assert_eq!(arg::texts(&matches, "options"), ["-f", "-o", "pid"]);
    }

    #[test]
    fn a_format_that_is_unknown_is_refused() {
        let error = parse(command(), ["-f", "yaml", "id"].map(Into::into)).unwrap_err().to_string();
        assert!(error.starts_with("invalid value \"yaml\" for flag --format: use table or json"), "{error}");
    }
}
