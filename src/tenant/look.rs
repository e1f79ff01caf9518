//! What tenants are doing: read from the kernel each time, never stored. The runtime process; changes nothing.

use serde::Serialize;

use crate::container::{self, Status};
use crate::error::{Kind, Result};
use crate::tenant::config::{Config, Mode};
use crate::tenant::estate::Estate;
use crate::tenant::name::Name;

/// A tenant as `list` and `info` show it.
#[derive(Debug, Clone, Serialize)]
pub struct View {
    /// Its name.
    pub name: Name,
    /// `running`, `paused`, `stopped`, `incomplete` (a command on it was killed) or `broken` (settings that cannot be
    /// read).
    pub state: &'static str,
    /// Its init on the host; absent when it does not run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// Why it is broken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// Its settings; absent when it is incomplete or broken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settings: Option<Config>,
}

/// What the tenant's container is doing; one that is not there is stopped.
///
/// # Errors
/// As [`container::state`].
pub fn status(estate: &Estate, name: &Name) -> Result<Status> {
    Ok(state(estate, name)?.map_or(Status::Stopped, |state| state.status))
}

/// The state of the tenant's container, if there is one.
///
/// # Errors
/// As [`container::state`].
pub fn state(estate: &Estate, name: &Name) -> Result<Option<container::State>> {
    match container::state(&estate.runtime, &estate.container(name)?) {
        Err(error) if error.get_kind() == Kind::NotFound => Ok(None),
        state => state.map(Some),
    }
}

/// Looks at one tenant; there is always something to show.
///
/// # Errors
/// The state of its container cannot be read.
pub fn view(estate: &Estate, name: &Name) -> Result<View> {
    let state = state(estate, name)?;
    let pid = state.as_ref().map(|state| state.pid).filter(|pid| *pid > 0);
    let (word, fault, settings) = match (estate.tenant(name), state.map(|state| state.status)) {
        (Ok(tenant), status) => (word(status), None, Some(tenant.config)),
        (Err(error), _) if error.get_kind() == Kind::NotFound => ("incomplete", None, None),
        (Err(error), _) => ("broken", Some(error.to_string()), None),
    };
    Ok(View { name: name.clone(), state: word, pid, fault, settings })
}

fn word(status: Option<Status>) -> &'static str {
    match status {
        Some(Status::Running) => "running",
        Some(Status::Paused) => "paused",
        // The moment between making and starting.
        Some(Status::Created | Status::Creating) => "starting",
        Some(Status::Stopped) | None => "stopped",
    }
}

/// All tenants, sorted by name.
///
/// # Errors
/// As [`view`].
pub fn all(estate: &Estate) -> Result<Vec<View>> {
    estate.names()?.iter().map(|name| view(estate, name)).collect()
}

/// A mode in a word.
pub fn mode_word(mode: Mode) -> &'static str {
    match mode {
        Mode::Systemd => "systemd",
        Mode::Init => "init",
        Mode::Command => "command",
    }
}
