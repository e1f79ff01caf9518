//! `linux.intelRdt`: the part of cache and memory bandwidth that a container gets (resctrl.rst of the kernel,
//! config-linux.md "IntelRdt"). Pure.

use std::path::PathBuf;

use oci_spec::runtime::{LinuxIntelRdt, Spec};
use serde::{Deserialize, Serialize};

use super::{Plan, Stage, Step};
use crate::error::{Error, Kind, Result};
use crate::host::{Host, RESCTRL, Resctrl};
use crate::ids::ContainerId;
use crate::oci::fault::Faults;

/// A group of resctrl that a process joins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheGroup {
    /// The folder of resctrl.
    pub resctrl: PathBuf,
    /// The group's folder in it; `None`: the group that the kernel made for everybody.
    pub name: Option<String>,
    /// Whether it may be made.
    pub making: Making,
    /// Lines of its `schemata`, in the order in which they are written; a group that is there already must have them.
    pub schemata: Vec<String>,
    /// A folder below its `mon_groups`, for counting this container alone.
    pub monitor: Option<String>,
}

/// Whether a group may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Making {
    /// It must be there: somebody else has set it up.
    MustExist,
    /// Made where it is missing, and removed with the container.
    IfMissing,
}

impl CacheGroup {
    /// Its folder.
    pub fn folder(&self) -> PathBuf {
        self.name.iter().fold(self.resctrl.clone(), |folder, name| folder.join(name))
    }
}

/// What the config asks for and this host does not have.
pub(super) fn check_host(spec: &Spec, host: &Host, faults: &mut Faults) {
    if read(spec).is_none() {
        return;
    }
    match host.resctrl {
        Resctrl::Missing => faults.add(
            "linux.intelRdt",
            "this host has no resctrl: the processor cannot share out its cache, or the kernel lacks \
             CONFIG_X86_CPU_RESCTRL",
        ),
        Resctrl::NotMounted => faults
            .add("linux.intelRdt", format!("resctrl is not mounted (mount -t resctrl resctrl {RESCTRL})")),
        Resctrl::Mounted if !host.privileged => {
            faults.add("linux.intelRdt", "only root of the host may share out cache and memory bandwidth");
        }
        Resctrl::Mounted => {}
    }
}

/// The init joins when it is ready: what it starts later is born in its group.
///
/// # Errors
/// The container's name cannot be that of a group.
pub(super) fn plan(plan: &mut Plan, spec: &Spec, id: &ContainerId) -> Result<()> {
    let Some(rdt) = read(spec) else { return Ok(()) };
    let group = group(rdt, id)?;
    plan.push(Stage::Beside, "linux.intelRdt", Step::JoinCacheGroup(group));
    Ok(())
}

/// A program of `exec` is no child of the init, and joins what is there.
///
/// # Errors
/// As [`plan`].
pub(super) fn plan_exec(plan: &mut Plan, spec: &Spec, id: &ContainerId) -> Result<()> {
    let Some(rdt) = read(spec) else { return Ok(()) };
    let group = CacheGroup { making: Making::MustExist, schemata: Vec::new(), ..group(rdt, id)? };
    plan.push(Stage::Beside, "linux.intelRdt", Step::JoinCacheGroup(group));
    Ok(())
}

fn read(spec: &Spec) -> Option<&LinuxIntelRdt> {
    spec.linux().as_ref()?.intel_rdt().as_ref()
}

fn group(rdt: &LinuxIntelRdt, id: &ContainerId) -> Result<CacheGroup> {
    let named = rdt.clos_id().as_deref().filter(|name| !name.is_empty());
    let name = match named {
        Some("/") => None,
        Some(name) => Some(name.to_owned()),
        None if id.as_str() == "info" || id.as_str().starts_with("mon_") => {
            return Err(Error::new(format!("resctrl cannot have a group called {id}"))
                .at("linux.intelRdt")
                .kind(Kind::Unsupported)
                .hint("name one with closID"));
        }
        None => Some(id.to_string()),
    };
    let schemata = schemata(rdt);
    let is_set_up_elsewhere = name.is_none() || named.is_some() && schemata.is_empty();
    let making = if is_set_up_elsewhere { Making::MustExist } else { Making::IfMissing };
    let monitor = rdt.enable_monitoring().unwrap_or(false).then(|| id.to_string());
    Ok(CacheGroup { resctrl: PathBuf::from(RESCTRL), name, making, schemata, monitor })
}

/// `schemata` come last, and win over the older properties.
fn schemata(rdt: &LinuxIntelRdt) -> Vec<String> {
    let cache = rdt.l3_cache_schema().iter().flat_map(|lines| lines.lines());
    let bandwidth = rdt.mem_bw_schema().as_deref().filter(|line| !line.is_empty());
    // Lines of bandwidth are taken from memBwSchema alone (config-linux.md).
    let cache = cache.filter(|line| !line.starts_with("MB:"));
    let all = rdt.schemata().iter().flatten().map(String::as_str);
    cache.chain(bandwidth).chain(all).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::{compile, config, test_host, test_options};
    use super::*;
    use crate::oci::default_spec::{CgroupNamespace, Rootless, default_spec_text};

    fn with(rdt: Value) -> String {
        let mut value: Value =
            serde_json::from_str(&default_spec_text(Rootless::No, CgroupNamespace::New)).unwrap();
        value["linux"]["intelRdt"] = rdt;
        value["linux"].as_object_mut().unwrap().remove("resources");
        value.to_string()
    }

    fn planned(rdt: Value) -> (CacheGroup, usize, Plan) {
        let host = Host { resctrl: Resctrl::Mounted, ..test_host() };
        let spec = config::read(with(rdt).as_bytes(), &host).unwrap().spec;
        let options = super::super::Options { cgroups: false, ..test_options() };
        let plan = compile(&spec, std::path::Path::new("/bundle"), &options, &host).unwrap();
        let found = plan.steps.iter().enumerate().find_map(|(index, planned)| match &planned.step {
            Step::JoinCacheGroup(group) => Some((group.clone(), index)),
            _ => None,
        });
        let (group, index) = found.unwrap();
        (group, index, plan)
    }

    #[test]
    fn without_a_name_a_group_of_the_containers_own_is_made() {
        let (group, index, plan) = planned(json!({"l3CacheSchema": "L3:0=f", "enableMonitoring": true}));
        let id = test_options().id.to_string();
        assert_eq!(group.folder(), std::path::Path::new(RESCTRL).join(&id));
        assert_eq!((group.making, group.monitor), (Making::IfMissing, Some(id)));
        // The process that stays is known by then, and its program does not run yet.
        let word = |token| plan.steps.iter().position(|planned| planned.step == token).unwrap();
        assert!(word(Step::Await { token: super::super::Token::Ready }) < index);
        assert!(index < word(Step::Tell { token: super::super::Token::Commit }));
    }

    #[test]
    fn a_name_without_schemata_is_of_a_group_that_is_there() {
        assert_eq!(planned(json!({"closID": "gold"})).0.making, Making::MustExist);
        assert_eq!(planned(json!({"closID": "gold", "memBwSchema": "MB:0=50"})).0.making, Making::IfMissing);
        let (root, ..) = planned(json!({"closID": "/", "schemata": ["L3:0=f"]}));
        assert_eq!((root.name, root.making), (None, Making::MustExist));
    }

    #[test]
    fn bandwidth_is_taken_from_its_own_property_and_schemata_come_last() {
        let (group, ..) = planned(json!({
            "closID": "x", "l3CacheSchema": "L3:0=f\nMB:0=10", "memBwSchema": "MB:0=50", "schemata": ["L3:0=3"]
        }));
        assert_eq!(group.schemata, ["L3:0=f", "MB:0=50", "L3:0=3"]);
    }

    #[test]
    fn a_host_without_resctrl_says_what_is_missing() {
        let refused = |resctrl, privileged| {
            let host = Host { resctrl, privileged, ..test_host() };
            config::read(with(json!({})).as_bytes(), &host).unwrap_err().to_string()
        };
        assert!(refused(Resctrl::Missing, true).contains("linux.intelRdt: this host has no resctrl"));
        assert!(refused(Resctrl::NotMounted, true).contains("is not mounted (mount -t resctrl"));
        assert!(refused(Resctrl::Mounted, false).contains("only root of the host"));
    }
}
