//! On which CPUs and memory nodes a program runs. The runtime and the child run this, each for itself; it
//! needs no privilege.

use nix::errno::Errno;

use crate::error::{Call, Result};
use crate::oci::number_list;
use crate::plan::Cpus;
use crate::sys::placement;

/// The CPUs of this process and all it becomes.
pub(super) fn set_cpus(cpus: &Cpus) -> Result<()> {
    let (result, shown) = match cpus {
        Cpus::All => (placement::set_all_cpus(), "all".to_owned()),
        Cpus::Only(cpus) => (placement::set_cpus(cpus), number_list::show(cpus)),
    };
    result.call(|| format!("sched_setaffinity({shown})")).map_err(|error| match error.errno() {
        Some(Errno::EINVAL) => error.because("none of these CPUs is there and allowed by the cgroup"),
        _ => error,
    })
}

/// Where the program's memory comes from.
pub(super) fn set_memory_policy(name: &str, mode: u32, nodes: &[u32]) -> Result<()> {
    let call = || format!("set_mempolicy({name}, nodes {:?})", number_list::show(nodes));
    placement::set_memory_policy(mode, nodes).call(call).map_err(|error| match error.errno() {
        Some(Errno::EINVAL) => {
            error.because("this host, or the container's cgroup, does not have these nodes")
        }
        Some(Errno::ENOSYS) => error.because("this kernel knows no memory nodes (CONFIG_NUMA)"),
        _ => error,
    })
}
