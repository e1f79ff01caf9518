//! Rules of `linux.memoryPolicy` (set_mempolicy(2)): which mode goes with which nodes and flags. Pure.

use oci_spec::runtime::{LinuxMemoryPolicy, MemoryPolicyFlagType as Flag, MemoryPolicyModeType as Mode};

use crate::oci::fault::Faults;

const AT: &str = "linux.memoryPolicy";

pub(super) fn check(policy: &LinuxMemoryPolicy, faults: &mut Faults) {
    let nodes = policy.nodes().as_deref().unwrap_or_default();
    let mode = policy.mode();
    let flags = policy.flags().as_deref().unwrap_or_default();
    match mode {
        Mode::MpolDefault | Mode::MpolLocal if !nodes.is_empty() => {
            faults.add(format!("{AT}.nodes"), format!("{mode} takes no nodes"));
        }
        Mode::MpolDefault | Mode::MpolLocal if !flags.is_empty() => {
            faults.add(format!("{AT}.flags"), format!("{mode} takes no flags"));
        }
        Mode::MpolDefault | Mode::MpolLocal => {}
        Mode::MpolPreferred if nodes.is_empty() && !flags.is_empty() => {
            faults.add(format!("{AT}.flags"), "MPOL_PREFERRED without nodes takes no flags");
        }
        Mode::MpolPreferred => check_flags(mode, flags, faults),
        _ if nodes.is_empty() => faults.add(format!("{AT}.nodes"), format!("{mode} needs nodes")),
        _ => check_flags(mode, flags, faults),
    }
}

fn check_flags(mode: Mode, flags: &[Flag], faults: &mut Faults) {
    if flags.contains(&Flag::MpolFStaticNodes) && flags.contains(&Flag::MpolFRelativeNodes) {
        let why = "MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES exclude each other";
        faults.add(format!("{AT}.flags"), why);
    }
    if flags.contains(&Flag::MpolFNumaBalancing) && !matches!(mode, Mode::MpolBind | Mode::MpolPreferredMany)
    {
        let why = "MPOL_F_NUMA_BALANCING goes with MPOL_BIND and MPOL_PREFERRED_MANY alone";
        faults.add(format!("{AT}.flags"), why);
    }
}
