//! Rules of `linux.intelRdt` (config-linux.md, "IntelRdt") that need no host. Pure.

use oci_spec::runtime::LinuxIntelRdt;

use crate::oci::fault::{Faults, quoted};

/// What the kernel keeps in a folder of resctrl beside its groups (resctrl.rst).
const RESERVED: [&str; 5] = [".", "..", "info", "mon_groups", "mon_data"];

pub(super) fn check(rdt: &LinuxIntelRdt, faults: &mut Faults) {
    let name = rdt.clos_id().as_deref().unwrap_or_default();
    let is_bad = name.contains(['/', '\n', '\0']) || RESERVED.contains(&name);
    if is_bad && name != "/" {
        let why = format!("{} is not the name of a group: one name, or / for the root's", quoted(name));
        faults.add("linux.intelRdt.closID", why);
    }
    for (index, line) in rdt.schemata().iter().flatten().enumerate() {
        check_line(line, &format!("linux.intelRdt.schemata[{index}]"), faults);
    }
    for line in rdt.l3_cache_schema().iter().flat_map(|lines| lines.lines()) {
        // A line of memory bandwidth is known to stand here, and is left out (config-linux.md).
        if !line.starts_with("L3") && !line.starts_with("MB:") {
            faults.add("linux.intelRdt.l3CacheSchema", format!("{} does not start with L3", quoted(line)));
        }
    }
    if let Some(line) = rdt.mem_bw_schema().as_deref().filter(|line| !line.is_empty()) {
        check_line(line, "linux.intelRdt.memBwSchema", faults);
        if !line.starts_with("MB:") {
            let why = format!("{} does not start with MB:", quoted(line));
            faults.add("linux.intelRdt.memBwSchema", why);
        }
    }
}

fn check_line(line: &str, place: &str, faults: &mut Faults) {
    if line.is_empty() || line.contains(['\n', '\0']) {
        faults.add(place, format!("{} is not one line", quoted(line)));
    }
}
