//! The systemd driver: `linux.cgroupsPath` as `slice:prefix:name`, and what the unit is told when it is started. Pure.
//!
//! Limits go into files of the cgroup as with the other driver, and into properties as far as systemd has them: so
//! `systemctl show` tells the truth, and systemd, which writes its own idea of a unit whenever it looks at it again,
//! writes the same. Properties are compiled from the writes, so they cannot disagree.
//!
//! Annotations `org.systemd.property.NAME` set any other property, in the text form of GVariant (`true`,
//! `'inactive-or-failed'`, `uint64 5000000`, `['a.service']`); a NAME that ends with `Sec` is in seconds.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::{How, Sheet, Write};
use crate::cgroup::unit::{Bus, Manager, Property, PropertyValue, Unit};
use crate::ids::ContainerId;

const WHY: &str = "linux.cgroupsPath";
const ANNOTATION: &str = "org.systemd.property.";

/// systemd's UNIT_NAME_MAX.
const LONGEST_NAME: usize = 255;

/// The unit of a new container, without the limits.
pub(super) fn parse(
    path: Option<&str>,
    id: &ContainerId,
    manager: &Manager,
    sheet: &mut Sheet<'_>,
) -> Option<Unit> {
    let default_slice = match manager.bus {
        Bus::System => "system.slice",
        Bus::User => "user.slice",
    };
    let chosen = format!(":isolate:{id}");
    let path = path.unwrap_or(&chosen);
    let parts: Vec<&str> = path.split(':').collect();
    let [slice, prefix, name] = parts.as_slice() else {
        let text = format!(
            "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got {path:?} instead"
        );
        sheet.fault(WHY, text);
        return None;
    };
    let slice = if slice.is_empty() { default_slice } else { slice };
    if let Err(fault) = slice_folder(slice) {
        sheet.fault(WHY, fault);
        return None;
    }
    let unit = match (name.ends_with(".slice"), prefix.is_empty()) {
        (true, _) => escaped(name),
        (false, true) => format!("{}.scope", escaped(name)),
        (false, false) => format!("{}-{}.scope", escaped(prefix), escaped(name)),
    };
    if name.is_empty() || unit.len() > LONGEST_NAME {
        sheet.fault(
            WHY,
            format!("{path:?} makes no name of a unit: it has none, or is longer than 255 bytes"),
        );
        return None;
    }
    if name.ends_with(".slice") {
        let fault = match slice_folder(&unit) {
            // Its cgroup is that of the whole machine, or of all that the user has.
            Ok(folder) if folder.as_os_str().is_empty() => {
                Some(format!("{path:?} names the root slice, which is no container's own"))
            }
            Ok(_) => None,
            Err(fault) => Some(fault),
        };
        if let Some(fault) = fault {
            sheet.fault(WHY, fault);
            return None;
        }
    }
    Some(Unit { bus: manager.bus, name: unit, slice: slice.to_owned(), properties: Vec::new() })
}

/// Characters that a unit's name cannot have, as systemd-escape(1) writes them.
fn escaped(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
    name.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("\\x{byte:02x}") })
        .collect()
}

/// The folder of a slice below its manager's: `a-b.slice` lies in `a.slice` (systemd.slice(5)).
fn slice_folder(slice: &str) -> Result<PathBuf, String> {
    let fault = || format!("invalid slice name: {slice:?}");
    let stem = slice.strip_suffix(".slice").ok_or_else(fault)?;
    if stem == "-" {
        return Ok(PathBuf::new());
    }
    if escaped(stem) != stem || stem.split('-').any(str::is_empty) {
        return Err(fault());
    }
    let ends = stem.match_indices('-').map(|(index, _)| index).chain([stem.len()]);
    Ok(ends.map(|end| format!("{}.slice", stem.get(..end).unwrap_or_default())).collect())
}

/// The unit's cgroup below the top of its hierarchy.
pub(super) fn folder(unit: &Unit, manager: &Manager) -> PathBuf {
    let top = manager.control_group.strip_prefix("/").unwrap_or(&manager.control_group);
    let below = match unit.is_scope() {
        true => slice_folder(&unit.slice).unwrap_or_default().join(&unit.name),
        false => slice_folder(&unit.name).unwrap_or_default(),
    };
    top.join(below)
}

/// Everything that systemd is told at the start.
pub(super) fn properties(
    unit: &Unit,
    id: &ContainerId,
    writes: &[Write],
    annotations: Option<&HashMap<String, String>>,
    sheet: &mut Sheet<'_>,
) -> Vec<Property> {
    let text = |text: &str| PropertyValue::Text(text.to_owned());
    let mut all = vec![property("Description", text(&format!("isolate container {id}")), "default")];
    match unit.is_scope() {
        true => {
            all.push(property("Slice", text(&unit.slice), WHY));
            all.push(property("Delegate", PropertyValue::Bool(true), "default"));
        }
        false => all.push(property("Wants", PropertyValue::Texts(vec![unit.slice.clone()]), WHY)),
    }
    for name in ["MemoryAccounting", "CPUAccounting", "IOAccounting", "TasksAccounting"] {
        all.push(Property { is_mirrored: true, ..property(name, PropertyValue::Bool(true), "default") });
    }
    all.push(property("DefaultDependencies", PropertyValue::Bool(false), "default"));
    // systemd 236: one that failed does not stay, and keep its name.
    let collect = property("CollectMode", text("inactive-or-failed"), "default");
    all.push(Property { is_mirrored: true, ..collect });
    all.extend(of_writes(writes));
    let mut asked: Vec<_> = annotations.into_iter().flatten().collect();
    asked.sort();
    for (key, value) in asked {
        let Some(name) = key.strip_prefix(ANNOTATION) else { continue };
        match of_annotation(name, value) {
            Ok(new) => {
                all.retain(|old| old.name != new.name);
                all.push(Property { why: format!("annotations[{key:?}]"), ..new });
            }
            Err(fault) => sheet.fault(format!("annotations[{key:?}]"), fault),
        }
    }
    all
}

fn property(name: &str, value: PropertyValue, why: &str) -> Property {
    Property { name: name.to_owned(), value, why: why.to_owned(), is_mirrored: false }
}

/// The limits that systemd has properties for. A later write to the same file wins.
pub(super) fn of_writes(writes: &[Write]) -> Vec<Property> {
    let mut all: Vec<Property> = Vec::new();
    for write in writes {
        for (name, value) in of_write(write) {
            all.retain(|old| old.name != name);
            all.push(Property { is_mirrored: true, ..property(name, value, &write.why) });
        }
    }
    all
}

fn of_write(write: &Write) -> Vec<(&'static str, PropertyValue)> {
    let one = |name, value: Option<PropertyValue>| value.map(|value| (name, value)).into_iter().collect();
    let amount = || amount(&write.value).map(PropertyValue::U64);
    match write.file.as_str() {
        "memory.max" => one("MemoryMax", amount()),
        "memory.limit_in_bytes" => one("MemoryLimit", amount()),
        "memory.low" => one("MemoryLow", amount()),
        "memory.high" => one("MemoryHigh", amount()),
        "memory.min" => one("MemoryMin", amount()),
        "memory.swap.max" => one("MemorySwapMax", amount()),
        "memory.zswap.max" => one("MemoryZSwapMax", amount()),
        // Tasks that are there already, the init among them, count: none at all cannot be said.
        "pids.max" => one("TasksMax", self::amount(&write.value).map(|n| PropertyValue::U64(n.max(1)))),
        "cpu.weight" => one("CPUWeight", amount()),
        "cpu.shares" => one("CPUShares", amount()),
        "cpu.idle" if write.value == "1" => one("CPUWeight", Some(PropertyValue::U64(0))),
        "cpu.max" => bandwidth(write),
        "cpuset.cpus" => one("AllowedCPUs", bits(&write.value)),
        "cpuset.mems" => one("AllowedMemoryNodes", bits(&write.value)),
        "io.weight" => one("IOWeight", amount()),
        _ => Vec::new(),
    }
}

/// `max` and -1 mean no limit.
fn amount(text: &str) -> Option<u64> {
    match text.trim() {
        "max" | "-1" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

/// `250000 100000`: µs of each period. systemd counts in µs of each second, and writes whole hundredths of it.
fn bandwidth(write: &Write) -> Vec<(&'static str, PropertyValue)> {
    let mut words = write.value.split_ascii_whitespace();
    let quota = words.next().and_then(amount);
    let period = words.next().and_then(amount);
    let mut all = Vec::new();
    if let Some(quota) = quota.filter(|_| write.how != How::KeepFirstWord) {
        let per_second = match quota {
            u64::MAX => u64::MAX,
            quota => quota.saturating_mul(1_000_000) / period.unwrap_or(100_000).max(1),
        };
        let rounded = if per_second == u64::MAX { u64::MAX } else { per_second.next_multiple_of(10_000) };
        all.push(("CPUQuotaPerSecUSec", PropertyValue::U64(rounded)));
    }
    if let Some(period) = period {
        all.push(("CPUQuotaPeriodUSec", PropertyValue::U64(period)));
    }
    all
}

/// A list like `0-3,7` as a bit for each number, the lowest byte first.
fn bits(list: &str) -> Option<PropertyValue> {
    let mut bytes: Vec<u8> = Vec::new();
    for part in list.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if last > 8191 {
            return None;
        }
        for number in first..=last {
            let needed = number / 8 + 1;
            if bytes.len() < needed {
                bytes.resize(needed, 0);
            }
            if let Some(byte) = bytes.get_mut(number / 8) {
                *byte |= 1 << (number % 8);
            }
        }
    }
    (!bytes.is_empty()).then_some(PropertyValue::Bytes(bytes))
}

fn of_annotation(name: &str, text: &str) -> Result<Property, String> {
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(format!("{name:?} is no name of a property"));
    }
    let value = parse_value(text.trim())?;
    let Some(stem) = name.strip_suffix("Sec").filter(|stem| !stem.ends_with('U')) else {
        return Ok(property(name, value, ""));
    };
    let microseconds = match value {
        PropertyValue::U64(seconds) => seconds.checked_mul(1_000_000),
        PropertyValue::U32(seconds) => u64::from(seconds).checked_mul(1_000_000),
        PropertyValue::I64(seconds) => seconds.try_into().ok().and_then(|s: u64| s.checked_mul(1_000_000)),
        PropertyValue::I32(seconds) => seconds.try_into().ok().and_then(|s: u64| s.checked_mul(1_000_000)),
        PropertyValue::Double(seconds) if (0.0..1e12).contains(&seconds) => Some((seconds * 1e6) as u64),
        _ => None,
    };
    let value = microseconds.ok_or_else(|| format!("{text:?} is no number of seconds"))?;
    Ok(property(&format!("{stem}USec"), PropertyValue::U64(value), ""))
}

/// A value in GVariant's text form: what units have of it.
fn parse_value(text: &str) -> Result<PropertyValue, String> {
    let fault = || {
        format!("{text:?} is no value in GVariant's text form, such as true, uint64 5, 'text', ['a', 'b']")
    };
    let typed = text.split_once(' ').map(|(kind, number)| (kind, number.trim()));
    let value = match (text, typed) {
        ("true", _) => Some(PropertyValue::Bool(true)),
        ("false", _) => Some(PropertyValue::Bool(false)),
        (_, Some(("uint64", number))) => number.parse().ok().map(PropertyValue::U64),
        (_, Some(("int64", number))) => number.parse().ok().map(PropertyValue::I64),
        (_, Some(("uint32", number))) => number.parse().ok().map(PropertyValue::U32),
        (_, Some(("int32", number))) => number.parse().ok().map(PropertyValue::I32),
        (_, Some(("double", number))) => number.parse().ok().map(PropertyValue::Double),
        _ if text.starts_with('[') || text.starts_with("@as ") => texts(text),
        _ if text.starts_with(['\'', '"']) => {
            quoted(text).filter(|(_, rest)| rest.is_empty()).map(|(text, _)| PropertyValue::Text(text))
        }
        _ if text.contains('.') => text.parse().ok().map(PropertyValue::Double),
        _ => text.parse().ok().map(PropertyValue::I32),
    };
    value.ok_or_else(fault)
}

fn texts(text: &str) -> Option<PropertyValue> {
    let inner = text.trim_start_matches("@as ").trim().strip_prefix('[')?.strip_suffix(']')?;
    let mut rest = inner.trim();
    let mut all = Vec::new();
    while !rest.is_empty() {
        let (one, after) = quoted(rest)?;
        all.push(one);
        let after = after.trim_start();
        rest = match after.strip_prefix(',') {
            Some(more) => more.trim_start(),
            None if after.is_empty() => after,
            None => return None,
        };
    }
    Some(PropertyValue::Texts(all))
}

/// A quoted text, and what stands behind it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let quote = text.chars().next().filter(|quote| ['\'', '"'].contains(quote))?;
    let mut value = String::new();
    let mut letters = text.char_indices().skip(1);
    while let Some((index, letter)) = letters.next() {
        match letter {
            '\\' => value.push(letters.next()?.1),
            letter if letter == quote => return Some((value, text.get(index + 1..)?)),
            letter => value.push(letter),
        }
    }
    None
}

/// As in a state file: a saved unit with new limits.
pub(super) fn update(name: &str, bus: Bus, writes: &[Write]) -> Unit {
    Unit { bus, name: name.to_owned(), slice: String::new(), properties: of_writes(writes) }
}

/// `cgroupsPath` as text; the driver takes no other.
pub(super) fn text(path: Option<&Path>) -> Option<&str> {
    path.and_then(Path::to_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::layout::Layout;
    use crate::plan::cgroup::Occasion;

    fn manager(bus: Bus, top: &str) -> Manager {
        Manager { bus, control_group: PathBuf::from(top) }
    }

    fn place(path: Option<&str>, manager: &Manager) -> Result<(String, String), String> {
        let layout = Layout::default();
        let mut sheet = Sheet::new(&layout, Occasion::Create);
        let id = ContainerId::new("web+1").unwrap();
        match parse(path, &id, manager, &mut sheet) {
            Some(unit) => Ok((unit.name.clone(), folder(&unit, manager).display().to_string())),
            None => Err(sheet.faults[0].1.clone()),
        }
    }

    #[test]
    fn the_path_names_slice_prefix_and_unit() {
        let system = manager(Bus::System, "/");
        let placed = |path| place(Some(path), &system).unwrap();
        assert_eq!(
            placed("machine-qemu.slice:libpod:0a1b"),
            ("libpod-0a1b.scope".into(), "machine.slice/machine-qemu.slice/libpod-0a1b.scope".into())
        );
        assert_eq!(placed("::x"), ("x.scope".into(), "system.slice/x.scope".into()));
        assert_eq!(placed("-.slice:a:b"), ("a-b.scope".into(), "a-b.scope".into()));
        assert_eq!(placed("a.slice::a-pod.slice"), ("a-pod.slice".into(), "a.slice/a-pod.slice".into()));
        assert_eq!(place(None, &system).unwrap().0, "isolate-web\\x2b1.scope");
        let user = manager(Bus::User, "/user.slice/user-7.slice/user@7.service");
        let expected = "user.slice/user-7.slice/user@7.service/user.slice/p-n.scope";
        assert_eq!(place(Some(":p:n"), &user).unwrap().1, expected);
    }

    #[test]
    fn what_is_no_slice_is_refused() {
        let system = manager(Bus::System, "/");
        for path in ["/a/b", "a", "a:b", "a:b:c:d"] {
            assert!(place(Some(path), &system).unwrap_err().contains("slice:prefix:name"), "{path}");
        }
        for slice in ["a", "a--b.slice", "-a.slice", "a-.slice", ".slice", "a/b.slice", "../x.slice"] {
            let error = place(Some(&format!("{slice}:p:n")), &system).unwrap_err();
            assert!(error.contains("invalid slice name"), "{slice}: {error}");
        }
        assert!(place(Some("a.slice:p:"), &system).is_err());
    }

    #[test]
    fn the_root_slice_is_no_containers_own() {
        let error = place(Some("a.slice::-.slice"), &manager(Bus::System, "/")).unwrap_err();
        assert!(error.contains("root slice"), "{error}");
        let (layout, id) = (Layout::default(), ContainerId::new("-.slice").unwrap());
        let mut sheet = Sheet::new(&layout, Occasion::Create);
        assert!(parse(None, &id, &manager(Bus::System, "/"), &mut sheet).is_none());
    }

    #[test]
    fn limits_become_properties() {
        let write = |file: &str, value: &str| Write::new(file, value, "x");
        let told = |writes: &[Write]| -> Vec<String> {
            of_writes(writes).iter().map(|p| format!("{}={}", p.name, p.value)).collect()
        };
        assert_eq!(
            told(&[write("memory.max", "max"), write("pids.max", "0")]),
            ["MemoryMax=infinity", "TasksMax=1"]
        );
        assert_eq!(
            told(&[write("cpu.max", "25000 100000")]),
            ["CPUQuotaPerSecUSec=250000", "CPUQuotaPeriodUSec=100000"]
        );
        assert_eq!(told(&[write("cpu.max", "33333 100000")])[0], "CPUQuotaPerSecUSec=340000");
        assert_eq!(told(&[write("cpu.max", "max 50000")])[0], "CPUQuotaPerSecUSec=infinity");
        let kept = write("cpu.max", "max 50000").how(How::KeepFirstWord);
        assert_eq!(told(&[kept]), ["CPUQuotaPeriodUSec=50000"]);
        assert_eq!(told(&[write("cpuset.cpus", "0-2,9")]), ["AllowedCPUs=0207"]);
        assert_eq!(told(&[write("memory.max", "1"), write("memory.max", "2")]), ["MemoryMax=2"]);
        assert_eq!(told(&[write("io.max", "8:0 rbps=1"), write("hugetlb.2MB.max", "1")]), [""; 0]);
    }

    #[test]
    fn annotations_are_read_as_gvariant_text() {
        let told = |name: &str, value: &str| of_annotation(name, value).map(|p| (p.name, p.value));
        let text = |text: &str| PropertyValue::Text(text.to_owned());
        assert_eq!(told("CollectMode", "'inactive'"), Ok(("CollectMode".into(), text("inactive"))));
        assert_eq!(
            told("TimeoutStopUSec", "uint64 7"),
            Ok(("TimeoutStopUSec".into(), PropertyValue::U64(7)))
        );
        assert_eq!(
            told("TimeoutStopSec", "2"),
            Ok(("TimeoutStopUSec".into(), PropertyValue::U64(2_000_000)))
        );
        let list = PropertyValue::Texts(vec!["a b".into(), "c'd".into()]);
        assert_eq!(told("After", "['a b', \"c'd\"]"), Ok(("After".into(), list)));
        assert_eq!(told("After", "@as []"), Ok(("After".into(), PropertyValue::Texts(Vec::new()))));
        for bad in ["", "[", "['a'", "['a' 'b']", "'", "uint64 -1", "nonsense", "'a' b", "\\"] {
            assert!(told("X", bad).is_err(), "{bad}");
        }
        assert!(told("A-B", "true").is_err());
        assert!(told("TimeoutStopSec", "'x'").is_err());
    }
}
