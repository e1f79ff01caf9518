//! The one error of the crate: what failed, where, why, and what to do about it.
//!
//! Errors are built from the inside out: the place that fails says *why* ([`Error::new`], [`Error::sys`]),
//! callers add *where* ([`Error::at`]) and *what* the user had asked for ([`Error::doing`]). An error is
//! either returned or logged, never both. Engines search these texts: the words "no such file or
//! directory", "permission denied", "operation not permitted" and "executable file not found" are reserved
//! for the container's own program, so a failed system call is shown by its errno's *name*.

use std::fmt;

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What an error means for the caller's exit code and for `delete --force`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Kind {
    /// Anything without a better name: exit code 1.
    #[default]
    Failure,
    /// The command line was wrong: exit code 1, and the usage is shown.
    Usage,
    /// The container does not exist.
    NotFound,
    /// The container is not in a state in which this can be done.
    WrongState,
    /// Another command is at it.
    Busy,
    /// This host or kernel cannot do what was asked.
    Unsupported,
}

/// One failure: `what: where: why`, and a hint on a line of its own.
///
/// ```
/// use isolate::error::Error;
/// use nix::errno::Errno;
/// let error = Error::sys("open_tree(\"/data\")", Errno::ENOENT)
///     .because("the source does not exist")
///     .at("mounts[3] /data")
///     .doing("cannot create container 'web1'")
///     .hint("create /data on the host");
/// assert_eq!(
///     error.to_string(),
///     "cannot create container 'web1': mounts[3] /data: open_tree(\"/data\"): ENOENT, \
///      the source does not exist\n  hint: create /data on the host"
/// );
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error(Box<Parts>);

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Parts {
    kind: Kind,
    what: Option<String>,
    place: Option<String>,
    why: String,
    hint: Option<String>,
    errno: Option<i32>,
    #[serde(default)]
    code: Option<u8>,
}

impl Error {
    /// An error that is not a failed system call: `why` is a full clause in lower case, without a dot.
    pub fn new(why: impl Into<String>) -> Error {
        Error(Box::new(Parts { why: why.into(), ..Parts::default() }))
    }

    /// A failed system call: `call` is the call as made (`mkdir("/run/isolate")`), shown with the errno's name.
    pub fn sys(call: impl fmt::Display, errno: Errno) -> Error {
        let mut error = Error::new(format!("{call}: {}", errno_name(errno)));
        error.0.errno = Some(errno as i32);
        error
    }

    /// [`Error::sys`] for a `std::io::Error`; one without an errno is shown by its text.
    pub fn io(call: impl fmt::Display, error: &std::io::Error) -> Error {
        match error.raw_os_error() {
            Some(code) => Error::sys(call, Errno::from_raw(code)),
            None => Error::new(format!("{call}: {error}")),
        }
    }

    /// Adds, after the reason, what it means here: `…: ENOENT, the source does not exist`.
    pub fn because(mut self, explanation: impl fmt::Display) -> Error {
        self.0.why = format!("{}, {explanation}", self.0.why);
        self
    }

    /// Adds words to the reason, after a space: `… (possibly OOM-killed)`.
    pub fn followed_by(mut self, words: impl fmt::Display) -> Error {
        self.0.why = format!("{} {words}", self.0.why);
        self
    }

    /// Says where: a JSON path of the config (`mounts[3] /data`), or a file and line. The innermost wins.
    pub fn at(mut self, place: impl Into<String>) -> Error {
        self.0.place.get_or_insert_with(|| place.into());
        self
    }

    /// Says what the user had asked for: `cannot create container 'web1'`. The outermost wins.
    pub fn doing(mut self, what: impl Into<String>) -> Error {
        self.0.what = Some(what.into());
        self
    }

    /// Says what to do. Only where it helps; the first one stays.
    pub fn hint(mut self, hint: impl Into<String>) -> Error {
        self.0.hint.get_or_insert_with(|| hint.into());
        self
    }

    /// Sets the kind.
    pub fn kind(mut self, kind: Kind) -> Error {
        self.0.kind = kind;
        self
    }

    /// Sets the exit code, where callers tell failures apart by it (`isolate tenant`). The innermost wins.
    pub fn code(mut self, code: u8) -> Error {
        self.0.code.get_or_insert(code);
        self
    }

    /// The exit code it was given.
    pub fn get_code(&self) -> Option<i32> {
        self.0.code.map(i32::from)
    }

    /// The error as bytes, for a message from the child to the runtime.
    pub fn to_wire(&self) -> Vec<u8> {
        serde_json::to_vec(&self.0).unwrap_or_else(|_| self.to_string().into_bytes())
    }

    /// What [`Error::to_wire`] made; any other bytes become the reason as they are.
    pub fn from_wire(bytes: &[u8]) -> Error {
        match serde_json::from_slice(bytes) {
            Ok(parts) => Error(parts),
            Err(_) => Error::new(String::from_utf8_lossy(bytes)),
        }
    }

    /// The kind it was given, else [`Kind::Failure`].
    pub fn get_kind(&self) -> Kind {
        self.0.kind
    }

    /// The errno, if the error is a failed system call.
    pub fn errno(&self) -> Option<Errno> {
        self.0.errno.map(Errno::from_raw)
    }
}

/// `ENOENT` for [`Errno::ENOENT`].
pub fn errno_name(errno: Errno) -> String {
    match errno {
        Errno::UnknownErrno => "an unknown errno".to_owned(),
        known => format!("{known:?}"),
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in [&self.0.what, &self.0.place].into_iter().flatten() {
            write!(f, "{part}: ")?;
        }
        f.write_str(&self.0.why)?;
        match &self.0.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

/// Adds the call as made to a result of `nix` or `std::io`.
pub trait Call<T> {
    /// Turns the failure into [`Error::sys`] with the call as `call()` gives it.
    fn call<D: fmt::Display>(self, call: impl FnOnce() -> D) -> Result<T>;
}

impl<T> Call<T> for nix::Result<T> {
    fn call<D: fmt::Display>(self, call: impl FnOnce() -> D) -> Result<T> {
        self.map_err(|errno| Error::sys(call(), errno))
    }
}

impl<T> Call<T> for std::io::Result<T> {
    fn call<D: fmt::Display>(self, call: impl FnOnce() -> D) -> Result<T> {
        self.map_err(|error| Error::io(call(), &error))
    }
}

/// Adds place and purpose to any result of the crate.
pub trait Explain<T> {
    /// [`Error::at`], built only on failure.
    fn at<S: Into<String>>(self, place: impl FnOnce() -> S) -> Result<T>;
    /// [`Error::doing`], built only on failure.
    fn doing<S: Into<String>>(self, what: impl FnOnce() -> S) -> Result<T>;
    /// [`Error::hint`], built only on failure.
    fn hint<S: Into<String>>(self, hint: impl FnOnce() -> S) -> Result<T>;
}

impl<T> Explain<T> for Result<T> {
    fn at<S: Into<String>>(self, place: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|error| error.at(place()))
    }
    fn doing<S: Into<String>>(self, what: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|error| error.doing(what()))
    }
    fn hint<S: Into<String>>(self, hint: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|error| error.hint(hint()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errno_is_shown_by_name_never_by_the_reserved_words() {
        let text = Error::sys("open(\"/x\")", Errno::ENOENT).to_string();
        assert_eq!(text, "open(\"/x\"): ENOENT");
    }

    #[test]
    fn innermost_place_and_outermost_purpose_win() {
        let error = Error::new("why").at("inner").at("outer").doing("cannot a").doing("cannot b");
        assert_eq!(error.to_string(), "cannot b: inner: why");
    }
}
