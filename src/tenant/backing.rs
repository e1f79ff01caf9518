//! The block device behind a folder, which is what limits on I/O are about. The runtime process; reads only.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::tenant::config::{Config, DiskKind};
use crate::tenant::disk;
use crate::tenant::resources::Device;

/// The whole disk that the file system of `folder` is on: the kernel limits no partition by itself. `None` for file
/// systems that are on no single device, such as btrfs, tmpfs and those of a network.
pub fn device(folder: &Path) -> Option<Device> {
    let number = std::fs::metadata(folder).ok()?.dev();
    let found = Device { major: nix::sys::stat::major(number), minor: nix::sys::stat::minor(number) };
    if found.major == 0 {
        return None;
    }
    let place = Path::new("/sys/dev/block").join(format!("{}:{}", found.major, found.minor));
    let place = std::fs::canonicalize(place).ok()?;
    if !place.join("partition").exists() {
        return Some(found);
    }
    let text = std::fs::read_to_string(place.parent()?.join("dev")).ok()?;
    let (major, minor) = text.trim().split_once(':')?;
    Some(Device { major: major.parse().ok()?, minor: minor.parse().ok()? })
}

/// The device that limits on I/O of a tenant are about: that of its image, which before it stands is any loop device.
pub fn of_tenant(config: &Config, folder: &Path) -> Option<Device> {
    match config.disk.kind {
        DiskKind::Dir => device(folder),
        DiskKind::Image => {
            disk::standing(folder).map(|(_, device)| device).or(Some(Device { major: 7, minor: 0 }))
        }
    }
}

/// The CPUs there are, as the kernel lists them; empty when it does not say.
pub fn online_cpus() -> String {
    let text = std::fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
    text.trim().to_owned()
}
