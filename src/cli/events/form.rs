//! The form in which runc's `events` gives statistics, which containerd and others read: its `types/events.go`.
//! Pure. What a host does not count is 0, as there; numbers that runc leaves out when they are 0 are 0 here.

use serde_json::{Map, Value, json};

use crate::cgroup::layout::Version;
use crate::cgroup::statistics::{Amount, Block, BlockEntry, Cpu, CpuSet, Memory, Pids, Pressure, Statistics};
use crate::container::Usage;

/// v1's number for no limit: whole pages below 2^63.
const NONE_V1: u64 = 0x7fff_ffff_ffff_f000;

/// `data` of an event of the type `stats`.
pub fn data(usage: &Usage) -> Value {
    let none = Statistics::default();
    let counted = usage.cgroup.as_ref().unwrap_or(&none);
    let stalls = &counted.pressure;
    let hugetlb: Map<String, Value> = counted
        .hugetlb
        .iter()
        .map(|(size, pages)| {
            (size.clone(), json!({"usage": pages.usage, "max": pages.max, "failcnt": pages.failcnt}))
        })
        .collect();
    json!({
        "cpu": with_pressure(cpu(&counted.cpu), stalls.cpu),
        "cpuset": cpuset(counted.cpuset.as_ref()),
        "memory": with_pressure(memory(counted.memory.as_ref(), usage.memory_version), stalls.memory),
        "pids": pids(counted.pids.as_ref()),
        "blkio": with_pressure(block(&counted.blkio), stalls.io),
        "hugetlb": hugetlb,
        "intel_rdt": {},
        "network_interfaces": usage.interfaces,
    })
}

fn with_pressure(mut value: Value, pressure: Option<Pressure>) -> Value {
    if let Some(pressure) = pressure {
        value["psi"] = json!(pressure);
    }
    value
}

fn cpu(cpu: &Cpu) -> Value {
    json!({
        "usage": {
            "total": cpu.total, "percpu": cpu.percpu, "percpu_kernel": cpu.percpu_kernel,
            "percpu_user": cpu.percpu_user, "kernel": cpu.kernel, "user": cpu.user,
        },
        "throttling": {
            "periods": cpu.periods, "throttledPeriods": cpu.throttled_periods, "throttledTime": cpu.throttled_time,
        },
    })
}

fn cpuset(set: Option<&CpuSet>) -> Value {
    let none = CpuSet::default();
    let set = set.unwrap_or(&none);
    json!({
        "cpus": set.cpus, "cpu_exclusive": u64::from(set.cpu_exclusive),
        "mems": set.mems, "mem_hardwall": u64::from(set.mem_hardwall),
        "mem_exclusive": u64::from(set.mem_exclusive), "memory_migrate": u64::from(set.memory_migrate),
        "memory_spread_page": u64::from(set.memory_spread_page),
        "memory_spread_slab": u64::from(set.memory_spread_slab),
        "memory_pressure": set.memory_pressure, "sched_load_balance": u64::from(set.sched_load_balance),
        "sched_relax_domain_level": set.sched_relax_domain_level,
    })
}

fn memory(memory: Option<&Memory>, version: Option<Version>) -> Value {
    let Some(memory) = memory else {
        let zero = entry(&Amount { limit: Some(0), ..Amount::default() }, 0);
        return json!({"usage": zero, "swap": zero, "kernel": zero, "kernelTCP": zero});
    };
    let none = if version == Some(Version::V1) { NONE_V1 } else { u64::MAX };
    let absent = Amount { limit: Some(0), ..Amount::default() };
    json!({
        "cache": memory.cache,
        "usage": entry(&memory.usage, none),
        "swap": entry(&swap(memory, version), none),
        "kernel": entry(memory.kernel.as_ref().unwrap_or(&absent), none),
        "kernelTCP": entry(memory.kernel_tcp.as_ref().unwrap_or(&absent), none),
        "raw": memory.raw,
    })
}

/// Memory and swap together, also where the kernel counts swap alone.
fn swap(memory: &Memory, version: Option<Version>) -> Amount {
    match version {
        Some(Version::V2) => Amount {
            usage: memory.swap.usage.saturating_add(memory.usage.usage),
            max: 0,
            limit: memory
                .swap
                .limit
                .map(|limit| limit.saturating_add(memory.usage.limit.unwrap_or(u64::MAX))),
            failcnt: memory.swap.failcnt,
        },
        _ => memory.swap.clone(),
    }
}

fn entry(amount: &Amount, none: u64) -> Value {
    let Amount { usage, max, limit, failcnt } = amount;
    json!({"limit": limit.unwrap_or(none), "usage": usage, "max": max, "failcnt": failcnt})
}

/// No limit is 0 in this form.
fn pids(pids: Option<&Pids>) -> Value {
    json!({
        "current": pids.map_or(0, |pids| pids.current),
        "limit": pids.and_then(|pids| pids.limit).unwrap_or(0),
    })
}

/// Lists without an entry are left out; `ioQueueRecursive` is spelt so in the model.
fn block(block: &Block) -> Value {
    let lists = [
        ("ioServiceBytesRecursive", &block.bytes),
        ("ioServicedRecursive", &block.requests),
        ("ioQueueRecursive", &block.queued),
        ("ioServiceTimeRecursive", &block.service_time),
        ("ioWaitTimeRecursive", &block.wait_time),
        ("ioMergedRecursive", &block.merged),
        ("ioTimeRecursive", &block.time),
        ("sectorsRecursive", &block.sectors),
    ];
    let full = lists.into_iter().filter(|(_, list)| !list.is_empty());
    let entry = |BlockEntry { major, minor, op, value }: &BlockEntry| json!({"major": major, "minor": minor, "op": op, "value": value});
    full.map(|(name, list)| (name.to_owned(), Value::from_iter(list.iter().map(entry))))
        .collect::<Map<_, _>>()
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(version: Version) -> Usage {
        let memory = Memory {
            usage: Amount { usage: 10, max: 20, limit: None, failcnt: 3 },
            swap: Amount { usage: 5, max: 6, limit: Some(100), failcnt: 0 },
            ..Memory::default()
        };
        Usage {
            cgroup: Some(Statistics { memory: Some(memory), ..Statistics::default() }),
            memory_version: Some(version),
            ..Usage::default()
        }
    }

    #[test]
    fn no_limit_is_the_number_that_each_version_has_for_it() {
        let v1 = data(&usage(Version::V1));
        assert_eq!(v1["memory"]["usage"], json!({"limit": NONE_V1, "usage": 10, "max": 20, "failcnt": 3}));
        assert_eq!(v1["memory"]["swap"]["usage"], 5);
        let v2 = data(&usage(Version::V2));
        assert_eq!(v2["memory"]["usage"]["limit"], u64::MAX);
        assert_eq!(v2["memory"]["swap"], json!({"limit": u64::MAX, "usage": 15, "max": 0, "failcnt": 0}));
    }

    #[test]
    fn what_a_host_does_not_count_is_zero_and_in_its_place() {
        let data = data(&Usage::default());
        assert_eq!(data["memory"]["usage"]["limit"], 0);
        assert_eq!(data["pids"], json!({"current": 0, "limit": 0}));
        assert_eq!(data["hugetlb"], json!({}));
        assert_eq!(data["blkio"], json!({}));
        assert_eq!(data["network_interfaces"], json!([]));
        assert!(data["cpu"].get("psi").is_none());
    }

    #[test]
    fn pressure_and_block_devices_have_the_names_that_engines_read() {
        let mut usage = usage(Version::V2);
        let counted = usage.cgroup.as_mut().unwrap();
        counted.pressure.io = Some(Pressure::default());
        counted.blkio.bytes = vec![BlockEntry { major: 8, minor: 1, op: "Read".into(), value: 7 }];
        let data = data(&usage);
        let line = json!({"avg10": 0.0, "avg60": 0.0, "avg300": 0.0, "total": 0});
        assert_eq!(data["blkio"]["psi"], json!({"some": line, "full": line}));
        let bytes = &data["blkio"]["ioServiceBytesRecursive"];
        assert_eq!(*bytes, json!([{"major": 8, "minor": 1, "op": "Read", "value": 7}]));
    }
}
