//! Rules of `linux.netDevices`: whose they become, and under which name. Pure.

use std::collections::HashSet;

use oci_spec::runtime::{LinuxNamespaceType, Spec};

use super::{Wanted, wanted};
use crate::oci::fault::{Faults, quoted};

pub(super) fn check(spec: &Spec, faults: &mut Faults) {
    let devices = spec.linux().as_ref().and_then(|linux| linux.net_devices().as_ref());
    let mut devices: Vec<_> = devices.into_iter().flatten().collect();
    devices.sort_by_key(|(name, _)| *name);
    if !devices.is_empty() && wanted(spec, LinuxNamespaceType::Network) == Wanted::No {
        let why = "it needs a network namespace of the container's own in linux.namespaces";
        faults.add("linux.netDevices", why);
    }
    let mut taken = HashSet::new();
    for (name, device) in devices {
        let place = format!("linux.netDevices[{}]", quoted(name));
        if !is_interface(name) {
            faults.add(&place, format!("{} is not the name of an interface", quoted(name)));
        }
        let to = device.name().as_ref().filter(|to| !to.is_empty()).unwrap_or(name);
        if !is_interface(to) || to.contains('%') && !is_pattern(to) {
            faults.add(format!("{place}.name"), format!("{} is not the name of an interface", quoted(to)));
        }
        if !is_pattern(to) && !taken.insert(to) {
            faults.add(format!("{place}.name"), format!("{} is given twice", quoted(to)));
        }
    }
}

/// The kernel's `dev_valid_name`.
pub(super) fn is_interface(name: &str) -> bool {
    let plain = !name.contains(['/', ':', '\0']) && !name.contains(char::is_whitespace);
    plain && !name.is_empty() && name.len() < 16 && name != "." && name != ".."
}

/// A name whose number the kernel chooses: one `%d`, and no other `%`.
fn is_pattern(name: &str) -> bool {
    name.matches('%').count() == 1 && name.contains("%d")
}
