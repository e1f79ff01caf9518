//! The one logger: warnings and the final error go to standard error, or to the file or daemon an engine named. In
//! a file they are text or one JSON object a line (`{"level":…,"msg":…,"time":RFC 3339}`, what runc writes and every
//! engine parses). Nothing is written on success, so that engines may merge both streams.

pub mod daemon;

use std::fmt;
use std::fs::File;
use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use daemon::Daemon;

/// How much is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Level {
    /// Only what made the command fail.
    Error,
    /// Also downgrades, with their consequence. The default.
    #[default]
    Warning,
    /// Also what is being done.
    Debug,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warning => "warning",
            Level::Debug => "debug",
        }
    }
}

/// Text for people, JSON for engines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// `level=warning msg="…"` in a file; `isolate: warning: …` on standard error.
    #[default]
    Text,
    /// One object a line.
    Json,
}

/// Where records go.
#[derive(Debug, Default)]
pub enum Destination {
    /// Standard error.
    #[default]
    StandardError,
    /// The end of a file.
    File(File),
    /// A log daemon of the host; it has formats of its own.
    Daemon(Daemon),
}

/// Where and how to log.
#[derive(Debug, Default)]
pub struct Settings {
    /// The most detailed level that is written.
    pub level: Level,
    /// The format of records in a file and on standard error.
    pub format: Format,
    /// Where records go.
    pub to: Destination,
}

static SETTINGS: OnceLock<Settings> = OnceLock::new();

static SILENT: AtomicBool = AtomicBool::new(false);

/// Logs nothing from here on: for the child, whose standard error is the container's, and who may not keep
/// the file.
pub fn silence() {
    SILENT.store(true, Ordering::Relaxed);
}

/// Sets the logger up; only the first call counts.
pub fn init(settings: Settings) {
    let _ = SETTINGS.set(settings);
}

/// Logs a downgrade or an oddity, with its consequence.
pub fn warning(message: impl fmt::Display) {
    write(Level::Warning, &message);
}

/// Whether [`debug`] writes anything: for callers whose message costs something.
pub fn is_debug() -> bool {
    SETTINGS.get().is_some_and(|settings| settings.level == Level::Debug)
}

/// Logs what is being done.
pub fn debug(message: impl fmt::Display) {
    write(Level::Debug, &message);
}

/// Logs what made the command fail. Called once, by `main`.
pub fn error(message: impl fmt::Display) {
    write(Level::Error, &message);
}

fn write(level: Level, message: &dyn fmt::Display) {
    let default = Settings::default();
    let settings = SETTINGS.get().unwrap_or(&default);
    if level > settings.level || SILENT.load(Ordering::Relaxed) {
        return;
    }
    let message = message.to_string();
    // A log that cannot be written must not stop a container: there is nobody left to tell.
    let _ = match &settings.to {
        Destination::StandardError => {
            std::io::stderr().write_all(record(settings, level, &message).as_bytes())
        }
        Destination::File(file) => (&mut &*file).write_all(record(settings, level, &message).as_bytes()),
        Destination::Daemon(daemon) => daemon.send(level, &message),
    };
}

fn record(settings: &Settings, level: Level, message: &str) -> String {
    let time = crate::sys::time::rfc3339(crate::sys::time::now());
    match (settings.format, &settings.to) {
        (Format::Json, _) => {
            let object = serde_json::json!({"level": level.name(), "msg": message, "time": time});
            format!("{object}\n")
        }
        (Format::Text, Destination::File(_)) => {
            format!("time={time:?} level={} msg={message:?}\n", level.name())
        }
        (Format::Text, _) if level == Level::Error => format!("isolate: {message}\n"),
        (Format::Text, _) => format!("isolate: {}: {message}\n", level.name()),
    }
}
