//! What tenants use: numbers of their cgroups, read each time. The runtime process; changes nothing.

use serde::Serialize;

use crate::cgroup::statistics::Statistics;
use crate::container::{self, Status};
use crate::error::Result;
use crate::tenant::disk;
use crate::tenant::estate::{Estate, Tenant};
use crate::tenant::look;
use crate::tenant::name::Name;

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Things.
    Count,
    /// Milliseconds.
    Ms,
}

impl Unit {
    /// For people.
    pub fn shown(self, number: u64) -> String {
        match self {
            Unit::Count => number.to_string(),
            Unit::Ms => format!("{}.{:03}s", number / 1000, number % 1000),
            Unit::Bytes => bytes(number),
        }
    }
}

fn bytes(number: u64) -> String {
    let units = [("G", 1_u64 << 30), ("M", 1 << 20), ("K", 1 << 10)];
    match units.iter().find(|(_, size)| number >= *size) {
        Some((unit, size)) if number.is_multiple_of(*size) => format!("{}{unit}", number / size),
        Some((unit, size)) => format!("{}.{}{unit}", number / size, number % size * 10 / size),
        None => number.to_string(),
    }
}

/// One resource, as `limits` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Its name, that of the setting where there is one.
    pub resource: &'static str,
    /// What the numbers count.
    pub unit: Unit,
    /// Used now; time and I/O: since the start.
    pub used: Option<u64>,
    /// The most that was used.
    pub peak: Option<u64>,
    /// The limit; absent: none. Of `cpus` thousandths of a CPU, that is milliseconds in a second.
    pub limit: Option<u64>,
    /// How often it was hit.
    pub fails: Option<u64>,
}

/// What a running tenant uses, as `stats` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Used {
    /// The tenant.
    pub name: Name,
    /// Processor time since its start, in nanoseconds.
    pub cpu_ns: u64,
    /// Bytes of memory.
    pub ram: Option<u64>,
    /// Their limit.
    pub ram_limit: Option<u64>,
    /// Processes and threads.
    pub tasks: Option<u64>,
    /// Bytes read from block devices since its start.
    pub read: u64,
    /// Bytes written to them.
    pub written: u64,
}

/// What a tenant uses; `None` when it does not run.
///
/// # Errors
/// Exit code 14 without the tenant.
pub fn used(estate: &Estate, name: &Name) -> Result<Option<Used>> {
    estate.tenant(name)?;
    if look::status(estate, name)? == Status::Stopped {
        return Ok(None);
    }
    let statistics =
        container::statistics(&estate.runtime, &estate.container(name)?)?.cgroup.unwrap_or_default();
    let (read, written) = io(&statistics);
    let memory = statistics.memory.map(|memory| memory.usage);
    Ok(Some(Used {
        name: name.clone(),
        cpu_ns: statistics.cpu.total,
        ram: memory.as_ref().map(|memory| memory.usage),
        ram_limit: memory.and_then(|memory| memory.limit),
        tasks: statistics.pids.map(|pids| pids.current),
        read,
        written,
    }))
}

fn io(statistics: &Statistics) -> (u64, u64) {
    (statistics.blkio.total("Read"), statistics.blkio.total("Write"))
}

/// Use, peak, limit and fails of each resource; of a stopped tenant the limits alone.
///
/// # Errors
/// Exit code 14 without the tenant.
pub fn limits(estate: &Estate, name: &Name) -> Result<Vec<Line>> {
    let tenant = estate.tenant(name)?;
    let limits = &tenant.config.limits;
    let runs = look::status(estate, name)? != Status::Stopped;
    let statistics = match runs {
        true => container::statistics(&estate.runtime, &estate.container(name)?)?.cgroup.unwrap_or_default(),
        false => Statistics::default(),
    };
    let line = |resource, unit, limit| Line { resource, unit, used: None, peak: None, limit, fails: None };
    let (ram, swap) = (limits.ram.map(|size| size.0), limits.swap.map(|size| size.0));
    let mut lines = vec![line("ram", Unit::Bytes, ram), line("swap", Unit::Bytes, swap)];
    if let Some(memory) = &statistics.memory {
        lines[0].used = Some(memory.usage.usage);
        lines[0].peak = Some(memory.usage.max);
        lines[0].limit = memory.usage.limit;
        lines[0].fails = Some(memory.usage.failcnt);
        lines[1].used = memory.raw.get("swap").copied();
        lines.push(Line { fails: Some(memory.oom_kills), ..line("oom-kills", Unit::Count, None) });
    }
    let pids = statistics.pids.as_ref();
    lines.push(Line {
        used: pids.map(|pids| pids.current),
        limit: pids.map_or(limits.tasks.map(u64::from), |pids| pids.limit),
        fails: pids.map(|pids| pids.failcnt),
        ..line("tasks", Unit::Count, None)
    });
    lines.push(Line {
        used: runs.then_some(statistics.cpu.total / 1_000_000),
        limit: limits.cpus.map(|cpus| u64::from(cpus.0)),
        fails: runs.then_some(statistics.cpu.throttled_periods),
        ..line("cpus", Unit::Ms, None)
    });
    let (read, written) = io(&statistics);
    for (resource, used, limit) in [("io-read", read, limits.io_read), ("io-write", written, limits.io_write)]
    {
        let used = runs.then_some(used);
        lines.push(Line { used, ..line(resource, Unit::Bytes, limit.map(|size| size.0)) });
    }
    lines.push(disk_line(&tenant, line("disk", Unit::Bytes, tenant.config.disk.size.map(|size| size.0))));
    Ok(lines)
}

/// Of a disk with a size, while it is in use; a folder's is not counted.
fn disk_line(tenant: &Tenant, line: Line) -> Line {
    let standing = disk::standing(&tenant.folder).map(|(device, _)| device);
    let Some((fs, device)) = tenant.config.disk.fs.zip(standing) else { return line };
    let found =
        disk::open_mounted(&device, fs).ok().and_then(|folder| nix::sys::statfs::fstatfs(&folder).ok());
    let used = found.map(|found| (found.blocks() - found.blocks_free()) * found.block_size().cast_unsigned());
    Line { used, ..line }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shown_with_their_unit() {
        assert_eq!(Unit::Bytes.shown(64 << 20), "64M");
        assert_eq!(Unit::Bytes.shown((3 << 29) + 1), "1.5G");
        assert_eq!(Unit::Bytes.shown(900), "900");
        assert_eq!(Unit::Ms.shown(1500), "1.500s");
        assert_eq!(Unit::Count.shown(1500), "1500");
    }
}
