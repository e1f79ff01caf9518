//! --network none, host, slirp4netns, pasta, bridge: what the container's network namespace has.

use std::fs::OpenOptions;

use crate::engine::*;
use crate::support::need::find_program;
use crate::support::{Need, child, skip};
use crate::tests;

tests![
    network_none_has_only_a_loopback_that_is_up,
    network_host_is_the_host_s,
    slirp4netns_gives_an_address needs [Need::Program("slirp4netns")],
    pasta_gives_an_address needs [Need::OrdinaryUser, Need::Program("pasta")],
    a_bridge_gives_an_address needs [Need::Root],
    etc_hosts_and_resolv_conf_are_podman_s,
];

fn network_none_has_only_a_loopback_that_is_up() {
    let output = sh(
        &["--network", "none"],
        "ip -o link | cut -d: -f2; ip -o addr | grep -c 127.0.0.1/8; ping -c 1 127.0.0.1 >/dev/null 2>&1; ip link show lo | grep -o LOWER_UP",
    );
    assert_eq!(output, "lo\n1\nLOWER_UP");
}

fn network_host_is_the_host_s() {
    let namespace = std::fs::read_link("/proc/self/ns/net").unwrap();
    assert_eq!(sh(&["--network", "host"], "readlink /proc/self/ns/net"), namespace.to_string_lossy());
}

fn needs_tun() {
    if let Err(error) = OpenOptions::new().read(true).write(true).open("/dev/net/tun") {
        skip(format!("the caller cannot open /dev/net/tun (CONFIG_TUN, its mode): {error}"));
    }
}

fn slirp4netns_gives_an_address() {
    needs_tun();
    let output = sh(&["--network", "slirp4netns"], "ip -o -4 addr show tap0");
    assert!(output.contains("10.0.2.100/24"), "{output}");
}

fn pasta_gives_an_address() {
    needs_tun();
    if version() < (4, 4) {
        skip("podman has pasta since 4.4");
    }
    let output = sh(&["--network", "pasta"], "ip -o link | grep -vc ' lo: '");
    assert_eq!(output, "1");
}

/// The bridge, its firewall rules and its other ends are made in a network namespace around podman, and go
/// with it.
fn a_bridge_gives_an_address() {
    needs_bridge();
    let inner = run_command(&["--network", "podman"], &["sh", "-c", "ip -o -4 addr show eth0"]);
    let mut outer = std::process::Command::new("unshare");
    outer
        .args(["--net", "--"])
        .arg(inner.get_program())
        .args(inner.get_args())
        .current_dir(folder())
        .env_clear();
    outer.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = child::run(&mut outer).ok();
    assert!(output.stdout.contains("10.88.0."), "{output}");
}

/// A bridge, two joined ends and a firewall, which only a try shows: modules may load on demand.
fn needs_bridge() {
    if ["iptables", "nft"].iter().all(|name| find_program(name).is_none()) {
        skip("neither iptables nor nft is on the PATH, one of which podman's bridge needs");
    }
    let script =
        "ip link add b0 type bridge && ip link add v0 type veth peer name v1 && ip link set v0 master b0";
    let mut probe = std::process::Command::new("unshare");
    let output = child::run(probe.args(["--net", "sh", "-c", script]));
    if output.code != 0 {
        skip(format!(
            "the kernel has no bridge or no veth (CONFIG_BRIDGE, CONFIG_VETH): {}",
            output.stderr.trim()
        ));
    }
}

fn etc_hosts_and_resolv_conf_are_podman_s() {
    let options = ["--add-host", "some.name:10.1.2.3", "--network", "host", "--dns", "none"];
    let hosts = sh(&options[..4], "cat /etc/hosts; test -e /etc/resolv.conf");
    assert!(hosts.contains("10.1.2.3") && hosts.contains("some.name"), "{hosts}");
}
