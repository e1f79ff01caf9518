//! `linux.netDevices`: devices of the host that move into the container. Pure.

use oci_spec::runtime::Spec;

use super::{Plan, Stage, Step};
use crate::error::{Error, Kind, Result};
use crate::host::Host;

/// Whether any device moves.
pub fn has_any(spec: &Spec) -> bool {
    spec.linux().as_ref().and_then(|linux| linux.net_devices().as_ref()).is_some_and(|all| !all.is_empty())
}

/// Plans the moves, in the order of the devices' names, before the hooks that may want to see them.
///
/// # Errors
/// For an ordinary user, who may not touch the host's devices.
pub fn plan(plan: &mut Plan, spec: &Spec, host: &Host) -> Result<()> {
    let devices = spec.linux().as_ref().and_then(|linux| linux.net_devices().as_ref());
    let mut devices: Vec<_> = devices.into_iter().flatten().collect();
    devices.sort_by_key(|(name, _)| *name);
    if !devices.is_empty() && !host.privileged {
        return Err(Error::new("only the host's root can move network devices into a container")
            .at("linux.netDevices")
            .kind(Kind::Unsupported));
    }
    for (name, device) in devices {
        let to = device.name().clone().filter(|to| !to.is_empty()).unwrap_or_else(|| name.clone());
        let step = Step::MoveNetDevice { name: name.clone(), to };
        plan.push(Stage::Beside, format!("linux.netDevices[{name:?}]"), step);
    }
    Ok(())
}
