//! A verb on several tenants at the same time: this program again, once for each of them. The runtime process, with
//! the caller's privilege; it has one thread, which the processes of a tenant need.

use std::ffi::OsString;
use std::process::{Child, Command, Stdio};

use clap::ArgMatches;
use clap::parser::ValueSource;

use crate::cli::print;
use crate::error::{Call, Error, Result};
use crate::tenant::estate::Estate;
use crate::tenant::launch;
use crate::tenant::name::Name;

/// Arguments that say on which tenants, and how many at a time.
const OURS: [&str; 3] = ["names", "all", "parallel"];

/// Does `verb` to all, `at_once` at a time; the failures.
///
/// # Errors
/// A process cannot be started.
pub fn work(
    matches: &ArgMatches,
    estate: &Estate,
    names: &[Name],
    verb: &str,
    at_once: usize,
) -> Result<Vec<Error>> {
    let mut failures = vec![];
    for some in names.chunks(at_once) {
        let begun: Vec<Result<Child>> = some.iter().map(|name| begin(matches, estate, name, verb)).collect();
        for child in begun {
            failures.extend(finish(child?)?);
        }
    }
    Ok(failures)
}

fn begin(matches: &ArgMatches, estate: &Estate, name: &Name, verb: &str) -> Result<Child> {
    let mut command = Command::new("/proc/self/exe");
    command.args(launch::global_options(estate)?).args(["tenant", verb]).args(options(matches));
    command.arg(name.as_str()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().call(|| "spawn(\"/proc/self/exe\")")
}

/// What was given besides the names, as it was given.
fn options(matches: &ArgMatches) -> Vec<OsString> {
    let given = |id: &&str| matches.value_source(id) == Some(ValueSource::CommandLine) && !OURS.contains(id);
    let mut options = vec![];
    for id in matches.ids().map(clap::Id::as_str).filter(given) {
        if matches.try_get_one::<bool>(id).is_ok_and(|flag| flag.is_some()) {
            options.push(OsString::from(format!("--{id}")));
            continue;
        }
        for value in matches.get_raw(id).into_iter().flatten() {
            let mut option = OsString::from(format!("--{id}="));
            option.push(value);
            options.push(option);
        }
    }
    options
}

fn finish(child: Child) -> Result<Option<Error>> {
    let output = child.wait_with_output().call(|| "wait4")?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    let (said, words) = (text(&output.stdout), text(&output.stderr));
    if !said.is_empty() {
        print(said)?;
    }
    if output.status.success() {
        if !words.is_empty() {
            crate::log::warning(words.trim_start_matches("isolate: warning: "));
        }
        return Ok(None);
    }
    let error = Error::new(words.trim_start_matches("isolate: ").to_owned());
    let code = output.status.code().and_then(|code| u8::try_from(code).ok());
    Ok(Some(code.into_iter().fold(error, Error::code)))
}
