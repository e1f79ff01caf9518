//! Newtypes for things that are easily mixed up. Pure.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A container's name, as every command takes it: 1 to 1024 of `A-Z a-z 0-9 _ + - .`, not `.` or `..`
/// (what runc accepts), so that it can never leave the state folder as a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerId(String);

impl ContainerId {
    /// Checks `id`.
    ///
    /// # Errors
    /// Names the first rule that is broken.
    pub fn new(id: impl Into<String>) -> Result<ContainerId> {
        let id = id.into();
        let fault = |why: &str| {
            Err(Error::new(format!("invalid container id {id:?}: {why}"))
                .hint("use 1 to 1024 letters, digits and _ + - . (not '.' or '..')"))
        };
        if id.is_empty() {
            return fault("it is empty");
        }
        if id.len() > 1024 {
            return fault("it is longer than 1024 bytes");
        }
        if id == "." || id == ".." {
            return fault("it names a folder");
        }
        match id.chars().find(|c| !(c.is_ascii_alphanumeric() || "_+-.".contains(*c))) {
            Some(c) => fault(&format!("{c:?} is not allowed")),
            None => Ok(ContainerId(id)),
        }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for ContainerId {
    type Error = Error;
    fn try_from(id: String) -> Result<ContainerId> {
        ContainerId::new(id)
    }
}

impl From<ContainerId> for String {
    fn from(id: ContainerId) -> String {
        id.0
    }
}

/// A path inside a container's root, absolute and without `.` or `..` components. Never given to a
/// system call as a string from outside the root: it is resolved below a descriptor of the root.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RootPath(PathBuf);

impl RootPath {
    /// Cleans `path` lexically: relative paths count from `/`, `..` stops at `/`.
    pub fn new(path: impl AsRef<Path>) -> RootPath {
        let mut clean = PathBuf::from("/");
        for part in path.as_ref().components() {
            match part {
                std::path::Component::Normal(name) => clean.push(name),
                std::path::Component::ParentDir => {
                    clean.pop();
                }
                _ => {}
            }
        }
        RootPath(clean)
    }

    /// The absolute path.
    pub fn as_path(&self) -> &Path {
        &self.0
    }

    /// The same without the leading slash; `.` for the root itself.
    pub fn relative(&self) -> &Path {
        match self.0.strip_prefix("/") {
            Ok(path) if !path.as_os_str().is_empty() => path,
            _ => Path::new("."),
        }
    }

    /// Whether this is `base` or lies below it.
    pub fn is_within(&self, base: &str) -> bool {
        self.0.starts_with(base)
    }
}

impl fmt::Display for RootPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_could_leave_the_state_folder_are_refused() {
        for bad in ["", ".", "..", "a/b", "a b", "a\0", "é", "../x"] {
            assert!(ContainerId::new(bad).is_err(), "{bad:?}");
        }
        for good in ["a", "web_1", "a+b", "-x", "0f.x", "..."] {
            assert!(ContainerId::new(good).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn root_paths_are_cleaned_and_never_leave_the_root() {
        assert_eq!(RootPath::new("a/../../b/./c").as_path(), Path::new("/b/c"));
        assert_eq!(RootPath::new("/").relative(), Path::new("."));
    }
}
