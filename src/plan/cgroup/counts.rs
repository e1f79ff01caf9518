//! `linux.resources.pids`, `hugepageLimits`, `network` and `rdma`: numbers of things. Pure.

use oci_spec::runtime::LinuxResources;

use super::{Sheet, Write};
use crate::cgroup::layout::Version;

pub(super) fn compile(sheet: &mut Sheet<'_>, resources: &LinuxResources) {
    pids(sheet, resources);
    hugepages(sheet, resources);
    network(sheet, resources);
    rdma(sheet, resources);
}

/// Negative is no limit, and 0 is zero (see the module above).
fn pids(sheet: &mut Sheet<'_>, resources: &LinuxResources) {
    let why = "linux.resources.pids.limit";
    let Some(limit) = resources.pids().map(|pids| pids.limit()) else { return };
    let value = if limit < 0 { "max".to_owned() } else { limit.to_string() };
    if let Some(seat) = sheet.seat("pids", "pids", why) {
        sheet.write(seat, Write::new("pids.max", value, why));
    }
}

fn hugepages(sheet: &mut Sheet<'_>, resources: &LinuxResources) {
    for (index, page) in resources.hugepage_limits().iter().flatten().enumerate() {
        let why = format!("linux.resources.hugepageLimits[{index}]");
        let size = page.page_size();
        if !is_page_size(size) {
            sheet.fault(
                format!("{why}.pageSize"),
                format!("{size:?} is no page size like \"2MB\" or \"1GB\""),
            );
        }
        if page.limit() < -1 {
            sheet.fault(format!("{why}.limit"), format!("{} is no number of bytes", page.limit()));
        }
        let Some(seat) = sheet.seat("hugetlb", "hugetlb", &why) else { continue };
        let (name, value) = match (seat.version, page.limit()) {
            (Version::V1, limit) => ("limit_in_bytes", limit.to_string()),
            (Version::V2, -1) => ("max", "max".to_owned()),
            (Version::V2, limit) => ("max", limit.to_string()),
        };
        // Reservations first: a page is reserved before it is used. Kernels before 5.7 do not count them.
        sheet.write(seat, Write::new(format!("hugetlb.{size}.rsvd.{name}"), &value, &why).or_ignore());
        sheet.write(seat, Write::new(format!("hugetlb.{size}.{name}"), value, why));
    }
}

/// `64KB`, `2MB`, `1GB`: a power of two and the kernel's unit.
fn is_page_size(size: &str) -> bool {
    let units = ["KB", "MB", "GB"];
    let number = units.iter().find_map(|unit| size.strip_suffix(unit));
    number.is_some_and(|number| {
        number.bytes().all(|byte| byte.is_ascii_digit())
            && number.parse::<u32>().is_ok_and(u32::is_power_of_two)
            && !number.starts_with('0')
    })
}

fn network(sheet: &mut Sheet<'_>, resources: &LinuxResources) {
    let Some(network) = resources.network() else { return };
    let why = "linux.resources.network.classID";
    if let Some(class) = network.class_id()
        && let Some(seat) = sheet.seat("net_cls", "", why)
    {
        sheet.write(seat, Write::new("net_cls.classid", class, why));
    }
    for (index, entry) in network.priorities().iter().flatten().enumerate() {
        let why = format!("linux.resources.network.priorities[{index}]");
        let name = entry.name();
        if name.is_empty()
            || name.len() > 15
            || name.contains(|c: char| c.is_whitespace() || "/\0".contains(c))
        {
            sheet.fault(&why, format!("{name:?} is no interface name"));
        }
        let Some(seat) = sheet.seat("net_prio", "", &why) else { continue };
        sheet.write(seat, Write::new("net_prio.ifpriomap", format!("{name} {}", entry.priority()), why));
    }
}

fn rdma(sheet: &mut Sheet<'_>, resources: &LinuxResources) {
    let mut devices: Vec<_> = resources.rdma().iter().flatten().collect();
    devices.sort_by_key(|(name, _)| *name);
    for (name, limits) in devices {
        let why = format!("linux.resources.rdma.{name}");
        if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c == '\0') {
            sheet.fault(&why, format!("{name:?} is no device name"));
        }
        let Some(seat) = sheet.seat("rdma", "rdma", &why) else { continue };
        let max = |value: Option<u32>| value.map_or("max".to_owned(), |value| value.to_string());
        let (handles, objects) = (max(limits.hca_handles()), max(limits.hca_objects()));
        let value = format!("{name} hca_handle={handles} hca_object={objects}");
        sheet.write(seat, Write::new("rdma.max", value, why));
    }
}
