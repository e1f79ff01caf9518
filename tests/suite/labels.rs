//! Labels of security modules: applied where the kernel has one, refused where it has not.

use std::path::Path;

use serde_json::json;

use crate::support::*;
use crate::tests;

tests![
    a_profile_of_apparmor_is_that_of_the_config needs [Need::Root, APPARMOR],
    a_profile_that_is_not_loaded_is_an_error needs [Need::Root, Need::Isolate, APPARMOR],
    a_profile_without_apparmor_is_refused needs [Need::Isolate],
    a_label_without_selinux_is_refused needs [Need::Isolate],
    a_label_of_mounts_without_selinux_is_refused needs [Need::Isolate],
];

const APPARMOR: Need = Need::File("/sys/kernel/security/apparmor/profiles");

fn has_apparmor() -> bool {
    let text = std::fs::read_to_string("/sys/module/apparmor/parameters/enabled");
    text.is_ok_and(|text| text.starts_with('Y'))
}

fn a_profile_of_apparmor_is_that_of_the_config() {
    let bundle = Bundle::new(&["/bin/cat", "/proc/self/attr/current"]);
    assert_eq!(bundle.set("/process/apparmorProfile", json!("unconfined")).output(), "unconfined");
}

fn a_profile_that_is_not_loaded_is_an_error() {
    Bundle::nothing()
        .set("/process/apparmorProfile", json!("nonesuch"))
        .refused(&["process.apparmorProfile", "/proc/thread-self/attr/apparmor/exec"]);
}

fn a_profile_without_apparmor_is_refused() {
    if has_apparmor() {
        skip("AppArmor is enabled here");
    }
    Bundle::nothing()
        .set("/process/apparmorProfile", json!("docker-default"))
        .refused(&["process.apparmorProfile: AppArmor is not enabled on this host"]);
}

fn without_selinux() {
    if Path::new("/sys/fs/selinux/enforce").exists() {
        skip("SELinux is enabled here");
    }
}

fn a_label_without_selinux_is_refused() {
    without_selinux();
    Bundle::nothing()
        .set("/process/selinuxLabel", json!("system_u:system_r:container_t:s0"))
        .refused(&["process.selinuxLabel: SELinux is not enabled on this host"]);
}

fn a_label_of_mounts_without_selinux_is_refused() {
    without_selinux();
    Bundle::nothing()
        .set("/linux/mountLabel", json!("system_u:object_r:container_file_t:s0"))
        .refused(&["linux.mountLabel: SELinux is not enabled on this host"]);
}
