//! `linux.cgroupsPath` and `linux.resources`: which cgroup in which hierarchy, and which values in which
//! files. Pure: the host is a value.
//!
//! A file per resource; each turns its part of the config into [`Write`]s, and every fault of the config
//! into a line of the one error. A limit whose controller the host does not have is such a fault.
//!
//! What the specification leaves open, and what is done here:
//! * `pids.limit: 0` is zero, as runtime-spec 1.3 has it. The parser cannot tell it from an absent limit
//!   (`"pids": {}`), which no engine writes; the strict reading is the one that cannot lift a limit.
//! * No `resources.devices` at all: everything is denied but the default devices, as runc does.
//! * What only cgroup v1 can do and no one can miss (swappiness, OOM killer off, kernel memory) is a
//!   warning on v2; other things it alone can do (network classes, real-time budgets, leaf weights) are
//!   errors there.

mod blkio;
mod counts;
mod cpu;
mod devices;
mod memory;
mod place;
#[cfg(test)]
mod tests;
mod unified;
mod unit;

pub use place::chosen;

use std::collections::HashMap;
use std::path::Path;

use oci_spec::runtime::LinuxResources;
use serde::{Deserialize, Serialize};

pub use crate::cgroup::device::{Access, DeviceRule, DeviceType};
pub use crate::cgroup::group::{Check, Group, How, SavedGroup, WhenMissing, Write};
use crate::cgroup::layout::{Hierarchy, Layout, Version};
use crate::cgroup::unit::{Manager, Unit};
use crate::error::{Error, Kind, Result};
use crate::host::Host;
use crate::ids::ContainerId;

/// The cgroup of a container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct CgroupPlan {
    /// One for each hierarchy of the host, in its order; none on a host without cgroups.
    pub groups: Vec<Group>,
    /// The device rules in the order in which they count, the last match wins: a denial of everything, the
    /// config's, the default devices. They are also among the writes of v1, or the devices of the v2 group.
    pub devices: Vec<DeviceRule>,
    /// What was asked for and does not happen, with the consequence.
    pub warnings: Vec<String>,
}

/// What the resources are written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Occasion {
    /// A new cgroup, in which nothing is set.
    Create,
    /// One in use: what is absent stays.
    Update,
}

/// Plans a new container's cgroup.
///
/// # Errors
/// All faults of `linux.cgroupsPath` and `linux.resources` at once, each with its JSON path.
pub fn compile(
    resources: Option<&LinuxResources>,
    cgroups_path: Option<&Path>,
    annotations: Option<&HashMap<String, String>>,
    id: &ContainerId,
    host: &Host,
) -> Result<CgroupPlan> {
    let mut sheet = Sheet::new(&host.cgroups, Occasion::Create);
    let cgroups_path = cgroups_path.filter(|path| !path.as_os_str().is_empty());
    if let Some(manager) = &host.systemd {
        return compile_unit(sheet, resources, cgroups_path, annotations, id, host, manager);
    }
    let asked = place::parse(cgroups_path, &mut sheet);
    sheet.resources(resources);
    let rules = devices::compile(&mut sheet, resources, host);
    let groups = sheet.groups(|hierarchy| place::dir(hierarchy, asked, id, host));
    let mut plan = sheet.finish(groups)?;
    plan.devices = rules;
    for group in &mut plan.groups {
        group.optional = !host.privileged && cgroups_path.is_none() && group.writes.is_empty();
    }
    Ok(plan)
}

/// The same with systemd: one hierarchy has the unit, in the others its folder has the same name.
fn compile_unit(
    mut sheet: Sheet<'_>,
    resources: Option<&LinuxResources>,
    cgroups_path: Option<&Path>,
    annotations: Option<&HashMap<String, String>>,
    id: &ContainerId,
    host: &Host,
    manager: &Manager,
) -> Result<CgroupPlan> {
    let Some(unit) = unit::parse(unit::text(cgroups_path), id, manager, &mut sheet) else {
        return sheet.finish(Vec::new());
    };
    sheet.resources(resources);
    let rules = devices::compile(&mut sheet, resources, host);
    let folder = unit::folder(&unit, manager);
    let mut groups = sheet.groups(|hierarchy| hierarchy.mount_point.join(&folder));
    let writes: Vec<Write> = groups.iter().flat_map(|group| group.writes.iter().cloned()).collect();
    let properties = unit::properties(&unit, id, &writes, annotations, &mut sheet);
    let leads = |group: &Group| group.version == Version::V2 || group.hierarchy == "systemd";
    let leader = groups.iter().rposition(leads);
    for (index, group) in groups.iter_mut().enumerate() {
        // systemd hands down all that a unit with Delegate= may want; what it knows nothing of, the maker sees to.
        group.enable.clear();
        if leader == Some(index) {
            group.unit = Some(Unit { properties: properties.clone(), ..unit.clone() });
        } else {
            group.is_shared = true;
        }
    }
    if leader.is_none() {
        sheet.fault("linux.cgroupsPath", "this host has no cgroup hierarchy that systemd uses");
    }
    let mut plan = sheet.finish(groups)?;
    plan.devices = rules;
    Ok(plan)
}

/// Plans new limits for the cgroup of a container that exists: what `resources` does not have stays as it
/// is. Device rules, if there are any, replace all former ones.
///
/// # Errors
/// As [`compile`]; also when the container has no cgroup in the hierarchy a limit needs.
pub fn compile_update(resources: &LinuxResources, saved: &[SavedGroup], host: &Host) -> Result<CgroupPlan> {
    let is_saved = |hierarchy: &&Hierarchy| saved.iter().any(|group| group.hierarchy == hierarchy.name());
    let hierarchies = host.cgroups.hierarchies.iter().filter(is_saved).cloned().collect();
    let layout = Layout { hierarchies };
    let mut sheet = Sheet::new(&layout, Occasion::Update);
    sheet.resources(Some(resources));
    let rules = match resources.devices().as_deref() {
        None | Some([]) => Vec::new(),
        Some(_) => devices::compile(&mut sheet, Some(resources), host),
    };
    let groups = sheet.groups(|hierarchy| {
        let group = saved.iter().find(|group| group.hierarchy == hierarchy.name());
        group.map(|group| group.dir.clone()).unwrap_or_default()
    });
    let mut plan = sheet.finish(groups)?;
    plan.devices = rules;
    plan.groups.retain(Group::has_limits);
    for group in &mut plan.groups {
        let saved = saved.iter().find(|saved| saved.hierarchy == group.hierarchy);
        let unit = saved.and_then(|saved| saved.unit.as_ref());
        group.unit = unit.map(|saved| unit::update(&saved.name, saved.bus, &group.writes));
    }
    Ok(plan)
}

/// Where a controller's files are.
#[derive(Debug, Clone, Copy)]
struct Seat {
    index: usize,
    version: Version,
}

/// What has been compiled so far: a column of writes for each hierarchy, and the margins.
struct Sheet<'a> {
    layout: &'a Layout,
    occasion: Occasion,
    columns: Vec<(Vec<Check>, Vec<Write>)>,
    warnings: Vec<String>,
    faults: Vec<(String, String)>,
    missing_controller: bool,
    /// Device rules for the v2 folder.
    unified_devices: Vec<DeviceRule>,
}

impl<'a> Sheet<'a> {
    fn new(layout: &'a Layout, occasion: Occasion) -> Sheet<'a> {
        let columns = vec![Default::default(); layout.hierarchies.len()];
        let (warnings, faults, unified_devices) = Default::default();
        Sheet { layout, occasion, columns, warnings, faults, missing_controller: false, unified_devices }
    }

    fn resources(&mut self, resources: Option<&LinuxResources>) {
        let Some(resources) = resources else { return };
        if let Some(memory) = resources.memory() {
            memory::compile(self, memory);
        }
        if let Some(cpu) = resources.cpu() {
            cpu::compile(self, cpu);
        }
        if let Some(block_io) = resources.block_io() {
            blkio::compile(self, block_io);
        }
        counts::compile(self, resources);
        if let Some(unified) = resources.unified() {
            unified::compile(self, unified);
        }
    }

    /// The seat of the v1 or v2 controller; a fault at `why` if this host has neither.
    fn seat(&mut self, v1: &str, v2: &str, why: &str) -> Option<Seat> {
        let hierarchies = &self.layout.hierarchies;
        let name = |h: &Hierarchy| if h.version == Version::V1 { v1 } else { v2 };
        let index = hierarchies.iter().position(|h| !name(h).is_empty() && h.has(name(h)));
        if index.is_none() {
            let wanted = if v1.is_empty() { v2 } else { v1 };
            self.missing_controller = true;
            let text = match (self.occasion, self.layout.unified()) {
                (Occasion::Update, _) => "the container has no cgroup with it",
                (_, Some(_)) if v2.is_empty() => "cgroup v2 cannot do this, and no v1 hierarchy has it",
                _ => "this host has no cgroup hierarchy with it",
            };
            self.fault(why, format!("controller '{wanted}' is not available: {text}"));
        }
        index.map(|index| Seat { index, version: hierarchies[index].version })
    }

    fn write(&mut self, seat: Seat, write: Write) {
        self.columns[seat.index].1.push(write);
    }

    fn check(&mut self, seat: Seat, check: Check) {
        self.columns[seat.index].0.push(check);
    }

    fn fault(&mut self, place: impl Into<String>, why: impl Into<String>) {
        self.faults.push((place.into(), why.into()));
    }

    fn warn(&mut self, place: &str, why: &str) {
        self.warnings.push(format!("{place}: {why}"));
    }

    fn groups(&mut self, dir: impl Fn(&Hierarchy) -> std::path::PathBuf) -> Vec<Group> {
        let columns = std::mem::take(&mut self.columns);
        let devices = std::mem::take(&mut self.unified_devices);
        let is_hybrid = self.layout.hierarchies.iter().any(|h| h.version == Version::V1);
        let group = |(hierarchy, (checks, writes)): (&Hierarchy, (Vec<Check>, Vec<Write>))| Group {
            hierarchy: hierarchy.name(),
            version: hierarchy.version,
            mount_point: hierarchy.mount_point.clone(),
            dir: dir(hierarchy),
            enable: enable(hierarchy, &writes, is_hybrid),
            inherit_cpuset: hierarchy.version == Version::V1 && hierarchy.has("cpuset"),
            optional: false,
            checks,
            writes,
            unit: None,
            is_shared: false,
            owner: None,
            devices: if hierarchy.version == Version::V2 { devices.clone() } else { Vec::new() },
        };
        self.layout.hierarchies.iter().zip(columns).map(group).collect()
    }

    fn finish(self, groups: Vec<Group>) -> Result<CgroupPlan> {
        let kind = if self.missing_controller { Kind::Unsupported } else { Kind::Failure };
        match self.faults.as_slice() {
            [] => Ok(CgroupPlan { groups, devices: Vec::new(), warnings: self.warnings }),
            [(place, why)] => Err(Error::new(why).at(place).kind(kind)),
            many => {
                let lines: Vec<String> = many.iter().map(|(place, why)| format!("{place}: {why}")).collect();
                Err(Error::new(lines.join("; ")).kind(kind))
            }
        }
    }
}

/// All that the unified hierarchy has, so that everything is accounted; beside v1 hierarchies only what is
/// asked for: nobody looks for numbers there, and it would be switched on for the whole host.
fn enable(hierarchy: &Hierarchy, writes: &[Write], is_hybrid: bool) -> Vec<String> {
    let needed = |controller: &&String| writes.iter().any(|write| write.controller() == *controller);
    match hierarchy.version {
        Version::V1 => Vec::new(),
        Version::V2 => hierarchy.controllers.iter().filter(|c| !is_hybrid || needed(c)).cloned().collect(),
    }
}
