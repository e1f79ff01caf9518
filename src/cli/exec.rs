//! `isolate exec`: runs another program in a running container. The runtime process, with the caller's
//! privilege. What follows the container's name is the program's, never ours.

use clap::{Arg, ArgMatches, Command};

use super::arg::{self, flag, path, value, values};
use super::create;
use crate::container::{self, ExecOptions, Runtime};
use crate::error::{Error, Result};

/// The parser of `exec`.
pub fn command() -> Command {
    Command::new("exec")
        .about("Run another program in a running container")
        .args([
            path("process", "FILE", "Take everything about the program from an OCI process object")
                .short('p'),
            value("cwd", "DIR", "Its working folder, in the container"),
            values("env", "NAME=VALUE", "Add a variable to its environment (may be repeated)").short('e'),
            flag("tty", "Give it a terminal").short('t'),
            value("user", "UID[:GID]", "Its user and group, as numbers").short('u'),
            values("additional-gids", "GID", "Add a group (may be repeated)").short('g'),
            values("cap", "CAP", "Add a capability (may be repeated)").short('c'),
            flag("no-new-privs", "Let it never gain privileges, by setuid for example"),
            value("process-label", "LABEL", "Its SELinux label"),
            value("apparmor", "PROFILE", "Its AppArmor profile"),
            values("cgroup", "[CONTROLLER[,...]:]PATH", "Put it into this cgroup below the container's"),
            flag("detach", "Return once it runs").short('d'),
            path("console-socket", "SOCKET", "Unix socket that gets the other end of its terminal"),
            path("pidfd-socket", "SOCKET", "Unix socket that gets a pidfd of it"),
            path("pid-file", "FILE", "File that gets its pid"),
            create::preserve_fds(),
            flag("ignore-paused", "Do it although the container is paused"),
            flag("no-subreaper", "Do not become the parent of descendants that lose theirs"),
        ])
        .arg(arg::id())
        .arg(program())
        .after_help(EXAMPLES)
}

fn program() -> Arg {
    let help = "The program and its arguments, unless --process gives them";
    Arg::new("args")
        .value_name("COMMAND")
        .num_args(0..)
        .trailing_var_arg(true)
        .allow_hyphen_values(true)
        .help(help)
}

const EXAMPLES: &str = "Examples:
  A program with options of its own; the exit code is the program's:
    isolate exec web1 ls -l /
  A shell on a terminal, as another user:
    isolate exec --tty --user 1000:1000 web1 sh
  In the background, with its pid in a file:
    isolate exec --detach --pid-file job.pid web1 sleep 60";

/// Runs it, and returns the exit code.
///
/// # Errors
/// As [`container::exec`]; or a user or group that is no number.
pub fn run(matches: &ArgMatches, runtime: &Runtime) -> Result<i32> {
    container::exec(runtime, &arg::container_id(matches)?, &options(matches)?)
}

fn options(matches: &ArgMatches) -> Result<ExecOptions> {
    let options = ExecOptions {
        process: arg::absolute(matches, "process")?,
        args: arg::texts(matches, "args"),
        cwd: arg::text(matches, "cwd").filter(|cwd| !cwd.is_empty()),
        env: arg::texts(matches, "env"),
        tty: matches.get_flag("tty"),
        user: arg::text(matches, "user").map(|user| parse_user(&user)).transpose()?,
        additional_gids: gids(matches)?,
        detach: matches.get_flag("detach"),
        pid_file: arg::absolute(matches, "pid-file")?,
        console_socket: arg::absolute(matches, "console-socket")?,
        pidfd_socket: arg::absolute(matches, "pidfd-socket")?,
        process_label: arg::text(matches, "process-label"),
        apparmor: arg::text(matches, "apparmor"),
        no_new_privs: matches.get_flag("no-new-privs"),
        caps: arg::texts(matches, "cap"),
        preserve_fds: matches.get_one("preserve-fds").copied().unwrap_or(0),
        cgroup: arg::texts(matches, "cgroup"),
        ignore_paused: matches.get_flag("ignore-paused"),
        no_subreaper: matches.get_flag("no-subreaper"),
        privilege: container::Privilege::Config,
    };
    match options.process.is_none() && options.args.is_empty() {
        true => Err(Error::new("process args cannot be empty").hint("name a program, or use --process FILE")),
        false => Ok(options),
    }
}

/// Reads `UID` or `UID:GID`. Digits only: names belong to the container's `/etc/passwd`, which callers read.
fn parse_user(text: &str) -> Result<(u32, Option<u32>)> {
    let (uid, gid) = match text.split_once(':') {
        Some((uid, gid)) => (parse_id(uid), Some(parse_id(gid))),
        None => (parse_id(text), None),
    };
    match (uid, gid) {
        (Some(uid), None) => Ok((uid, None)),
        (Some(uid), Some(Some(gid))) => Ok((uid, Some(gid))),
        _ => {
            Err(Error::new(format!("invalid --user {text:?}"))
                .hint("use UID or UID:GID, from 0 to 4294967294"))
        }
    }
}

/// A user's or group's number. The kernel reads the largest, 4294967295, as "leave it as it is".
fn parse_id(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|id| digits && *id != u32::MAX)
}

fn gids(matches: &ArgMatches) -> Result<Vec<u32>> {
    let parse = |text: String| {
        parse_id(&text).ok_or_else(|| {
            Error::new(format!("invalid --additional-gids {text:?}"))
                .hint("use a number from 0 to 4294967294")
        })
    };
    arg::texts(matches, "additional-gids").into_iter().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::usage::{Parsed, parse};

    fn matches(args: &[&str]) -> Result<ArgMatches> {
        match parse(command(), args.iter().map(Into::into))? {
            Parsed::Matches(matches) => Ok(matches),
            Parsed::Help(_) => panic!("help"),
        }
    }

    fn read(args: &[&str]) -> Result<ExecOptions> {
        options(&matches(args)?)
    }

    #[test]
    fn users_are_numbers_and_nothing_else() {
        assert_eq!(parse_user("1").unwrap(), (1, None));
        assert_eq!(parse_user("1:2").unwrap(), (1, Some(2)));
        assert_eq!(parse_user("4294967294:0").unwrap(), (4_294_967_294, Some(0)));
        for bad in [
            "",
            ":",
            "1:",
            ":1",
            "1x",
            "x",
            "-1",
            "+1",
            " 1",
            "1 ",
            "4294967295",
            "4294967296",
            "1:4294967295",
            "1:2:3",
            "1:+2",
            "٣",
        ] {
            let error = parse_user(bad).unwrap_err().to_string();
            assert!(error.starts_with(&format!("invalid --user {bad:?}\n")), "{error}");
        }
    }

    #[test]
    fn groups_are_repeated_numbers() {
        assert_eq!(read(&["-g", "1", "--additional-gids=2", "id", "sh"]).unwrap().additional_gids, [1, 2]);
        for bad in ["1,2", "-1", "", "4294967295"] {
            let error = read(&["-g", bad, "id", "sh"]).unwrap_err().to_string();
            assert!(error.starts_with("invalid --additional-gids"), "{error}");
        }
    }

    #[test]
    fn what_follows_the_name_is_the_programs() {
        let args = ["-t", "id", "ls", "-t", "--user", "x", "-detach", "--", "--help"];
        let options = read(&args).unwrap();
        assert_eq!(options.args, args[2..]);
        assert!(options.tty && !options.detach && options.user.is_none());
        assert_eq!(read(&["--", "id", "-d"]).unwrap().args, ["-d"]);
        assert_eq!(arg::text(&matches(&["--", "-id", "-d"]).unwrap(), "id").as_deref(), Some("-id"));
    }

    #[test]
    fn what_engines_send_is_understood() {
        let conmon = ["--pid-file", "/p", "--process", "/f", "--detach", "--console-socket", "/c", "id"];
        let options = read(&conmon).unwrap();
        assert_eq!(options.process.as_deref(), Some("/f".as_ref()));
        assert!(options.detach && options.args.is_empty());
        let conmon_rs = ["-d", "--console-socket=/c", "--tty", "--pid-file=/p", "id", "sh", "-c", "x"];
        let options = read(&conmon_rs).unwrap();
        assert_eq!(options.args, ["sh", "-c", "x"]);
        assert!(
            options.tty && options.detach && options.pid_file.is_some() && options.console_socket.is_some()
        );
    }

    #[test]
    fn every_option_reaches_the_engine() {
        let args = "--cwd /w -e A=1 -e -B=2 --env C= -u 1:2 -c CAP_A --cap B --no-new-privs --process-label L \
            --apparmor P --cgroup cpu,memory:/a --cgroup b --pidfd-socket /s --preserve-fds 3 --ignore-paused \
            --no-subreaper --tty=false id sh";
        let options = read(&args.split_whitespace().collect::<Vec<_>>()).unwrap();
        assert_eq!(options.cwd.as_deref(), Some("/w"));
        assert_eq!(options.env, ["A=1", "-B=2", "C="]);
        assert_eq!(options.user, Some((1, Some(2))));
        assert_eq!(options.caps, ["CAP_A", "B"]);
        assert_eq!(options.process_label.as_deref(), Some("L"));
        assert_eq!(options.apparmor.as_deref(), Some("P"));
        assert_eq!(options.cgroup, ["cpu,memory:/a", "b"]);
        assert_eq!(options.pidfd_socket.as_deref(), Some("/s".as_ref()));
        assert!(options.no_new_privs && options.ignore_paused && options.no_subreaper && !options.tty);
        assert_eq!(options.preserve_fds, 3);
    }

    #[test]
    fn a_missing_program_or_name_is_told() {
        assert!(read(&["id"]).unwrap_err().to_string().starts_with("process args cannot be empty"));
        let error = matches(&[]).unwrap_err().to_string();
        assert!(error.starts_with("\"exec\" requires a minimum of 1 argument(s)"), "{error}");
    }
}
