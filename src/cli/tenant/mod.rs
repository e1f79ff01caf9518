//! `isolate tenant`: private systems that last. One file a verb; this is their table. The runtime process, with the
//! caller's privilege.
//!
//! Only the parser of the verb that is typed is built, and none of this when another command is.

use std::ffi::OsString;
use std::time::Instant;

use clap::{ArgMatches, Command};

use super::usage::{self as words, Parsed};
use super::{help, print};
use crate::container::Runtime;
use crate::error::{Error, Kind, Result};
use crate::host::probe;
use crate::log;
use crate::tenant::audit::{self, Act, Who};
use crate::tenant::estate::Estate;
use crate::tenant::nearest::nearest;

mod carry;
mod clone;
mod config;
mod console;
mod create;
mod crew;
mod destroy;
mod doctor;
mod exec;
mod info;
mod launch;
mod list;
mod parcel;
mod pause;
mod pool;
mod provision;
mod rename;
mod restart;
mod run_script;
mod set;
mod snapshot;
mod start;
mod stop;
mod table;
mod targets;
mod template;
mod usage;
mod watched;

/// What is typed.
pub const NAME: &str = "tenant";

/// What may be typed instead.
pub const ALIAS: &str = "t";

/// Whether a verb changes something, and is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    Looks,
    Acts,
}

/// One verb, or with a group, one of the group's.
struct Verb {
    group: Option<&'static str>,
    name: &'static str,
    command: fn() -> Command,
    run: fn(&ArgMatches, &Estate) -> Result<i32>,
    effect: Effect,
}

impl Verb {
    /// Its parser, with what all have that wait for others.
    fn parser(&self) -> Command {
        let command = (self.command)();
        if self.effect == Effect::Acts { command.arg(targets::lock_timeout()) } else { command }
    }
}

macro_rules! verb {
    ($name:literal, $module:ident, $effect:ident) => {
        Verb {
            group: None,
            name: $name,
            command: $module::command,
            run: $module::run,
            effect: Effect::$effect,
        }
    };
    ($name:literal, $module:ident :: $command:ident, $run:ident, $effect:ident) => {
        Verb {
            group: None,
            name: $name,
            command: $module::$command,
            run: $module::$run,
            effect: Effect::$effect,
        }
    };
    ($group:ident $name:literal, $module:ident, $effect:ident) => {
        Verb {
            group: Some(stringify!($group)),
            name: $name,
            command: $group::$module::command,
            run: $group::$module::run,
            effect: Effect::$effect,
        }
    };
}

/// Every verb, in the order of the help.
const VERBS: &[Verb] = &[
    verb!(template "import", import, Acts),
    verb!(template "pull", pull, Acts),
    verb!(template "ls", ls, Looks),
    verb!(template "show", show, Looks),
    verb!(template "verify", verify, Looks),
    verb!(template "rm", rm, Acts),
    verb!(snapshot "create", create, Acts),
    verb!(snapshot "ls", ls, Looks),
    verb!(snapshot "diff", diff, Looks),
    verb!(snapshot "rollback", rollback, Acts),
    verb!(snapshot "rm", rm, Acts),
    verb!(snapshot "prune", prune, Acts),
    verb!("create", create, Acts),
    verb!("provision", provision, Acts),
    verb!("clone", clone, Acts),
    verb!("start", start, Acts),
    verb!("stop", stop, Acts),
    verb!("restart", restart, Acts),
    verb!("pause", pause::command, run, Acts),
    verb!("unpause", pause::unpause_command, run_unpause, Acts),
    verb!("export", parcel, Acts),
    verb!("import", parcel::import_command, run_import, Acts),
    verb!("verify", parcel::verify_command, run_verify, Looks),
    verb!("rename", rename, Acts),
    verb!("destroy", destroy, Acts),
    verb!("set", set, Acts),
    verb!("unset", set::unset_command, run_unset, Acts),
    verb!("list", list, Looks),
    verb!("pool", pool, Looks),
    verb!("doctor", doctor, Acts),
    verb!("info", info, Looks),
    verb!("config", config, Looks),
    verb!("limits", usage, Looks),
    verb!("stats", usage::stats_command, run_stats, Looks),
    verb!("top", usage::top_command, run_top, Looks),
    verb!("exec", exec::command, run, Acts),
    verb!("enter", exec::enter_command, run_enter, Acts),
    verb!("run-script", run_script, Acts),
    verb!("push", carry, Acts),
    verb!("pull", carry::pull_command, run_pull, Acts),
    verb!("console", console, Acts),
    verb!("launch", launch, Looks),
];

/// Groups of verbs, with a line on each.
const GROUPS: &[(&str, &str)] = &[
    ("template", "Roots that tenants share: import, pull, list, verify and remove them"),
    ("snapshot", "Disk and settings of a tenant as they were: take, list, compare, go back"),
];

const ABOUT: &str = "Private systems that last: make, start, limit and remove them";

const LONG: &str = "\
A tenant is a private system of its own: users, processes, network, host name and files, made from a template in
milliseconds and kept until it is destroyed. It runs an init with its services, such as systemd or busybox init,
or one command. It works as root, and for an ordinary user where unprivileged user namespaces are allowed.

The way goes: import a template, create a tenant from it, start it, run programs in it, stop and destroy it.
Everything is files: settings in DATA/tenants/NAME/tenant.toml, one JSON line in DATA/audit.jsonl for each act; DATA
is /var/lib/isolate, an ordinary user's $XDG_DATA_HOME/isolate, or $ISOLATE_DATA. There is no daemon.

Exit codes: 9 somebody else works on the tenant, 14 no such tenant, 20 no such option, 21 a value that makes no sense,
31 it is not running, 32 it is running, 43 and 44 the template's or tenant's name is taken, 46 no room, 91 no such
template, 105 it is protected, 124 not ready in time, 1 any other failure. exec exits with the program's own code.";

const EXAMPLES: &str = "\
Examples:
    isolate tenant template import --as busybox busybox
    isolate tenant create web1 --template busybox --ram 64M --cpus 0.5
    isolate tenant start web1
    isolate tenant exec web1 -- ps
    isolate tenant list
    isolate tenant stop web1
    isolate tenant destroy --yes web1
  Say more about one verb:
    isolate tenant create --help";

/// The whole of it as one tree, for help, man pages and completions.
pub fn command() -> Command {
    let groups = GROUPS.iter().map(|(group, about)| {
        let verbs = VERBS.iter().filter(move |verb| verb.group == Some(group)).map(Verb::parser);
        Command::new(*group)
            .about(*about)
            .after_help(group_examples(group))
            .subcommand_required(true)
            .subcommands(verbs)
    });
    let verbs = VERBS.iter().filter(|verb| verb.group.is_none()).map(Verb::parser);
    Command::new(NAME)
        .visible_alias(ALIAS)
        .about(ABOUT)
        .long_about(LONG)
        .after_help(EXAMPLES)
        .disable_help_subcommand(true)
        .subcommands(groups.map(|group| group.disable_help_subcommand(true)))
        .subcommands(verbs)
}

/// One example from each verb of the group.
fn group_examples(group: &str) -> String {
    let examples = VERBS.iter().filter(|verb| verb.group == Some(group)).filter_map(|verb| {
        let text = (verb.command)().get_after_help().map(ToString::to_string)?;
        text.lines().find(|line| line.trim_start().starts_with("isolate ")).map(str::to_owned)
    });
    std::iter::once("Examples:".to_owned()).chain(examples).collect::<Vec<_>>().join("\n")
}

/// Never called: [`dispatch`] goes first, since only one verb's parser is wanted.
///
/// # Errors
/// Always.
pub fn run(_matches: &ArgMatches, _runtime: &Runtime) -> Result<i32> {
    Err(Error::new("a verb is missing").kind(Kind::Usage))
}

/// Finds the verb, reads its arguments, does it, writes it down.
///
/// # Errors
/// As the verb; exit code 20 for wrong usage.
pub fn dispatch(args: impl Iterator<Item = OsString>, runtime: &Runtime) -> Result<i32> {
    let args: Vec<OsString> = args.collect();
    let word = |index: usize| args.get(index).and_then(|word| word.to_str()).unwrap_or_default();
    let is_help = |word: &str| matches!(word, "" | "help" | "-h" | "--help" | "-help");
    if is_help(word(0)) {
        return print_help(&[]);
    }
    let group = GROUPS.iter().map(|(group, _)| *group).find(|group| *group == word(0));
    let (name, rest) = if group.is_some() { (word(1), 2) } else { (word(0), 1) };
    if group.is_some() && is_help(name) {
        return print_help(&[word(0)]);
    }
    let verb = VERBS.iter().find(|verb| verb.group == group && verb.name == name);
    let verb = verb.ok_or_else(|| unknown(group, name))?;
    let full = [group, Some(verb.name)].into_iter().flatten().collect::<Vec<_>>().join(" ");
    let command = verb.parser().bin_name(format!("isolate {NAME} {full}"));
    let rest = args.get(rest..).unwrap_or_default();
    match words::parse(command, rest.iter().cloned()).map_err(|error| error.code(20))? {
        Parsed::Help(text) => print(text.trim_end()),
        Parsed::Matches(matches) => carry_out(verb, &full, &matches, rest, runtime),
    }
}

fn print_help(path: &[&str]) -> Result<i32> {
    let mut tree = command().bin_name(format!("isolate {NAME}"));
    tree.build();
    let found = path.iter().try_fold(&mut tree, |command, name| command.find_subcommand_mut(name));
    match found {
        Some(command) => print(command.render_long_help().to_string().trim_end()),
        None => Err(help::unknown(&path.join(" "))),
    }
}

fn unknown(group: Option<&str>, name: &str) -> Error {
    let known: Vec<&str> = VERBS
        .iter()
        .filter(|verb| verb.group == group && verb.name != crate::tenant::launch::VERB)
        .map(|verb| verb.name)
        .chain(GROUPS.iter().map(|(name, _)| *name).filter(|_| group.is_none()))
        .collect();
    let of = group.map(|group| format!("{group} ")).unwrap_or_default();
    let hint = match nearest(name, &known) {
        Some(near) => format!("did you mean 'isolate tenant {of}{near}'?"),
        None => format!("there are {}", known.join(", ")),
    };
    Error::new(format!("'isolate tenant {of}{}' is no command", name.escape_debug()))
        .kind(Kind::Usage)
        .hint(hint)
        .code(20)
}

fn carry_out(
    verb: &Verb,
    full: &str,
    matches: &ArgMatches,
    words: &[OsString],
    runtime: &Runtime,
) -> Result<i32> {
    let mut estate = Estate::open(runtime, probe::probe()?)?;
    if verb.effect == Effect::Acts {
        estate.lock_wait = targets::read_lock_timeout(matches);
    }
    let (who, since) = (Who::probe(), Instant::now());
    let words = match verb.name {
        // What follows the name is the program's, and may be secret.
        "exec" => exec::recorded(matches),
        "run-script" => run_script::recorded(matches),
        _ => words.iter().map(|word| word.to_string_lossy().into_owned()).collect(),
    };
    // Told apart by their codes: an option that is none, and a value that makes no sense.
    let result = (verb.run)(matches, &estate).map_err(|error| match error.get_kind() {
        Kind::Usage => error.code(21),
        _ => error,
    });
    if verb.effect == Effect::Acts && estate.audit_log().parent().is_some_and(|folder| folder.is_dir()) {
        let told = result.as_ref().map(|code| *code);
        if let Err(error) =
            audit::record(&estate.audit_log(), &who, &Act::new(full, &words, told, since.elapsed()))
        {
            log::warning(error.doing("this act is not in the audit log"));
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn every_verb_has_a_description_and_an_example_under_its_own_name() {
        for verb in VERBS.iter().filter(|verb| verb.name != crate::tenant::launch::VERB) {
            let command = (verb.command)();
            let full = [verb.group, Some(verb.name)].into_iter().flatten().collect::<Vec<_>>().join(" ");
            let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert_eq!(command.get_name(), verb.name);
            assert!(
                command.get_about().is_some() && after.contains(&format!("    isolate tenant {full}")),
                "{full}"
            );
        }
    }

    #[test]
    fn an_unknown_verb_is_told_with_the_nearest() {
        let error = unknown(None, "crate");
        assert_eq!(error.get_code(), Some(20));
        assert!(error.to_string().ends_with("did you mean 'isolate tenant create'?"), "{error}");
        assert!(unknown(Some("template"), "remove").to_string().contains("there are import, pull"));
    }
}
