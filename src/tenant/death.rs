//! `destroy`: settings first, then everything else, so that a destroy that was killed leaves no tenant, but a folder
//! that the next one removes. The runtime process, with the caller's privilege.

use std::path::Path;

use crate::container::Status;
use crate::error::{Call, Error, Kind, Result};
use crate::tenant::estate::Estate;
use crate::tenant::halt::{self, How};
use crate::tenant::ids::of_caller;
use crate::tenant::lock;
use crate::tenant::look;
use crate::tenant::name::Name;
use crate::tenant::workspace::remove_tree;

/// Whether a running tenant is stopped first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Running {
    /// It is an error.
    Refuse,
    /// It is killed.
    Kill,
}

/// Removes a tenant and its data.
///
/// # Errors
/// Exit code 14 when there is none, 32 when it runs, 105 when it is protected.
pub fn destroy(estate: &Estate, name: &Name, running: Running) -> Result<()> {
    let folder = estate.folder(name);
    if !folder.is_dir() {
        return estate.tenant(name).map(drop);
    }
    let _lock = lock::take(&folder, "destroy", estate.lock_wait)?;
    let complete = folder.join("tenant.toml").exists();
    if complete && estate.tenant(name)?.config.admin.protect {
        return Err(Error::new("it is protected")
            .hint(format!("'isolate tenant set {name} protect=off' allows it"))
            .code(105));
    }
    if look::status(estate, name)? != Status::Stopped {
        if running == Running::Refuse {
            return Err(Error::new("it is running")
                .hint("stop it, or use --force")
                .kind(Kind::WrongState)
                .code(32));
        }
        halt::end(estate, name, How::AtOnce)?;
    }
    halt::forget(estate, name)?;
    if complete {
        let path = folder.join("tenant.toml");
        std::fs::remove_file(&path).call(|| format!("unlink({path:?})"))?;
    }
    remove_folder(estate, &folder)
}

/// Removes a tenant's folder with all in it.
///
/// # Errors
/// What could not be removed.
pub fn remove_folder(estate: &Estate, folder: &Path) -> Result<()> {
    remove_tree(folder, &of_caller(&estate.host))
}
