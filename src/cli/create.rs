//! `isolate create`: makes a container that waits for `start`; and the options that `run` and `plan` share
//! with it. The runtime process, with the caller's privilege.

use std::path::Path;

use clap::{Arg, ArgMatches, Command, value_parser};

use super::arg::{self, flag, path, value};
use crate::container::{self, CreateOptions, Runtime};
use crate::error::Result;
use crate::ids::ContainerId;

/// The parser of `create`.
pub fn command() -> Command {
    Command::new("create")
        .about("Make a container from a bundle, ready to be started")
        .args(arguments())
        .arg(flag("no-subreaper", "Accepted as in crun: create leaves no process that could be one"))
        .arg(arg::id())
        .after_help(EXAMPLES)
}

const EXAMPLES: &str = "Examples:
  From a bundle (a folder with config.json and a root filesystem):
    isolate create --bundle /srv/web web1
    isolate start web1
  As an engine does it, with a terminal whose other end goes to a socket:
    isolate --log log.json --log-format json create --bundle /srv/web \\
        --pid-file web1.pid --console-socket /run/console.sock web1";

/// The options that say what to make and where its ends go.
pub fn arguments() -> [Arg; 8] {
    [
        path("bundle", "DIR", "The bundle's folder [default: the current one]").short('b'),
        path("config", "FILE", "The config, if it is not config.json in the bundle").short('f'),
        path("console-socket", "SOCKET", "Unix socket that gets the container's end of the terminal"),
        path("pidfd-socket", "SOCKET", "Unix socket that gets a pidfd of the container's first process"),
        path("pid-file", "FILE", "File that gets the pid of the container's first process"),
        flag("no-pivot", "Use chroot instead of pivot_root: for a root on the initial ramfs"),
        flag("no-new-keyring", "Stay in the caller's session keyring"),
        preserve_fds(),
    ]
}

/// `--preserve-fds`, that `exec` has too.
pub fn preserve_fds() -> Arg {
    let help = "Pass N descriptors more, after the three standard ones and those of LISTEN_FDS";
    value("preserve-fds", "N", help).value_parser(value_parser!(u32)).default_value("0")
}

/// Reads [`arguments`]. Relative paths count from the current folder, not from the bundle.
///
/// # Errors
/// When the current folder is needed and not known.
pub fn options(matches: &ArgMatches, id: ContainerId) -> Result<CreateOptions> {
    let bundle = arg::absolute(matches, "bundle")?;
    // As in crun, the plain name means the bundle's.
    let config = match arg::os_text(matches, "config").filter(|config| *config != "config.json") {
        Some(_) => arg::absolute(matches, "config")?,
        None => None,
    };
    Ok(CreateOptions {
        id,
        bundle: bundle.map_or_else(|| arg::make_absolute(Path::new(".")), Ok)?,
        config,
        console_socket: arg::absolute(matches, "console-socket")?,
        pidfd_socket: arg::absolute(matches, "pidfd-socket")?,
        pid_file: arg::absolute(matches, "pid-file")?,
        no_pivot: matches.get_flag("no-pivot"),
        no_new_keyring: matches.get_flag("no-new-keyring"),
        preserve_fds: matches.get_one("preserve-fds").copied().unwrap_or(0),
    })
}

/// Makes it.
///
/// # Errors
/// As [`container::create`].
pub fn run(matches: &ArgMatches, runtime: &Runtime) -> Result<i32> {
    container::create(runtime, &options(matches, arg::container_id(matches)?)?)?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::usage::{Parsed, parse};

    fn read(command: Command, args: &str) -> Result<CreateOptions> {
        match parse(command, args.split_whitespace().map(Into::into))? {
            Parsed::Matches(matches) => options(&matches, arg::container_id(&matches)?),
            Parsed::Help(_) => panic!("help"),
        }
    }

    #[test]
    fn what_conmon_and_containerd_send_is_understood() {
        let args =
            "--bundle /b --pid-file /p --no-pivot --no-new-keyring --console-socket /c --preserve-fds 2 id";
        let options = read(command(), args).unwrap();
        assert_eq!(options.bundle, Path::new("/b"));
        assert_eq!(options.pid_file.as_deref(), Some(Path::new("/p")));
        assert_eq!(options.console_socket.as_deref(), Some(Path::new("/c")));
        assert!(options.no_pivot && options.no_new_keyring);
        assert_eq!((options.preserve_fds, options.id.as_str()), (2, "id"));
    }

    #[test]
    fn options_may_follow_the_name_and_relative_paths_become_absolute() {
        let here = std::env::current_dir().unwrap();
        let options = read(command(), "id -f c.json -pid-file=p --no-subreaper").unwrap();
        assert_eq!((options.bundle, options.config), (here.clone(), Some(here.join("c.json"))));
        assert_eq!(options.pid_file, Some(here.join("p")));
        assert_eq!(read(command(), "-f config.json id").unwrap().config, None);
        assert_eq!(read(command(), "--pid-file= id").unwrap().pid_file, None);
    }

    #[test]
    fn wrong_usage_is_told_in_runcs_words() {
        for (args, text) in [
            ("", "\"create\" requires exactly 1 argument(s)"),
            ("a b", "\"create\" requires exactly 1 argument(s)"),
            ("--bad a", "flag provided but not defined: --bad"),
            ("-x a", "flag provided but not defined: -x"),
            ("a --bundle", "flag needs an argument: --bundle"),
            ("a --preserve-fds -1", "invalid value \"-1\" for flag --preserve-fds: "),
            (
                "a --preserve-fds x",
                "invalid value \"x\" for flag --preserve-fds: invalid digit found in string",
            ),
            ("a --no-pivot=x", "invalid boolean value \"x\" for flag --no-pivot"),
        ] {
            let error = read(command(), args).unwrap_err();
            assert_eq!(error.get_kind(), crate::error::Kind::Usage);
            assert!(error.to_string().starts_with(text), "{args}: {error}");
        }
        let error = read(command(), "../x").unwrap_err().to_string();
        assert!(error.starts_with("invalid container id \"../x\""), "{error}");
    }
}
