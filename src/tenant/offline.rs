//! Changes to the root of a tenant that does not run. A child of the runtime process does them, since putting a root
//! together takes its process into other namespaces for good; with the caller's privilege.

use std::path::Path;

use crate::error::{Call, Error, Result};
use crate::sys::clone::{Cloned, Parent, clone, exit_now};
use crate::sys::{channel, pidfd, socket};
use crate::tenant::estate::{Estate, Tenant};
use crate::tenant::layers::{self, Layers, Purpose};
use crate::tenant::rootfs::Rootfs;
use crate::tenant::stock;

const DONE: &[u8] = b"done";

/// Puts the tenant's root together, lets `change` work on it, and takes it apart.
///
/// # Errors
/// What `change` says; or the root cannot be put together.
pub fn change(
    estate: &Estate,
    tenant: &Tenant,
    change: impl FnOnce(&mut Rootfs) -> Result<()>,
) -> Result<()> {
    let (_, template) = stock::find(estate, &tenant.config.template.name)?;
    let (ours, theirs) = socket::seqpacket_pair()?;
    let Cloned::Parent { pidfd, .. } = clone(0, None, Parent::Caller)? else {
        drop(ours);
        let words = match work(estate, tenant, &template, change) {
            Ok(()) => DONE.to_vec(),
            Err(error) => error.to_wire(),
        };
        let _ = channel::send(&theirs, &words, &[] as &[std::os::fd::OwnedFd]);
        exit_now(0)
    };
    drop(theirs);
    let answer = channel::receive(&ours).call(|| "recvmsg");
    pidfd::wait(&pidfd)?;
    match answer?.0 {
        words if words == DONE => Ok(()),
        words if words.is_empty() => Err(Error::new("the process that changes the root died")),
        words => Err(Error::from_wire(&words)),
    }
}

fn work(
    estate: &Estate,
    tenant: &Tenant,
    template: &Path,
    change: impl FnOnce(&mut Rootfs) -> Result<()>,
) -> Result<()> {
    let maps = estate.maps(&tenant.config);
    let layers = Layers { folder: &tenant.folder, template, maps: &maps };
    let standing = layers::enter(&estate.host, &layers, Purpose::Offline)?;
    let mut root = Rootfs::open(&standing.root, estate.owners())?;
    change(&mut root)?;
    root.finish()
}
