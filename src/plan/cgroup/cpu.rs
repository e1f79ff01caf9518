//! `linux.resources.cpu`. Pure.

use oci_spec::runtime::LinuxCpu;

use super::{How, Seat, Sheet, Write};
use crate::cgroup::layout::Version;

const WHY: &str = "linux.resources.cpu";

fn why(field: &str) -> String {
    format!("{WHY}.{field}")
}

pub(super) fn compile(sheet: &mut Sheet<'_>, cpu: &LinuxCpu) {
    time(sheet, cpu);
    real_time(sheet, cpu);
    sets(sheet, cpu);
}

/// Shares, bandwidth and idleness: one controller.
fn time(sheet: &mut Sheet<'_>, cpu: &LinuxCpu) {
    let shares = cpu.shares().filter(|shares| *shares != 0);
    let quota = cpu.quota().filter(|quota| *quota != 0);
    let period = cpu.period().filter(|period| *period != 0);
    let burst = cpu.burst();
    let nothing = shares.is_none() && quota.is_none() && period.is_none();
    if nothing && burst.unwrap_or(0) == 0 && cpu.idle().unwrap_or(0) == 0 {
        return;
    }
    range(sheet, "quota", quota.filter(|quota| *quota != -1), 1000..=i64::MAX);
    range(sheet, "period", period.map(|period| i64::try_from(period).unwrap_or(i64::MAX)), 1000..=1_000_000);
    range(sheet, "idle", cpu.idle(), 0..=1);
    if let (Some(burst), Some(quota @ 1..)) = (burst, quota)
        && burst > quota.unsigned_abs()
    {
        sheet.fault(why("burst"), format!("{burst} is more than the quota {quota}"));
    }
    let Some(seat) = sheet.seat("cpu", "cpu", WHY) else { return };
    idle_and_shares(sheet, seat, cpu.idle(), shares);
    match seat.version {
        Version::V1 => bandwidth_v1(sheet, seat, quota, period),
        Version::V2 => bandwidth_v2(sheet, seat, quota, period),
    }
    if let Some(burst) = burst {
        let file = if seat.version == Version::V1 { "cpu.cfs_burst_us" } else { "cpu.max.burst" };
        let write = Write::new(file, burst, why("burst")).how(How::AgainAfterOthers);
        sheet.write(seat, if burst == 0 { write.or_ignore() } else { write });
    }
}

fn range(sheet: &mut Sheet<'_>, field: &str, value: Option<i64>, allowed: std::ops::RangeInclusive<i64>) {
    let Some(value) = value.filter(|value| !allowed.contains(value)) else { return };
    let text = match (*allowed.start(), *allowed.end()) {
        (low, i64::MAX) => format!("{value} is less than {low}"),
        (low, high) => format!("{value} is not in {low} to {high}"),
    };
    sheet.fault(why(field), text);
}

/// An idle cgroup has no weight: the kernel refuses both together.
fn idle_and_shares(sheet: &mut Sheet<'_>, seat: Seat, idle: Option<i64>, shares: Option<u64>) {
    if let Some(idle) = idle {
        let write = Write::new("cpu.idle", idle, why("idle"));
        sheet.write(seat, if idle == 0 { write.or_ignore() } else { write });
    }
    let Some(shares) = shares else { return };
    if idle == Some(1) {
        sheet.warn(&why("shares"), "ignored: an idle cgroup has no weight (cpu.idle is 1)");
        return;
    }
    sheet.write(
        seat,
        match seat.version {
            Version::V1 => Write::new("cpu.shares", shares, why("shares")),
            Version::V2 => Write::new("cpu.weight", weight(shares), why("shares")),
        },
    );
}

/// v1 shares (2 to 262144) as v2 weight (1 to 10000), by the curve that runc and crun share: the ends
/// meet, and the default of the one is the default of the other (1024 is 100).
pub(super) fn weight(shares: u64) -> u64 {
    if shares <= 2 {
        return 1;
    }
    if shares >= 262_144 {
        return 10_000;
    }
    let log = (shares as f64).log2();
    let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
    // What floating point adds to a whole number must not round it up.
    (10f64.powf(exponent) - 1e-9).ceil() as u64
}

fn bandwidth_v1(sheet: &mut Sheet<'_>, seat: Seat, quota: Option<i64>, period: Option<u64>) {
    let again = How::AgainAfterOthers;
    if let Some(period) = period {
        sheet.write(seat, Write::new("cpu.cfs_period_us", period, why("period")).how(again));
    }
    if let Some(quota) = quota {
        sheet.write(seat, Write::new("cpu.cfs_quota_us", quota, why("quota")).how(again));
    }
}

fn bandwidth_v2(sheet: &mut Sheet<'_>, seat: Seat, quota: Option<i64>, period: Option<u64>) {
    let again = How::AgainAfterOthers;
    let max = |quota: i64| if quota == -1 { "max".to_owned() } else { quota.to_string() };
    let write = match (quota, period) {
        (Some(quota), Some(period)) => {
            Write::new("cpu.max", format!("{} {period}", max(quota)), why("quota")).how(again)
        }
        (Some(quota), None) => Write::new("cpu.max", max(quota), why("quota")).how(again),
        (None, Some(period)) => {
            Write::new("cpu.max", format!("max {period}"), why("period")).how(How::KeepFirstWord)
        }
        (None, None) => return,
    };
    sheet.write(seat, write);
}

fn real_time(sheet: &mut Sheet<'_>, cpu: &LinuxCpu) {
    let period = cpu.realtime_period().filter(|period| *period != 0);
    let runtime = cpu.realtime_runtime().filter(|runtime| *runtime != 0);
    if period.is_none() && runtime.is_none() {
        return;
    }
    range(sheet, "realtimeRuntime", runtime.filter(|runtime| *runtime != -1), 1..=i64::MAX);
    let field = if runtime.is_some() { "realtimeRuntime" } else { "realtimePeriod" };
    let Some(seat) = sheet.seat("cpu", "", &why(field)) else { return };
    if let Some(period) = period {
        let write = Write::new("cpu.rt_period_us", period, why("realtimePeriod"));
        sheet.write(seat, write.how(How::AgainAfterOthers));
    }
    if let Some(runtime) = runtime {
        let write = Write::new("cpu.rt_runtime_us", runtime, why("realtimeRuntime"));
        sheet.write(seat, write.how(How::ParentsFirst));
    }
}

fn sets(sheet: &mut Sheet<'_>, cpu: &LinuxCpu) {
    for (field, list) in [("cpus", cpu.cpus()), ("mems", cpu.mems())] {
        let Some(list) = list.as_deref().filter(|list| !list.is_empty()) else { continue };
        if !is_list(list) {
            sheet.fault(why(field), format!("{list:?} is no list of numbers like \"0-3,7\""));
        }
        let Some(seat) = sheet.seat("cpuset", "cpuset", &why(field)) else { continue };
        sheet.write(seat, Write::new(format!("cpuset.{field}"), list.trim(), why(field)));
    }
}

/// The kernel's list format (cpuset(7)): numbers and ascending ranges, with commas between them.
fn is_list(list: &str) -> bool {
    let number = |text: &str| text.parse::<u32>().ok().filter(|_| !text.starts_with('+'));
    list.trim().split(',').all(|part| match part.split_once('-') {
        None => number(part).is_some(),
        Some((low, high)) => matches!((number(low), number(high)), (Some(low), Some(high)) if low <= high),
    })
}
