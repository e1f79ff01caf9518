//! Settings as they are typed: one table for `create`, `set` and help, and one place in `tenant.toml` for each. Pure.

use crate::error::{Error, Kind, Result};
use crate::tenant::config::{Config, first_line};
use crate::tenant::nearest::nearest;

/// How a key's value is written in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Text,
    Number,
    OnOff,
    Words,
}

/// When a changed value counts for a tenant that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counts {
    /// At once: a limit of its cgroup.
    Live,
    /// At once: it is only read from the file.
    Written,
    /// At once: its disk grows.
    Grows,
    /// After it has been started again.
    NextStart,
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
    /// When a change counts.
    pub counts: Counts,
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
    let counts = match section.as_bytes() {
        b"limits" => Counts::Live,
        b"admin" => Counts::Written,
        b"disk" => Counts::Grows,
        _ => Counts::NextStart,
    };
    Key { name, value, help, counts, section, form }
}

/// Every setting that can be given to `create` and `set`.
pub const KEYS: [Key; 17] = [
    key("ram", "SIZE", "limits", Form::Text, "Memory, with a unit (64M, 1G)"),
    key("swap", "SIZE", "limits", Form::Text, "Swap beside the memory, with a unit"),
    key("ram-min", "SIZE", "limits", Form::Text, "Memory it keeps when the host runs short"),
    key("cpus", "N", "limits", Form::Text, "CPU time in CPUs (0.5, 2)"),
    key("cpu-weight", "N", "limits", Form::Number, "Share of busy CPUs, 1 to 10000; 100 is the default"),
    key("cpuset", "LIST", "limits", Form::Text, "CPUs it may run on (0-2,4)"),
    key("tasks", "N", "limits", Form::Number, "Processes and threads"),
    key("io-read", "SIZE", "limits", Form::Text, "Bytes read from its disk in a second (50M)"),
    key("io-write", "SIZE", "limits", Form::Text, "Bytes written to its disk in a second"),
    key("iops", "N", "limits", Form::Number, "Reads, and writes, of its disk in a second"),
    key("disk", "SIZE", "disk", Form::Text, "Size of its disk, a hard limit (400M, 10G); it can grow"),
    key("hostname", "NAME", "system", Form::Text, "Host name inside; default: the tenant's name"),
    key("net", "none|host", "system", Form::Text, "Network: none (loopback only) or host"),
    key("inotify", "N", "system", Form::Number, "Inotify instances; 64 is the default"),
    key("owner", "TEXT", "admin", Form::Text, "Whose it is, in your words"),
    key("tags", "WORD[,WORD]", "admin", Form::Words, "Words to find it by, as @WORD"),
    key("protect", "on|off", "admin", Form::OnOff, "Refuse to destroy it"),
];

/// A value that makes no sense.
pub(super) fn value_fault(why: impl Into<String>) -> Error {
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
    /// The value of a setting as it is typed; `None` when it is not set.
    pub fn value(&self, key: &Key) -> Option<String> {
        let table = self.table().ok()?;
        match table.get(key.section)?.get(key.field())? {
            toml::Value::Boolean(on) => Some(if *on { "on" } else { "off" }.to_owned()),
            toml::Value::Array(words) => {
                Some(words.iter().filter_map(toml::Value::as_str).collect::<Vec<_>>().join(","))
            }
            toml::Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        }
    }

    /// The config with one setting changed; `none` and `unlimited` take it away.
    ///
    /// # Errors
    /// Exit code 20 for an unknown key, 21 for a value that makes no sense.
    pub fn with(&self, name: &str, text: &str) -> Result<Config> {
        let changed = self.put(name, text)?;
        changed.check().map_err(|error| error.at(name).code(21))?;
        Ok(changed)
    }

    /// As [`Config::with`], without looking whether the settings fit together: others may follow.
    ///
    /// # Errors
    /// As [`Config::with`].
    pub fn put(&self, name: &str, text: &str) -> Result<Config> {
        let key = find_key(name)?;
        let mut table = self.table()?;
        let section = table.entry(key.section).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        let Some(section) = section.as_table_mut() else {
            return Err(Error::new(format!("{} is not a section", key.section)));
        };
        match key.value_of(text)? {
            Some(value) => drop(section.insert(key.field().to_owned(), value)),
            None => drop(section.remove(key.field())),
        }
        let changed: Result<Config, _> = toml::Value::Table(table).try_into();
        changed.map_err(|error| value_fault(first_line(error.message())).at(key.name))
    }

    fn table(&self) -> Result<toml::Table> {
        toml::Table::try_from(self).map_err(|error| Error::new(error.to_string()))
    }
}

impl Key {
    /// What it is called in its section of the file.
    fn field(&self) -> &'static str {
        if self.name == "disk" { "size" } else { self.name }
    }

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
