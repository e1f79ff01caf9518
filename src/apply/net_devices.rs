//! Devices of the host on their way into the container. The runtime runs this beside the child, with root's
//! privilege in both network namespaces; it goes into the container's for a moment, and comes back.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::errno::Errno;
use nix::net::if_::{if_nameindex, if_nametoindex};

use super::child::clone_flag;
use crate::error::{Call, Error, Result};
use crate::plan::Namespace;
use crate::sys::namespace;
use crate::sys::netlink::{Route, State};

/// Moves the device `name` to the network namespace of process `pid`, where it is `to`; its addresses go with
/// it, and it is up then.
///
/// # Errors
/// When there is no such device, or one of that name is in the container already.
pub(super) fn move_in(pid: i32, name: &str, to: &str) -> Result<()> {
    let inside = Inside::of(pid)?;
    let index = if_nametoindex(name).call(|| format!("if_nametoindex({name:?})")).map_err(no_device)?;
    let host = Route::open()?;
    let addresses = host.addresses(index)?;
    let before = inside.visit(names)?;
    // The kernel would notice only after the move, which cannot be taken back for every device.
    if before.values().any(|other| other == to) {
        return Err(Error::new(format!("the container has a network device {to:?} already")));
    }
    // A device that is up cannot be renamed on every kernel.
    host.set_state(index, State::Down)?;
    host.move_device(index, &inside.namespace, to)?;
    inside.visit(|| {
        let moved = names()?.into_keys().find(|index| !before.contains_key(index));
        let moved = moved.ok_or_else(|| Error::new("the device did not arrive in the container"))?;
        let route = Route::open()?;
        addresses.into_iter().try_for_each(|address| route.add_address(moved, address))?;
        route.set_state(moved, State::Up)
    })
}

fn no_device(error: Error) -> Error {
    match error.errno() {
        Some(Errno::ENODEV) => error.because("the runtime's network namespace has no such device"),
        _ => error,
    }
}

/// The devices of the network namespace we are in, by their numbers.
fn names() -> Result<BTreeMap<u32, String>> {
    let list = if_nameindex().call(|| "if_nameindex")?;
    Ok(list.iter().map(|one| (one.index(), one.name().to_string_lossy().into_owned())).collect())
}

/// The container's network namespace, and the way home.
struct Inside {
    namespace: OwnedFd,
    home: OwnedFd,
}

impl Inside {
    fn of(pid: i32) -> Result<Inside> {
        let flag = clone_flag(Namespace::Network);
        let open = |path: String| namespace::open_kind(Path::new(&path), flag);
        let call = || format!("stat(\"/proc/{pid}/ns/net\")");
        if namespace::inode(pid, "net").call(call)? == namespace::own_inode("net").call(call)? {
            return Err(Error::new("the container has no network namespace of its own"));
        }
        Ok(Inside {
            namespace: open(format!("/proc/{pid}/ns/net"))?,
            home: open("/proc/thread-self/ns/net".to_owned())?,
        })
    }

    /// Does something in there.
    fn visit<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let flag = clone_flag(Namespace::Network);
        namespace::enter(&self.namespace, flag)?;
        let result = work();
        namespace::enter(&self.home, flag)?;
        result
    }
}
