//! On which processors and memory nodes a container runs. The runtime process; it only reads.

use cgroups_rs::fs::cpuset::CpuSetController;
use serde::{Deserialize, Serialize};

use super::{files, place};
use crate::cgroup::layout::Version;
use crate::cgroup::{Cgroup, OpenGroup};

/// The cpuset. All but the two lists is of v1.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CpuSet {
    /// Processors by number. v2: those in effect.
    pub cpus: Vec<u16>,
    /// Memory nodes by number. v2: those in effect.
    pub mems: Vec<u16>,
    /// No sibling has these processors.
    pub cpu_exclusive: bool,
    /// No sibling has these nodes.
    pub mem_exclusive: bool,
    /// The kernel's memory too comes from these nodes.
    pub mem_hardwall: bool,
    /// Pages move when the nodes change.
    pub memory_migrate: bool,
    /// The page cache is spread over the nodes.
    pub memory_spread_page: bool,
    /// So are the kernel's slabs.
    pub memory_spread_slab: bool,
    /// How hard it is to find a page.
    pub memory_pressure: u64,
    /// Load is balanced over the processors.
    pub sched_load_balance: bool,
    /// How far a waking task looks for an idle processor; -1: as the system does.
    pub sched_relax_domain_level: i64,
}

impl Cgroup {
    pub(super) fn cpuset(&self) -> Option<CpuSet> {
        match self.v1("cpuset") {
            Some(group) => Some(read_v1(group)),
            None => read_v2(self.unified()?),
        }
    }
}

fn read_v1(group: &OpenGroup) -> CpuSet {
    let (dir, v2) = place(group);
    let set = CpuSetController::new(dir.clone(), dir, v2).cpuset();
    let level = files::read(&group.fd, "cpuset.sched_relax_domain_level");
    CpuSet {
        cpus: numbers(&set.cpus),
        mems: numbers(&set.mems),
        cpu_exclusive: set.cpu_exclusive,
        mem_exclusive: set.mem_exclusive,
        mem_hardwall: set.mem_hardwall,
        memory_migrate: set.memory_migrate,
        memory_spread_page: set.memory_spread_page,
        memory_spread_slab: set.memory_spread_slab,
        memory_pressure: set.memory_pressure,
        sched_load_balance: set.sched_load_balance,
        // The crate reads an unsigned number, and the usual one is -1.
        sched_relax_domain_level: level.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0),
    }
}

/// `cgroups-rs` does not know the names of v2.
fn read_v2(group: &OpenGroup) -> Option<CpuSet> {
    debug_assert_eq!(group.version, Version::V2);
    let list = |file| files::read(&group.fd, file).ok().map(|text| numbers(&ranges(&text)));
    Some(CpuSet {
        cpus: list("cpuset.cpus.effective")?,
        mems: list("cpuset.mems.effective")?,
        ..CpuSet::default()
    })
}

/// `0-3,8` as pairs of first and last.
fn ranges(text: &str) -> Vec<(u64, u64)> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some((first.parse().ok()?, last.parse().ok()?))
    };
    text.trim().split(',').filter_map(range).collect()
}

fn numbers(ranges: &[(u64, u64)]) -> Vec<u16> {
    let known = |&(first, last): &(u64, u64)| first..=last.min(u64::from(u16::MAX));
    ranges.iter().flat_map(known).filter_map(|number| u16::try_from(number).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_the_kernel_become_numbers() {
        assert_eq!(numbers(&ranges("0-2,8\n")), [0, 1, 2, 8]);
        assert!(numbers(&ranges("\n")).is_empty());
        assert_eq!(numbers(&[(65_534, u64::MAX)]), [65_534, 65_535]);
    }
}
