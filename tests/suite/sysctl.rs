//! Kernel parameters: those of the container's own namespaces are set, all others refused.

use serde_json::json;

use crate::support::*;
use crate::tests;

tests![
    a_parameter_of_the_network_is_set,
    a_parameter_of_ipc_is_set,
    a_parameter_may_be_written_with_slashes,
    the_domain_name_may_be_set_as_a_parameter needs [Need::Root],
    the_hosts_value_stays_what_it_was,
    a_parameter_of_the_host_is_refused,
    a_parameter_of_the_callers_network_is_refused needs [Need::Root],
    a_parameter_of_the_callers_ipc_is_refused needs [Need::Root],
    a_parameter_that_does_not_exist_is_refused,
    a_name_that_climbs_is_refused,
];

fn with(name: &str, value: &str) -> Bundle {
    Bundle::nothing().set("/linux/sysctl", json!({name: value}))
}

#[track_caller]
fn seen(name: &str, value: &str, file: &str) -> String {
    with(name, value).config(|json| json["process"]["args"] = json!(["/bin/cat", file])).output()
}

fn a_parameter_of_the_network_is_set() {
    assert_eq!(
        seen("net.ipv4.ip_unprivileged_port_start", "80", "/proc/sys/net/ipv4/ip_unprivileged_port_start"),
        "80"
    );
}

fn a_parameter_of_ipc_is_set() {
    assert_eq!(seen("kernel.msgmax", "12345", "/proc/sys/kernel/msgmax"), "12345");
    assert_eq!(seen("fs.mqueue.msg_max", "17", "/proc/sys/fs/mqueue/msg_max"), "17");
}

fn a_parameter_may_be_written_with_slashes() {
    assert_eq!(
        seen("net/ipv4/ip_unprivileged_port_start", "81", "/proc/sys/net/ipv4/ip_unprivileged_port_start"),
        "81"
    );
}

fn the_domain_name_may_be_set_as_a_parameter() {
    assert_eq!(seen("kernel.domainname", "example.test", "/proc/sys/kernel/domainname"), "example.test");
}

fn the_hosts_value_stays_what_it_was() {
    let before = std::fs::read_to_string("/proc/sys/kernel/msgmax").unwrap();
    with("kernel.msgmax", "4321").run().ok();
    assert_eq!(std::fs::read_to_string("/proc/sys/kernel/msgmax").unwrap(), before);
}

fn a_parameter_of_the_host_is_refused() {
    for name in [
        "kernel.core_pattern",
        "vm.swappiness",
        "kernel.panic",
        "fs.file-max",
        "kernel.hostname",
        "user.max_x",
    ] {
        with(name, "1").refused(&[name]);
    }
}

fn a_parameter_of_the_callers_network_is_refused() {
    let bundle = with("net.ipv4.ip_forward", "1").config(|json| config::remove_namespace(json, "network"));
    bundle.refused(&["net.ipv4.ip_forward"]);
}

fn a_parameter_of_the_callers_ipc_is_refused() {
    let bundle = with("kernel.msgmax", "1").config(|json| {
        config::remove_namespace(json, "ipc");
        json["mounts"].as_array_mut().unwrap().retain(|mount| mount["type"] != "mqueue");
    });
    bundle.refused(&["kernel.msgmax"]);
}

fn a_parameter_that_does_not_exist_is_refused() {
    with("net.ipv4.nonesuch", "1").refused(&["net"]);
}

fn a_name_that_climbs_is_refused() {
    // CVE-2022-0811.
    let before = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    for name in ["net/../kernel/core_pattern", "net.x+kernel.core_pattern", "net...kernel.core_pattern"] {
        with(name, "|/pwned").refused(&[]);
    }
    assert_eq!(std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap(), before);
}
