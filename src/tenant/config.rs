//! `tenant.toml`: the one settings file of a tenant, as a value. Pure.
//!
//! The command line, `tenant.toml` and `tenant set` share [`crate::tenant::keys`]: each key has one spelling, one parser and one
//! place in the file. Later settings (networks, start at boot) are further sections here, and further lines in
//! [`crate::tenant::compile`], which turns the value into an OCI Spec.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::tenant::allowance::{Limits, Size};
use crate::tenant::keys::value_fault;
use crate::tenant::name::Name;
use crate::tenant::nearest::nearest;
use crate::tenant::settings::{self, Net};

/// The least size of an image, in bytes: an ext4 with its journal, and something in it.
const LEAST_DISK: u64 = 16 << 20;

/// The file's format.
pub const FORMAT: u32 = 1;

/// Everything an operator can say about a tenant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Version of the file's format: 1.
    pub format: u32,
    /// Who it is, whatever its name.
    pub uuid: String,
    /// When it was made, RFC 3339.
    pub created: String,
    /// Where its root comes from.
    pub template: TemplateRef,
    /// First of its 65536 ids on the host; absent for an ordinary user's, whose ids are the user's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_id: Option<u32>,
    /// What it runs.
    pub boot: Boot,
    /// How it is seen.
    #[serde(default)]
    pub system: System,
    /// What it may use.
    #[serde(default)]
    pub limits: Limits,
    /// Where its files are.
    #[serde(default)]
    pub disk: Disk,
    /// What the operator wants to know of it.
    #[serde(default)]
    pub admin: Admin,
}

/// The template a tenant was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TemplateRef {
    /// Its name.
    pub name: Name,
    /// Its digest when the tenant was made.
    pub digest: String,
}

/// What is started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Boot {
    /// An init with services, or one command.
    pub mode: Mode,
    /// The program and its arguments; with an init, its path.
    pub command: Vec<String>,
    /// Who runs the command: a name of the root's passwd, UID or UID:GID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The folder it starts in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workdir: Option<String>,
    /// `NAME=VALUE`, one each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
}

/// Whether a tenant is a system or a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// systemd.
    Systemd,
    /// busybox init, OpenRC or sysvinit: any init without a readiness protocol.
    Init,
    /// One command.
    Command,
}

/// How the system is seen from inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct System {
    /// Host name; empty: the tenant's name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hostname: String,
    /// `none` or `host`.
    pub net: String,
    /// Inotify instances; absent: [`INOTIFY`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inotify: Option<u32>,
}

/// The most inotify instances of a tenant that says nothing of them: half of what most hosts let one user have.
const INOTIFY: u32 = 64;

impl Default for System {
    fn default() -> System {
        System { hostname: String::new(), net: "none".to_owned(), inotify: None }
    }
}

/// Where the tenant's files are.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Disk {
    /// How they are kept.
    pub kind: DiskKind,
    /// Of an image: how large it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
    /// Of an image that has been made: what is on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fs: Option<FileSystem>,
}

/// The file system of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileSystem {
    /// XFS: grows while it is in use.
    Xfs,
    /// ext4: may be small.
    Ext4,
}

/// How a tenant's files are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DiskKind {
    /// A folder of the host's file system: no limit of its own.
    #[default]
    Dir,
    /// A file with a file system of its own: its size is a limit.
    Image,
}

/// What the operator wants to know of the tenant.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// Whose it is, in the operator's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Words to find it by.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// `on`: it cannot be destroyed.
    pub protect: bool,
}

impl Config {
    /// The file's text.
    ///
    /// # Errors
    /// None that a value of this type can cause.
    pub fn render(&self) -> Result<String> {
        let text = toml::to_string(self).map_err(|error| Error::new(error.to_string()))?;
        Ok(format!(
            "# A tenant of isolate. 'isolate tenant set' changes this file; so may you, while it is stopped.\n{text}"
        ))
    }

    /// The network as the compiler wants it.
    ///
    /// # Errors
    /// A word that is none.
    pub fn net(&self) -> Result<Net> {
        settings::parse_net(&self.system.net)
    }

    /// The most inotify instances.
    pub fn inotify(&self) -> u32 {
        self.system.inotify.unwrap_or(INOTIFY)
    }

    /// What the types do not say.
    ///
    /// # Errors
    /// The first fault.
    pub(super) fn check(&self) -> Result<()> {
        if self.format != FORMAT {
            let why = format!("format {} is unknown; this program reads format {FORMAT}", self.format);
            return Err(Error::new(why));
        }
        self.net()?;
        if !self.system.hostname.is_empty() {
            settings::parse_hostname(&self.system.hostname)?;
        }
        if self.system.inotify.is_some_and(|count| !(1..=1_048_576).contains(&count)) {
            return Err(value_fault("a number of inotify instances is 1 to 1048576"));
        }
        if self.boot.command.first().is_none_or(String::is_empty) {
            return Err(Error::new("boot.command is empty"));
        }
        self.boot.env.iter().try_for_each(|variable| settings::parse_env(variable).map(drop))?;
        self.boot.user.iter().try_for_each(|user| settings::parse_user(user).map(drop))?;
        if let Some(workdir) = self.boot.workdir.as_ref().filter(|path| !path.starts_with('/')) {
            return Err(Error::new(format!("boot.workdir {workdir:?} is not absolute")));
        }
        self.limits.check()?;
        self.disk.check()?;
        check_words(&self.admin)
    }
}

impl Disk {
    fn check(&self) -> Result<()> {
        match (self.kind, self.size) {
            (DiskKind::Dir, Some(_)) => Err(value_fault("a disk that is a folder has no size")
                .hint("'isolate tenant create --disk SIZE' makes one that has")),
            (DiskKind::Image, None) => Err(value_fault("a disk that is an image has a size")),
            (DiskKind::Image, Some(size)) if size.0 < LEAST_DISK => {
                Err(value_fault("a disk has at least 16M"))
            }
            _ => Ok(()),
        }
    }
}

fn check_words(admin: &Admin) -> Result<()> {
    let is_word = |word: &String| {
        !word.is_empty()
            && word.len() <= 63
            && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_.=".contains(c))
    };
    if let Some(word) = admin.tags.iter().find(|word| !is_word(word)) {
        return Err(value_fault(format!("{word:?} is no tag")).hint("use letters, digits and - _ . ="));
    }
    match admin.owner.as_ref().is_some_and(|owner| owner.len() > 255 || owner.chars().any(char::is_control)) {
        true => Err(value_fault("an owner is at most 255 bytes without control characters")),
        false => Ok(()),
    }
}

/// Reads the text of a `tenant.toml`; `place` names it in errors.
///
/// # Errors
/// The line of what is wrong; for an unknown key the nearest one as well.
pub fn parse(text: &str, place: &str) -> Result<Config> {
    let config: Config = toml::from_str(text).map_err(|error| fault(text, place, &error))?;
    config.check().map_err(|error| error.at(place))?;
    Ok(config)
}

fn fault(text: &str, place: &str, error: &toml::de::Error) -> Error {
    let line = error.span().map(|span| 1 + text[..span.start.min(text.len())].matches('\n').count());
    let line = line.map(|line| format!(" line {line}")).unwrap_or_default();
    let message = first_line(error.message());
    let fault = Error::new(message.clone()).at(format!("{place}{line}"));
    match suggestion(&message) {
        Some(near) => fault.hint(format!("did you mean {near:?}?")),
        None => fault,
    }
}

/// The parser's words without its picture of the place.
pub(super) fn first_line(message: &str) -> String {
    let text = message.replace("\n  hint: ", "; ");
    text.lines().next().unwrap_or_default().to_owned()
}

/// serde's words are "unknown field `X`, expected one of `A`, `B`".
fn suggestion(message: &str) -> Option<String> {
    let rest = message.strip_prefix("unknown field ")?;
    let mut words = rest.split('`').skip(1).step_by(2);
    let unknown = words.next()?;
    let known: Vec<&str> = words.collect();
    nearest(unknown, &known).map(str::to_owned)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::tenant::allowance::Cpus;
    use crate::tenant::keys::find_key;

    pub(crate) fn example() -> Config {
        Config {
            format: FORMAT,
            uuid: "7e0f7c6e-9a39-4c6c-8d5e-0123456789ab".into(),
            created: "2026-01-02T03:04:05Z".into(),
            template: TemplateRef { name: Name::new("busybox").unwrap(), digest: "sha256:00".into() },
            first_id: Some(524_288),
            boot: Boot {
                mode: Mode::Command,
                command: vec!["/bin/sh".into()],
                user: None,
                workdir: None,
                env: vec![],
            },
            system: System::default(),
            limits: Limits::default(),
            disk: Disk::default(),
            admin: Admin::default(),
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let config = ["ram=64M", "cpus=0.5", "tasks=99", "tags=a,b", "protect=on", "hostname=h"].iter().fold(
            example(),
            |config, setting| {
                let (name, value) = setting.split_once('=').unwrap();
                config.with(name, value).unwrap()
            },
        );
        assert_eq!(parse(&config.render().unwrap(), "t").unwrap(), config);
        assert_eq!(config.limits.ram, Some(Size(64 << 20)));
        assert_eq!((config.limits.cpus, config.limits.tasks), (Some(Cpus(500)), Some(99)));
        assert!(config.admin.protect && config.admin.tags == ["a", "b"]);
        assert_eq!(config.with("ram", "none").unwrap().limits.ram, None);
    }

    #[test]
    fn an_unknown_key_is_told_with_its_line_and_the_nearest_one() {
        let text = example().with("ram", "64M").unwrap().render().unwrap().replace("ram =", "rma =");
        let line = text.lines().position(|line| line.starts_with("rma")).unwrap() + 1;
        let error = parse(&text, "/t/tenant.toml").unwrap_err().to_string();
        assert!(error.starts_with(&format!("/t/tenant.toml line {line}: unknown field `rma`")), "{error}");
        assert!(error.ends_with("hint: did you mean \"ram\"?"), "{error}");
        let error = find_key("cpu-wieght").unwrap_err();
        assert_eq!(
            (error.to_string().lines().last().unwrap(), error.get_code()),
            ("  hint: did you mean \"cpu-weight\"?", Some(20))
        );
    }

    #[test]
    fn values_that_make_no_sense_are_refused_with_code_21() {
        for (name, value) in [
            ("ram", "64"),
            ("ram", "-1M"),
            ("ram", "64Q"),
            ("cpus", "0"),
            ("cpus", "many"),
            ("cpu-weight", "0"),
            ("cpu-weight", "x"),
            ("cpuset", "3-1"),
            ("cpuset", "a"),
            ("tasks", "0"),
            ("tasks", "-1"),
            ("swap", "1G"),
            ("hostname", "a b"),
            ("net", "bridge"),
            ("tags", "a b"),
            ("protect", "maybe"),
            ("owner", "a\nb"),
            ("disk", "1G"),
            ("inotify", "0"),
            ("inotify", "many"),
            ("iops", "0"),
            ("io-read", "5"),
        ] {
            let error = example().with(name, value).unwrap_err();
            assert_eq!(error.get_code(), Some(21), "{name}={value}: {error}");
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic() {
        let text = example().render().unwrap();
        for end in 0..text.len() {
            let _ = parse(&text[..end], "t");
        }
        for bad in ["", "=", "[", "format = 99", "\u{0}", "format = 1\nformat = 1", "é = 1"] {
            assert!(parse(bad, "t").is_err(), "{bad:?}");
        }
    }
}
