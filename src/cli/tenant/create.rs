//! `isolate tenant create`: a tenant from a template. The runtime process, with the caller's privilege.

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::{provision, table, targets};
use crate::cli::{arg, print};
use crate::error::{Explain, Result};
use crate::tenant::birth::{self, Order, Runs};
use crate::tenant::estate::Estate;
use crate::tenant::keys::KEYS;
use crate::tenant::look;
use crate::tenant::name::Name;

const EXAMPLES: &str = "Examples:
  A system with an init, and limits:
    isolate tenant create web1 --template busybox --ram 64M --cpus 0.5 --tasks 200
  A system with systemd, from an image that names a command of its own:
    isolate tenant create sys1 --template debian --init --ram 256M
  One command, as a user of the template:
    isolate tenant create job1 --template debian --user nobody -- sleep 1h
  With words to find it by:
    isolate tenant create db1 --template debian --owner alice --tags db,prod --protect on";

/// The parser of `create`.
pub fn command() -> Command {
    Command::new("create")
        .about("Make a tenant from an imported template")
        .arg(targets::name())
        .arg(arg::value("template", "TEMPLATE", "The imported template").short('t').required(true))
        .args(KEYS.iter().map(|key| arg::value(key.name, key.value, key.help)))
        .args([
            arg::value("user", "USER", "Who runs the command: name, UID or UID:GID of the template")
                .short('u'),
            arg::value("workdir", "DIR", "The folder the command starts in").short('w'),
            arg::values("env", "NAME=VALUE", "A variable of the command; may be repeated")
                .short('e')
                .action(ArgAction::Append),
            arg::flag("init", "Run the template's init, whatever its image runs by default"),
            table::json_flag(),
        ])
        .args(provision::options())
        .arg(words())
        .after_help(EXAMPLES)
}

fn words() -> Arg {
    Arg::new("command")
        .value_name("COMMAND")
        .num_args(0..)
        .last(true)
        .help("What it runs instead of the template's init or command")
}

/// Makes it, and prints its name and ids.
///
/// # Errors
/// As [`birth::create`].
pub fn run(matches: &ArgMatches, estate: &Estate) -> Result<i32> {
    let name = targets::read_name(matches)?;
    let doing = || format!("cannot create tenant '{name}'");
    let template = Name::new(arg::text(matches, "template").unwrap_or_default()).doing(doing)?;
    let given = KEYS.iter().filter_map(|key| Some((key.name.to_owned(), arg::text(matches, key.name)?)));
    let order = Order {
        name: &name,
        template: &template,
        settings: given.collect(),
        command: arg::texts(matches, "command"),
        user: arg::text(matches, "user"),
        workdir: arg::text(matches, "workdir"),
        env: arg::texts(matches, "env"),
        runs: if matches.get_flag("init") { Runs::Init } else { Runs::Default },
        provision: provision::read(matches).doing(doing)?,
    };
    let tenant = birth::create(estate, &order).doing(doing)?;
    if matches.get_flag("json") {
        return print(table::versioned("tenant", &look::view(estate, &name)?)?);
    }
    let ids = tenant.config.first_id.map(|first| format!("  ids {first}+65536")).unwrap_or_default();
    print(format_args!("{name}  {}{ids}", look::mode_word(tenant.config.boot.mode)))
}
