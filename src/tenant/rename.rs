//! `rename`: the folder of a stopped tenant gets another name, in one call. The runtime process, with the caller's
//! privilege.

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

use crate::container::Status;
use crate::error::{Error, Kind, Result};
use crate::tenant::estate::Estate;
use crate::tenant::halt;
use crate::tenant::lock;
use crate::tenant::look;
use crate::tenant::name::Name;

/// Gives tenant `name` the name `new`. The name in its files follows when it is started next.
///
/// # Errors
/// Exit code 32 when it runs, 44 when the name is taken, 105 when it is protected.
pub fn rename(estate: &Estate, name: &Name, new: &Name) -> Result<()> {
    estate.tenant(name)?;
    let _lock = lock::take(&estate.folder(name), "rename", estate.lock_wait)?;
    let mut tenant = estate.tenant(name)?;
    if look::status(estate, name)? != Status::Stopped {
        return Err(Error::new("it is running").hint("stop it first").kind(Kind::WrongState).code(32));
    }
    if tenant.config.admin.protect {
        let way = format!("'isolate tenant set {name} protect=off' allows it");
        return Err(Error::new("it is protected").hint(way).code(105));
    }
    halt::forget(estate, name)?;
    // The settings of a start with another host name: the next start writes the new one.
    if tenant.config.system.hostname.is_empty() {
        tenant.config.system.hostname = name.to_string();
        estate.save_started(&tenant)?;
    }
    let (from, to) = (estate.folder(name), estate.folder(new));
    match renameat2(AT_FDCWD, &from, AT_FDCWD, &to, RenameFlags::RENAME_NOREPLACE) {
        Err(Errno::EEXIST) => Err(Error::new(format!("there is a tenant '{new}' already")).code(44)),
        result => result.map_err(|errno| Error::sys(format!("renameat2({from:?}, {to:?})"), errno)),
    }
}
