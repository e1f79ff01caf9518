//! Rules of the sections that every platform has: version, root, mounts, names, hooks, annotations. Pure.

use oci_spec::runtime::{Hook, LinuxNamespaceType, Mount, Spec};

use super::{Wanted, check_absolute, check_path, check_text, wanted};
use crate::oci::fault::{Faults, quoted};

/// The kernel's `__NEW_UTS_LEN`.
const LONGEST_NAME: usize = 64;

pub(super) fn check(spec: &Spec, faults: &mut Faults) {
    check_version(spec.version(), faults);
    check_root(spec, faults);
    for (index, mount) in spec.mounts().iter().flatten().enumerate() {
        check_mount(mount, &format!("mounts[{index}]"), faults);
    }
    check_name(spec, "hostname", spec.hostname().as_deref(), faults);
    check_name(spec, "domainname", spec.domainname().as_deref(), faults);
    check_hooks(spec, faults);
    check_annotations(spec, faults);
}

fn check_version(version: &str, faults: &mut Faults) {
    if version.is_empty() {
        faults.add("ociVersion", "it is missing");
    } else if !is_semver(version) {
        faults.add("ociVersion", format!("{} is not a version like 1.3.0", quoted(version)));
    } else if !version.starts_with("1.") {
        faults.add("ociVersion", format!("{version} is not supported: this is a runtime for 1.x"));
    }
}

/// SemVer 2.0: `1.2.3`, then maybe `-pre.release`, then maybe `+build`.
fn is_semver(version: &str) -> bool {
    let (rest, build) = version.split_once('+').map_or((version, None), |(rest, build)| (rest, Some(build)));
    let (core, pre) = rest.split_once('-').map_or((rest, None), |(core, pre)| (core, Some(pre)));
    let word = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    let number = |part: &str| {
        part.chars().all(|c| c.is_ascii_digit())
            && (part == "0" || !part.is_empty() && !part.starts_with('0'))
    };
    core.split('.').count() == 3
        && core.split('.').all(number)
        && pre.is_none_or(|pre| pre.split('.').all(word))
        && build.is_none_or(|build| build.split('.').all(word))
}

fn check_root(spec: &Spec, faults: &mut Faults) {
    match spec.root() {
        None => faults.add("root", "it is missing"),
        Some(root) if root.path().as_os_str().is_empty() => faults.add("root.path", "it is missing"),
        Some(root) => {
            check_path(root.path(), "root.path", faults);
        }
    }
}

fn check_mount(mount: &Mount, place: &str, faults: &mut Faults) {
    check_absolute(mount.destination(), &format!("{place}.destination"), faults);
    let options = mount.options().as_deref().unwrap_or_default();
    let has = |words: &[&str]| options.iter().any(|option| words.contains(&option.as_str()));
    let kind = mount.typ().as_deref().unwrap_or_default();
    let is_bind = has(&["bind", "rbind"]) || kind == "bind";
    check_text(kind, format!("{place}.type"), faults);
    if kind.is_empty() && !is_bind && !has(&["remount"]) {
        faults.add(format!("{place}.type"), "it is missing, and no option asks for a bind mount");
    }
    match mount.source() {
        Some(source) if is_bind && source.as_os_str().is_empty() => {
            faults.add(format!("{place}.source"), "it is empty, and a bind mount needs one");
        }
        Some(source) => {
            check_path(source, format!("{place}.source"), faults);
        }
        None if is_bind => faults.add(format!("{place}.source"), "it is missing, and a bind mount needs one"),
        None => {}
    }
    for (index, option) in options.iter().enumerate() {
        check_text(option, format!("{place}.options[{index}]"), faults);
    }
    let maps = [("uidMappings", mount.uid_mappings()), ("gidMappings", mount.gid_mappings())];
    let given = maps.map(|(_, map)| map.as_ref().is_some_and(|map| !map.is_empty()));
    for (index, (name, _)) in maps.iter().enumerate() {
        if given[index] && !given[1 - index] {
            faults
                .add(format!("{place}.{name}"), "an id-mapped mount needs both uidMappings and gidMappings");
        }
    }
    if (given != [false, false] || has(&["idmap", "ridmap"])) && !is_bind {
        faults.add(format!("{place}.type"), "only bind mounts can be id-mapped");
    }
}

fn check_name(spec: &Spec, place: &str, name: Option<&str>, faults: &mut Faults) {
    let Some(name) = name.filter(|name| !name.is_empty()) else { return };
    check_text(name, place, faults);
    if name.len() > LONGEST_NAME {
        faults.add(place, format!("it has {} bytes, the kernel takes {LONGEST_NAME}", name.len()));
    }
    if wanted(spec, LinuxNamespaceType::Uts) == Wanted::No {
        faults.add(place, "it needs a uts namespace of the container's own in linux.namespaces");
    }
}

fn check_hooks(spec: &Spec, faults: &mut Faults) {
    let Some(hooks) = spec.hooks() else { return };
    #[allow(deprecated, reason = "prestart is deprecated, and must still run")]
    let kinds = [
        ("prestart", hooks.prestart()),
        ("createRuntime", hooks.create_runtime()),
        ("createContainer", hooks.create_container()),
        ("startContainer", hooks.start_container()),
        ("poststart", hooks.poststart()),
        ("poststop", hooks.poststop()),
    ];
    for (kind, hooks) in kinds {
        for (index, hook) in hooks.iter().flatten().enumerate() {
            check_hook(hook, &format!("hooks.{kind}[{index}]"), faults);
        }
    }
}

fn check_hook(hook: &Hook, place: &str, faults: &mut Faults) {
    check_absolute(hook.path(), &format!("{place}.path"), faults);
    for (index, argument) in hook.args().iter().flatten().enumerate() {
        check_text(argument, format!("{place}.args[{index}]"), faults);
    }
    for (index, variable) in hook.env().iter().flatten().enumerate() {
        super::process::check_variable(variable, &format!("{place}.env[{index}]"), faults);
    }
    if let Some(timeout) = hook.timeout()
        && timeout <= 0
    {
        faults.add(format!("{place}.timeout"), format!("{timeout} is not a number of seconds above 0"));
    }
}

fn check_annotations(spec: &Spec, faults: &mut Faults) {
    if spec.annotations().as_ref().is_some_and(|annotations| annotations.contains_key("")) {
        faults.add("annotations[\"\"]", "a key must not be empty");
    }
}
