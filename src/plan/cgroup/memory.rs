//! `linux.resources.memory`. Pure. 0 is unset, -1 is no limit, other numbers are bytes.

use oci_spec::runtime::LinuxMemory;

use super::{Check, How, Occasion, Seat, Sheet, Write};
use crate::cgroup::layout::Version;

const WHY: &str = "linux.resources.memory";

fn why(field: &str) -> String {
    format!("{WHY}.{field}")
}

/// A limit that is set: unset (absent or 0) is `None`.
fn amount(sheet: &mut Sheet<'_>, field: &str, value: Option<i64>) -> Option<i64> {
    let value = value.filter(|value| *value != 0)?;
    if value < -1 {
        sheet.fault(why(field), format!("{value} is neither a number of bytes nor -1 (no limit)"));
        return None;
    }
    Some(value)
}

pub(super) fn compile(sheet: &mut Sheet<'_>, memory: &LinuxMemory) {
    let limit = amount(sheet, "limit", memory.limit());
    let swap = amount(sheet, "swap", memory.swap());
    let reservation = amount(sheet, "reservation", memory.reservation());
    for (field, value) in [("kernel", memory.kernel()), ("kernelTCP", memory.kernel_tcp())] {
        if value.is_some_and(|value| value > 0) {
            sheet.warn(&why(field), "ignored: the kernel has no limit of its own for it any more");
        }
    }
    if memory.use_hierarchy() == Some(false) {
        sheet.warn(&why("useHierarchy"), "ignored: memory is always accounted hierarchically");
    }
    let killer = memory.disable_oom_killer().filter(|off| *off || sheet.occasion == Occasion::Update);
    let asked = limit.or(swap).or(reservation).is_some();
    if !asked && memory.swappiness().is_none() && killer.is_none() {
        return;
    }
    let Some(seat) = sheet.seat("memory", "memory", WHY) else { return };
    faults(sheet, seat, limit, swap);
    if memory.check_before_update() == Some(true) {
        checks(sheet, seat, limit, swap);
    }
    match seat.version {
        Version::V1 => write_v1(sheet, seat, limit, swap, reservation),
        Version::V2 => write_v2(sheet, seat, limit, swap, reservation),
    }
    swappiness(sheet, seat, memory.swappiness());
    oom_killer(sheet, seat, killer);
}

fn faults(sheet: &mut Sheet<'_>, seat: Seat, limit: Option<i64>, swap: Option<i64>) {
    let Some(swap) = swap.filter(|swap| *swap > 0) else { return };
    let needs_limit = sheet.occasion == Occasion::Create || seat.version == Version::V2;
    match limit {
        None | Some(-1) if needs_limit => {
            sheet.fault(why("swap"), "memory+swap cannot be limited without a memory limit (memory.limit)");
        }
        Some(limit) if limit > swap => {
            sheet.fault(why("swap"), format!("{swap} is memory+swap, and less than memory.limit {limit}"));
        }
        _ => {}
    }
}

fn checks(sheet: &mut Sheet<'_>, seat: Seat, limit: Option<i64>, swap: Option<i64>) {
    let (memory, both): (&str, &[&str]) = match seat.version {
        Version::V1 => ("memory.usage_in_bytes", &["memory.memsw.usage_in_bytes"]),
        Version::V2 => ("memory.current", &["memory.current", "memory.swap.current"]),
    };
    let mut check = |files: &[&str], value: Option<i64>, limit: &str, field: &str| {
        if let Some(bound) = value.and_then(|value| u64::try_from(value).ok()) {
            let files = files.iter().map(|file| (*file).to_owned()).collect();
            sheet.check(seat, Check { files, bound, limit: limit.to_owned(), why: why(field) });
        }
    };
    check(&[memory], limit, "memory limit", "limit");
    check(both, swap, "memory+swap limit", "swap");
}

fn write_v1(sheet: &mut Sheet<'_>, seat: Seat, limit: Option<i64>, swap: Option<i64>, soft: Option<i64>) {
    let again = How::AgainAfterOthers;
    if let Some(limit) = limit {
        sheet.write(seat, Write::new("memory.limit_in_bytes", limit, why("limit")).how(again));
    }
    // No limit for memory means none for memory+swap, which can never be the smaller one.
    let swap_value = swap.or(limit.filter(|limit| *limit == -1));
    if let Some(value) = swap_value {
        let write = Write::new("memory.memsw.limit_in_bytes", value, why("swap")).how(again);
        // Without swap accounting there is no such file; nothing is lost when no swap was to be had.
        let harmless = value == -1 || limit == Some(value);
        sheet.write(seat, if harmless { write.or_ignore() } else { write });
    }
    if let Some(soft) = soft {
        sheet.write(seat, Write::new("memory.soft_limit_in_bytes", soft, why("reservation")));
    }
}

fn write_v2(sheet: &mut Sheet<'_>, seat: Seat, limit: Option<i64>, swap: Option<i64>, low: Option<i64>) {
    let max = |value: i64| if value == -1 { "max".to_owned() } else { value.to_string() };
    let swap_max = match (swap, limit) {
        (Some(-1), _) | (None, Some(-1)) => Some(-1),
        (Some(swap), Some(limit)) => Some(swap.saturating_sub(limit).max(0)),
        _ => None,
    };
    if let Some(value) = swap_max {
        let write = Write::new("memory.swap.max", max(value), why("swap"));
        sheet.write(seat, if value <= 0 { write.or_ignore() } else { write });
    }
    if let Some(limit) = limit {
        sheet.write(seat, Write::new("memory.max", max(limit), why("limit")));
    }
    if let Some(low) = low {
        sheet.write(seat, Write::new("memory.low", max(low), why("reservation")));
    }
}

fn swappiness(sheet: &mut Sheet<'_>, seat: Seat, swappiness: Option<u64>) {
    let Some(value) = swappiness else { return };
    if value > 100 {
        sheet.fault(why("swappiness"), format!("{value} is not in 0 to 100"));
    } else if seat.version == Version::V1 {
        sheet.write(seat, Write::new("memory.swappiness", value, why("swappiness")));
    } else {
        sheet.warn(&why("swappiness"), "ignored: cgroup v2 has no swappiness, the host's counts");
    }
}

fn oom_killer(sheet: &mut Sheet<'_>, seat: Seat, disable: Option<bool>) {
    let Some(disable) = disable else { return };
    if seat.version == Version::V1 {
        let write = Write::new("memory.oom_control", u8::from(disable), why("disableOOMKiller"));
        sheet.write(seat, write);
    } else if disable {
        sheet.warn(&why("disableOOMKiller"), "ignored: cgroup v2 cannot switch the OOM killer off");
    }
}
