//! What a container has used: the numbers behind `events` and `stats`. The runtime process; it only reads.
//! Reading and parsing is done by the controllers of `cgroups-rs`; block I/O, pressure and what v2 has
//! anew are read here (see the module above). A number that a kernel does not have is 0 or absent, never an
//! error.

mod block;
mod cpuset;
mod hugetlb;
mod pressure;

use std::collections::BTreeMap;
use std::path::PathBuf;

use cgroups_rs::fs::MaxValue;
use cgroups_rs::fs::cpu::CpuController;
use cgroups_rs::fs::cpuacct::CpuAcctController;
use cgroups_rs::fs::memory::MemController;
use cgroups_rs::fs::pid::PidController;
use serde::{Deserialize, Serialize};

use super::layout::Version;
use super::{Cgroup, OpenGroup, files};
pub use block::{Block, BlockEntry};
pub use cpuset::CpuSet;
pub use hugetlb::HugeTlb;
pub use pressure::{Pressure, Stalls};

/// Use of all resources.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Statistics {
    /// Processor time.
    pub cpu: Cpu,
    /// Memory; absent without a memory controller.
    pub memory: Option<Memory>,
    /// Processes and threads; absent without a pids controller.
    pub pids: Option<Pids>,
    /// Block devices.
    pub blkio: Block,
    /// Processors and memory nodes; absent without a cpuset controller.
    pub cpuset: Option<CpuSet>,
    /// Huge pages by their size (`2MB`); empty without a hugetlb controller.
    pub hugetlb: BTreeMap<String, HugeTlb>,
    /// Time lost in waiting for a resource.
    pub pressure: Stalls,
}

/// Processor time in nanoseconds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Cpu {
    /// All of it.
    pub total: u64,
    /// In the container's programs.
    pub user: u64,
    /// In the kernel.
    pub kernel: u64,
    /// For each processor (v1 only).
    pub percpu: Vec<u64>,
    /// For each processor, in the container's programs (v1 only).
    pub percpu_user: Vec<u64>,
    /// For each processor, in the kernel (v1 only).
    pub percpu_kernel: Vec<u64>,
    /// Periods with a quota in which something ran.
    pub periods: u64,
    /// Those in which the quota was used up.
    pub throttled_periods: u64,
    /// How long processes had to wait for the next one.
    pub throttled_time: u64,
}

/// A use in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Amount {
    /// Now.
    pub usage: u64,
    /// The most so far.
    pub max: u64,
    /// The limit; absent: none.
    pub limit: Option<u64>,
    /// How often the limit was hit.
    pub failcnt: u64,
}

/// Memory.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Memory {
    /// Memory.
    pub usage: Amount,
    /// v1: memory and swap together; v2: swap alone.
    pub swap: Amount,
    /// The kernel's own memory for the container (v1 only).
    pub kernel: Option<Amount>,
    /// Buffers of TCP (v1 only).
    pub kernel_tcp: Option<Amount>,
    /// Page cache.
    pub cache: u64,
    /// How many processes the OOM killer has ended.
    pub oom_kills: u64,
    /// `memory.stat` as it is.
    pub raw: BTreeMap<String, u64>,
}

/// Processes and threads.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Pids {
    /// Now.
    pub current: u64,
    /// The limit; absent: none.
    pub limit: Option<u64>,
    /// How often a new one was refused because of the limit.
    pub failcnt: u64,
}

impl Cgroup {
    /// How many processes the OOM killer has ended because of the container's limit.
    pub fn oom_kills(&self) -> u64 {
        let Some(group) = self.of("memory") else { return 0 };
        let file = match group.version {
            Version::V1 => "memory.oom_control",
            Version::V2 => "memory.events",
        };
        files::read(&group.fd, file).ok().and_then(|text| files::keyed(&text, "oom_kill")).unwrap_or(0)
    }

    /// All numbers, as of now.
    pub fn statistics(&self) -> Statistics {
        Statistics {
            cpu: self.cpu(),
            memory: self.memory(),
            pids: self.pids(),
            blkio: self.blkio(),
            cpuset: self.cpuset(),
            hugetlb: self.hugetlb(),
            pressure: self.pressure(),
        }
    }

    /// Whether the memory is counted by v1, where the sum with swap has a limit of its own.
    pub fn counts_memory_by(&self) -> Option<Version> {
        self.of("memory").map(|group| group.version)
    }

    fn of(&self, controller: &str) -> Option<&OpenGroup> {
        self.v1(controller).or(self.unified())
    }

    fn cpu(&self) -> Cpu {
        let mut cpu = Cpu::default();
        if let Some(group) = self.of("cpu") {
            let (dir, v2) = place(group);
            let stat = CpuController::new(dir.clone(), dir, v2).cpu().stat;
            let number = |key| files::keyed(&stat, key).unwrap_or(0);
            cpu.periods = number("nr_periods");
            cpu.throttled_periods = number("nr_throttled");
            cpu.throttled_time = number("throttled_time").max(number("throttled_usec").saturating_mul(1000));
            cpu.total = number("usage_usec").saturating_mul(1000);
            cpu.user = number("user_usec").saturating_mul(1000);
            cpu.kernel = number("system_usec").saturating_mul(1000);
        }
        if let Some(group) = self.v1("cpuacct") {
            let (dir, _) = place(group);
            let account = CpuAcctController::new(dir.clone(), dir).cpuacct();
            (cpu.total, cpu.user, cpu.kernel) = (account.usage, account.usage_user, account.usage_sys);
            cpu.percpu = numbers(&account.usage_percpu);
            cpu.percpu_user = numbers(&account.usage_percpu_user);
            cpu.percpu_kernel = numbers(&account.usage_percpu_sys);
        }
        cpu
    }

    fn memory(&self) -> Option<Memory> {
        let group = self.of("memory")?;
        let (dir, v2) = place(group);
        let file = if v2 { "memory.current" } else { "memory.usage_in_bytes" };
        files::read(&group.fd, file).ok()?;
        let controller = MemController::new(dir.clone(), dir, v2);
        let (memory, swap) = (controller.memory_stat(), controller.memswap());
        let cache = if v2 { memory.stat.raw.get("file").copied() } else { Some(memory.stat.cache) };
        Some(Memory {
            usage: amount(
                memory.usage_in_bytes,
                memory.max_usage_in_bytes,
                bytes(memory.limit_in_bytes),
                memory.fail_cnt,
            ),
            swap: amount(
                swap.usage_in_bytes,
                swap.max_usage_in_bytes,
                swap_limit(group, swap.limit_in_bytes),
                swap.fail_cnt,
            ),
            kernel: (!v2).then(|| kernel(&controller)),
            kernel_tcp: (!v2).then(|| kernel_tcp(&controller)),
            cache: cache.unwrap_or(0),
            oom_kills: self.oom_kills(),
            raw: memory.stat.raw.into_iter().collect(),
        })
    }

    fn pids(&self) -> Option<Pids> {
        let group = self.of("pids")?;
        let (dir, v2) = place(group);
        let controller = PidController::new(dir.clone(), dir, v2);
        let limit = match controller.get_pid_max() {
            Ok(MaxValue::Value(limit)) => u64::try_from(limit).ok(),
            _ => None,
        };
        let events = files::read(&group.fd, "pids.events").unwrap_or_default();
        let failcnt = files::keyed(&events, "max").unwrap_or(0);
        Some(Pids { current: controller.get_pid_current().ok()?, limit, failcnt })
    }
}

fn amount(usage: u64, max: u64, limit: Option<u64>, failcnt: u64) -> Amount {
    Amount { usage, max, limit, failcnt }
}

fn kernel(controller: &MemController) -> Amount {
    let kernel = controller.kmem_stat();
    amount(kernel.usage_in_bytes, kernel.max_usage_in_bytes, bytes(kernel.limit_in_bytes), kernel.fail_cnt)
}

fn kernel_tcp(controller: &MemController) -> Amount {
    let tcp = controller.kmem_tcp_stat();
    amount(tcp.usage_in_bytes, tcp.max_usage_in_bytes, bytes(tcp.limit_in_bytes), tcp.fail_cnt)
}

fn numbers(text: &str) -> Vec<u64> {
    text.split_ascii_whitespace().flat_map(str::parse).collect()
}

fn place(group: &OpenGroup) -> (PathBuf, bool) {
    (group.dir.clone(), group.version == Version::V2)
}

/// No limit is -1 in `cgroups-rs`, or on v1 the largest number of whole pages.
fn bytes(limit: i64) -> Option<u64> {
    u64::try_from(limit).ok().filter(|limit| *limit < 0x7fff_ffff_ffff_0000)
}

/// On v2 `cgroups-rs` takes `max` for 0.
fn swap_limit(group: &OpenGroup, v1: i64) -> Option<u64> {
    match group.version {
        Version::V1 => bytes(v1),
        Version::V2 => files::read(&group.fd, "memory.swap.max").ok()?.trim().parse().ok(),
    }
}

/// Gives any text to the parsers of block I/O and of keyed files.
#[cfg(fuzzing)]
pub fn fuzz(text: &str) -> (usize, Option<u64>) {
    (block::fuzz(text), files::keyed(text, "oom_kill"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_is_none_is_absent() {
        assert_eq!(bytes(-1), None);
        assert_eq!(bytes(9_223_372_036_854_771_712), None);
        assert_eq!(bytes(4096), Some(4096));
    }
}
