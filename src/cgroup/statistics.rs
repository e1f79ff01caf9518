//! What a container has used: the numbers behind `events` and `stats`. The runtime process; it only reads.
//! Reading and parsing is done by the controllers of `cgroups-rs`, block I/O excepted (see the module
//! above). A number that a kernel does not have is 0 or absent, never an error.

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

/// Use of all resources.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Statistics {
    /// Processor time.
    pub cpu: Cpu,
    /// Memory; absent without a memory controller.
    pub memory: Option<Memory>,
    /// Processes and threads; absent without a pids controller.
    pub pids: Option<Pids>,
    /// Block devices.
    pub blkio: Vec<BlockDevice>,
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
}

/// One block device since the container's start.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct BlockDevice {
    /// Device number.
    pub major: u32,
    /// Device number.
    pub minor: u32,
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub write_bytes: u64,
    /// Reads.
    pub reads: u64,
    /// Writes.
    pub writes: u64,
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
        Statistics { cpu: self.cpu(), memory: self.memory(), pids: self.pids(), blkio: self.blkio() }
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
            cpu.percpu = account.usage_percpu.split_ascii_whitespace().flat_map(str::parse).collect();
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
            usage: Amount {
                usage: memory.usage_in_bytes,
                max: memory.max_usage_in_bytes,
                limit: bytes(memory.limit_in_bytes),
                failcnt: memory.fail_cnt,
            },
            swap: Amount {
                usage: swap.usage_in_bytes,
                max: swap.max_usage_in_bytes,
                limit: swap_limit(group, swap.limit_in_bytes),
                failcnt: swap.fail_cnt,
            },
            cache: cache.unwrap_or(0),
            oom_kills: self.oom_kills(),
            raw: memory.stat.raw.into_iter().collect(),
        })
    }

    fn pids(&self) -> Option<Pids> {
        let (dir, v2) = place(self.of("pids")?);
        let controller = PidController::new(dir.clone(), dir, v2);
        let limit = match controller.get_pid_max() {
            Ok(MaxValue::Value(limit)) => u64::try_from(limit).ok(),
            _ => None,
        };
        Some(Pids { current: controller.get_pid_current().ok()?, limit })
    }

    fn blkio(&self) -> Vec<BlockDevice> {
        let read = |group: &OpenGroup, file| files::read(&group.fd, file).unwrap_or_default();
        match self.v1("blkio") {
            Some(group) => parse_v1(
                &read(group, "blkio.throttle.io_service_bytes_recursive"),
                &read(group, "blkio.throttle.io_serviced_recursive"),
            ),
            None => self.unified().map(|group| parse_v2(&read(group, "io.stat"))).unwrap_or_default(),
        }
    }
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

fn device(name: &str) -> Option<(u32, u32)> {
    let (major, minor) = name.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Lines of `8:0 Read 4096`.
fn parse_v1(bytes: &str, counts: &str) -> Vec<BlockDevice> {
    let mut devices: BTreeMap<(u32, u32), BlockDevice> = BTreeMap::new();
    for (text, is_bytes) in [(bytes, true), (counts, false)] {
        for line in text.lines() {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            let [name, kind, number] = words.as_slice() else { continue };
            let (Some((major, minor)), Ok(number)) = (device(name), number.parse()) else { continue };
            let new = || BlockDevice { major, minor, ..BlockDevice::default() };
            let entry = devices.entry((major, minor)).or_insert_with(new);
            match (*kind, is_bytes) {
                ("Read", true) => entry.read_bytes = number,
                ("Write", true) => entry.write_bytes = number,
                ("Read", false) => entry.reads = number,
                ("Write", false) => entry.writes = number,
                _ => {}
            }
        }
    }
    devices.into_values().collect()
}

/// Lines of `8:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0`.
fn parse_v2(text: &str) -> Vec<BlockDevice> {
    let parse = |line: &str| {
        let (name, rest) = line.split_once(' ')?;
        let (major, minor) = device(name)?;
        let number = |key: &str| {
            let value =
                rest.split_ascii_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
            value.and_then(|value| value.parse().ok()).unwrap_or(0)
        };
        Some(BlockDevice {
            major,
            minor,
            read_bytes: number("rbytes"),
            write_bytes: number("wbytes"),
            reads: number("rios"),
            writes: number("wios"),
        })
    };
    text.lines().filter_map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_devices_are_read_from_both_kernel_formats() {
        let device =
            BlockDevice { major: 8, minor: 70_000, read_bytes: 4096, write_bytes: 7, reads: 1, writes: 2 };
        let v1 = parse_v1("8:70000 Read 4096\n8:70000 Write 7\nTotal 9\n", "8:70000 Read 1\n8:70000 Write 2");
        assert_eq!(v1, std::slice::from_ref(&device));
        assert_eq!(
            parse_v2("8:70000 rbytes=4096 wbytes=7 rios=1 wios=2 dbytes=0 dios=0\nx\n8:1\n"),
            [device]
        );
    }

    #[test]
    fn a_limit_that_is_none_is_absent() {
        assert_eq!(bytes(-1), None);
        assert_eq!(bytes(9_223_372_036_854_771_712), None);
        assert_eq!(bytes(4096), Some(4096));
    }
}
