//! What makes a tenant itself: name, machine id, addresses, in the files of its stopped root. The process of
//! [`crate::tenant::offline`], with the caller's privilege, in the mount namespace of [`crate::tenant::layers`].

use crate::error::{Call, Result};
use crate::ids::RootPath;
use crate::tenant::config::{Config, Mode};
use crate::tenant::name::Name;
use crate::tenant::rootfs::{Meta, Rootfs};
use crate::tenant::settings::Settings;
use crate::tenant::skeleton;

/// A random UUID of the kernel's.
///
/// # Errors
/// procfs is not there.
pub fn new_uuid() -> Result<String> {
    let path = "/proc/sys/kernel/random/uuid";
    std::fs::read_to_string(path).map(|text| text.trim().to_owned()).call(|| format!("read({path:?})"))
}

/// Writes the identity into the stopped root `rootfs`.
///
/// # Errors
/// The call that failed.
pub fn write(config: &Config, name: &Name, rootfs: &mut Rootfs) -> Result<()> {
    let hostname = if config.system.hostname.is_empty() { name.as_str() } else { &config.system.hostname };
    let settings = Settings { net: config.net()?, ..Settings::default() };
    skeleton::add_identity(&settings, hostname, rootfs)?;
    let machine_id = RootPath::new("/etc/machine-id");
    if config.boot.mode == Mode::Systemd || !rootfs.text(&machine_id, 64).is_empty() {
        let id = format!("{}\n", config.uuid.replace('-', ""));
        rootfs.file(&machine_id, Meta::root(0o444), &mut id.as_bytes())?;
    }
    Ok(())
}
