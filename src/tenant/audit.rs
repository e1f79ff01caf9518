//! The record of administrative acts: one JSON line each, appended whole. The runtime process, with the caller's
//! privilege. Values of variables and arguments of programs are left out: they may be secret.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::error::{Call, Error, Result};
use crate::sys::time;

/// One act.
#[derive(Debug, Clone, Serialize)]
pub struct Act {
    /// The verb: `tenant start`.
    pub verb: String,
    /// The words after it.
    pub arguments: Vec<String>,
    /// `ok`, or the error.
    pub result: String,
    /// The exit code.
    pub code: i32,
    /// How long it took.
    pub took_ms: u128,
}

/// Who acts. Looked at before the act: an ordinary user's process may be root of a user namespace after it.
#[derive(Debug, Clone, Serialize)]
pub struct Who {
    uid: u32,
    /// Who logged in, whoever they became since (audit(7)); absent without the kernel's audit.
    #[serde(skip_serializing_if = "Option::is_none")]
    login_uid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sudo_user: Option<String>,
}

impl Who {
    /// The caller.
    pub fn probe() -> Who {
        let login =
            std::fs::read_to_string("/proc/self/loginuid").ok().and_then(|text| text.trim().parse().ok());
        Who {
            uid: nix::unistd::getuid().as_raw(),
            login_uid: login.filter(|uid| *uid != u32::MAX),
            sudo_user: std::env::var("SUDO_USER").ok(),
        }
    }
}

#[derive(Serialize)]
struct Line<'a> {
    version: u32,
    time: String,
    #[serde(flatten)]
    who: &'a Who,
    pid: u32,
    #[serde(flatten)]
    act: &'a Act,
}

impl Act {
    /// An act that has ended.
    pub fn new(verb: &str, arguments: &[String], result: Result<i32, &Error>, took: Duration) -> Act {
        let (result, code) = match result {
            Ok(code) => ("ok".to_owned(), code),
            Err(error) => (error.to_string(), error.get_code().unwrap_or(1)),
        };
        let arguments = without_program(without_values(arguments));
        Act { verb: format!("tenant {verb}"), arguments, result, code, took_ms: took.as_millis() }
    }
}

/// Of a command line after `--` the program's name is kept.
fn without_program(mut arguments: Vec<String>) -> Vec<String> {
    if let Some(dashes) = arguments.iter().position(|word| word == "--") {
        arguments.truncate(dashes + 2);
    }
    arguments
}

/// `--env NAME=VALUE` without the value, in all its spellings.
fn without_values(arguments: &[String]) -> Vec<String> {
    let is_env = |word: &str| matches!(word, "-e" | "--env" | "-env");
    let hide = |text: &str| text.split_once('=').map_or(text.to_owned(), |(name, _)| format!("{name}=…"));
    let mut follows = false;
    let mut words = Vec::new();
    for word in arguments {
        let joined = word
            .strip_prefix("--env=")
            .or_else(|| word.strip_prefix("-e").filter(|rest| !rest.is_empty() && !rest.starts_with("nv")));
        words.push(match joined {
            _ if follows => hide(word),
            Some(rest) => format!("--env={}", hide(rest.trim_start_matches('='))),
            None => word.clone(),
        });
        follows = !follows && is_env(word);
    }
    words
}

/// Appends one line to the file.
///
/// # Errors
/// The call that failed.
pub fn record(path: &Path, who: &Who, act: &Act) -> Result<()> {
    let line = Line { version: 1, time: time::rfc3339(time::now()), who, pid: std::process::id(), act };
    let mut bytes = serde_json::to_vec(&line).map_err(|error| Error::new(error.to_string()))?;
    bytes.push(b'\n');
    let mut file = File::options();
    let file = file.append(true).create(true).mode(0o600).open(path);
    // One write: lines of commands at the same time do not mix.
    file.and_then(|mut file| file.write_all(&bytes)).call(|| format!("append({path:?})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_variables_are_not_written_down() {
        let words =
            ["-e", "A=secret", "--env=B=secret", "-eC=secret", "--env", "D", "x=y"].map(str::to_owned);
        let kept = without_values(&words);
        assert!(!kept.join(" ").contains("secret"), "{kept:?}");
        let program = without_program(["web", "--", "mysql", "-psecret"].map(str::to_owned).to_vec());
        assert_eq!(program, ["web", "--", "mysql"]);
        assert_eq!(kept, ["-e", "A=…", "--env=B=…", "--env=C=…", "--env", "D", "x=y"]);
    }

    #[test]
    fn each_act_is_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        for _ in 0..2 {
            let act = Act::new(
                "start",
                &["web\n1".to_owned()],
                Err(&Error::new("no\nway").code(31)),
                Duration::ZERO,
            );
            record(&path, &Who::probe(), &act).unwrap();
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(
            (lines.len(), &lines[0]["code"], &lines[1]["verb"]),
            (2, &31.into(), &"tenant start".into())
        );
    }
}
