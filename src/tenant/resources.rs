//! Limits compiled to `linux.resources`: all of them for a start, and those that change for a tenant that runs. Pure.

use serde_json::{Map, Value, json};

use crate::cgroup::layout::Version;
use crate::error::{Error, Kind, Result};
use crate::host::Host;
use crate::tenant::allowance::{Limits, Size};
use crate::tenant::limits::{self, Cgroups, PERIOD};

/// A block device by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device {
    /// Kind of device.
    pub major: u64,
    /// Which of the kind.
    pub minor: u64,
}

/// What the limits do not say.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// This machine.
    pub host: &'a Host,
    /// Whether cgroups may be used.
    pub cgroups: Cgroups,
    /// The block device the tenant's files are on, if they are on one.
    pub device: Option<Device>,
    /// The CPUs there are, as a list: what no limit on them means.
    pub online: &'a str,
}

/// One property of the resources: section, name, its value, and the value that means "no limit".
type Property = (&'static str, &'static str, Option<Value>, Value);

/// The names of all limits.
const NAMES: [&str; 10] =
    ["ram", "swap", "ram-min", "cpus", "cpu-weight", "cpuset", "tasks", "io-read", "io-write", "iops"];

/// `linux.resources` of all limits. Each that is set has to hold.
///
/// # Errors
/// Names the setting and what this host lacks.
pub fn all(limits: &Limits, place: &Place<'_>) -> Result<Map<String, Value>> {
    compile(limits, &NAMES, place, |value, _| value)
}

/// What changes when the limits called `names` become those of `limits`: also those that are lifted.
///
/// # Errors
/// As [`all`].
pub fn changed(limits: &Limits, names: &[&str], place: &Place<'_>) -> Result<Map<String, Value>> {
    compile(limits, names, place, |value, none| value.or(Some(none)))
}

fn compile(
    limits: &Limits,
    names: &[&str],
    place: &Place<'_>,
    choose: impl Fn(Option<Value>, Value) -> Option<Value>,
) -> Result<Map<String, Value>> {
    let mut found = Map::new();
    for name in names {
        let properties = properties(name, limits, place);
        let is_set = properties.iter().any(|(_, _, value, _)| value.is_some());
        match possible(name, place) {
            Err(why) if is_set => return Err(refusal(name, &why)),
            // What cannot be limited is not limited.
            Err(_) => continue,
            Ok(()) => {}
        }
        for (section, field, value, none) in properties {
            let Some(value) = choose(value, none) else { continue };
            let section = found.entry(section).or_insert_with(|| json!({}));
            if let Some(section) = section.as_object_mut() {
                section.insert(field.to_owned(), value);
            }
        }
    }
    Ok(found)
}

fn refusal(name: &str, why: &str) -> Error {
    Error::new(format!("{name} cannot be limited: {why}"))
        .hint(format!("without {name} it works here"))
        .kind(Kind::Unsupported)
        .code(21)
}

/// Whether this machine can hold the limit; if not, why.
fn possible(name: &str, place: &Place<'_>) -> Result<(), String> {
    let controller = |name| limits::check(place.host, place.cgroups, name);
    match name {
        "ram" | "swap" | "ram-min" => controller("memory"),
        "cpus" | "cpu-weight" => controller("cpu"),
        "cpuset" => controller("cpuset"),
        "tasks" => controller("pids"),
        _ if place.device.is_none() => {
            Err("the tenant's files are not on one block device of this host".to_owned())
        }
        _ => controller("blkio").or_else(|_| controller("io")),
    }
}

fn properties(name: &str, limits: &Limits, place: &Place<'_>) -> Vec<Property> {
    let v1 = has_v1(place.host, "memory");
    let rate = |rate: Option<u64>| match place.device {
        Some(Device { major, minor }) => json!([{"major": major, "minor": minor, "rate": rate.unwrap_or(0)}]),
        None => Value::Null,
    };
    let throttle = |field, bytes: Option<u64>| ("blockIO", field, bytes.map(|_| rate(bytes)), rate(None));
    let bytes = |size: Option<Size>| size.map(|size| size.0);
    match name {
        "ram" | "swap" => memory(limits),
        "ram-min" => {
            // v2 protects what is below the number, and the specification has 0 for "as it is": less than a page.
            let none = if v1 { json!(-1) } else { json!(1) };
            vec![("memory", "reservation", limits.ram_min.map(|size| json!(size.0)), none)]
        }
        "cpus" => {
            let quota = limits.cpus.map(|cpus| json!(u64::from(cpus.0) * PERIOD / 1000));
            let period = json!(PERIOD);
            vec![
                ("cpu", "quota", quota.clone(), json!(-1)),
                ("cpu", "period", quota.map(|_| period.clone()), period),
            ]
        }
        "cpu-weight" => {
            let weight = limits.cpu_weight.map(|weight| json!(shares(weight, place.host)));
            vec![("cpu", "shares", weight, json!(shares(100, place.host)))]
        }
        "cpuset" => {
            vec![("cpu", "cpus", limits.cpuset.as_ref().map(|list| json!(list)), json!(place.online))]
        }
        "tasks" => vec![("pids", "limit", limits.tasks.map(|tasks| json!(tasks)), json!(-1))],
        "io-read" => vec![throttle("throttleReadBpsDevice", bytes(limits.io_read))],
        "io-write" => vec![throttle("throttleWriteBpsDevice", bytes(limits.io_write))],
        _ => {
            let iops = limits.iops.map(u64::from);
            vec![throttle("throttleReadIOPSDevice", iops), throttle("throttleWriteIOPSDevice", iops)]
        }
    }
}

/// In the specification, as in v1's files, swap is counted together with memory.
fn memory(limits: &Limits) -> Vec<Property> {
    let ram = limits.ram.map(|size| size.0);
    let both = limits.swap.zip(ram).map(|(swap, ram)| json!(swap.0.saturating_add(ram)));
    vec![("memory", "limit", ram.map(|ram| json!(ram)), json!(-1)), ("memory", "swap", both, json!(-1))]
}

fn has_v1(host: &Host, controller: &str) -> bool {
    host.cgroups.hierarchies.iter().any(|hierarchy| {
        hierarchy.version == Version::V1 && hierarchy.controllers.iter().any(|name| name == controller)
    })
}

/// The specification has v1's shares, 2 to 262144 with 1024 for everybody; the runtime turns them into v2's weight.
fn shares(weight: u32, host: &Host) -> u64 {
    let weight = u64::from(weight);
    match has_v1(host, "cpu") {
        true => (weight * 1024 / 100).clamp(2, 262_144),
        // The inverse of `1 + (shares - 2) * 9999 / 262142`.
        false => 2 + (weight - 1) * 262_142 / 9999,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tenant::config::Config;
    use crate::tenant::config::tests::example;
    use crate::tenant::limits::tests::host;

    fn limited(settings: &[(&str, &str)]) -> Config {
        settings.iter().fold(example(), |config, (name, value)| config.with(name, value).unwrap())
    }

    const ALL: [&str; 6] = ["cpu", "memory", "pids", "cpuset", "blkio", "io"];

    fn on<'a>(host: &'a Host) -> Place<'a> {
        let device = Some(Device { major: 7, minor: 3 });
        Place { host, cgroups: Cgroups::Host, device, online: "0-3" }
    }

    #[test]
    fn limits_are_the_resources_of_the_specification() {
        let config = limited(&[
            ("ram", "64M"),
            ("swap", "16M"),
            ("ram-min", "8M"),
            ("cpus", "0.5"),
            ("cpu-weight", "200"),
            ("tasks", "99"),
            ("io-read", "5M"),
            ("iops", "50"),
        ]);
        let host = host(true, Version::V1, &ALL);
        let one = |rate| json!([{"major": 7, "minor": 3, "rate": rate}]);
        let wanted = json!({
            "memory": {"limit": 64 << 20, "swap": 80 << 20, "reservation": 8 << 20},
            "cpu": {"quota": 50_000, "period": 100_000, "shares": 2048},
            "pids": {"limit": 99},
            "blockIO": {"throttleReadBpsDevice": one(5 << 20), "throttleReadIOPSDevice": one(50),
                "throttleWriteIOPSDevice": one(50)},
        });
        assert_eq!(Value::Object(all(&config.limits, &on(&host)).unwrap()), wanted);
        assert!(all(&example().limits, &on(&host)).unwrap().is_empty());
    }

    #[test]
    fn a_change_has_what_is_named_and_lifts_what_is_not_set() {
        let config = limited(&[("ram", "64M"), ("tasks", "99")]);
        for (version, lifted) in [(Version::V1, json!(-1)), (Version::V2, json!(1))] {
            let host = host(true, version, &ALL);
            let changed = |names: &[&str]| Value::Object(changed(&config.limits, names, &on(&host)).unwrap());
            assert_eq!(changed(&["ram"]), json!({"memory": {"limit": 64 << 20, "swap": -1}}));
            assert_eq!(changed(&["ram-min"]), json!({"memory": {"reservation": lifted}}));
            assert_eq!(changed(&["cpus"]), json!({"cpu": {"quota": -1, "period": 100_000}}));
            assert_eq!(changed(&["cpuset"]), json!({"cpu": {"cpus": "0-3"}}));
            assert_eq!(changed(&["io-write"])["blockIO"]["throttleWriteBpsDevice"][0]["rate"], 0);
        }
    }

    #[test]
    fn a_limit_without_its_controller_or_device_is_refused_and_lifting_it_is_not() {
        let config = limited(&[("tasks", "99"), ("io-read", "5M")]);
        let host = host(true, Version::V1, &["cpu", "memory"]);
        let nowhere = Place { device: None, ..on(&host) };
        let told = |name| changed(&config.limits, &[name], &nowhere).unwrap_err().to_string();
        assert!(told("tasks").starts_with("tasks cannot be limited: this host has no"), "{}", told("tasks"));
        assert!(told("io-read").starts_with("io-read cannot be limited: the tenant's files"));
        assert!(changed(&example().limits, &["tasks", "iops"], &nowhere).unwrap().is_empty());
    }
}
