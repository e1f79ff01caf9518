//! `linux.resources.devices`: which device nodes a container may use, whatever nodes it has. Pure.
//!
//! A container starts from nothing allowed; then come the config's rules in order; last the devices every
//! container has. So a config without rules still does not give away the disks (runc does the same).

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType, LinuxResources};

use super::{Sheet, Write};
use crate::cgroup::device::{Access, DeviceRule, DeviceType};
use crate::host::Host;

const WHY: &str = "linux.resources.devices";

const ALL: Access = Access { read: true, write: true, mknod: true };
const MKNOD: Access = Access { read: false, write: false, mknod: true };

/// What every container may use (runc's list): making any node, the default devices of the specification,
/// pseudo-terminals, tun. As (type, major, minor, access).
const DEFAULT: [(DeviceType, Option<u32>, Option<u32>, Access); 11] = [
    (DeviceType::Char, None, None, MKNOD),
    (DeviceType::Block, None, None, MKNOD),
    (DeviceType::Char, Some(1), Some(3), ALL),
    (DeviceType::Char, Some(1), Some(5), ALL),
    (DeviceType::Char, Some(1), Some(7), ALL),
    (DeviceType::Char, Some(1), Some(8), ALL),
    (DeviceType::Char, Some(1), Some(9), ALL),
    (DeviceType::Char, Some(5), Some(0), ALL),
    (DeviceType::Char, Some(5), Some(2), ALL),
    (DeviceType::Char, Some(136), None, ALL),
    (DeviceType::Char, Some(10), Some(200), ALL),
];

/// The rules in order, written to v1 where there is a v1 controller, else for a program of the v2 folder.
pub(super) fn compile(
    sheet: &mut Sheet<'_>,
    resources: Option<&LinuxResources>,
    host: &Host,
) -> Vec<DeviceRule> {
    let asked: Vec<DeviceRule> = resources
        .and_then(|resources| resources.devices().as_deref())
        .unwrap_or_default()
        .iter()
        .enumerate()
        .filter_map(|(index, rule)| parse(sheet, &format!("{WHY}[{index}]"), rule))
        .collect();
    let is_asked = !asked.is_empty();
    let rules = complete(asked);
    let v1 = sheet.layout.find("devices").is_some();
    if !host.privileged {
        if is_asked {
            sheet.warn(WHY, "ignored: only the host's root may filter devices; the user namespace keeps the container from making nodes");
        }
    } else if v1 {
        write(sheet, &rules);
    } else if sheet.layout.unified().is_some() {
        sheet.unified_devices.clone_from(&rules);
    } else if is_asked {
        sheet.seat("devices", "", WHY);
    }
    rules
}

fn write(sheet: &mut Sheet<'_>, rules: &[DeviceRule]) {
    let Some(seat) = sheet.seat("devices", "", WHY) else { return };
    for rule in rules {
        let file = if rule.allow { "devices.allow" } else { "devices.deny" };
        sheet.write(seat, Write::new(file, rule.v1(), &rule.why));
    }
}

/// Puts the denial of everything before the rules, unless they begin with a word on everything, and the
/// default devices behind them, unless everything is allowed.
fn complete(asked: Vec<DeviceRule>) -> Vec<DeviceRule> {
    let on_all = |rule: &DeviceRule| rule.device == DeviceType::All;
    let deny = rule(false, DeviceType::All, None, None, ALL);
    let first = (!asked.first().is_some_and(on_all)).then_some(deny);
    let all_allowed = asked.last().is_some_and(|rule| on_all(rule) && rule.allow);
    let default = DEFAULT.iter().filter(|_| !all_allowed);
    let default = default.map(|(device, major, minor, access)| rule(true, *device, *major, *minor, *access));
    first.into_iter().chain(asked).chain(default).collect()
}

fn rule(
    allow: bool,
    device: DeviceType,
    major: Option<u32>,
    minor: Option<u32>,
    access: Access,
) -> DeviceRule {
    DeviceRule { allow, device, major, minor, access, why: "default".to_owned() }
}

fn parse(sheet: &mut Sheet<'_>, why: &str, rule: &LinuxDeviceCgroup) -> Option<DeviceRule> {
    let device = match rule.typ() {
        None | Some(LinuxDeviceType::A) => DeviceType::All,
        Some(LinuxDeviceType::B) => DeviceType::Block,
        Some(LinuxDeviceType::C | LinuxDeviceType::U) => DeviceType::Char,
        Some(LinuxDeviceType::P) => {
            sheet.fault(format!("{why}.type"), "\"p\" (a FIFO) is no device that could be filtered");
            return None;
        }
    };
    let access = parse_access(sheet, why, rule.access().as_deref().unwrap_or("rwm"))?;
    let major = parse_number(sheet, &format!("{why}.major"), rule.major())?;
    let minor = parse_number(sheet, &format!("{why}.minor"), rule.minor())?;
    let (major, minor) = if device == DeviceType::All { (None, None) } else { (major, minor) };
    Some(DeviceRule { allow: rule.allow(), device, major, minor, access, why: why.to_owned() })
}

fn parse_access(sheet: &mut Sheet<'_>, why: &str, text: &str) -> Option<Access> {
    if text.is_empty() || text.contains(|letter| !"rwm".contains(letter)) {
        sheet.fault(format!("{why}.access"), format!("{text:?} is not made of the letters r, w and m"));
        return None;
    }
    Some(Access { read: text.contains('r'), write: text.contains('w'), mknod: text.contains('m') })
}

/// Absent and -1 mean every number.
fn parse_number(sheet: &mut Sheet<'_>, why: &str, number: Option<i64>) -> Option<Option<u32>> {
    match number {
        None | Some(-1) => Some(None),
        Some(number) => match u32::try_from(number) {
            Ok(number) => Some(Some(number)),
            Err(_) => {
                sheet.fault(why, format!("{number} is no device number"));
                None
            }
        },
    }
}
