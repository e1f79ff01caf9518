//! `tenant.toml`: the one settings file of a tenant, as a value. Pure.
//!
//! The command line, `tenant.toml` and `tenant set` share [`KEYS`]: each key has one spelling, one parser and one
//! place in the file. Later settings (networks, start at boot) are further sections here, and further lines in
//! [`crate::tenant::compile`], which turns the value into an OCI Spec.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};
use crate::tenant::name::Name;
use crate::tenant::settings::{self, Net};
use crate::tenant::size;

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
}

impl Default for System {
    fn default() -> System {
        System { hostname: String::new(), net: "none".to_owned() }
    }
}

/// What the tenant may use; an absent limit is none.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Limits {
    /// Memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ram: Option<Size>,
    /// Swap beside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swap: Option<Size>,
    /// CPU time in CPUs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus: Option<Cpus>,
    /// Share of busy CPUs, 1 to 10000; 100 is everybody's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_weight: Option<u32>,
    /// CPUs it may run on: `0-2,4`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpuset: Option<String>,
    /// Processes and threads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tasks: Option<u32>,
}

/// A size, written with a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Size(pub u64);

impl TryFrom<String> for Size {
    type Error = Error;
    fn try_from(text: String) -> Result<Size> {
        size::parse_bytes(&text).map(Size)
    }
}

impl From<Size> for String {
    fn from(size: Size) -> String {
        size::show_bytes(size.0)
    }
}

/// Thousandths of a CPU, written as CPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cpus(pub u32);

impl TryFrom<String> for Cpus {
    type Error = Error;
    fn try_from(text: String) -> Result<Cpus> {
        size::parse_cpus(&text).map(Cpus)
    }
}

impl From<Cpus> for String {
    fn from(cpus: Cpus) -> String {
        format!("{}", f64::from(cpus.0) / 1000.0)
    }
}

/// Where the tenant's files are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Disk {
    /// How they are kept.
    pub kind: DiskKind,
}

impl Default for Disk {
    fn default() -> Disk {
        Disk { kind: DiskKind::Dir }
    }
}

/// How a tenant's files are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DiskKind {
    /// A folder of the host's file system: no limit of its own.
    Dir,
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

/// How a key's value is written in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Text,
    Number,
    OnOff,
    Words,
}

/// One setting as it is typed.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// `--NAME` of `create`, `NAME=` of `set`.
    pub name: &'static str,
    /// How its value is shown in help.
    pub value: &'static str,
    /// One line of help.
    pub help: &'static str,
    section: &'static str,
    form: Form,
}

const fn key(
    name: &'static str,
    value: &'static str,
    section: &'static str,
    form: Form,
    help: &'static str,
) -> Key {
    Key { name, value, help, section, form }
}

/// Every setting that can be given to `create`.
pub const KEYS: [Key; 11] = [
    key("ram", "SIZE", "limits", Form::Text, "Memory, with a unit (64M, 1G)"),
    key("swap", "SIZE", "limits", Form::Text, "Swap beside the memory, with a unit"),
    key("cpus", "N", "limits", Form::Text, "CPU time in CPUs (0.5, 2)"),
    key("cpu-weight", "N", "limits", Form::Number, "Share of busy CPUs, 1 to 10000; 100 is the default"),
    key("cpuset", "LIST", "limits", Form::Text, "CPUs it may run on (0-2,4)"),
    key("tasks", "N", "limits", Form::Number, "Processes and threads"),
    key("hostname", "NAME", "system", Form::Text, "Host name inside; default: the tenant's name"),
    key("net", "none|host", "system", Form::Text, "Network: none (loopback only) or host"),
    key("owner", "TEXT", "admin", Form::Text, "Whose it is, in your words"),
    key("tags", "WORD[,WORD]", "admin", Form::Words, "Words to find it by, as @WORD"),
    key("protect", "on|off", "admin", Form::OnOff, "Refuse to destroy it"),
];

fn value_fault(why: impl Into<String>) -> Error {
    Error::new(why).kind(Kind::Usage).code(21)
}

/// The key called `name`.
///
/// # Errors
/// Exit code 20; the nearest key is suggested.
pub fn find_key(name: &str) -> Result<&'static Key> {
    KEYS.iter().find(|key| key.name == name).ok_or_else(|| {
        let names: Vec<&str> = KEYS.iter().map(|key| key.name).collect();
        let error = Error::new(format!("no setting is called {name:?}")).kind(Kind::Usage).code(20);
        match nearest(name, &names) {
            Some(near) => error.hint(format!("did you mean {near:?}?")),
            None => error.hint(format!("there are {}", names.join(", "))),
        }
    })
}

impl Config {
    /// The config with one setting changed; `none` and `unlimited` take it away.
    ///
    /// # Errors
    /// Exit code 20 for an unknown key, 21 for a value that makes no sense.
    pub fn with(&self, name: &str, text: &str) -> Result<Config> {
        let key = find_key(name)?;
        let mut table = self.table()?;
        let section = table.entry(key.section).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        let Some(section) = section.as_table_mut() else {
            return Err(Error::new(format!("{} is not a section", key.section)));
        };
        match key.value_of(text)? {
            Some(value) => drop(section.insert(key.name.to_owned(), value)),
            None => drop(section.remove(key.name)),
        }
        let changed: Result<Config, _> = toml::Value::Table(table).try_into();
        let changed = changed.map_err(|error| value_fault(first_line(error.message())).at(key.name))?;
        changed.check().map_err(|error| error.at(key.name).code(21))?;
        Ok(changed)
    }

    fn table(&self) -> Result<toml::Table> {
        toml::Table::try_from(self).map_err(|error| Error::new(error.to_string()))
    }

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

    /// What the types do not say.
    fn check(&self) -> Result<()> {
        if self.format != FORMAT {
            let why = format!("format {} is unknown; this program reads format {FORMAT}", self.format);
            return Err(Error::new(why));
        }
        self.net()?;
        if !self.system.hostname.is_empty() {
            settings::parse_hostname(&self.system.hostname)?;
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
        check_words(&self.admin)
    }
}

impl Limits {
    fn check(&self) -> Result<()> {
        if self.cpu_weight.is_some_and(|weight| !(1..=10_000).contains(&weight)) {
            return Err(value_fault("a weight is 1 to 10000"));
        }
        if self.tasks.is_some_and(|tasks| !(1..=4_194_304).contains(&tasks)) {
            return Err(value_fault("a number of processes is 1 to 4194304"));
        }
        if let Some(list) = self.cpuset.as_ref().filter(|list| !is_cpu_list(list)) {
            return Err(value_fault(format!("{list:?} is no list of CPUs")).hint("write 0-2,4"));
        }
        if self.swap.is_some() && self.ram.is_none() {
            return Err(value_fault("swap can be limited only beside ram").hint("set ram as well"));
        }
        Ok(())
    }
}

/// `0-2,4` as the kernel's cpuset(7) has it.
fn is_cpu_list(list: &str) -> bool {
    let number = |text: &str| text.parse::<u16>().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
    let range = |part: &str| match part.split_once('-') {
        Some((first, last)) => number(first).zip(number(last)).is_some_and(|(first, last)| first <= last),
        None => number(part).is_some(),
    };
    !list.is_empty() && list.split(',').all(range)
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

impl Key {
    /// `none` takes away; a network may well be `none`.
    fn value_of(&self, text: &str) -> Result<Option<toml::Value>> {
        let takes_away = matches!(text, "none" | "unlimited") && self.name != "net" || text.is_empty();
        match self.form {
            _ if takes_away => Ok(None),
            Form::Text => Ok(Some(text.into())),
            Form::Number => {
                let number: u32 = text.parse().map_err(|_| {
                    value_fault(format!("invalid value {text:?}: it is not a whole number")).at(self.name)
                })?;
                Ok(Some(i64::from(number).into()))
            }
            Form::OnOff => match text {
                "on" | "yes" | "true" => Ok(Some(true.into())),
                "off" | "no" | "false" => Ok(Some(false.into())),
                _ => Err(value_fault(format!("invalid value {text:?}: write on or off")).at(self.name)),
            },
            Form::Words => Ok(Some(
                text.split(',').map(|word| toml::Value::from(word.trim())).collect::<Vec<_>>().into(),
            )),
        }
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

fn first_line(message: &str) -> String {
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

/// The known word with the fewest edits to `word`, if those are few.
pub fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let best = known.iter().map(|other| (distance(word, other), *other)).min()?;
    (best.0 <= 1 + word.chars().count() / 3).then_some(best.1)
}

/// Levenshtein's: how many letters have to be put in, taken out or changed.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().take(64).enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in other.iter().enumerate() {
            let changed = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

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
