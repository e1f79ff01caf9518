//! On which CPUs and memory nodes a program runs: `process.execCPUAffinity`, `linux.memoryPolicy`. Pure.
//!
//! A thread keeps its CPUs and its memory policy over clone and exec. Limits of the cgroup (`cpuset`) bound
//! both, so what is to last is set once the cgroup is joined.

use oci_spec::runtime::{Linux, LinuxMemoryPolicy, MemoryPolicyFlagType, MemoryPolicyModeType, Process};

use super::{Cpus, Plan, Stage, Step};
use crate::error::{Error, Explain, Result};
use crate::oci::number_list;

/// The modes by their names, with the number for set_mempolicy(2) and the kernel that brought each.
const MODES: [(MemoryPolicyModeType, &str, u32, (u32, u32)); 7] = [
    (MemoryPolicyModeType::MpolBind, "MPOL_BIND", 2, (2, 6)),
    (MemoryPolicyModeType::MpolDefault, "MPOL_DEFAULT", 0, (2, 6)),
    (MemoryPolicyModeType::MpolInterleave, "MPOL_INTERLEAVE", 3, (2, 6)),
    (MemoryPolicyModeType::MpolLocal, "MPOL_LOCAL", 4, (3, 8)),
    (MemoryPolicyModeType::MpolPreferred, "MPOL_PREFERRED", 1, (2, 6)),
    (MemoryPolicyModeType::MpolPreferredMany, "MPOL_PREFERRED_MANY", 5, (5, 15)),
    (MemoryPolicyModeType::MpolWeightedInterleave, "MPOL_WEIGHTED_INTERLEAVE", 6, (6, 9)),
];

/// The flags in the same way.
const FLAGS: [(MemoryPolicyFlagType, &str, u32, (u32, u32)); 3] = [
    (MemoryPolicyFlagType::MpolFNumaBalancing, "MPOL_F_NUMA_BALANCING", 1 << 13, (5, 12)),
    (MemoryPolicyFlagType::MpolFRelativeNodes, "MPOL_F_RELATIVE_NODES", 1 << 14, (2, 6)),
    (MemoryPolicyFlagType::MpolFStaticNodes, "MPOL_F_STATIC_NODES", 1 << 15, (2, 6)),
];

/// Names of the modes, as `features` tells them.
pub fn mode_names() -> Vec<&'static str> {
    MODES.iter().map(|(_, name, ..)| *name).collect()
}

/// Names of the flags, as `features` tells them.
pub fn flag_names() -> Vec<&'static str> {
    FLAGS.iter().map(|(_, name, ..)| *name).collect()
}

/// Which of the policy's words this kernel is too old for.
pub fn newer_than(policy: &LinuxMemoryPolicy, kernel: (u32, u32)) -> Vec<String> {
    let told = |name: &str, (major, minor): (u32, u32)| format!("{name} needs Linux {major}.{minor}");
    let mode = MODES.iter().filter(|(mode, ..)| *mode == policy.mode());
    let mode = mode.filter(|(.., since)| kernel < *since).map(|(_, name, _, since)| told(name, *since));
    let flags = policy.flags().iter().flatten();
    let flags = flags.filter_map(|wanted| FLAGS.iter().find(|(flag, ..)| flag == wanted));
    let flags = flags.filter(|(.., since)| kernel < *since).map(|(_, name, _, since)| told(name, *since));
    mode.chain(flags).collect()
}

/// Plans `linux.memoryPolicy`, for the init and for `exec` alike.
///
/// # Errors
/// When the list of nodes is none.
pub fn plan_memory_policy(plan: &mut Plan, linux: Option<&Linux>) -> Result<()> {
    let Some(wanted) = linux.and_then(|linux| linux.memory_policy().as_ref()) else { return Ok(()) };
    let nodes = number_list::parse(wanted.nodes().as_deref().unwrap_or_default());
    let nodes = nodes.map_err(Error::new).at(|| "linux.memoryPolicy.nodes")?;
    let mode = MODES.iter().find(|(mode, ..)| *mode == wanted.mode());
    let flags = wanted.flags().iter().flatten();
    let flags = flags.filter_map(|wanted| FLAGS.iter().find(|(flag, ..)| flag == wanted));
    let names = mode.map(|(_, name, ..)| *name).into_iter().chain(flags.clone().map(|(_, name, ..)| *name));
    let name = names.collect::<Vec<_>>().join("|");
    let bits = flags.fold(mode.map_or(0, |(_, _, number, _)| *number), |all, (_, _, bit, _)| all | bit);
    plan.push(Stage::Last, "linux.memoryPolicy", Step::MemoryPolicy { name, mode: bits, nodes });
    Ok(())
}

/// The CPUs of a container's init: all that its cgroup allows, whatever the engine that called is pinned to.
pub fn plan_all_cpus(plan: &mut Plan) {
    plan.push(Stage::Setup, "default", Step::Affinity { cpus: Cpus::All });
}

/// The CPUs from which `exec` starts: the runtime's own, and with it the child's until it is in the cgroup.
///
/// # Errors
/// When the list is none.
pub fn plan_initial_cpus(plan: &mut Plan, process: &Process) -> Result<()> {
    let affinity = process.exec_cpu_affinity().as_ref();
    let initial = affinity.and_then(|cpus| cpus.initial().as_deref());
    plan_listed(plan, Stage::Host, "process.execCPUAffinity.initial", initial).map(drop)
}

/// The CPUs of a program of `exec`, in the cgroup. Where the config names only those to start from, the
/// specification wants them left alone.
///
/// # Errors
/// When the list is none.
pub fn plan_final_cpus(plan: &mut Plan, process: &Process) -> Result<()> {
    let affinity = process.exec_cpu_affinity().as_ref();
    let last = affinity.and_then(|cpus| cpus.cpu_affinity_final().as_deref());
    let is_listed = plan_listed(plan, Stage::Setup, "process.execCPUAffinity.final", last)?;
    let has_initial =
        affinity.and_then(|cpus| cpus.initial().as_deref()).is_some_and(|text| !text.is_empty());
    if !is_listed && !has_initial {
        plan_all_cpus(plan);
    }
    Ok(())
}

fn plan_listed(plan: &mut Plan, stage: Stage, place: &str, list: Option<&str>) -> Result<bool> {
    let cpus = number_list::parse(list.unwrap_or_default()).map_err(Error::new).at(|| place)?;
    let is_listed = !cpus.is_empty();
    if is_listed {
        plan.push(stage, place, Step::Affinity { cpus: Cpus::Only(cpus) });
    }
    Ok(is_listed)
}
