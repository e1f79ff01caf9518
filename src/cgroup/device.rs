//! Rules on devices, as values: which nodes, what may be done with them. Any process; no privilege, no call.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Which nodes a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceType {
    /// Every device; the rule's numbers do not count, and all rules before it are forgotten.
    All,
    /// Character devices.
    Char,
    /// Block devices.
    Block,
}

/// What a rule allows or denies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// Reading.
    pub read: bool,
    /// Writing.
    pub write: bool,
    /// Making nodes.
    pub mknod: bool,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRule {
    /// Allow, or deny.
    pub allow: bool,
    /// The nodes.
    pub device: DeviceType,
    /// The major number; absent: every one.
    pub major: Option<u32>,
    /// The minor number; absent: every one.
    pub minor: Option<u32>,
    /// What.
    pub access: Access,
    /// JSON path of the config, or `default`.
    pub why: String,
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters = [(self.read, "r"), (self.write, "w"), (self.mknod, "m")];
        letters.into_iter().filter(|(on, _)| *on).try_for_each(|(_, letter)| f.write_str(letter))
    }
}

impl DeviceRule {
    /// As the files of the v1 controller want it: `c 1:* rwm`, `a`.
    pub fn v1(&self) -> String {
        let number = |number: Option<u32>| number.map_or("*".to_owned(), |number| number.to_string());
        let letter = match self.device {
            DeviceType::All => return "a".to_owned(),
            DeviceType::Char => 'c',
            DeviceType::Block => 'b',
        };
        format!("{letter} {}:{} {}", number(self.major), number(self.minor), self.access)
    }
}
