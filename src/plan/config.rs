//! The gate before a plan: a config is read and checked against the specification, against what this
//! version does with mounts, and against this host; every fault comes in one error. Pure.

use oci_spec::runtime::Spec;

use crate::error::Result;
use crate::host::Host;
use crate::oci::fault::Faults;
use crate::oci::read::{self, Config};

use super::mount_options;

/// Reads `bytes` as a `config.json` for a container on `host`.
///
/// # Errors
/// One error with every fault of the config.
pub fn read(bytes: &[u8], host: &Host) -> Result<Config> {
    let (config, mut faults) = read::examine(bytes)?;
    faults.append(check_mount_options(&config.spec));
    faults.append(check_host(&config.spec, host));
    faults.into_result("config.json")?;
    Ok(config)
}

/// What [`mount_options::parse`] refuses, mount by mount.
pub fn check_mount_options(spec: &Spec) -> Faults {
    let mut faults = Faults::default();
    for (index, mount) in spec.mounts().iter().flatten().enumerate() {
        let options = mount.options().as_deref().unwrap_or_default();
        if let Err(error) = mount_options::parse(options, mount.typ().as_deref()) {
            faults.add(format!("mounts[{index}].options"), error.to_string());
        }
    }
    faults
}

/// What the config asks for and this host does not have: security modules, namespaces, cgroup files.
pub fn check_host(spec: &Spec, host: &Host) -> Faults {
    let mut faults = Faults::default();
    check_labels(spec, host, &mut faults);
    check_mounts(spec, host, &mut faults);
    let namespaces = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_deref());
    for (index, namespace) in namespaces.unwrap_or_default().iter().enumerate() {
        // The kernel's names: `mnt`, `net`.
        let name = namespace.typ().to_string();
        if !host.namespaces.contains(&name) {
            let why = format!("this kernel has no {name} namespaces");
            faults.add(format!("linux.namespaces[{index}].type"), why);
        }
    }
    let policy = spec.linux().as_ref().and_then(|linux| linux.memory_policy().as_ref());
    for why in policy.iter().flat_map(|policy| super::placement::newer_than(policy, host.kernel)) {
        faults.add("linux.memoryPolicy", format!("{why}, and this is {}.{}", host.kernel.0, host.kernel.1));
    }
    super::cache::check_host(spec, host, &mut faults);
    let resources = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
    let unified = resources.and_then(|resources| resources.unified().as_ref());
    if unified.is_some_and(|files| !files.is_empty()) && !has_version_2(host) {
        faults.add("linux.resources.unified", "this host has no cgroup v2");
    }
    faults
}

fn has_version_2(host: &Host) -> bool {
    host.cgroups.hierarchies.iter().any(|hierarchy| hierarchy.version == crate::cgroup::layout::Version::V2)
}

/// What mount_setattr(2) alone can do. A kernel that has it by a backport is of a distribution whose numbers are higher.
fn check_mounts(spec: &Spec, host: &Host, faults: &mut Faults) {
    let kernel = format!("and this is {}.{}", host.kernel.0, host.kernel.1);
    for (index, mount) in spec.mounts().iter().flatten().enumerate() {
        let words = mount.options().as_deref().unwrap_or_default();
        let Ok(options) = mount_options::parse(words, mount.typ().as_deref()) else { continue };
        let is_recursive = !options.recursive_set.is_empty() || !options.recursive_cleared.is_empty();
        if is_recursive && host.kernel < (5, 12) {
            let text = format!("attributes of all mounts below need Linux 5.12, {kernel}");
            faults.add(format!("mounts[{index}].options"), text);
        }
        let is_mapped = options.id_mapped.is_some() || mount.uid_mappings().is_some();
        if is_mapped && host.kernel < (5, 12) {
            faults.add(format!("mounts[{index}]"), format!("id-mapped mounts need Linux 5.12, {kernel}"));
        }
        if options.set.has(libc::MS_NOSYMFOLLOW) && host.kernel < (5, 10) {
            let text = format!("\"nosymfollow\" needs Linux 5.10, {kernel}");
            faults.add(format!("mounts[{index}].options"), text);
        }
    }
}

fn check_labels(spec: &Spec, host: &Host, faults: &mut Faults) {
    let process = spec.process().as_ref();
    let apparmor = process.and_then(|process| process.apparmor_profile().as_deref());
    let selinux = process.and_then(|process| process.selinux_label().as_deref());
    let mounts = spec.linux().as_ref().and_then(|linux| linux.mount_label().as_deref());
    let labels = [
        ("process.apparmorProfile", apparmor, host.apparmor, "AppArmor"),
        ("process.selinuxLabel", selinux, host.selinux, "SELinux"),
        ("linux.mountLabel", mounts, host.selinux, "SELinux"),
    ];
    for (place, label, enabled, name) in labels {
        if label.is_some_and(|label| !label.is_empty()) && !enabled {
            faults.add(place, format!("{name} is not enabled on this host"));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::test_host;
    use super::*;
    use crate::oci::default_spec::{CgroupNamespace, Rootless, default_spec_text};

    fn refused(change: impl Fn(&mut Value)) -> String {
        let text = default_spec_text(Rootless::No, CgroupNamespace::New);
        let mut config: Value = serde_json::from_str(&text).unwrap();
        change(&mut config);
        read(config.to_string().as_bytes(), &test_host()).unwrap_err().to_string()
    }

    #[test]
    fn the_default_config_passes() {
        let text = default_spec_text(Rootless::No, CgroupNamespace::New);
        assert!(read(text.as_bytes(), &test_host()).is_ok());
    }

    #[test]
    fn labels_need_their_security_module() {
        assert_eq!(
            refused(|config| {
                config["process"]["apparmorProfile"] = json!("docker-default");
                config["process"]["selinuxLabel"] = json!("a:b:c:s0");
                config["linux"]["mountLabel"] = json!("a:b:c:s0");
            }),
            "3 faults in config.json:\n  \
             process.apparmorProfile: AppArmor is not enabled on this host\n  \
             process.selinuxLabel: SELinux is not enabled on this host\n  \
             linux.mountLabel: SELinux is not enabled on this host"
        );
    }

    #[test]
    fn namespaces_and_cgroup_files_need_a_kernel_that_has_them() {
        assert_eq!(
            refused(|config| {
                config["linux"]["namespaces"][0] = json!({"type": "time"});
                config["linux"]["resources"]["unified"] = json!({"memory.high": "1"});
            }),
            "2 faults in config.json:\n  linux.namespaces[0].type: this kernel has no time namespaces\n  \
             linux.resources.unified: this host has no cgroup v2"
        );
    }

    #[test]
    fn faults_of_form_sense_mounts_and_host_come_together() {
        assert_eq!(
            refused(|config| {
                config["root"]["readonly"] = json!("yes");
                config["process"]["cwd"] = json!("here");
                config["mounts"][1]["options"] = json!(["bind", "size=1"]);
                config["process"]["apparmorProfile"] = json!("x");
            }),
            "4 faults in config.json:\n  root.readonly: it must be true or false, not a string\n  \
             process.cwd: \"here\" is not an absolute path\n  \
             mounts[1].options: bind mounts cannot have any filesystem-specific options applied: [\"size=1\"]\n  \
             process.apparmorProfile: AppArmor is not enabled on this host"
        );
    }
}
