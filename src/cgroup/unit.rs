//! Units of systemd, as values: what a plan asks for, and what the state file remembers. Any process; no call.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Whose units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bus {
    /// Those of the machine's own service manager, process 1.
    System,
    /// Those of the caller's user manager.
    User,
}

/// A running service manager.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manager {
    /// How it is reached.
    pub bus: Bus,
    /// Its own cgroup, below which its slices are: `/` for the machine's.
    pub control_group: PathBuf,
}

/// A unit that is to hold a container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Unit {
    /// Whose.
    pub bus: Bus,
    /// The unit's name, `isolate-web1.scope`.
    pub name: String,
    /// The slice it lies in, `machine.slice`; empty for a unit that stands already, and is to be changed.
    pub slice: String,
    /// What is said of it when it is started, all in one call.
    pub properties: Vec<Property>,
}

/// A property of a unit, by the name that systemd.exec(5) and systemd.resource-control(5) give it on the bus.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Property {
    /// `MemoryMax`.
    pub name: String,
    /// In the type that systemd wants.
    pub value: PropertyValue,
    /// The JSON path of the config that asks for it, or `default`.
    pub why: String,
    /// Whether a file of the cgroup gets the same value anyway: a systemd that does not know the property is no
    /// reason to fail then.
    pub is_mirrored: bool,
}

/// A value with its D-Bus type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PropertyValue {
    /// `b`
    Bool(bool),
    /// `i`
    I32(i32),
    /// `u`
    U32(u32),
    /// `x`
    I64(i64),
    /// `t`
    U64(u64),
    /// `d`
    Double(f64),
    /// `s`
    Text(String),
    /// `as`
    Texts(Vec<String>),
    /// `ay`
    Bytes(Vec<u8>),
}

/// What is remembered of a unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedUnit {
    /// Whose.
    pub bus: Bus,
    /// Its name.
    pub name: String,
}

impl Unit {
    /// Whether it is made of processes that exist already. A slice is a place for them instead.
    pub fn is_scope(&self) -> bool {
        self.name.ends_with(".scope")
    }

    /// What the state file has to remember.
    pub fn save(&self) -> SavedUnit {
        SavedUnit { bus: self.bus, name: self.name.clone() }
    }
}

impl fmt::Display for PropertyValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PropertyValue::U64(u64::MAX) => write!(f, "infinity"),
            PropertyValue::Bool(value) => write!(f, "{value}"),
            PropertyValue::I32(value) => write!(f, "{value}"),
            PropertyValue::U32(value) => write!(f, "{value}"),
            PropertyValue::I64(value) => write!(f, "{value}"),
            PropertyValue::U64(value) => write!(f, "{value}"),
            PropertyValue::Double(value) => write!(f, "{value}"),
            PropertyValue::Text(value) => write!(f, "{value:?}"),
            PropertyValue::Texts(values) => write!(f, "{values:?}"),
            PropertyValue::Bytes(bytes) => bytes.iter().rev().try_for_each(|byte| write!(f, "{byte:02x}")),
        }
    }
}
