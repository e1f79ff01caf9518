//! `isolate tenant provision`, and the same options of `create`. The runtime process, with the caller's privilege.

use std::io::Read;
use std::path::Path;

use clap::{Arg, ArgMatches, Command};

use super::targets;
use crate::cli::arg;
use crate::error::{Call, Error, Explain, Kind, Result};
use crate::tenant::estate::Estate;
use crate::tenant::provision::{self, Wanted};
use crate::tenant::script;

const EXAMPLES: &str = "Examples:
  An account with a key; and a password for root, which nobody reads on the way:
    isolate tenant provision --account ops --ssh-key ~/.ssh/id_ed25519.pub web1
    openssl passwd -6 | isolate tenant provision --password-hash - web1
  A time zone, and a script that the next start runs:
    isolate tenant provision --timezone Europe/Paris --run-once setup.sh web1";

/// The most that is read of keys or a password, in bytes.
const LARGEST: u64 = 1 << 20;

/// The parser of `provision`.
pub fn command() -> Command {
    Command::new("provision")
        .about("Give a stopped tenant an account, ssh keys, a password, a time zone")
        .args(options())
        .arg(targets::name())
        .after_help(EXAMPLES)
}

/// What `create` takes, too.
pub fn options() -> [Arg; 5] {
    [
        arg::value(
            "account",
            "NAME",
            "An account inside, made if it is not there; keys and password are its",
        ),
        arg::values("ssh-key", "FILE", "Public ssh keys for it, or for root; may be repeated"),
        arg::value(
            "password-hash",
            "FILE",
            "A file with its password as crypt(5) hashes it; - is standard input",
        ),
        arg::value("timezone", "ZONE", "The time zone inside (Europe/Paris)"),
        arg::value("run-once", "SCRIPT", "A script of the host that the next start runs inside, as root"),
    ]
}

/// Reads [`options`].
///
/// # Errors
/// A file that cannot be read, or says nothing that makes sense.
pub fn read(matches: &ArgMatches) -> Result<Wanted> {
    let mut wanted = Wanted {
        account: arg::text(matches, "account"),
        zone: arg::text(matches, "timezone"),
        ..Wanted::default()
    };
    for path in arg::texts(matches, "ssh-key") {
        let text = text_of(&path)?;
        crate::tenant::accounts::keys(&text).at(|| path)?;
        wanted.keys.push_str(text.trim_end());
        wanted.keys.push('\n');
    }
    if let Some(path) = arg::text(matches, "password-hash") {
        wanted.hash = Some(text_of(&path)?.trim().to_owned());
    }
    let script = arg::text(matches, "run-once");
    wanted.script = script.map(|path| script::read(Path::new(&path))).transpose()?;
    wanted.check().map(|()| wanted)
}

fn text_of(path: &str) -> Result<String> {
    let mut text = String::new();
    let read = match path {
        "-" => std::io::stdin().take(LARGEST).read_to_string(&mut text),
        path => std::fs::File::open(path).and_then(|file| file.take(LARGEST).read_to_string(&mut text)),
    };
    read.call(|| format!("read({path:?})")).map(|_| text)
}

/// Does it.
///
/// # Errors
/// As [`provision::provision`]; nothing is asked for.
pub fn run(matches: &ArgMatches, estate: &Estate) -> Result<i32> {
    let name = targets::read_name(matches)?;
    let doing = || format!("cannot provision tenant '{name}'");
    estate.tenant(&name).doing(doing)?;
    let wanted = read(matches).doing(doing)?;
    if wanted.is_empty() {
        return Err(Error::new("nothing is asked for").kind(Kind::Usage).code(21)).doing(doing);
    }
    provision::provision(estate, &name, &wanted).doing(doing).map(|()| 0)
}
