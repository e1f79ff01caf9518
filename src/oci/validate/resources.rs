//! Rules of `linux.resources`: limits that no cgroup of any version could take. Pure.

use std::collections::HashSet;

use oci_spec::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxDeviceCgroup, LinuxDeviceType, LinuxHugepageLimit, LinuxMemory,
    LinuxResources,
};

use super::check_text;
use super::net_devices::is_interface;
use crate::oci::fault::{Faults, quoted};

const AT: &str = "linux.resources";

/// Files of a cgroup that move or signal processes: not limits, whatever the config says.
const NOT_LIMITS: [&str; 3] = ["cgroup.procs", "cgroup.threads", "cgroup.kill"];

pub(super) fn check(resources: &LinuxResources, pids_limit: Option<i64>, faults: &mut Faults) {
    for (index, rule) in resources.devices().iter().flatten().enumerate() {
        check_device_rule(rule, &format!("{AT}.devices[{index}]"), faults);
    }
    if let Some(memory) = resources.memory() {
        check_memory(memory, faults);
    }
    if let Some(cpu) = resources.cpu() {
        check_cpu(cpu, faults);
    }
    if let Some(limit) = pids_limit
        && limit < -1
    {
        faults.add(format!("{AT}.pids.limit"), below_minus_one(limit));
    }
    if let Some(block_io) = resources.block_io() {
        check_block_io(block_io, faults);
    }
    check_hugepages(resources.hugepage_limits().as_deref().unwrap_or_default(), faults);
    check_network(resources, faults);
    check_maps(resources, faults);
}

fn below_minus_one(limit: i64) -> String {
    format!("{limit} is not a limit: -1 means none")
}

fn check_device_rule(rule: &LinuxDeviceCgroup, place: &str, faults: &mut Faults) {
    let access = rule.access().as_deref().unwrap_or_default();
    if access.is_empty() {
        faults.add(format!("{place}.access"), "it is missing: it must be some of r, w, m");
    } else if !access.chars().all(|c| "rwm".contains(c)) {
        faults.add(format!("{place}.access"), format!("{} is not made of r, w, m", quoted(access)));
    }
    if rule.typ() == Some(LinuxDeviceType::P) {
        faults.add(format!("{place}.type"), "\"p\" is no device: its rule would do nothing");
    }
    for (name, number) in [("major", rule.major()), ("minor", rule.minor())] {
        if number.is_some_and(|number| number < -1 || number > i64::from(u32::MAX)) {
            let why = format!("{} is out of range: -1 (any) to {}", number.unwrap_or(0), u32::MAX);
            faults.add(format!("{place}.{name}"), why);
        }
    }
}

fn check_memory(memory: &LinuxMemory, faults: &mut Faults) {
    let limits = [
        ("limit", memory.limit()),
        ("reservation", memory.reservation()),
        ("swap", memory.swap()),
        ("kernelTCP", memory.kernel_tcp()),
    ];
    for (name, limit) in limits {
        if let Some(limit) = limit
            && limit < -1
        {
            faults.add(format!("{AT}.memory.{name}"), below_minus_one(limit));
        }
    }
    let limit = memory.limit().unwrap_or(0);
    match memory.swap() {
        Some(swap) if swap > 0 && limit == 0 => {
            faults.add(format!("{AT}.memory.swap"), "it is memory and swap together, and needs memory.limit");
        }
        Some(swap) if swap > 0 && limit < 0 => {
            faults
                .add(format!("{AT}.memory.swap"), "it is memory and swap together, and memory has no limit");
        }
        Some(swap) if swap > 0 && swap < limit => {
            let why = format!("{swap} is memory and swap together, and below memory.limit {limit}");
            faults.add(format!("{AT}.memory.swap"), why);
        }
        _ => {}
    }
    if let Some(swappiness) = memory.swappiness()
        && swappiness > 100
    {
        faults.add(format!("{AT}.memory.swappiness"), format!("{swappiness} is out of range: 0 to 100"));
    }
}

fn check_cpu(cpu: &LinuxCpu, faults: &mut Faults) {
    if let Some(idle) = cpu.idle()
        && !(0..=1).contains(&idle)
    {
        faults.add(format!("{AT}.cpu.idle"), format!("{idle} is neither 0 nor 1"));
    }
    for (name, list) in [("cpus", cpu.cpus()), ("mems", cpu.mems())] {
        let list = list.as_deref().unwrap_or_default().trim();
        if !list.is_empty() && !list.split(',').all(is_range) {
            let why = format!("{} is not a list like 0-3,7", quoted(list));
            faults.add(format!("{AT}.cpu.{name}"), why);
        }
    }
}

/// `7` or `0-3` (cpuset(7), "List format", without strides).
fn is_range(part: &str) -> bool {
    let number = |text: &str| {
        let digits = !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
        digits.then(|| text.parse::<u32>().ok()).flatten()
    };
    match part.trim().split_once('-') {
        None => number(part.trim()).is_some(),
        Some((from, to)) => number(from).zip(number(to)).is_some_and(|(from, to)| from <= to),
    }
}

fn check_block_io(block_io: &LinuxBlockIo, faults: &mut Faults) {
    let at = format!("{AT}.blockIO");
    check_weight(block_io.weight(), format!("{at}.weight"), faults);
    check_weight(block_io.leaf_weight(), format!("{at}.leafWeight"), faults);
    for (index, device) in block_io.weight_device().iter().flatten().enumerate() {
        let place = format!("{at}.weightDevice[{index}]");
        check_block_device(device.major(), device.minor(), &place, faults);
        check_weight(device.weight(), format!("{place}.weight"), faults);
        check_weight(device.leaf_weight(), format!("{place}.leafWeight"), faults);
        if device.weight().is_none() && device.leaf_weight().is_none() {
            faults.add(place, "it has neither weight nor leafWeight");
        }
    }
    let throttles = [
        ("throttleReadBpsDevice", block_io.throttle_read_bps_device()),
        ("throttleWriteBpsDevice", block_io.throttle_write_bps_device()),
        ("throttleReadIOPSDevice", block_io.throttle_read_iops_device()),
        ("throttleWriteIOPSDevice", block_io.throttle_write_iops_device()),
    ];
    for (name, devices) in throttles {
        for (index, device) in devices.iter().flatten().enumerate() {
            check_block_device(device.major(), device.minor(), &format!("{at}.{name}[{index}]"), faults);
        }
    }
}

fn check_weight(weight: Option<u16>, place: String, faults: &mut Faults) {
    if let Some(weight) = weight
        && weight != 0
        && !(10..=1000).contains(&weight)
    {
        faults.add(place, format!("{weight} is out of range: 10 to 1000"));
    }
}

fn check_block_device(major: i64, minor: i64, place: &str, faults: &mut Faults) {
    for (name, number) in [("major", major), ("minor", minor)] {
        if !(0..=i64::from(u32::MAX)).contains(&number) {
            faults.add(format!("{place}.{name}"), format!("{number} is not a device number"));
        }
    }
}

fn check_hugepages(limits: &[LinuxHugepageLimit], faults: &mut Faults) {
    let mut seen = HashSet::new();
    for (index, limit) in limits.iter().enumerate() {
        let place = format!("{AT}.hugepageLimits[{index}]");
        let size = limit.page_size();
        if !is_page_size(size) {
            faults.add(format!("{place}.pageSize"), format!("{} is not a size like 2MB", quoted(size)));
        } else if !seen.insert(size) {
            faults.add(format!("{place}.pageSize"), format!("{size} is given twice"));
        }
        if limit.limit() < 0 {
            faults.add(format!("{place}.limit"), format!("{} is negative", limit.limit()));
        }
    }
}

/// `64KB`, `2MB`, `1GB`: what the kernel calls its files.
fn is_page_size(size: &str) -> bool {
    let number = ["KB", "MB", "GB"].iter().find_map(|unit| size.strip_suffix(unit)).unwrap_or_default();
    !number.is_empty() && !number.starts_with('0') && number.chars().all(|c| c.is_ascii_digit())
}

fn check_network(resources: &LinuxResources, faults: &mut Faults) {
    let priorities = resources.network().as_ref().and_then(|network| network.priorities().as_ref());
    for (index, priority) in priorities.into_iter().flatten().enumerate() {
        let name = priority.name();
        if !is_interface(name) {
            let place = format!("{AT}.network.priorities[{index}].name");
            faults.add(place, format!("{} is not the name of an interface", quoted(name)));
        }
    }
}

fn check_maps(resources: &LinuxResources, faults: &mut Faults) {
    let mut devices: Vec<_> = resources.rdma().iter().flatten().map(|(name, _)| name).collect();
    devices.sort();
    for name in devices {
        if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c == '\0') {
            faults.add(format!("{AT}.rdma[{}]", quoted(name)), "it is not the name of a device");
        }
    }
    let mut files: Vec<_> = resources.unified().iter().flatten().collect();
    files.sort();
    for (file, value) in files {
        let place = format!("{AT}.unified[{}]", quoted(file));
        if !is_cgroup_file(file) {
            faults.add(&place, "it is not a cgroup file like memory.high");
        } else if NOT_LIMITS.contains(&file.as_str()) {
            faults.add(&place, "it is not a limit");
        }
        check_text(value, &place, faults);
    }
}

/// `controller.name`, and no path: the file is opened below the container's cgroup.
fn is_cgroup_file(name: &str) -> bool {
    let word = |part: &str| !part.is_empty();
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    plain && name.contains('.') && name.split('.').all(word)
}
