//! `isolate spec`: writes a config to start from into a bundle. The runtime process, with the caller's
//! privilege; never overwrites a file.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use clap::{ArgMatches, Command};

use super::arg::{self, flag, path};
use crate::container::Runtime;
use crate::error::{Call, Error, Result};
use crate::oci::default_spec::{CgroupNamespace, Rootless, default_spec_text};

/// The parser of `spec`.
pub fn command() -> Command {
    Command::new("spec")
        .about("Write a config to start from")
        .arg(path("bundle", "DIR", "The bundle's folder [default: the current one]").short('b'))
        .arg(path("file", "FILE", "The file, below the bundle [default: config.json]").short('f'))
        .arg(flag("rootless", "For an ordinary user, who becomes root inside"))
        .after_help(EXAMPLES)
}

const EXAMPLES: &str = "Examples:
  A bundle from a root filesystem, and a shell in it:
    mkdir -p web/rootfs
    tar -C web/rootfs -xf web.tar
    isolate spec --bundle web
    isolate run --bundle web web1
  The same as an ordinary user:
    isolate spec --rootless --bundle web";

/// Writes it.
///
/// # Errors
/// When the file exists or cannot be written.
pub fn run(matches: &ArgMatches, _runtime: &Runtime) -> Result<i32> {
    let bundle = arg::absolute(matches, "bundle")?.map_or_else(|| arg::make_absolute(Path::new(".")), Ok)?;
    let file = arg::os_text(matches, "file").map_or(Path::new("config.json"), Path::new);
    let rootless = match matches.get_flag("rootless") {
        true => Rootless::Yes { uid: nix::unistd::geteuid().as_raw(), gid: nix::unistd::getegid().as_raw() },
        false => Rootless::No,
    };
    write_new(&bundle.join(file), &default_spec_text(rootless, cgroup_namespace()))?;
    Ok(0)
}

/// As in runc, which asks for a cgroup namespace where cgroup v2 is the only version: this file is there then.
fn cgroup_namespace() -> CgroupNamespace {
    match Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        true => CgroupNamespace::New,
        false => CgroupNamespace::Shared,
    }
}

fn write_new(path: &Path, text: &str) -> Result<()> {
    let mut file = match OpenOptions::new().write(true).create_new(true).open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            let exists = Error::new(format!("file {} exists", path.display()));
            return Err(exists.hint("remove it first, or write another with --file"));
        }
        opened => opened.call(|| format!("open({path:?})"))?,
    };
    file.write_all(text.as_bytes()).call(|| format!("write({path:?})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_exists_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        write_new(&path, "first").unwrap();
        let error = write_new(&path, "second").unwrap_err().to_string();
        assert!(error.starts_with(&format!("file {} exists", path.display())), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "first");
    }

    #[test]
    fn a_bundle_that_is_missing_is_told_by_the_call() {
        let error = write_new(Path::new("/proc/none/config.json"), "").unwrap_err().to_string();
        assert_eq!(error, "open(\"/proc/none/config.json\"): ENOENT");
    }
}
