//! On which tenants a verb works: names, `@tag`, `--all`. The runtime process, with the caller's privilege.

use std::time::Duration;

use clap::{Arg, ArgMatches, value_parser};

use super::crew;
use crate::cli::arg;
use crate::error::{Error, Kind, Result};
use crate::tenant::estate::Estate;
use crate::tenant::lock;
use crate::tenant::name::Name;

/// One name, required.
pub fn name() -> Arg {
    Arg::new("name").value_name("NAME").required(true).help("The tenant's name")
}

/// Reads [`name`].
///
/// # Errors
/// Exit code 21 for a name that is none.
pub fn read_name(matches: &ArgMatches) -> Result<Name> {
    Name::new(arg::text(matches, "name").unwrap_or_default())
}

/// `--lock-timeout`.
pub fn lock_timeout() -> Arg {
    let help = "How long to wait for another command on the same tenant [default: 30]";
    arg::value("lock-timeout", "SECONDS", help).value_parser(value_parser!(u32).range(0..=86_400))
}

/// Reads [`lock_timeout`].
pub fn read_lock_timeout(matches: &ArgMatches) -> Duration {
    let seconds = matches.get_one::<u32>("lock-timeout");
    seconds.map_or(lock::WAIT, |seconds| Duration::from_secs((*seconds).into()))
}

/// Several names, `--all`, and how many at a time.
pub fn several() -> [Arg; 3] {
    let help = "On how many at the same time [default: 1]";
    [
        Arg::new("names").value_name("NAME|@TAG").num_args(0..).help("Tenants by name, or all with a tag"),
        all(),
        arg::value("parallel", "N", help).value_parser(value_parser!(u16).range(1..=64)),
    ]
}

/// `--all`.
pub fn all() -> Arg {
    arg::flag("all", "All tenants").short('a')
}

/// Reads [`several`].
///
/// # Errors
/// Exit code 21 for nothing at all, and for a tag nobody has.
pub fn read(matches: &ArgMatches, estate: &Estate) -> Result<Vec<Name>> {
    resolve(arg::texts(matches, "names"), matches.get_flag("all"), estate)
}

/// The tenants that `words` name, or with `all` every one.
///
/// # Errors
/// As [`read`].
pub fn resolve(words: Vec<String>, all: bool, estate: &Estate) -> Result<Vec<Name>> {
    let fault = |why: String| Error::new(why).kind(Kind::Usage).code(21);
    match (words.is_empty(), all) {
        (true, false) => return Err(fault("no tenant is named".to_owned()).hint("name some, or use --all")),
        (false, true) => return Err(fault("names and --all exclude each other".to_owned())),
        (true, true) => return estate.names(),
        (false, false) => {}
    }
    let mut names = vec![];
    for word in words {
        match word.strip_prefix('@') {
            None => names.push(Name::new(word)?),
            Some(tag) => {
                let tagged = with_tag(estate, tag)?;
                if tagged.is_empty() {
                    return Err(fault(format!("no tenant has the tag {tag:?}")));
                }
                names.extend(tagged);
            }
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
    Ok(names)
}

fn with_tag(estate: &Estate, tag: &str) -> Result<Vec<Name>> {
    let has = |name: &Name| {
        estate.tenant(name).is_ok_and(|tenant| tenant.config.admin.tags.iter().any(|other| other == tag))
    };
    Ok(estate.names()?.into_iter().filter(has).collect())
}

/// Does `each` to all, going on after failures; several at a time in processes of their own, when that is asked for.
///
/// # Errors
/// All failures in one; the exit code of the first.
pub fn for_each(
    matches: &ArgMatches,
    estate: &Estate,
    names: &[Name],
    doing: &str,
    each: impl Fn(&Name) -> Result<()>,
) -> Result<i32> {
    let at_once = matches.try_get_one::<u16>("parallel").ok().flatten().copied().unwrap_or(1);
    if at_once > 1 && names.len() > 1 {
        return summary(names.len(), crew::work(matches, estate, names, doing, at_once.into())?);
    }
    let mut failures = vec![];
    for name in names {
        if let Err(error) = each(name) {
            failures.push(error.doing(format!("cannot {doing} tenant '{name}'")));
        }
    }
    summary(names.len(), failures)
}

fn summary(all: usize, mut failures: Vec<Error>) -> Result<i32> {
    match failures.len() {
        0 => Ok(0),
        1 => Err(failures.swap_remove(0)),
        count => {
            let code = failures.iter().find_map(Error::get_code).and_then(|code| u8::try_from(code).ok());
            let lines: Vec<String> = failures.iter().map(ToString::to_string).collect();
            let error = Error::new(format!("{count} of {all} failed:\n{}", lines.join("\n")));
            Err(code.into_iter().fold(error, Error::code))
        }
    }
}

/// `--yes`.
pub fn yes() -> Arg {
    arg::flag("yes", "Do not ask").short('y')
}

/// Asks on a terminal; elsewhere `--yes` is needed.
///
/// # Errors
/// Nobody can be asked, or the answer is no.
pub fn confirm(matches: &ArgMatches, question: &str) -> Result<()> {
    use std::io::{BufRead, IsTerminal, Write};
    if matches.get_flag("yes") {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Err(Error::new(format!("{question} Nobody can be asked here"))
            .hint("use --yes")
            .kind(Kind::Usage)
            .code(21));
    }
    let mut answer = String::new();
    let mut terminal = std::io::stderr();
    let asked = write!(terminal, "{question} [y/N] ").and_then(|()| terminal.flush());
    let read = asked.and_then(|()| std::io::stdin().lock().read_line(&mut answer));
    match read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes") {
        true => Ok(()),
        false => Err(Error::new("nothing was done")),
    }
}
