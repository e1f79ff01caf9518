//! What brings a cgroup file back to what it said before a value was written to it. Pure: texts in, writes
//! out.
//!
//! Most files hold one value and are written back as they were read. The others hold a line for each
//! device, interface or resource, show more than what can be written, or cannot be read at all.

/// Files with a line for each key; the value that a key without a line has.
const KEYED: [(&str, &str); 12] = [
    ("io.max", "rbps=max wbps=max riops=max wiops=max"),
    ("io.weight", "default"),
    ("io.bfq.weight", "default"),
    ("io.latency", "target=0"),
    ("rdma.max", "hca_handle=max hca_object=max"),
    ("misc.max", "max"),
    ("dmem.max", "max"),
    ("dmem.low", "0"),
    ("dmem.min", "0"),
    ("net_prio.ifpriomap", "0"),
    ("blkio.leaf_weight_device", "default"),
    ("blkio.weight_device", "default"),
];

/// Files of the device controller: both change the list that a third one shows.
pub(super) const DEVICE_FILES: [&str; 2] = ["devices.allow", "devices.deny"];

/// The file that shows what writing to `file` changes.
pub(super) fn shown_by(file: &str) -> &str {
    if DEVICE_FILES.contains(&file) { "devices.list" } else { file }
}

/// The file that changes as well when `file` is written: an idle cgroup forgets its weight.
pub(super) fn companions(file: &str) -> &'static [&'static str] {
    if file == "cpu.idle" { &["cpu.shares", "cpu.weight"] } else { &[] }
}

/// The part of what the file shows (`text`) that writing `value` to `file` changes.
pub(super) fn setting(file: &str, text: &str, value: &str) -> String {
    if file == "memory.oom_control" {
        return text
            .lines()
            .find_map(|line| line.strip_prefix("oom_kill_disable "))
            .unwrap_or("0")
            .to_owned();
    }
    match (default_of(file), key(value)) {
        (Some(default), Some(key)) => {
            let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
            line.unwrap_or(default).trim().to_owned()
        }
        // The weight of all other devices has a key of its own, or stands alone.
        (Some(_), None) => {
            let line = text.lines().find_map(|line| line.strip_prefix("default "));
            line.unwrap_or(text.lines().next().unwrap_or_default()).trim().to_owned()
        }
        (None, _) => text.trim().to_owned(),
    }
}

/// The writes (file and value) after which `file` shows `setting` where `value` was written.
pub(super) fn writes(file: &str, setting: &str, value: &str) -> Vec<(String, String)> {
    if DEVICE_FILES.contains(&file) {
        return devices(setting);
    }
    if file == "cgroup.subtree_control" {
        return vec![(file.to_owned(), inverse(setting, value))];
    }
    let back = match (default_of(file), key(value)) {
        (Some(_), Some(key)) => format!("{key} {setting}"),
        // The kernel takes an empty line for an empty list, and no bytes for nothing to do.
        _ if setting.is_empty() => "\n".to_owned(),
        _ => setting.to_owned(),
    };
    vec![(file.to_owned(), back)]
}

fn default_of(file: &str) -> Option<&'static str> {
    let throttle = file.starts_with("blkio.throttle.").then_some("0");
    let weight = (file == "blkio.bfq.weight_device").then_some("default");
    throttle.or(weight).or_else(|| KEYED.iter().find(|(name, _)| *name == file).map(|(_, default)| *default))
}

fn key(value: &str) -> Option<&str> {
    value.trim().split_once(' ').map(|(key, _)| key).filter(|key| *key != "default")
}

/// Everything denied but what was in the list; the list of a cgroup in which everything is allowed does not
/// show the exceptions.
fn devices(list: &str) -> Vec<(String, String)> {
    let write = |file: &str, value: &str| (file.to_owned(), value.to_owned());
    if list.lines().any(|line| line.starts_with('a')) {
        return vec![write("devices.allow", "a")];
    }
    let allowed = list.lines().map(|line| write("devices.allow", line));
    std::iter::once(write("devices.deny", "a")).chain(allowed).collect()
}

/// `+memory -io` switched `memory` on and `io` off: what was not so before is switched back.
fn inverse(before: &str, value: &str) -> String {
    let was_on = |name: &str| before.split_ascii_whitespace().any(|word| word == name);
    let back = value.split_ascii_whitespace().filter_map(|word| match word.split_at_checked(1)? {
        ("+", name) if !was_on(name) => Some(format!("-{name}")),
        ("-", name) if was_on(name) => Some(format!("+{name}")),
        _ => None,
    });
    back.collect::<Vec<_>>().join(" ")
}

/// What `devices.list` shows after these writes (file and value) to a cgroup that shows `list`, as the
/// kernel's `devices_cgroup` reckons it; sorted. `None` when it depends on what the list does not show.
pub(super) fn device_list(list: &str, writes: &[(&str, &str)]) -> Option<Vec<String>> {
    let mut rules: Option<Vec<(String, String)>> = split(list);
    for (file, value) in writes {
        let allow = *file == "devices.allow";
        if value.starts_with('a') {
            rules = (!allow).then(Vec::new);
            continue;
        }
        let (place, access) = value.rsplit_once(' ')?;
        let rules = rules.as_mut()?;
        match rules.iter_mut().find(|(known, _)| known == place) {
            Some((_, known)) => *known = combine(known, access, allow),
            None if allow => rules.push((place.to_owned(), combine("", access, true))),
            None => {}
        }
    }
    let kept = rules?.into_iter().filter(|(_, access)| !access.is_empty());
    let mut lines: Vec<String> = kept.map(|(place, access)| format!("{place} {access}")).collect();
    lines.sort();
    Some(lines)
}

fn split(list: &str) -> Option<Vec<(String, String)>> {
    let line = |line: &str| {
        let (place, access) = line.rsplit_once(' ')?;
        (!place.starts_with('a')).then(|| (place.to_owned(), access.to_owned()))
    };
    list.lines().map(line).collect()
}

fn combine(known: &str, access: &str, allow: bool) -> String {
    let is_in = |letter: &char| match allow {
        true => known.contains(*letter) || access.contains(*letter),
        false => known.contains(*letter) && !access.contains(*letter),
    };
    ['r', 'w', 'm'].into_iter().filter(is_in).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn back(file: &str, text: &str, value: &str) -> Vec<(String, String)> {
        writes(file, &setting(file, text, value), value)
    }

    fn one(file: &str, text: &str, value: &str) -> String {
        let [(to, value)] = back(file, text, value).try_into().unwrap();
        assert_eq!(to, file);
        value
    }

    #[test]
    fn a_file_with_one_value_gets_it_back() {
        assert_eq!(one("memory.max", "67108864\n", "max"), "67108864");
        assert_eq!(one("cpu.max", "max 100000\n", "1000 50000"), "max 100000");
        assert_eq!(one("cpuset.cpus", "\n", "0"), "\n");
        assert_eq!(one("memory.oom_control", "oom_kill_disable 1\nunder_oom 0\noom_kill 3\n", "0"), "1");
    }

    #[test]
    fn a_file_with_a_line_for_each_device_gets_the_line_of_that_device_back() {
        let text = "8:0 rbps=1 wbps=max riops=max wiops=max\n8:16 rbps=2 wbps=max riops=max wiops=max\n";
        assert_eq!(one("io.max", text, "8:16 rbps=9"), "8:16 rbps=2 wbps=max riops=max wiops=max");
        assert_eq!(one("io.max", "", "8:16 rbps=9"), "8:16 rbps=max wbps=max riops=max wiops=max");
        assert_eq!(one("io.weight", "default 100\n8:0 7\n", "50"), "100");
        assert_eq!(one("io.weight", "default 100\n8:0 7\n", "8:0 50"), "8:0 7");
        assert_eq!(one("io.bfq.weight", "100\n", "50"), "100");
        assert_eq!(one("blkio.throttle.read_bps_device", "8:0 5\n", "8:1 9"), "8:1 0");
        assert_eq!(
            one("rdma.max", "mlx hca_handle=2 hca_object=max\n", "mlx hca_handle=1 hca_object=1"),
            "mlx hca_handle=2 hca_object=max"
        );
    }

    #[test]
    fn controllers_are_switched_back() {
        assert_eq!(one("cgroup.subtree_control", "cpu io\n", "+memory -io +cpu"), "-memory +io");
    }

    #[test]
    fn the_list_of_devices_is_written_anew() {
        let list = "c 1:3 rwm\nb *:* m\n";
        let texts: Vec<String> =
            back("devices.allow", list, "c 9:9 r").into_iter().map(|(f, v)| f + " " + &v).collect();
        assert_eq!(texts, ["devices.deny a", "devices.allow c 1:3 rwm", "devices.allow b *:* m"]);
        assert_eq!(back("devices.deny", "a *:* rwm\n", "a"), [("devices.allow".to_owned(), "a".to_owned())]);
    }

    #[test]
    fn device_rules_that_change_nothing_are_known_beforehand() {
        let list = "c 1:3 rwm\nc *:* m";
        let rules = [
            ("devices.deny", "a"),
            ("devices.allow", "c *:* m"),
            ("devices.allow", "c 1:3 rw"),
            ("devices.allow", "c 1:3 m"),
        ];
        assert_eq!(device_list(list, &rules), device_list(list, &[]));
        assert_eq!(device_list(list, &[("devices.deny", "c 1:3 w")]).unwrap(), ["c *:* m", "c 1:3 rm"]);
        assert_eq!(device_list("a *:* rwm", &[("devices.deny", "c 1:3 w")]), None);
        assert_eq!(device_list(list, &[("devices.allow", "a")]), None);
    }
}
