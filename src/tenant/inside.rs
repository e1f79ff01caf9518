//! Work on the root of a tenant that runs or not, by a child of the runtime process. In a running tenant's root the
//! child is no more than the tenant's own root: it joins the user namespace before it touches a file. A stopped one's
//! root is put together in a mount namespace of the child's own, with the caller's privilege and ids as they are on disk.
//!
//! Either way ids are those inside, and every path is resolved below a descriptor of the root.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use crate::container::Status;
use crate::error::{Call, Error, Kind, Result};
use crate::sys::path::RootFolder;
use crate::sys::{namespace, pidfd};
use crate::tenant::aside::{self, Aside};
use crate::tenant::estate::{Estate, Tenant};
use crate::tenant::interrupt::Interrupt;
use crate::tenant::layers::{self, Purpose};
use crate::tenant::lock;
use crate::tenant::look;

/// Begins `work` on the root; `ours` is given up in the child.
///
/// A stopped tenant's lock is held until the work has ended, so that nobody starts it meanwhile; who works in a running
/// one keeps nobody from stopping it.
///
/// # Errors
/// Exit code 9 when somebody else works on the tenant; its state cannot be read.
pub fn begin<O>(
    estate: &Estate,
    tenant: &Tenant,
    verb: &str,
    ours: O,
    work: impl FnOnce(&RootFolder) -> Result<()>,
) -> Result<(Working, O)> {
    let lock = lock::take(&tenant.folder, verb, estate.lock_wait)?;
    let state = look::state(estate, &tenant.name)?.filter(|state| state.status != Status::Stopped);
    let Some(state) = state else {
        let (child, ours) = aside::begin(ours, || {
            let standing = layers::of_tenant(estate, tenant, Purpose::Offline)?;
            work(&RootFolder::new(open_folder(&standing.root)?))
        })?;
        return Ok((Working { child, _lock: Some(lock) }, ours));
    };
    if !matches!(state.status, Status::Running | Status::Paused) {
        let hint = "'isolate tenant stop --kill' gives a start up that was killed";
        return Err(Error::new("it is being started").hint(hint).kind(Kind::WrongState).code(32));
    }
    let process = pidfd::open(state.pid)?;
    // Read again: the number is its init's now, as it was before, so the descriptor is the init's and nobody else's.
    let again = look::state(estate, &tenant.name)?.filter(|again| again.status != Status::Stopped);
    if again.map(|again| again.pid) != Some(state.pid) {
        return Err(stopped());
    }
    let (child, ours) = aside::begin(ours, || work(&join(state.pid, &process)?))?;
    Ok((Working { child, _lock: None }, ours))
}

/// A child at work, and the lock that it needs.
#[derive(Debug)]
pub struct Working {
    child: Aside,
    _lock: Option<lock::Lock>,
}

impl Working {
    /// Waits for its end, until a signal comes.
    ///
    /// # Errors
    /// As [`Aside::finish_unless`].
    pub fn finish(self, interrupt: &Interrupt) -> Result<()> {
        self.child.finish_unless(interrupt)
    }
}

fn stopped() -> Error {
    Error::new("it has just stopped").kind(Kind::WrongState).code(31)
}

/// Becomes root of the user namespace of a tenant's init; the tenant's root.
fn join(pid: i32, process: &OwnedFd) -> Result<RootFolder> {
    let user = Path::new("/proc").join(pid.to_string()).join("ns/user");
    let namespace = namespace::open_kind(&user, libc::CLONE_NEWUSER as u64)?;
    // The dot, because the kernel's link is not opened for what it is, but followed.
    let root = open_folder(&Path::new("/proc").join(pid.to_string()).join("root/."))?;
    // It is alive after all was opened: nobody else had its number meanwhile.
    if pidfd::poll_exit(process, Some(Duration::ZERO))? {
        return Err(stopped());
    }
    layers::enter_as_root(&namespace)?;
    Ok(RootFolder::new(root))
}

fn open_folder(path: &Path) -> Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    open(path, flags, Mode::empty()).call(|| format!("open({path:?})"))
}
