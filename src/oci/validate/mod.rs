//! The rules of runtime-spec 1.3 that need no host: one function a section of the config. Pure.
//!
//! What depends on the host is checked in `plan`.

mod container;
mod ids;
mod intel_rdt;
mod linux;
mod memory_policy;
mod net_devices;
mod process;
mod resources;
mod seccomp;
mod sysctl;

use std::path::Path;

use oci_spec::runtime::{LinuxNamespaceType, LinuxResources, Process, Spec};

use super::fault::{Fault, Faults, quoted};
use super::read::Config;

pub use sysctl::sysctl_path;

/// Every fault of `config`, section by section, in a fixed order. Their JSON paths count from the root.
pub fn validate(config: &Config) -> Faults {
    let mut faults = Faults::default();
    let spec = &config.spec;
    container::check(spec, &mut faults);
    // Without one there is nothing to start; but a container can be made (config.md, "Process").
    if let Some(process) = spec.process() {
        process::check(process, "process.", &mut faults);
        ids::check_process_is_mapped(spec, process, &mut faults);
    }
    if let Some(linux) = spec.linux() {
        ids::check(spec, linux, &mut faults);
        linux::check(linux, &mut faults);
        sysctl::check(spec, linux, &mut faults);
        net_devices::check(spec, &mut faults);
        if let Some(resources) = linux.resources() {
            resources::check(resources, config.pids_limit, &mut faults);
        }
        if let Some(seccomp) = linux.seccomp() {
            seccomp::check(seccomp, &mut faults);
        }
    }
    faults
}

/// Every fault of a process object that stands for itself (`exec --process`).
pub fn process(process: &Process) -> Faults {
    let mut faults = Faults::default();
    process::check(process, "", &mut faults);
    faults
}

/// Every fault of resources that stand for themselves (`update`).
pub fn resources(resources: &LinuxResources) -> Faults {
    let mut faults = Faults::default();
    let pids_limit = resources.pids().as_ref().map(|pids| pids.limit());
    resources::check(resources, pids_limit, &mut faults);
    faults
}

/// What `sense` says apart from `form`: a value of the wrong form was replaced before the rules saw it, so
/// what they say about it, or about lists that it is compared with, would be an echo.
pub(super) fn without_echoes(mut sense: Faults, form: &Faults) -> Faults {
    let related = |a: &str, b: &str| b.is_empty() || a == b || below(a, b) || below(b, a);
    sense.forget(|fault| {
        form.iter().any(|broken| related(&fault.place, &broken.place) || compared(fault, broken))
    });
    sense
}

fn below(path: &str, above: &str) -> bool {
    path.strip_prefix(above).is_some_and(|rest| rest.starts_with(['.', '[']))
}

/// Whether the rule behind `fault` compares with a list in which `broken` lies.
fn compared(fault: &Fault, broken: &Fault) -> bool {
    let within = |list: &str| broken.place == list || below(&broken.place, list);
    let same = |list: &str| within(list) && fault.place.starts_with(list);
    within("linux.namespaces") && fault.why.contains("namespace")
        || same("linux.uidMappings")
        || same("linux.gidMappings")
        || (within("linux.uidMappings") || within("linux.gidMappings"))
            && fault.place.starts_with("process.user")
        || same("process.rlimits")
        || same("rlimits")
        || same("process.capabilities")
        || same("linux.memoryPolicy")
}

/// How the config asks for a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// The runtime's own is kept.
    No,
    /// A new one.
    New,
    /// That of a path.
    Joined,
}

pub(super) fn wanted(spec: &Spec, kind: LinuxNamespaceType) -> Wanted {
    let namespaces = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_deref());
    match namespaces.unwrap_or_default().iter().find(|namespace| namespace.typ() == kind) {
        None => Wanted::No,
        Some(namespace) if namespace.path().is_none() => Wanted::New,
        Some(_) => Wanted::Joined,
    }
}

/// A string for the kernel ends at its first NUL: what follows would be checked here and unseen there.
pub(super) fn check_text(text: &str, place: impl Into<String>, faults: &mut Faults) -> bool {
    if text.contains('\0') {
        faults.add(place, format!("{} holds a NUL byte", quoted(text)));
        return false;
    }
    true
}

pub(super) fn check_path(path: &Path, place: impl Into<String>, faults: &mut Faults) -> bool {
    check_text(&path.to_string_lossy(), place, faults)
}

/// A path that must be given, absolute and free of NUL.
pub(super) fn check_absolute(path: &Path, place: &str, faults: &mut Faults) -> bool {
    let text = path.to_string_lossy();
    if text.is_empty() {
        faults.add(place, "it is empty");
        return false;
    }
    if !path.is_absolute() {
        faults.add(place, format!("{} is not an absolute path", quoted(&text)));
        return false;
    }
    check_text(&text, place, faults)
}

/// The largest id there is: (u32)-1 means "no id" to the kernel.
pub(super) const NO_ID: u32 = u32::MAX;

pub(super) fn check_id(id: u32, place: impl Into<String>, faults: &mut Faults) {
    if id == NO_ID {
        faults.add(place, format!("{id} is not an id: the kernel reads it as -1"));
    }
}

#[cfg(test)]
mod tests;
