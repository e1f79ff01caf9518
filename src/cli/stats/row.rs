//! One container in `isolate stats`: what two looks at it make. Pure. Its JSON is a promise: fields are added, never
//! renamed.

use serde::Serialize;

use super::Sample;
use crate::cgroup::statistics::Stalls;
use crate::container::Usage;

/// What is shown. Bytes, unless said otherwise; what is not counted is absent.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// The container's name.
    pub id: String,
    /// Percent of one processor between the looks; absent at the first sight of it.
    pub cpu_percent: Option<f64>,
    /// Nanoseconds of processor time since its start.
    pub cpu_nanoseconds: Option<u64>,
    /// Memory.
    pub memory: Option<Bounded>,
    /// Processes and threads.
    pub pids: Option<Bounded>,
    /// Received and sent by its own devices, loopback excepted.
    pub network: Option<Flow>,
    /// Read from and written to block devices.
    pub block: Option<Flow>,
    /// Pressure stall information.
    pub pressure: Stalls,
    /// Processes that the OOM killer has ended.
    pub oom_kills: Option<u64>,
}

/// A use that may have a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Bounded {
    /// Now.
    pub usage: u64,
    /// Absent: none.
    pub limit: Option<u64>,
}

/// Two directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Flow {
    /// Read or received.
    pub read: u64,
    /// Written or sent.
    pub written: u64,
}

impl Row {
    /// The container as `now` has it, and its processor time since `before`.
    pub(super) fn new(now: &Sample, before: Option<&Sample>) -> Row {
        let counted = now.usage.cgroup.as_ref();
        let memory = counted.and_then(|counted| counted.memory.as_ref());
        let pids = counted.and_then(|counted| counted.pids.as_ref());
        Row {
            id: now.id.to_string(),
            cpu_percent: before.and_then(|before| cpu_percent(now, before)),
            cpu_nanoseconds: processor_time(&now.usage),
            memory: memory.map(|memory| Bounded { usage: memory.usage.usage, limit: memory.usage.limit }),
            pids: pids.map(|pids| Bounded { usage: pids.current, limit: pids.limit }),
            network: network(&now.usage),
            block: counted.map(|counted| Flow {
                read: counted.blkio.total("Read"),
                written: counted.blkio.total("Write"),
            }),
            pressure: counted.map(|counted| counted.pressure).unwrap_or_default(),
            oom_kills: memory.map(|memory| memory.oom_kills),
        }
    }
}

fn processor_time(usage: &Usage) -> Option<u64> {
    usage.cgroup.as_ref().map(|counted| counted.cpu.total)
}

fn cpu_percent(now: &Sample, before: &Sample) -> Option<f64> {
    let elapsed = now.at.checked_duration_since(before.at)?.as_nanos() as f64;
    let used = processor_time(&now.usage)?.saturating_sub(processor_time(&before.usage)?) as f64;
    // Three digits are more than the interval can tell.
    (elapsed > 0.0).then(|| (used / elapsed * 100_000.0).round() / 1000.0)
}

fn network(usage: &Usage) -> Option<Flow> {
    if usage.interfaces.is_empty() {
        return None;
    }
    let outer = usage.interfaces.iter().filter(|interface| interface.name != "lo");
    Some(outer.fold(Flow { read: 0, written: 0 }, |sum, interface| Flow {
        read: sum.read.saturating_add(interface.rx_bytes),
        written: sum.written.saturating_add(interface.tx_bytes),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::statistics::Statistics;
    use crate::container::Interface;
    use crate::ids::ContainerId;
    use std::time::{Duration, Instant};

    fn sample(at: Instant, total: u64) -> Sample {
        let mut statistics = Statistics::default();
        statistics.cpu.total = total;
        let device =
            |name: &str| Interface { name: name.into(), rx_bytes: 5, tx_bytes: 7, ..Interface::default() };
        let interfaces = vec![device("lo"), device("eth0"), device("eth1")];
        let usage = Usage { cgroup: Some(statistics), memory_version: None, interfaces };
        Sample { id: ContainerId::new("a").unwrap(), at, usage }
    }

    #[test]
    fn processor_time_is_a_share_of_the_time_between_two_looks() {
        let start = Instant::now();
        let before = sample(start, 1_000_000_000);
        let now = sample(start + Duration::from_secs(2), 2_000_000_000);
        assert_eq!(Row::new(&now, Some(&before)).cpu_percent, Some(50.0));
        assert_eq!(Row::new(&now, None).cpu_percent, None);
        assert_eq!(Row::new(&before, Some(&before)).cpu_percent, None);
    }

    #[test]
    fn the_network_is_the_sum_of_all_devices_but_loopback() {
        let row = Row::new(&sample(Instant::now(), 0), None);
        assert_eq!(row.network, Some(Flow { read: 10, written: 14 }));
    }

    #[test]
    fn what_is_not_counted_is_absent() {
        let usage = Usage::default();
        let sample = Sample { id: ContainerId::new("a").unwrap(), at: Instant::now(), usage };
        let json = serde_json::to_value(Row::new(&sample, None)).unwrap();
        for field in ["cpu_percent", "memory", "pids", "network", "block", "oom_kills"] {
            assert!(json[field].is_null(), "{field}: {json}");
        }
    }
}
