//! Changes to the root of a tenant that does not run. A child of the runtime process makes them, with the caller's
//! privilege.

use crate::error::Result;
use crate::tenant::aside;
use crate::tenant::estate::{Estate, Tenant};
use crate::tenant::layers::{self, Purpose};
use crate::tenant::rootfs::Rootfs;

/// Puts the tenant's root together, lets `change` work on it, and takes it apart.
///
/// # Errors
/// What `change` says; or the root cannot be put together.
pub fn change(
    estate: &Estate,
    tenant: &Tenant,
    change: impl FnOnce(&mut Rootfs) -> Result<()>,
) -> Result<()> {
    aside::run(|| {
        let standing = layers::of_tenant(estate, tenant, Purpose::Offline)?;
        let mut root = Rootfs::open(&standing.root, estate.owners())?;
        change(&mut root)?;
        root.finish()
    })
}
