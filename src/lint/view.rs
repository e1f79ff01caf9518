//! A config as the rules ask about it. Pure.

use std::path::Path;

use oci_spec::runtime::{Linux, LinuxNamespaceType, LinuxResources, Mount, Process, Spec};

use super::Facts;
use crate::oci::read::Config;

/// A config and what is known of the host.
pub struct View<'a> {
    /// The config.
    pub spec: &'a Spec,
    /// As the config has it, which the typed one does not tell.
    pub pids_limit: Option<i64>,
    /// The host.
    pub facts: &'a Facts,
}

/// Where a namespace comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A new one, or one of somebody else's.
    Apart,
    /// The caller's: it is not named.
    Absent,
    /// The caller's: entry `.0` names it.
    Named(usize),
}

impl<'a> View<'a> {
    /// The view of a checked config.
    pub fn new(config: &'a Config, facts: &'a Facts) -> View<'a> {
        View { spec: &config.spec, pids_limit: config.pids_limit, facts }
    }

    /// `process`.
    pub fn process(&self) -> Option<&'a Process> {
        self.spec.process().as_ref()
    }

    /// `linux`.
    pub fn linux(&self) -> Option<&'a Linux> {
        self.spec.linux().as_ref()
    }

    /// `linux.resources`.
    pub fn resources(&self) -> Option<&'a LinuxResources> {
        self.linux().and_then(|linux| linux.resources().as_ref())
    }

    /// `mounts`, numbered.
    pub fn mounts(&self) -> impl Iterator<Item = (usize, &'a Mount)> {
        self.spec.mounts().iter().flatten().enumerate()
    }

    /// Where the namespace of this kind comes from.
    pub fn origin(&self, kind: LinuxNamespaceType) -> Origin {
        let listed = self.linux().and_then(|linux| linux.namespaces().as_deref()).unwrap_or_default();
        match listed.iter().enumerate().find(|(_, namespace)| namespace.typ() == kind) {
            None => Origin::Absent,
            Some((index, namespace)) => match namespace.path() {
                Some(path) if self.facts.own_namespaces.contains(path) => Origin::Named(index),
                _ => Origin::Apart,
            },
        }
    }

    /// Whether the container shares the caller's namespace of this kind.
    pub fn shares(&self, kind: LinuxNamespaceType) -> bool {
        self.origin(kind) != Origin::Apart
    }

    /// The entry of `linux.uidMappings` that gives root of the host to somebody inside.
    pub fn maps_root(&self) -> Option<usize> {
        let maps = self.linux().and_then(|linux| linux.uid_mappings().as_deref()).unwrap_or_default();
        maps.iter().position(|map| map.host_id() == 0 && map.size() > 0)
    }

    /// Whether root inside is root of the host, so that capabilities count there.
    pub fn is_root_of_the_host(&self) -> bool {
        self.shares(LinuxNamespaceType::User)
    }

    /// Whether a program inside can have the capability, named without `CAP_`; and the set that says so.
    pub fn capability(&self, name: &str) -> Option<&'static str> {
        let sets = self.process()?.capabilities().as_ref()?;
        let has = |set: &Option<oci_spec::runtime::Capabilities>| {
            set.iter().flatten().any(|capability| capability.to_string() == name)
        };
        let sets = [
            (sets.permitted(), "permitted"),
            (sets.effective(), "effective"),
            (sets.bounding(), "bounding"),
            (sets.ambient(), "ambient"),
        ];
        sets.into_iter().find(|(set, _)| has(set)).map(|(_, name)| name)
    }

    /// The mount at `path`: the last one counts.
    pub fn mount_at(&self, path: &str) -> Option<(usize, &'a Mount)> {
        self.mounts().filter(|(_, mount)| mount.destination() == Path::new(path)).last()
    }

    /// Whether `path` is masked, itself or with a folder above it.
    pub fn is_masked(&self, path: &str) -> bool {
        listed(self.linux().and_then(|linux| linux.masked_paths().as_deref()), path)
    }

    /// Whether `path` cannot be written because it is listed, itself or with a folder above it.
    pub fn is_read_only(&self, path: &str) -> bool {
        self.is_masked(path) || listed(self.linux().and_then(|linux| linux.readonly_paths().as_deref()), path)
    }
}

fn listed(list: Option<&[String]>, path: &str) -> bool {
    list.unwrap_or_default().iter().any(|entry| Path::new(path).starts_with(Path::new(entry)))
}

/// Whether the mount has this option; the last word of a pair such as `ro` and `rw` counts.
pub fn has_option(mount: &Mount, option: &str, opposite: &str) -> bool {
    let words = mount.options().iter().flatten().rev();
    words.map(String::as_str).find(|word| *word == option || *word == opposite) == Some(option)
}

/// Whether it is read-only, itself or with all below.
pub fn is_read_only(mount: &Mount) -> bool {
    has_option(mount, "ro", "rw") || has_option(mount, "rro", "rrw")
}

/// Whether it binds a path of the host.
pub fn is_bind(mount: &Mount) -> bool {
    mount.typ().as_deref() == Some("bind")
        || mount.options().iter().flatten().any(|word| word == "bind" || word == "rbind")
}
