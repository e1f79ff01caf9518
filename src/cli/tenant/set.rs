//! `isolate tenant set` and `unset`: other settings, at once. The runtime process, with the caller's privilege.

use std::cell::RefCell;

use clap::{Arg, ArgMatches, Command};

use super::{stop, table, targets};
use crate::cli::{arg, print};
use crate::container::Status;
use crate::error::Result;
use crate::tenant::adjust::{self, Change, Lasting, Mode, Order, Shrink};
use crate::tenant::estate::Estate;
use crate::tenant::keys::KEYS;
use crate::tenant::name::Name;
use crate::tenant::{launch, lock, look};

const EXAMPLES: &str = "Examples:
    isolate tenant set web1 ram=128M cpus=1.5
  The same with options; none takes a limit away:
    isolate tenant set web1 --ram 128M --cpus none
  What would happen, and for all tenants with a tag:
    isolate tenant set --dry-run @web tasks=500
  Until it stops only:
    isolate tenant set --runtime web1 cpus=4

Limits count at once, for the processes that run as well. A setting that a running system cannot be given waits for
its next start, or is given to it now with --restart. Of one call all settings are changed, or none.";

const UNSET_EXAMPLES: &str = "Examples:
    isolate tenant unset web1 ram swap
    isolate tenant unset @web cpus";

/// The parser of `set`.
pub fn command() -> Command {
    Command::new("set")
        .about("Change settings of tenants; limits of running ones at once")
        .arg(words("NAME|@TAG|KEY=VALUE", "Tenants, and what is changed"))
        .arg(targets::all())
        .args(KEYS.iter().map(|key| arg::value(key.name, key.value, key.help)))
        .args(options())
        .arg(arg::flag("force", "Limit memory to less than is in use: programs may be ended").short('f'))
        .after_help(EXAMPLES)
}

/// The parser of `unset`.
pub fn unset_command() -> Command {
    Command::new("unset")
        .about("Take settings of a tenant away, as 'set KEY=none' does")
        .arg(words("NAME|@TAG KEY", "The tenant, or those with a tag, and the settings"))
        .arg(targets::all())
        .args(options())
        .after_help(UNSET_EXAMPLES)
}

fn words(shown: &'static str, help: &'static str) -> Arg {
    Arg::new("words").value_name(shown).num_args(0..).help(help)
}

fn options() -> [Arg; 4] {
    [
        arg::flag("runtime", "Until the tenant stops, and not in its file"),
        arg::flag("restart", "Restart a running tenant when a setting needs it"),
        arg::flag("dry-run", "Change nothing; show what would be changed").short('n'),
        table::json_flag(),
    ]
}

/// Changes them.
///
/// # Errors
/// As [`adjust::adjust`], for each tenant.
pub fn run(matches: &ArgMatches, estate: &Estate) -> Result<i32> {
    let words = arg::texts(matches, "words");
    let (given, names): (Vec<String>, Vec<String>) = words.into_iter().partition(|word| word.contains('='));
    let mut settings: Vec<(String, String)> =
        given.iter().filter_map(|word| word.split_once('=')).map(owned).collect();
    settings.extend(KEYS.iter().filter_map(|key| Some((key.name.to_owned(), arg::text(matches, key.name)?))));
    let shrink = if matches.get_flag("force") { Shrink::Force } else { Shrink::IfItFits };
    go(matches, estate, names, settings, shrink)
}

fn owned((key, value): (&str, &str)) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

/// Takes them away.
///
/// # Errors
/// As [`run`].
pub fn run_unset(matches: &ArgMatches, estate: &Estate) -> Result<i32> {
    let mut keys = arg::texts(matches, "words");
    let names = if matches.get_flag("all") || keys.is_empty() { vec![] } else { vec![keys.remove(0)] };
    let settings = keys.into_iter().map(|key| (key, "none".to_owned())).collect();
    go(matches, estate, names, settings, Shrink::IfItFits)
}

fn go(
    matches: &ArgMatches,
    estate: &Estate,
    names: Vec<String>,
    settings: Vec<(String, String)>,
    shrink: Shrink,
) -> Result<i32> {
    let names = targets::resolve(names, matches.get_flag("all"), estate)?;
    let lasting = if matches.get_flag("runtime") { Lasting::UntilStop } else { Lasting::Kept };
    let mode = if matches.get_flag("dry-run") { Mode::DryRun } else { Mode::Apply };
    let order = Order { settings, lasting, mode, shrink };
    let all = RefCell::new(vec![]);
    let result = targets::for_each(matches, estate, &names, "change", |name| {
        estate.tenant(name)?;
        let _lock = lock::take(&estate.folder(name), "set", estate.lock_wait)?;
        let changes = adjust::adjust(estate, name, &order)?;
        let waits = changes.iter().any(|change| change.state == "next-start");
        all.borrow_mut().extend(changes);
        match waits && matches.get_flag("restart") && mode == Mode::Apply {
            true => restart(estate, name),
            false => Ok(()),
        }
    });
    show(matches, &all.into_inner())?;
    result
}

fn restart(estate: &Estate, name: &Name) -> Result<()> {
    if look::status(estate, name)? != Status::Stopped {
        stop::gracefully(estate, name)?;
    }
    launch::start(estate, name).map(drop)
}

fn show(matches: &ArgMatches, changes: &[Change]) -> Result<()> {
    if matches.get_flag("json") {
        return print(table::versioned("changes", &changes)?).map(drop);
    }
    let dry = matches.get_flag("dry-run");
    let rows: Vec<Vec<String>> = changes.iter().map(|change| row(change, dry)).collect();
    if rows.is_empty() { Ok(()) } else { print(table::rows(&rows)).map(drop) }
}

fn row(change: &Change, dry: bool) -> Vec<String> {
    let arrow = format!("{} -> {}", adjust::shown(change.from.as_ref()), adjust::shown(change.to.as_ref()));
    let state = match (change.state, dry) {
        ("next-start", _) => "at its next start",
        ("applied", true) => "at once",
        ("saved", true) => "in its file",
        (state, _) => state,
    };
    vec![change.tenant.to_string(), change.key.to_owned(), arrow, state.to_owned()]
}
