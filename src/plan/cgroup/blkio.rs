//! `linux.resources.blockIO`. Pure.

use oci_spec::runtime::{LinuxBlockIo, LinuxThrottleDevice};

use super::{Seat, Sheet, Write};
use crate::cgroup::layout::Version;

const WHY: &str = "linux.resources.blockIO";

fn why(field: &str) -> String {
    format!("{WHY}.{field}")
}

pub(super) fn compile(sheet: &mut Sheet<'_>, io: &LinuxBlockIo) {
    weights(sheet, io);
    let throttles = [
        ("throttleReadBpsDevice", "rbps", "read_bps", io.throttle_read_bps_device()),
        ("throttleWriteBpsDevice", "wbps", "write_bps", io.throttle_write_bps_device()),
        ("throttleReadIOPSDevice", "riops", "read_iops", io.throttle_read_iops_device()),
        ("throttleWriteIOPSDevice", "wiops", "write_iops", io.throttle_write_iops_device()),
    ];
    for (field, v2_key, v1_name, list) in throttles {
        for (index, device) in list.iter().flatten().enumerate() {
            throttle(sheet, &why(&format!("{field}[{index}]")), v2_key, v1_name, device);
        }
    }
}

fn weights(sheet: &mut Sheet<'_>, io: &LinuxBlockIo) {
    if let Some(weight) = checked(sheet, &why("weight"), io.weight())
        && let Some(seat) = sheet.seat("blkio", "io", &why("weight"))
    {
        write_weight(sheet, seat, &why("weight"), "", weight);
    }
    if let Some(weight) = checked(sheet, &why("leafWeight"), io.leaf_weight()) {
        leaf_weight(sheet, &why("leafWeight"), "blkio.leaf_weight", weight.to_string());
    }
    for (index, device) in io.weight_device().iter().flatten().enumerate() {
        let place = why(&format!("weightDevice[{index}]"));
        let Some(name) = name(sheet, &place, device.major(), device.minor()) else { continue };
        if let Some(weight) = checked(sheet, &format!("{place}.weight"), device.weight())
            && let Some(seat) = sheet.seat("blkio", "io", &place)
        {
            write_weight(sheet, seat, &place, &name, weight);
        }
        let leaf = format!("{place}.leafWeight");
        if let Some(weight) = checked(sheet, &leaf, device.leaf_weight()) {
            leaf_weight(sheet, &leaf, "blkio.leaf_weight_device", format!("{name} {weight}"));
        }
    }
}

fn checked(sheet: &mut Sheet<'_>, place: &str, weight: Option<u16>) -> Option<u16> {
    let weight = weight.filter(|weight| *weight != 0)?;
    if !(10..=1000).contains(&weight) {
        sheet.fault(place, format!("{weight} is not in 10 to 1000"));
        return None;
    }
    Some(weight)
}

/// The weight of all devices (`device` empty) or of one. Which file there is depends on the scheduler:
/// BFQ's takes the OCI range as it is, that of v2's cost model has 1 to 10000.
fn write_weight(sheet: &mut Sheet<'_>, seat: Seat, place: &str, device: &str, weight: u16) {
    let suffix = if device.is_empty() { "" } else { "_device" };
    let value = |weight: u64| format!("{device} {weight}").trim_start().to_owned();
    let plain = value(weight.into());
    let write = match seat.version {
        Version::V1 => Write::new(format!("blkio.weight{suffix}"), &plain, place).or_instead(Write::new(
            format!("blkio.bfq.weight{suffix}"),
            &plain,
            place,
        )),
        Version::V2 => {
            let converted = value(1 + (u64::from(weight) - 10) * 9999 / 990);
            Write::new("io.bfq.weight", &plain, place).or_instead(Write::new("io.weight", converted, place))
        }
    };
    sheet.write(seat, write);
}

fn leaf_weight(sheet: &mut Sheet<'_>, place: &str, file: &str, value: String) {
    if let Some(seat) = sheet.seat("blkio", "", place) {
        sheet.write(seat, Write::new(file, value, place));
    }
}

fn throttle(sheet: &mut Sheet<'_>, place: &str, v2_key: &str, v1_name: &str, device: &LinuxThrottleDevice) {
    let Some(name) = name(sheet, place, device.major(), device.minor()) else { return };
    let Some(seat) = sheet.seat("blkio", "io", place) else { return };
    let write = match (seat.version, device.rate()) {
        (Version::V1, rate) => {
            Write::new(format!("blkio.throttle.{v1_name}_device"), format!("{name} {rate}"), place)
        }
        // 0 lifts the limit on v1, and is out of range on v2.
        (Version::V2, 0) => Write::new("io.max", format!("{name} {v2_key}=max"), place),
        (Version::V2, rate) => Write::new("io.max", format!("{name} {v2_key}={rate}"), place),
    };
    sheet.write(seat, write);
}

fn name(sheet: &mut Sheet<'_>, place: &str, major: i64, minor: i64) -> Option<String> {
    if !(0..=0xfff).contains(&major) || !(0..=0xf_ffff).contains(&minor) {
        sheet.fault(place, format!("{major}:{minor} is no device number"));
        return None;
    }
    Some(format!("{major}:{minor}"))
}
