//! Images of a registry, or of a docker archive, fetched to an OCI image layout by the host's `skopeo`, which knows
//! registries, their logins, proxies and policies. The runtime process, with the caller's privilege. What comes is checked
//! by skopeo against the manifest's digests, and once more when it is imported.

use std::io::IsTerminal;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::error::{Call, Error, Kind, Result};
use crate::tenant::source::find_program;

/// The tag in the layout.
pub const TAG: &str = "image";

/// What may be fetched; others of skopeo's transports are of no use here.
const TRANSPORTS: [&str; 2] = ["docker://", "docker-archive:"];

/// Whether a registry has to prove who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    /// By a certificate.
    Verified,
    /// No, and it may speak plain HTTP.
    Insecure,
}

/// Whether `source` is something to fetch.
///
/// # Errors
/// Exit code 21.
pub fn check(source: &str) -> Result<()> {
    let rest = TRANSPORTS.iter().find_map(|transport| source.strip_prefix(transport));
    match rest.is_some_and(|rest| !rest.is_empty() && !rest.chars().any(|c| c.is_control() || c == ' ')) {
        true => Ok(()),
        false => Err(Error::new(format!("{source:?} names no image"))
            .hint("write docker://HOST/IMAGE:TAG or docker-archive:FILE; 'template import' takes what lies here")
            .kind(Kind::Usage)
            .code(21)),
    }
}

/// Fetches `source` into the layout `folder`, which is not there yet.
///
/// # Errors
/// There is no skopeo, or what it says.
pub fn fetch(source: &str, tls: Tls, folder: &Path) -> Result<()> {
    check(source)?;
    let lacking = || Error::new("there is no program skopeo on the PATH").hint("install the package skopeo");
    let mut command = Command::new(find_program("skopeo").ok_or_else(lacking)?);
    command.arg("copy");
    if tls == Tls::Insecure {
        command.arg("--src-tls-verify=false");
    }
    command.arg(source).arg(format!("oci:{}:{TAG}", folder.display())).stdin(Stdio::null());
    // It shows its progress on a terminal by itself.
    let shown = std::io::stderr().is_terminal();
    command.stdout(if shown { Stdio::from(std::io::stderr()) } else { Stdio::null() }).stderr(Stdio::piped());
    let output = command.output().call(|| "spawn(\"skopeo\")")?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::new(format!("skopeo failed: {}", last_words(&output.stderr)))
        .hint("'skopeo login' keeps a password for a registry; --insecure is for one without TLS"))
}

/// What a program of Go's says last, without the time before it.
fn last_words(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let line = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it says nothing");
    let words = line.split_once(" msg=").map_or(line, |(_, words)| words.trim_matches('"'));
    words.chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_images_are_fetched() {
        for good in ["docker://127.0.0.1:5000/a/b:1", "docker-archive:/tmp/x.tar"] {
            check(good).unwrap();
        }
        for bad in ["docker://", "dir:/etc", "containers-storage:x", "docker://a b", "", "docker://a\n"] {
            assert_eq!(check(bad).unwrap_err().get_code(), Some(21), "{bad:?}");
        }
    }

    #[test]
    fn the_last_words_are_told_without_the_time() {
        let log = b"Getting image\ntime=\"2026\" level=fatal msg=\"no such image\"\n\n";
        assert_eq!(last_words(log), "no such image");
        assert_eq!(last_words(b""), "it says nothing");
    }
}
