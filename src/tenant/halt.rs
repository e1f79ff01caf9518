//! `stop`: the signal that the tenant's init understands, then time, then the end of all its processes. The runtime
//! process, with the caller's privilege. It needs nothing of the keeper.

use std::time::{Duration, Instant};

use crate::container::{self, Status};
use crate::error::{Error, Kind, Result};
use crate::tenant::config::Mode;
use crate::tenant::estate::Estate;
use crate::tenant::look;
use crate::tenant::name::Name;

/// How a tenant is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Asked, and killed after this time.
    Asked(Duration),
    /// Killed.
    AtOnce,
}

/// How a stop ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By itself.
    Itself,
    /// It was killed.
    Killed,
}

/// The signal that asks for the end: systemd(1), "SIGNALS"; busybox init's poweroff. A command gets SIGTERM.
fn signal(mode: Mode) -> i32 {
    match mode {
        Mode::Systemd => libc::SIGRTMIN() + 4,
        Mode::Init => libc::SIGUSR2,
        Mode::Command => libc::SIGTERM,
    }
}

/// Stops a running tenant; its lock is held by the caller.
///
/// # Errors
/// Exit code 31 when it does not run.
pub fn stop(estate: &Estate, name: &Name, how: How) -> Result<Ended> {
    if look::status(estate, name)? == Status::Stopped {
        forget(estate, name)?;
        return Err(Error::new("it is not running").kind(Kind::WrongState).code(31));
    }
    end(estate, name, how)
}

/// Ends all processes of a tenant and removes its container.
///
/// # Errors
/// A call that failed, or processes that do not die.
pub fn end(estate: &Estate, name: &Name, how: How) -> Result<Ended> {
    let id = estate.container(name)?;
    if look::status(estate, name)? == Status::Paused {
        container::resume(&estate.runtime, &id)?;
    }
    let mut ended = Ended::Itself;
    let asked = match how {
        How::AtOnce => false,
        How::Asked(wait) => {
            let mode = estate.tenant(name)?.config.boot.mode;
            tolerate(container::kill(&estate.runtime, &id, signal(mode), false))?;
            wait_until_stopped(estate, name, wait)?
        }
    };
    if !asked {
        ended = Ended::Killed;
        tolerate(container::kill(&estate.runtime, &id, libc::SIGKILL, true))?;
        if !wait_until_stopped(estate, name, Duration::from_secs(10))? {
            return Err(Error::new("its processes do not end, though they were killed")
                .hint("a process may hang in the kernel; 'isolate tenant stop --kill' tries again"));
        }
    }
    forget(estate, name)?;
    Ok(ended)
}

/// It may end, and be removed by its keeper, at any moment.
fn tolerate(result: Result<()>) -> Result<()> {
    match result {
        Err(error) if matches!(error.get_kind(), Kind::NotFound | Kind::WrongState) => Ok(()),
        result => result,
    }
}

fn wait_until_stopped(estate: &Estate, name: &Name, wait: Duration) -> Result<bool> {
    let end = Instant::now() + wait;
    loop {
        match look::status(estate, name)? {
            Status::Stopped => return Ok(true),
            _ if Instant::now() >= end => return Ok(false),
            _ => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// Removes what is left of a stopped tenant's container; nothing there is fine.
///
/// # Errors
/// What could not be removed.
pub fn forget(estate: &Estate, name: &Name) -> Result<()> {
    container::delete(&estate.runtime, &estate.container(name)?, true)
}
