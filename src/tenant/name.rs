//! Names of tenants and of imported templates. Pure.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};

/// A name that is safe as a folder, a host name, a cgroup and a word on the command line: 1 to 63 of `a-z 0-9 -`,
/// beginning and ending with a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

impl Name {
    /// Checks `name`.
    ///
    /// # Errors
    /// Names the first rule that is broken.
    pub fn new(name: impl Into<String>) -> Result<Name> {
        let name = name.into();
        let fault = |why: &str| {
            Err(Error::new(format!("invalid name {name:?}: {why}"))
                .hint("use 1 to 63 of a-z, 0-9 and -, with a letter or digit at both ends")
                .kind(Kind::Usage)
                .code(21))
        };
        if name.is_empty() {
            return fault("it is empty");
        }
        if name.len() > 63 {
            return fault("it is longer than 63 bytes");
        }
        if let Some(c) = name.chars().find(|c| !(c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '-')) {
            return fault(&format!("{c:?} is not allowed"));
        }
        match name.starts_with('-') || name.ends_with('-') {
            true => fault("it begins or ends with -"),
            false => Ok(Name(name)),
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Name {
    type Error = Error;
    fn try_from(name: String) -> Result<Name> {
        Name::new(name)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> String {
        name.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_lead_elsewhere_are_refused() {
        for good in ["a", "web-1", "0", &"a".repeat(63)] {
            assert!(Name::new(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "A", "-a", "a-", "a b", "a.b", "é", "a\0", &"a".repeat(64)] {
            assert_eq!(Name::new(bad).unwrap_err().get_code(), Some(21), "{bad:?}");
        }
    }
}
