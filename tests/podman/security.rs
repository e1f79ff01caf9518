//! Capabilities, seccomp, no-new-privileges, sysctl, privileged.

use std::fs;
use std::path::Path;

use crate::engine::*;
use crate::support::skip;
use crate::tests;

tests![
    cap_drop_all_leaves_none,
    cap_add_adds_one_and_cap_drop_takes_one,
    an_ordinary_user_in_the_container_has_no_effective_capabilities,
    a_capability_taken_away_is_missed_by_the_kernel,
    privileged_has_every_capability_of_the_bounding_set,
    the_default_seccomp_filter_is_installed,
    seccomp_unconfined_installs_none,
    a_seccomp_file_of_ours_makes_its_calls_fail_with_its_error,
    a_seccomp_file_that_kills_ends_the_program,
    a_seccomp_file_that_is_no_profile_is_refused,
    no_new_privileges_is_set_for_run_and_exec,
    no_new_privileges_is_not_set_unasked,
    a_sysctl_of_the_container_s_namespaces_is_set,
    a_sysctl_of_the_host_is_refused,
];

fn status(options: &[&str], field: &str) -> String {
    sh(options, &format!("grep ^{field}: /proc/self/status | cut -f2"))
}

fn cap_drop_all_leaves_none() {
    for field in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(status(&["--cap-drop", "all"], field), "0000000000000000", "{field}");
    }
}

fn cap_add_adds_one_and_cap_drop_takes_one() {
    assert_eq!(status(&["--cap-drop", "all", "--cap-add", "net_raw"], "CapEff"), "0000000000002000");
    let (all, fewer) = (status(&[], "CapBnd"), status(&["--cap-drop", "CAP_CHOWN"], "CapBnd"));
    let [all, fewer] = [all, fewer].map(|text| u64::from_str_radix(&text, 16).unwrap());
    assert_eq!(all & !fewer, 1, "{all:x} {fewer:x}");
}

fn an_ordinary_user_in_the_container_has_no_effective_capabilities() {
    assert_eq!(status(&["--user", "1000"], "CapEff"), "0000000000000000");
    assert_eq!(status(&["--user", "1000"], "CapAmb"), "0000000000000000");
}

fn a_capability_taken_away_is_missed_by_the_kernel() {
    let chown = ["sh", "-c", "touch /f && chown 5 /f"];
    run(&["--cap-drop", "chown"], &chown).fails(1, &["Operation not permitted"]);
    run(&[], &chown).ok();
}

fn privileged_has_every_capability_of_the_bounding_set() {
    let set = status(&["--privileged"], "CapEff");
    let set = u64::from_str_radix(&set, 16).unwrap();
    assert!(set.count_ones() > 30, "{set:x}");
    assert_eq!(status(&["--privileged"], "Seccomp"), "0");
}

fn needs_seccomp() {
    if !Path::new("/proc/sys/kernel/seccomp/actions_avail").exists() {
        skip("the kernel has no seccomp filters (CONFIG_SECCOMP_FILTER)");
    }
}

fn the_default_seccomp_filter_is_installed() {
    needs_seccomp();
    if !Path::new("/usr/share/containers/seccomp.json").exists() {
        skip("the machine has no /usr/share/containers/seccomp.json, podman's default profile");
    }
    assert_eq!(status(&[], "Seccomp"), "2");
}

fn seccomp_unconfined_installs_none() {
    assert_eq!(status(&["--security-opt", "seccomp=unconfined"], "Seccomp"), "0");
}

fn profile(name: &str, text: &str) -> String {
    let file = folder().join(name);
    fs::write(&file, text).unwrap();
    format!("seccomp={}", file.display())
}

fn a_seccomp_file_of_ours_makes_its_calls_fail_with_its_error() {
    needs_seccomp();
    let option = profile(
        "errno.json",
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95},
            {"names": ["sethostname"], "action": "SCMP_ACT_ERRNO"}]}"#,
    );
    run(&["--security-opt", &option], &["mkdir", "/x"]).fails(1, &["ot supported"]);
    run(&["--security-opt", &option], &["true"]).ok();
}

fn a_seccomp_file_that_kills_ends_the_program() {
    needs_seccomp();
    let option = profile(
        "kill.json",
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_KILL_PROCESS"}]}"#,
    );
    run(&["--security-opt", &option], &["sh", "-c", "mkdir /x; echo $?"]).ok();
    assert_eq!(sh(&["--security-opt", &option], "mkdir /x; echo $?"), "159");
}

fn a_seccomp_file_that_is_no_profile_is_refused() {
    let option = profile("broken.json", "{");
    run(&["--security-opt", &option], &["true"]).fails(125, &["seccomp"]);
}

fn no_new_privileges_is_set_for_run_and_exec() {
    let options = ["--security-opt", "no-new-privileges"];
    assert_eq!(status(&options, "NoNewPrivs"), "1");
    let container = Container::sleeper(&options);
    assert_eq!(container.sh("grep ^NoNewPrivs: /proc/self/status | cut -f2"), "1");
}

fn no_new_privileges_is_not_set_unasked() {
    assert_eq!(status(&[], "NoNewPrivs"), "0");
}

fn a_sysctl_of_the_container_s_namespaces_is_set() {
    let options = ["--sysctl", "net.ipv4.ip_forward=1", "--sysctl", "kernel.msgmax=12345"];
    assert_eq!(sh(&options, "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax"), "1\n12345");
    let host = fs::read_to_string("/proc/sys/kernel/msgmax").unwrap();
    assert_ne!(host.trim(), "12345");
}

fn a_sysctl_of_the_host_is_refused() {
    let refusal = run(&["--sysctl", "kernel.core_pattern=x"], &["true"]);
    assert!(refusal.code != 0 && refusal.stderr.contains("core_pattern"), "{refusal}");
    let refusal = run(&["--net", "host", "--sysctl", "net.ipv4.ip_forward=1"], &["true"]);
    assert!(refusal.code != 0 && refusal.stderr.contains("net"), "{refusal}");
}
