//! Any `cgroupsPath`: what is planned lies below the mount point of its hierarchy, and is not that itself.

use std::path::{Component, Path};

use isolate::ids::ContainerId;
use isolate::plan::cgroup::compile;

pub fn run(data: &[u8]) {
    let Some((path, kind, id)) = isolate_fuzz::input::<(String, u8, String)>(data) else { return };
    let host = isolate_fuzz::host(kind);
    let Ok(id) = ContainerId::new(id) else { return };
    let Ok(plan) = compile(None, Some(Path::new(&path)), None, &id, &host) else { return };
    for group in &plan.groups {
        let hierarchy =
            host.cgroups.hierarchies.iter().find(|one| one.name() == group.hierarchy).expect("is there");
        let below = group.dir.strip_prefix(&hierarchy.mount_point).expect("below the mount point");
        assert!(below.components().next().is_some(), "the mount point itself");
        assert!(below.components().all(|part| matches!(part, Component::Normal(_))), "{below:?}");
    }
}
