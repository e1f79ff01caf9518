//! `isolate try`: a disposable private system, made, run and removed. The runtime process, with the caller's
//! privilege.

use std::io::IsTerminal;

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::progress::Progress;
use crate::container::{self, CreateOptions, RunOptions, Runtime};
use crate::error::{Error, Explain, Kind, Result};
use crate::host::probe;
use crate::ids::{ContainerId, RootPath};
use crate::log;
use crate::tenant::interrupt::Interrupt;
use crate::tenant::prepare::{self, Request};
use crate::tenant::settings::{self, Access, Settings};
use crate::tenant::spec::Terminal;
use crate::tenant::workspace::Workspace;
use crate::tenant::{remove, source, template};

const ABOUT: &str = "Run a command in a disposable private system";

const LONG: &str = "\
Run a command (or a shell) in a disposable private system, and leave nothing behind.

The system has users, processes, network, host name and files of its own. By default it is made of the
host's own programs (/usr, read-only) with private /etc /var /tmp /home /root /run /srv /opt; other templates
are listed by --list. It works as root, and as an ordinary user where unprivileged user namespaces are allowed.

Limits: 512M of memory and 1024 processes unless said otherwise, no limit on CPU time and on disk space (--disk). A limit asked for that
cannot be applied is an error; a default one that cannot be applied is a warning.

A folder shown with -v keeps its owners. For root's systems these are nobody inside, so only what everybody
may write is written; with :idmap root inside is root of that folder (and files it makes there are root's).

The exit code is the command's, or 128 and the number of the signal that ended it.";

const EXAMPLES: &str = "\
Examples:
    isolate try                                     a shell on the host's programs
    isolate try --memory 256M --cpus 0.5 --pids 64 -- make -j8
    isolate try --disk 400M -- sh -c 'head -c 1G /dev/zero > /root/big; df -h /'
    isolate try --net host -- curl https://example.org
    isolate try -v /home/me/src:/src:ro --workdir /src -- ./configure
    isolate try --template busybox
    isolate try --template alpine:alpine-minirootfs-3.22.0-x86_64.tar.gz -- /bin/sh
    isolate try --template oci:/srv/images/web:latest --user 1000
    isolate try --list";

/// The command, its options and its help.
pub fn command() -> Command {
    Command::new("try")
        .about(ABOUT)
        .long_about(LONG)
        .after_help(EXAMPLES)
        .args(limit_options())
        .args(system_options())
        .args(other_options())
        .arg(
            Arg::new("command")
                .value_name("COMMAND")
                .num_args(0..)
                .trailing_var_arg(true)
                .allow_hyphen_values(true)
                .help("The command and its arguments; default: a shell"),
        )
}

fn option(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value).help(help)
}

fn flag(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
}

fn limit_options() -> [Arg; 4] {
    [
        option("memory", "SIZE", "Memory limit with a unit (256M, 1G), or none; default 512M").short('m'),
        option("cpus", "N", "CPU time in CPUs (0.5, 2), or none; default none").short('c'),
        option("pids", "N", "Limit on processes and threads, or none; default 1024").short('p'),
        option(
            "disk",
            "SIZE",
            "A disk of its own of that size (400M), as root; default: a folder of the host, without limit",
        ),
    ]
}

fn system_options() -> [Arg; 9] {
    [
        option(
            "template",
            "TEMPLATE",
            "host, busybox, debian, alpine, NAME:PATH, oci:PATH[:TAG], tar:PATH, dir:PATH",
        )
        .short('t')
        .default_value("host"),
        option("net", "none|host", "Network: none (loopback only) or host").default_value("none"),
        option("hostname", "NAME", "Host name inside; default: the system's own name (try-N)"),
        option("env", "NAME=VALUE", "Set a variable; may be repeated").short('e').action(ArgAction::Append),
        option("user", "USER", "Run as this user of the template: name, UID or UID:GID; default root")
            .short('u'),
        option("workdir", "PATH", "Start in this folder; default: the user's home").short('w'),
        option("bind", "SRC:DST[:ro,idmap]", "Show a folder or file of the host; may be repeated")
            .short('v')
            .action(ArgAction::Append),
        flag("read-only", "Mount the whole root read-only"),
        flag("no-tty", "Give the command no terminal, even if standard input is one"),
    ]
}

fn other_options() -> [Arg; 4] {
    [
        flag("list", "List the templates, what each needs, and whether it is ready here"),
        option("format", "table|json", "Format of --list")
            .value_parser(["table", "json"])
            .default_value("table"),
        flag("json", "The same as --format json"),
        Arg::new(remove::WORKER)
            .long(remove::WORKER)
            .hide(true)
            .value_parser(clap::value_parser!(std::path::PathBuf)),
    ]
}

/// Makes the system, runs the command in it, removes everything; the command's exit code.
///
/// # Errors
/// A wrong option, a template that cannot be had here, or what the lifecycle says; nothing is left then.
pub fn run(matches: &ArgMatches, runtime: &Runtime) -> Result<i32> {
    if let Some(path) = matches.get_one::<std::path::PathBuf>(remove::WORKER) {
        return remove::work(path).map(|()| 0);
    }
    let text = |name: &str| matches.get_one::<String>(name).map(String::as_str);
    if matches.get_flag("list") || text("template") == Some("list") {
        let json = matches.get_flag("json") || text("format") == Some("json");
        return list(if json { Format::Json } else { Format::Table });
    }
    let settings = read_settings(matches)?;
    let (template, source) = prepare::find_template(text("template").unwrap_or("host"))?;
    let terminal = match std::io::stdin().is_terminal() && !matches.get_flag("no-tty") {
        true => Terminal::New,
        false => Terminal::None,
    };
    let request = Request {
        settings: &settings,
        template: &template,
        source: source.as_ref(),
        host: &probe::probe()?,
        runtime,
        terminal,
    };
    live(&request).doing(|| "cannot try")
}

/// The life of the system.
fn live(request: &Request<'_>) -> Result<i32> {
    let interrupt = Interrupt::hold()?;
    let end = |id: &ContainerId| container::delete(request.runtime, id, true);
    let mut workspace = Workspace::claim(request.host, &end)?;
    if let Err(error) = fill(request, &mut workspace, &interrupt) {
        drop(workspace);
        // A child that was interrupted with us fails first.
        let _ = interrupt.check();
        return interrupt.exit_code().ok_or(error);
    }
    let options = create_options(&workspace);
    // From here on the lifecycle forwards signals to the command.
    drop(interrupt);
    let code = container::run(request.runtime, &options, RunOptions::default());
    let _held = Interrupt::hold()?;
    match (code, workspace.remove()) {
        (Ok(code), Ok(())) => Ok(code),
        (Err(error), Err(removal)) => {
            log::warning(removal);
            Err(error)
        }
        (Err(error), Ok(())) | (Ok(_), Err(error)) => Err(error),
    }
}

fn fill(request: &Request<'_>, workspace: &mut Workspace, interrupt: &Interrupt) -> Result<()> {
    let mut progress = Progress::new("preparing the root");
    let mut watch = |what: &str, bytes: u64| {
        progress.show(what, bytes);
        interrupt.check()
    };
    let warnings = prepare::prepare(request, workspace, &mut watch);
    progress.clear();
    warnings?.into_iter().for_each(log::warning);
    interrupt.check()
}

fn create_options(workspace: &Workspace) -> CreateOptions {
    CreateOptions {
        id: workspace.id().clone(),
        bundle: workspace.path().to_owned(),
        config: None,
        console_socket: None,
        pidfd_socket: None,
        pid_file: None,
        no_pivot: false,
        no_new_keyring: false,
        preserve_fds: 0,
    }
}

fn read_settings(matches: &ArgMatches) -> Result<Settings> {
    let text = |name: &str| matches.get_one::<String>(name).map(String::as_str);
    let all = |name: &str| matches.get_many::<String>(name).into_iter().flatten();
    let limit = |name: &str| text(name).map_or(Ok(settings::Limit::Default), settings::parse_pids);
    Ok(Settings {
        memory: text("memory").map_or(Ok(settings::Limit::Default), settings::parse_memory)?,
        cpus: text("cpus").map_or(Ok(settings::Limit::Default), settings::parse_cpus)?,
        pids: limit("pids")?,
        disk: text("disk").map(settings::parse_disk).transpose()?,
        net: settings::parse_net(text("net").unwrap_or("none"))?,
        hostname: text("hostname").map(settings::parse_hostname).transpose()?,
        env: all("env").map(|variable| settings::parse_env(variable)).collect::<Result<_>>()?,
        user: text("user").map(settings::parse_user).transpose()?,
        workdir: text("workdir").map(read_workdir).transpose()?,
        binds: all("bind").map(|bind| settings::parse_bind(bind)).collect::<Result<_>>()?,
        command: all("command").cloned().collect(),
        root: matches.get_flag("read-only").then_some(Access::ReadOnly),
    })
}

fn read_workdir(path: &str) -> Result<RootPath> {
    match path.starts_with('/') && !path.contains('\0') {
        true => Ok(RootPath::new(path)),
        false => Err(Error::new(format!("invalid folder {path:?}: it must be absolute")).kind(Kind::Usage)),
    }
}

/// How `--list` prints.
enum Format {
    Table,
    Json,
}

fn list(format: Format) -> Result<i32> {
    let templates = template::embedded()?;
    let lacks: Vec<Option<String>> = templates
        .iter()
        .map(|template| source::missing(template, |program| source::find_program(program).is_some()))
        .collect();
    let rows = templates.iter().zip(&lacks);
    match format {
        Format::Json => {
            let rows: Vec<_> = rows
                .map(|(template, lacks)| {
                    let (name, about) = (&template.name, &template.about);
                    serde_json::json!({"name": name, "about": about, "ready": lacks.is_none(), "missing": lacks})
                })
                .collect();
            print(&format!("{:#}\n", serde_json::Value::Array(rows)))
        }
        Format::Table => {
            let mut table = comfy_table::Table::new();
            table.load_style(comfy_table::presets::NOTHING).set_header(["TEMPLATE", "READY", "ABOUT"]);
            for (template, lacks) in rows {
                let about = lacks
                    .as_ref()
                    .map_or(template.about.clone(), |lacks| format!("{}\n{lacks}", template.about));
                table.add_row([
                    template.name.as_str(),
                    if lacks.is_none() { "yes" } else { "no" },
                    about.as_str(),
                ]);
            }
            let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
            print(&format!(
                "{}\n\nAlso: oci:PATH[:TAG], tar:PATH, dir:PATH, or a path with a / in it.\n",
                lines.join("\n")
            ))
        }
    }
}

/// Prints; a reader that has gone (`| head`) is no failure.
fn print(text: &str) -> Result<i32> {
    use std::io::Write;
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::io("write(stdout)", &error))
        }
        _ => Ok(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> Result<Settings> {
        let matches = command().try_get_matches_from([&["try"], arguments].concat());
        read_settings(&matches.map_err(|error| Error::new(error.to_string()))?)
    }

    #[test]
    fn the_command_is_well_formed() {
        command().debug_assert();
    }

    #[test]
    fn what_follows_the_dashes_is_the_commands_own() {
        let settings = parsed(&["--memory", "256M", "-v", "/a:/b", "--", "ls", "--memory", "-l"]).unwrap();
        assert_eq!(settings.command, ["ls", "--memory", "-l"]);
        assert_eq!(settings.memory, settings::Limit::Asked(256 << 20));
        assert_eq!(parsed(&["ls", "-l"]).unwrap().command, ["ls", "-l"]);
    }

    #[test]
    fn options_with_nonsense_are_refused() {
        for bad in [
            ["--memory", "256"],
            ["--cpus", "none at all"],
            ["--pids", "0"],
            ["--disk", "400"],
            ["--disk", "1M"],
            ["--net", "bridge"],
            ["--workdir", "tmp"],
            ["--env", "=x"],
            ["--user", ""],
        ] {
            assert!(parsed(&bad).is_err(), "{bad:?}");
        }
    }
}
