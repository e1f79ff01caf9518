//! How many huge pages a container uses. The runtime process; it only reads.

use std::collections::BTreeMap;

use cgroups_rs::fs::hugetlb::HugeTlbController;
use serde::{Deserialize, Serialize};

use super::place;
use crate::cgroup::Cgroup;

/// Huge pages of one size, in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HugeTlb {
    /// Now.
    pub usage: u64,
    /// The most so far (v1 only).
    pub max: u64,
    /// How often the limit was hit.
    pub failcnt: u64,
}

impl Cgroup {
    /// By size as the kernel writes it (`2MB`).
    pub(super) fn hugetlb(&self) -> BTreeMap<String, HugeTlb> {
        let Some(group) = self.v1("hugetlb").or(self.unified()) else { return BTreeMap::new() };
        let (dir, v2) = place(group);
        let controller = HugeTlbController::new(dir.clone(), dir, v2);
        let read = |size: String| {
            let usage = controller.usage_in_bytes(&size).ok()?;
            let max = controller.max_usage_in_bytes(&size).unwrap_or(0);
            let failcnt = controller.failcnt(&size).unwrap_or(0);
            Some((size, HugeTlb { usage, max, failcnt }))
        };
        controller.get_sizes().into_iter().filter_map(read).collect()
    }
}
