//! The options before the command: where state lies, how and where to log, who manages cgroups. The
//! runtime process reads them with the caller's privilege; nothing is made here but the log file.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use clap::{Arg, ArgMatches, Command};

use super::arg::{self, flag, path, value};
use super::argv::{self, Options};
use super::usage::{self, Parsed};
use crate::container::{CgroupManager, Runtime};
use crate::error::{Call, Error, Kind, Result};
use crate::ids::RootPath;
use crate::log::daemon::{Daemon, Protocol};
use crate::log::{self, Destination};

/// What stands before the command.
#[derive(Debug)]
pub struct Global {
    /// What commands need of it, or what is wrong with it: told once the log is there.
    pub runtime: Result<Runtime>,
    /// How to log.
    pub log: log::Settings,
    /// Whether `--criu` was given, which has no effect.
    pub criu: bool,
    /// What was asked for instead of a command.
    pub asked: Option<Asked>,
    /// The command and its arguments; empty when there is none.
    pub rest: Vec<OsString>,
}

/// What can be asked for instead of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// `--help`, or no command at all.
    Help,
    /// `--version`.
    Version,
}

/// The options, for the parser, the help and the man page alike.
pub fn arguments() -> [Arg; 12] {
    [
        path(
            "root",
            "DIR",
            "Folder of containers' states [default: /run/isolate; not as root: $XDG_RUNTIME_DIR/isolate]",
        ),
        value(
            "log",
            "FILE",
            "Append warnings and the error to FILE, not to standard error alone; or send them to journald:NAME or syslog:NAME",
        ),
        value("log-format", "FORMAT", "Format of the log: text or json [default: text]"),
        value(
            "log-level",
            "LEVEL",
            "Log what is at least as grave: error, warning or debug [default: warning]",
        ),
        flag("debug", "The same as --log-level debug"),
        flag("systemd-cgroup", "The same as --cgroup-manager systemd"),
        value(
            "cgroup-manager",
            "MANAGER",
            "Who makes cgroups: cgroupfs, systemd or disabled [default: cgroupfs]",
        ),
        value(
            "rootless",
            "WHETHER",
            "Go on without cgroups that may not be made: true, false or auto [default: auto]",
        ),
        value("criu", "PATH", "Accepted for callers of old, without effect").hide(true),
        flag("version", "Print the version").short('v').visible_short_alias('V'),
        flag("help", "Print help").short('h').short_alias('?'),
        flag("usage", "The same as --help").hide(true),
    ]
}

/// Reads everything before the command from `args` (without the program's name).
///
/// # Errors
/// [`Kind::Usage`] for an option that is unknown or has a bad value; or the log cannot be opened.
pub fn read(args: impl IntoIterator<Item = OsString>) -> Result<Global> {
    let mut command = usage::ready(parser());
    let line = argv::spell(&command, Options::First, args)?;
    match usage::parse_spelled(&mut command, line.options)? {
        Parsed::Matches(matches) => from_matches(&matches, line.rest),
        // Not met: our own `--help` stands in for clap's, since the help is the whole tree's.
        Parsed::Help(text) => Err(Error::new(text)),
    }
}

fn parser() -> Command {
    let command = Command::new("isolate").override_usage("isolate [OPTIONS] COMMAND [ARGUMENTS]...");
    command.disable_help_flag(true).disable_version_flag(true).args(arguments())
}

fn from_matches(matches: &ArgMatches, rest: Vec<OsString>) -> Result<Global> {
    let version = matches.get_flag("version").then_some(Asked::Version);
    let help = matches.get_flag("help") || matches.get_flag("usage") || rest.is_empty();
    let asked = version.or(help.then_some(Asked::Help));
    let criu = matches.contains_id("criu");
    Ok(Global { runtime: runtime(matches), log: log_settings(matches)?, criu, asked, rest })
}

fn runtime(matches: &ArgMatches) -> Result<Runtime> {
    let root = root(matches)?;
    Ok(Runtime {
        is_default_root: !matches.contains_id("root") || root == default_root(&Caller::probe()),
        root,
        cgroup_manager: cgroup_manager(matches)?,
        rootless: rootless(arg::text(matches, "rootless").as_deref())?,
    })
}

/// `--root`, absolute, or the default.
fn root(matches: &ArgMatches) -> Result<PathBuf> {
    if !matches.contains_id("root") {
        return Ok(default_root(&Caller::probe()));
    }
    let refuse = |why: &str| Err(Error::new(format!("option --root {why}")).kind(Kind::Usage));
    let Some(absolute) = arg::absolute(matches, "root")? else { return refuse("needs a folder") };
    let real = absolute.canonicalize().unwrap_or_else(|_| absolute.clone());
    if RootPath::new(real).as_path() == Path::new("/") {
        return refuse("must not be /");
    }
    Ok(absolute)
}

/// What decides the default of `--root`.
#[derive(Debug, Default)]
struct Caller {
    effective_uid: u32,
    initial_user_namespace: bool,
    user: Option<OsString>,
    xdg_runtime_dir: Option<OsString>,
}

impl Caller {
    fn probe() -> Caller {
        // KERNEL(3.8): the initial user namespace has a fixed inode, `USER_NS_INIT_INO` of linux/nsfs.h.
        const USER_NS_INIT_INO: u64 = 0xEFFF_FFFD;
        let namespace = std::fs::metadata("/proc/self/ns/user").map(|file| file.ino());
        Caller {
            effective_uid: nix::unistd::geteuid().as_raw(),
            initial_user_namespace: namespace.map_or(true, |inode| inode == USER_NS_INIT_INO),
            user: std::env::var_os("USER"),
            xdg_runtime_dir: std::env::var_os("XDG_RUNTIME_DIR"),
        }
    }
}

/// `/run/isolate` for root, `$XDG_RUNTIME_DIR/isolate` for others, or `/tmp/isolate-UID` (refused if it is
/// not theirs) without that variable. As in runc, uid 0 of an inner user namespace counts as "others" unless
/// `USER` is root: rootless engines run us in one.
fn default_root(caller: &Caller) -> PathBuf {
    let inner_root = !caller.initial_user_namespace && caller.user.as_deref() != Some("root".as_ref());
    let rootless = caller.effective_uid != 0 || inner_root;
    match &caller.xdg_runtime_dir {
        Some(dir) if rootless && Path::new(dir).is_absolute() => Path::new(dir).join("isolate"),
        _ if caller.effective_uid != 0 => PathBuf::from(format!("/tmp/isolate-{}", caller.effective_uid)),
        _ => PathBuf::from("/run/isolate"),
    }
}

fn cgroup_manager(matches: &ArgMatches) -> Result<CgroupManager> {
    match arg::text(matches, "cgroup-manager").as_deref() {
        None if matches.get_flag("systemd-cgroup") => Ok(CgroupManager::Systemd),
        None | Some("cgroupfs") => Ok(CgroupManager::Cgroupfs),
        Some("systemd") => Ok(CgroupManager::Systemd),
        Some("disabled") => Ok(CgroupManager::Disabled),
        Some(other) => Err(invalid("cgroup-manager", other, "cgroupfs, systemd or disabled")),
    }
}

fn rootless(value: Option<&str>) -> Result<Option<bool>> {
    match value {
        None | Some("" | "auto") => Ok(None),
        Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(Some(true)),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(Some(false)),
        Some(other) => Err(invalid("rootless", other, "true, false or auto")),
    }
}

fn log_settings(matches: &ArgMatches) -> Result<log::Settings> {
    let level = match arg::text(matches, "log-level").as_deref() {
        _ if matches.get_flag("debug") => log::Level::Debug,
        None | Some("warning" | "warn") => log::Level::Warning,
        Some("error") => log::Level::Error,
        Some("debug") => log::Level::Debug,
        Some(other) => return Err(invalid("log-level", other, "error, warning or debug")),
    };
    let format = match arg::text(matches, "log-format").as_deref() {
        None | Some("" | "text") => log::Format::Text,
        Some("json") => log::Format::Json,
        Some(other) => return Err(invalid("log-format", other, "text or json")),
    };
    let to = arg::text(matches, "log").filter(|log| !log.is_empty());
    let to = to.map(|log| open_log(&log)).transpose().map_err(|error| error.doing("cannot open the log"))?;
    Ok(log::Settings { level, format, to: to.unwrap_or_default() })
}

/// A plain path, or crun's `file:PATH`, `journald:IDENTIFIER` and `syslog:IDENTIFIER`.
fn open_log(log: &str) -> Result<Destination> {
    match log.split_once(':') {
        Some(("journald", identifier)) => connect(Protocol::Journal, identifier),
        Some(("syslog", identifier)) => connect(Protocol::Syslog, identifier),
        Some(("file", path)) => open_file(path),
        _ => open_file(log),
    }
}

/// For appending: records of concurrent runtimes do not mix then.
fn open_file(path: &str) -> Result<Destination> {
    let opened = OpenOptions::new().append(true).create(true).mode(0o644).open(path);
    opened.call(|| format!("open({path:?})")).map(Destination::File)
}

fn connect(protocol: Protocol, identifier: &str) -> Result<Destination> {
    let socket = protocol.socket();
    let connected = Daemon::connect(protocol, socket, identifier).call(|| format!("connect({socket:?})"));
    connected.map(Destination::Daemon).map_err(|error| error.because("no log daemon listens there"))
}

fn invalid(option: &str, value: &str, valid: &str) -> Error {
    Error::new(format!("invalid {option}: {value:?}")).kind(Kind::Usage).hint(format!("use {valid}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(args: &str) -> Result<Global> {
        read(args.split_whitespace().map(OsString::from))
    }

    #[test]
    fn every_global_option_is_read_in_both_spellings() {
        let equals =
            "--root=/r --log-format=json --log-level=debug --cgroup-manager=disabled --rootless=true state x";
        for args in [equals.to_owned(), equals.replace('=', " "), equals.replace("--", "-")] {
            let global = read_text(&args).unwrap();
            let runtime = global.runtime.unwrap();
            assert_eq!(runtime.root, Path::new("/r"));
            assert_eq!(runtime.cgroup_manager, CgroupManager::Disabled);
            assert_eq!(runtime.rootless, Some(true));
            assert_eq!((global.log.format, global.log.level), (log::Format::Json, log::Level::Debug));
            assert_eq!((global.rest, global.asked), (vec!["state".into(), "x".into()], None));
        }
    }

    #[test]
    fn systemd_cgroup_is_a_flag_and_the_named_manager_wins() {
        let manager = |args| read_text(args).unwrap().runtime.unwrap().cgroup_manager;
        assert_eq!(manager("--systemd-cgroup list"), CgroupManager::Systemd);
        assert_eq!(manager("--systemd-cgroup --cgroup-manager disabled list"), CgroupManager::Disabled);
        assert_eq!(manager("list --systemd-cgroup"), CgroupManager::Cgroupfs);
    }

    #[test]
    fn help_and_version_are_asked_for_before_the_command_only() {
        let asked = |args| read_text(args).unwrap().asked;
        for args in ["-v", "-V", "--version", "-version", "--version list"] {
            assert_eq!(asked(args), Some(Asked::Version), "{args}");
        }
        for args in ["", "-h", "--help", "-help", "--debug"] {
            assert_eq!(asked(args), Some(Asked::Help), "{args}");
        }
        assert_eq!(asked("create --help"), None);
    }

    #[test]
    fn bad_values_and_unknown_options_are_usage_errors() {
        for (args, text) in [
            ("--rootless=maybe list", "invalid rootless: \"maybe\"\n  hint: use true, false or auto"),
            ("--log-format xx list", "invalid log-format: \"xx\"\n  hint: use text or json"),
            ("--root / list", "option --root must not be /"),
            ("--root /usr/.. list", "option --root must not be /"),
            ("--root= list", "option --root needs a folder"),
        ] {
            let error = read_text(args).and_then(|global| global.runtime).unwrap_err();
            assert_eq!((error.to_string().as_str(), error.get_kind()), (text, Kind::Usage));
        }
        let error = read_text("--bad list").unwrap_err().to_string();
        assert!(error.starts_with("flag provided but not defined: --bad\n"), "{error}");
        let error = read_text("--root").unwrap_err().to_string();
        assert!(error.starts_with("flag needs an argument: --root\n"), "{error}");
    }

    #[test]
    fn the_default_root_is_the_callers_own() {
        let run_user = || Some(OsString::from("/run/user/7"));
        let root = Caller { initial_user_namespace: true, xdg_runtime_dir: run_user(), ..Caller::default() };
        assert_eq!(default_root(&root), Path::new("/run/isolate"));
        let user = Caller { effective_uid: 7, ..root };
        assert_eq!(default_root(&user), Path::new("/run/user/7/isolate"));
        let inner = Caller { xdg_runtime_dir: run_user(), ..Caller::default() };
        assert_eq!(default_root(&inner), Path::new("/run/user/7/isolate"));
        let inner_root = Caller { user: Some("root".into()), ..inner };
        assert_eq!(default_root(&inner_root), Path::new("/run/isolate"));
        assert_eq!(
            default_root(&Caller { effective_uid: 7, ..Caller::default() }),
            Path::new("/tmp/isolate-7")
        );
    }

    #[test]
    fn the_log_is_appended_to() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::fs::write(&path, "before\n").unwrap();
        let opened = open_log(&format!("file:{}", path.display())).unwrap();
        let Destination::File(mut opened) = opened else { panic!("{opened:?}") };
        std::io::Write::write_all(&mut opened, b"after\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "before\nafter\n");
        let error = open_log("/proc/none/log").unwrap_err();
        assert_eq!(error.to_string(), "open(\"/proc/none/log\"): ENOENT");
    }
}
