//! Rules of namespaces, of the id maps of a new user namespace, and of the clocks of a new time namespace. Pure.

use std::collections::HashSet;

use oci_spec::runtime::{Linux, LinuxIdMapping, LinuxNamespaceType, Process, Spec};

use super::{NO_ID, Wanted, check_absolute, wanted};
use crate::oci::fault::{Faults, quoted};

/// How many lines the kernel takes in one map (user_namespaces(7)).
const LONGEST_MAP: usize = 340;

pub(super) fn check(spec: &Spec, linux: &Linux, faults: &mut Faults) {
    check_namespaces(linux, faults);
    let user = wanted(spec, LinuxNamespaceType::User);
    for (name, map) in [("uidMappings", linux.uid_mappings()), ("gidMappings", linux.gid_mappings())] {
        let place = format!("linux.{name}");
        let map = map.as_deref().unwrap_or_default();
        // With a joined namespace a map says nothing, but podman writes one: runc once wanted it.
        match user {
            Wanted::No if !map.is_empty() => {
                faults.add(place.clone(), "it needs a user namespace in linux.namespaces");
            }
            Wanted::New if map.is_empty() => faults.add(place.clone(), "a new user namespace needs one"),
            _ => {}
        }
        check_map(map, &place, faults);
    }
    check_time_offsets(spec, linux, faults);
}

fn check_namespaces(linux: &Linux, faults: &mut Faults) {
    let mut seen = HashSet::new();
    for (index, namespace) in linux.namespaces().iter().flatten().enumerate() {
        let place = format!("linux.namespaces[{index}]");
        if !seen.insert(namespace.typ()) {
            let name = name_of(namespace.typ());
            faults.add(format!("{place}.type"), format!("the {name} namespace is given twice"));
        }
        if let Some(path) = namespace.path() {
            check_absolute(path, &format!("{place}.path"), faults);
        }
    }
}

/// The specification's name of a namespace type.
pub(super) fn name_of(kind: LinuxNamespaceType) -> &'static str {
    match kind {
        LinuxNamespaceType::Mount => "mount",
        LinuxNamespaceType::Cgroup => "cgroup",
        LinuxNamespaceType::Uts => "uts",
        LinuxNamespaceType::Ipc => "ipc",
        LinuxNamespaceType::User => "user",
        LinuxNamespaceType::Pid => "pid",
        LinuxNamespaceType::Network => "network",
        LinuxNamespaceType::Time => "time",
    }
}

fn check_map(map: &[LinuxIdMapping], place: &str, faults: &mut Faults) {
    if map.len() > LONGEST_MAP {
        faults.add(place, format!("it has {} lines, the kernel takes {LONGEST_MAP}", map.len()));
        return;
    }
    for (index, line) in map.iter().enumerate() {
        let place = format!("{place}[{index}]");
        if line.size() == 0 {
            faults.add(format!("{place}.size"), "it is 0");
            continue;
        }
        for (name, first) in [("containerID", line.container_id()), ("hostID", line.host_id())] {
            // (u32)-1 is no id, so a range ends at most one below it.
            if u64::from(first) + u64::from(line.size()) > u64::from(NO_ID) {
                let why = format!("{first} and {} more pass the last id, {}", line.size() - 1, NO_ID - 1);
                faults.add(format!("{place}.{name}"), why);
            }
        }
    }
    check_overlap(map, place, "containerID", LinuxIdMapping::container_id, faults);
    check_overlap(map, place, "hostID", LinuxIdMapping::host_id, faults);
}

fn check_overlap(
    map: &[LinuxIdMapping],
    place: &str,
    side: &str,
    first: impl Fn(&LinuxIdMapping) -> u32,
    faults: &mut Faults,
) {
    let end = |line: &LinuxIdMapping| u64::from(first(line)) + u64::from(line.size());
    let apart = |a: &LinuxIdMapping, b: &LinuxIdMapping| {
        end(a) <= u64::from(first(b)) || end(b) <= u64::from(first(a))
    };
    for (index, line) in map.iter().enumerate() {
        if let Some(other) = map[..index].iter().position(|other| !apart(line, other)) {
            faults.add(
                format!("{place}[{index}].{side}"),
                format!("the range overlaps that of {place}[{other}]"),
            );
        }
    }
}

/// Ids of the process must be mapped: else setuid(2) fails late, with a bare EINVAL.
pub(super) fn check_process_is_mapped(spec: &Spec, process: &Process, faults: &mut Faults) {
    if wanted(spec, LinuxNamespaceType::User) != Wanted::New {
        return;
    }
    let Some(linux) = spec.linux() else { return };
    let uids = linux.uid_mappings().as_deref().unwrap_or_default();
    let gids = linux.gid_mappings().as_deref().unwrap_or_default();
    let user = process.user();
    check_mapped(user.uid(), uids, "process.user.uid", "linux.uidMappings", faults);
    check_mapped(user.gid(), gids, "process.user.gid", "linux.gidMappings", faults);
    for (index, gid) in user.additional_gids().iter().flatten().enumerate() {
        let place = format!("process.user.additionalGids[{index}]");
        check_mapped(*gid, gids, &place, "linux.gidMappings", faults);
    }
}

fn check_mapped(id: u32, map: &[LinuxIdMapping], place: &str, name: &str, faults: &mut Faults) {
    let holds = |line: &LinuxIdMapping| id.checked_sub(line.container_id()).is_some_and(|n| n < line.size());
    if id != NO_ID && !map.is_empty() && !map.iter().any(holds) {
        faults.add(place, format!("{id} is not mapped by {name}"));
    }
}

fn check_time_offsets(spec: &Spec, linux: &Linux, faults: &mut Faults) {
    let Some(offsets) = linux.time_offsets().as_ref().filter(|offsets| !offsets.is_empty()) else { return };
    match wanted(spec, LinuxNamespaceType::Time) {
        Wanted::New => {}
        Wanted::No => faults.add("linux.timeOffsets", "it needs a new time namespace in linux.namespaces"),
        Wanted::Joined => {
            faults.add("linux.timeOffsets", "the clocks of a joined time namespace cannot be set");
        }
    }
    let mut clocks: Vec<_> = offsets.iter().collect();
    clocks.sort_by_key(|(clock, _)| *clock);
    for (clock, offset) in clocks {
        let place = format!("linux.timeOffsets[{}]", quoted(clock));
        if !matches!(clock.as_str(), "monotonic" | "boottime") {
            faults.add(&place, "unknown clock: known are monotonic, boottime");
        }
        if let Some(nanosecs) = offset.nanosecs()
            && nanosecs > 999_999_999
        {
            faults.add(format!("{place}.nanosecs"), format!("{nanosecs} is out of range: 0 to 999999999"));
        }
    }
}
