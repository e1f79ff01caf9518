//! What the user asked for, as a value: limits, network, user, command. Pure.

use crate::error::{Error, Kind, Result};
use crate::ids::RootPath;
use crate::tenant::disk;
use crate::tenant::size;

/// A limit, and whether somebody asked for it: one asked for that cannot be applied is an error, a
/// default one is left out with a warning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Limit<T> {
    /// The documented default of the resource.
    #[default]
    Default,
    /// This much, by the user's word.
    Asked(T),
    /// No limit, by the user's word.
    None,
}

/// Default memory of a disposable system, in bytes: 512 MiB runs a shell, an editor and an interpreter,
/// and leaves a small host alive when they go wild.
pub const DEFAULT_MEMORY: u64 = 512 << 20;

/// Default number of processes and threads: enough for a build, too few for a fork bomb to hurt.
pub const DEFAULT_PIDS: u64 = 1024;

/// Which network the system sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Net {
    /// Its own, with nothing but loopback.
    #[default]
    None,
    /// The host's: every interface, address and abstract socket of it.
    Host,
}

/// Whether a mount can be written through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Every write fails with EROFS.
    ReadOnly,
    /// Writes reach the source.
    ReadWrite,
}

/// Whose the files of a bind are inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BindIds {
    /// Those of the host, as far as they are mapped; others are nobody's and closed like a stranger's.
    AsTheyAre,
    /// Shifted by an id-mapped mount: what is root's on the host is root's inside, and stays so on disk.
    Mapped,
}

/// A folder or file of the host shown inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    /// Absolute path on the host.
    pub source: String,
    /// Where it appears.
    pub destination: RootPath,
    /// Whether the host's copy can be changed from inside.
    pub access: Access,
    /// Whose its files are.
    pub ids: BindIds,
}

/// Who runs the command, as asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserName {
    /// A number, with a group's number or none.
    Id(u32, Option<u32>),
    /// A name to be found in the root's `/etc/passwd`.
    Name(String),
}

/// Everything about a system but its template.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// Bytes of memory. Default: [`DEFAULT_MEMORY`].
    pub memory: Limit<u64>,
    /// Thousandths of a CPU. Default: no limit.
    pub cpus: Limit<u32>,
    /// Processes and threads. Default: [`DEFAULT_PIDS`].
    pub pids: Limit<u64>,
    /// Bytes of a disk of its own; absent: its files are in a folder of the host, as many as fit there.
    pub disk: Option<u64>,
    /// The network.
    pub net: Net,
    /// The host name inside; absent: the system's own name.
    pub hostname: Option<String>,
    /// `NAME=VALUE`, after (and stronger than) the template's.
    pub env: Vec<String>,
    /// Who runs the command; absent: root, or the image's user.
    pub user: Option<UserName>,
    /// The folder the command starts in; absent: the user's home.
    pub workdir: Option<RootPath>,
    /// Folders of the host shown inside.
    pub binds: Vec<Bind>,
    /// The command and its arguments; empty: a shell.
    pub command: Vec<String>,
    /// Whether the root itself is mounted read-only.
    pub root: Option<Access>,
}

/// The size of a disk.
///
/// # Errors
/// As [`size::parse_bytes`]; too small for a file system.
pub fn parse_disk(text: &str) -> Result<u64> {
    let size = size::parse_bytes(text)?;
    if size < disk::LEAST {
        return Err(usage(format!(
            "a disk of {text} holds no file system: the least is {}M",
            disk::LEAST >> 20
        )));
    }
    Ok(size)
}

fn usage(why: String) -> Error {
    Error::new(why).kind(Kind::Usage)
}

/// A limit on memory: a size with a unit, or `none`.
///
/// # Errors
/// As [`size::parse_bytes`].
pub fn parse_memory(text: &str) -> Result<Limit<u64>> {
    match text {
        "none" => Ok(Limit::None),
        _ => size::parse_bytes(text).map(Limit::Asked),
    }
}

/// A limit on CPU time: `0.5`, `2`, or `none`.
///
/// # Errors
/// As [`size::parse_cpus`].
pub fn parse_cpus(text: &str) -> Result<Limit<u32>> {
    match text {
        "none" => Ok(Limit::None),
        _ => size::parse_cpus(text).map(Limit::Asked),
    }
}

/// A limit on the number of processes and threads: 1 to 4194304 (the kernel's own most), or `none`.
///
/// # Errors
/// Anything else.
pub fn parse_pids(text: &str) -> Result<Limit<u64>> {
    if text == "none" {
        return Ok(Limit::None);
    }
    match text.parse() {
        Ok(pids @ 1..=4_194_304) => Ok(Limit::Asked(pids)),
        _ => Err(usage(format!("invalid number of processes {text:?}: write 1 to 4194304, or none"))),
    }
}

/// `none` or `host`.
///
/// # Errors
/// Anything else.
pub fn parse_net(text: &str) -> Result<Net> {
    match text {
        "none" => Ok(Net::None),
        "host" => Ok(Net::Host),
        _ => Err(usage(format!("invalid network {text:?}: write none (loopback only) or host"))),
    }
}

/// `SOURCE:DESTINATION[:OPTIONS]` with `ro`, `rw`, `idmap` and commas between; both paths absolute.
///
/// # Errors
/// A part missing or empty, a relative path, an unknown option, a destination that is the root.
pub fn parse_bind(text: &str) -> Result<Bind> {
    let fault = |why: String| {
        usage(format!("invalid bind {text:?}: {why}"))
            .hint("write /on/the/host:/inside or /on/the/host:/inside:ro")
    };
    let mut parts = text.splitn(3, ':');
    let (source, destination) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let (mut access, mut ids) = (Access::ReadWrite, BindIds::AsTheyAre);
    for option in parts.next().map(|options| options.split(',')).into_iter().flatten() {
        match option {
            "ro" => access = Access::ReadOnly,
            "rw" => access = Access::ReadWrite,
            "idmap" => ids = BindIds::Mapped,
            _ => return Err(fault(format!("unknown option {option:?}; there are ro, rw and idmap"))),
        }
    }
    if !source.starts_with('/') || !destination.starts_with('/') || text.contains('\0') {
        return Err(fault("source and destination are absolute paths".to_owned()));
    }
    let destination = RootPath::new(destination);
    if destination.as_path() == std::path::Path::new("/") {
        return Err(fault("the root itself comes from the template".to_owned()));
    }
    Ok(Bind { source: source.to_owned(), destination, access, ids })
}

/// `NAME`, `UID` or `UID:GID`.
///
/// # Errors
/// An empty name, a number that is none, a name with a group.
pub fn parse_user(text: &str) -> Result<UserName> {
    let fault = || usage(format!("invalid user {text:?}: write a name, UID or UID:GID"));
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    match (user.parse(), group) {
        (Ok(u32::MAX), _) => Err(fault()),
        (Ok(uid), None) => Ok(UserName::Id(uid, None)),
        (Ok(uid), Some(group)) => match group.parse() {
            Ok(gid) if gid != u32::MAX => Ok(UserName::Id(uid, Some(gid))),
            _ => Err(fault()),
        },
        (Err(_), None) if is_user_name(user) => Ok(UserName::Name(user.to_owned())),
        _ => Err(fault()),
    }
}

fn is_user_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_-.$".contains(c);
    !name.is_empty() && name.len() <= 256 && !name.starts_with('-') && name.chars().all(allowed)
}

/// A host name: 1 to 64 (the kernel's limit) of `A-Z a-z 0-9 - .`.
///
/// # Errors
/// Anything else.
pub fn parse_hostname(text: &str) -> Result<String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-.".contains(c);
    if (1..=64).contains(&text.len()) && text.chars().all(allowed) && !text.starts_with(['-', '.']) {
        return Ok(text.to_owned());
    }
    Err(usage(format!("invalid host name {text:?}: write 1 to 64 letters, digits, - and .")))
}

/// `NAME=VALUE`.
///
/// # Errors
/// No `=`, an empty name, a NUL.
pub fn parse_env(text: &str) -> Result<String> {
    match text.split_once('=') {
        Some((name, _)) if !name.is_empty() && !text.contains('\0') => Ok(text.to_owned()),
        _ => Err(usage(format!("invalid variable {text:?}: write NAME=VALUE"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binds_are_read_write_unless_said_otherwise() {
        let bind = parse_bind("/srv/data:/data").unwrap();
        assert_eq!((bind.source.as_str(), bind.access), ("/srv/data", Access::ReadWrite));
        assert_eq!(parse_bind("/a:/b:ro").unwrap().access, Access::ReadOnly);
        assert_eq!(parse_bind("/a:/b:ro,idmap").unwrap().ids, BindIds::Mapped);
        for bad in ["", "/a", "/a:", ":/b", "a:/b", "/a:b", "/a:/b:rx", "/a:/b:ro:", "/a:/", "/a:/b/.."] {
            assert!(parse_bind(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn users_are_names_or_numbers() {
        assert_eq!(parse_user("1000").unwrap(), UserName::Id(1000, None));
        assert_eq!(parse_user("0:5").unwrap(), UserName::Id(0, Some(5)));
        assert_eq!(parse_user("www-data").unwrap(), UserName::Name("www-data".into()));
        for bad in ["", ":", "a:b", "1:", "-x", "4294967295", "99999999999:1", "a b"] {
            assert!(parse_user(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn none_takes_a_limit_away() {
        assert_eq!(parse_memory("none").unwrap(), Limit::None);
        assert_eq!(parse_cpus("none").unwrap(), Limit::None);
        assert_eq!(parse_pids("none").unwrap(), Limit::None);
        for bad in ["0", "-1", "4194305", "many"] {
            assert!(parse_pids(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn host_names_that_would_confuse_a_shell_or_the_kernel_are_refused() {
        assert!(parse_hostname("web-1.example").is_ok());
        for bad in ["", "-a", ".a", "a b", "a/b", "é", &"a".repeat(65)] {
            assert!(parse_hostname(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn variables_need_a_name() {
        assert!(parse_env("A=").is_ok());
        for bad in ["", "A", "=1", "A=\0"] {
            assert!(parse_env(bad).is_err(), "{bad:?}");
        }
    }
}
