//! `linux.resources.unified`: files of cgroup v2 by name. Pure. They come after the other resources, so
//! that the more exact word wins.

use std::collections::HashMap;

use super::{Seat, Sheet, Write};
use crate::cgroup::layout::Version;

/// Files that do something instead of setting something.
const ACTIONS: [&str; 3] = ["cgroup.procs", "cgroup.threads", "cgroup.kill"];

pub(super) fn compile(sheet: &mut Sheet<'_>, unified: &HashMap<String, String>) {
    let mut entries: Vec<_> = unified.iter().collect();
    entries.sort();
    for (file, value) in entries {
        let why = format!("linux.resources.unified.{file}");
        if let Some(fault) = fault(file, value) {
            sheet.fault(why, fault);
        } else if let Some(seat) = seat(sheet, file, &why) {
            for line in value.lines().filter(|line| !line.is_empty()) {
                sheet.write(seat, Write::new(file, line, &why));
            }
        }
    }
}

fn fault(file: &str, value: &str) -> Option<String> {
    if file.contains(['/', '\0', '\n']) || !file.contains('.') || file.starts_with('.') {
        return Some(format!("{file:?} is no name of a cgroup v2 file"));
    }
    if ACTIONS.contains(&file) {
        return Some(format!("{file} is no setting"));
    }
    value.contains('\0').then(|| "a NUL byte is not allowed".to_owned())
}

fn seat(sheet: &mut Sheet<'_>, file: &str, why: &str) -> Option<Seat> {
    let controller = file.split('.').next().unwrap_or_default();
    if controller != "cgroup" {
        return sheet.seat("", controller, why);
    }
    let index = sheet.layout.hierarchies.iter().position(|h| h.version == Version::V2);
    if index.is_none() {
        sheet.fault(why, "there is no cgroup v2 on this host");
    }
    index.map(|index| Seat { index, version: Version::V2 })
}
