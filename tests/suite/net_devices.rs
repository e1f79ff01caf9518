//! `linux.netDevices`: network devices of the host that move into a container.

use std::process::Command;
use std::sync::Mutex;

use serde_json::{Value, json};

use crate::support::*;
use crate::tests;

const DEVICES: [Need; 4] =
    [Need::Root, Need::Isolate, Need::Program("ip"), Need::Capability("CAP_NET_ADMIN", 12)];

tests![
    a_device_moves_into_the_container needs [DEVICES[0], DEVICES[1], DEVICES[2], DEVICES[3]],
    a_device_gets_the_name_of_the_config needs [DEVICES[0], DEVICES[1], DEVICES[2], DEVICES[3]],
    a_device_keeps_its_addresses_and_attributes needs [DEVICES[0], DEVICES[1], DEVICES[2], DEVICES[3]],
    a_device_is_up_whatever_it_was_before needs [DEVICES[0], DEVICES[1], DEVICES[2], DEVICES[3]],
    a_name_with_a_pattern_gets_the_next_number needs [DEVICES[0], DEVICES[1], DEVICES[2], DEVICES[3]],
    a_device_moves_into_a_user_namespace needs [DEVICES[0], DEVICES[1], DEVICES[2], DEVICES[3], Need::UserNamespaces],
    a_device_moves_into_a_joined_namespace needs [DEVICES[0], DEVICES[1], DEVICES[2], DEVICES[3]],
    hooks_of_the_runtime_see_the_device_inside
        needs [DEVICES[0], DEVICES[1], DEVICES[2], DEVICES[3], Need::Program("jq")],
    a_device_that_is_not_there_is_an_error needs [DEVICES[0], DEVICES[1], DEVICES[2], DEVICES[3]],
    a_name_that_is_taken_in_the_container_is_an_error needs [DEVICES[0], DEVICES[1], DEVICES[2], DEVICES[3]],
    two_devices_of_one_name_are_refused needs [Need::Isolate],
    names_that_no_device_can_have_are_refused needs [Need::Isolate],
    devices_without_a_network_namespace_are_refused needs [Need::Isolate],
    devices_of_an_ordinary_user_are_refused needs [Need::Isolate, Need::OrdinaryUser],
];

/// ip(8) mounts the folder of its namespaces over itself with the first of them, and leaves it so. `Some` is how many
/// namespaces of ours there are below a mount of ours; `None`, somebody else's mount was there.
static OURS: Mutex<Option<Option<usize>>> = Mutex::new(None);

fn add_namespace(name: &str) {
    let mut ours = OURS.lock().unwrap();
    let is_mounted = || std::fs::read_to_string("/proc/self/mountinfo").unwrap().contains(" /run/netns ");
    let count = ours.get_or_insert_with(|| (!is_mounted()).then_some(0));
    child::run(Command::new("ip").args(["netns", "add", name])).ok();
    *count = count.map(|count| count + 1);
}

fn remove_namespace(name: &str) {
    let Ok(mut ours) = OURS.lock() else { return };
    let _ = Command::new("ip").args(["netns", "del", name]).status();
    let Some(Some(count)) = ours.as_mut() else { return };
    *count -= 1;
    if *count == 0 {
        let _ = Command::new("umount").arg("/run/netns").status();
    }
}

/// A network namespace with a pair of devices, in which the runtime runs: the host's own is left alone.
struct Net(String);

impl Net {
    fn new() -> Net {
        let net = Net(session::unique("net"));
        add_namespace(&net.0);
        net.ip(&["link", "add", "one", "mtu", "1400", "type", "veth", "peer", "name", "two"]);
        net
    }

    fn ip(&self, arguments: &[&str]) -> String {
        child::run(Command::new("ip").args(["-n", &self.0]).args(arguments)).ok().stdout
    }

    fn try_run(&self, container: &Container, verb: &str) -> Output {
        let inner = container.bundle_command(verb, &[]);
        let path = format!("--net=/run/netns/{}", self.0);
        child::run(Command::new("nsenter").arg(path).arg(inner.get_program()).args(inner.get_args()))
    }

    /// `run` of a script with these devices; its output.
    fn output(&self, script: &str, devices: Value) -> String {
        let container = Bundle::shell(script).set("/linux/netDevices", devices).container();
        self.try_run(&container, "run").ok().text().to_owned()
    }

    fn refused(&self, bundle: Bundle, words: &[&str]) {
        let container = bundle.container();
        self.try_run(&container, "create").fails(1, words);
        container.leaves_nothing();
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        remove_namespace(&self.0);
    }
}

const NAMES: &str = "ls /sys/class/net";

fn a_device_moves_into_the_container() {
    let net = Net::new();
    assert_eq!(net.output(NAMES, json!({"one": {}})), "lo\none");
    assert!(!net.ip(&["link"]).contains("one"), "it is still outside");
}

fn a_device_gets_the_name_of_the_config() {
    assert_eq!(
        Net::new().output(NAMES, json!({"one": {"name": "eth0"}, "two": {"name": "one"}})),
        "eth0\nlo\none"
    );
}

fn a_device_keeps_its_addresses_and_attributes() {
    let net = Net::new();
    net.ip(&["address", "add", "10.99.0.7/24", "broadcast", "10.99.0.255", "dev", "one"]);
    net.ip(&["address", "add", "10.99.1.7", "peer", "10.99.1.8/32", "dev", "one"]);
    let has_ipv6 = std::path::Path::new("/proc/net/if_inet6").exists();
    if has_ipv6 {
        net.ip(&["address", "add", "fd00:99::7/64", "dev", "one"]);
    }
    // Addresses that the kernel would give again, or that do not last, stay behind.
    net.ip(&["address", "add", "10.99.2.7/24", "scope", "link", "dev", "one"]);
    net.ip(&["address", "add", "10.99.3.7/24", "valid_lft", "600", "preferred_lft", "600", "dev", "one"]);
    net.ip(&["link", "set", "one", "address", "02:00:00:00:00:99"]);
    let shown = net.output("ip address show dev eth0", json!({"one": {"name": "eth0"}}));
    for word in
        ["10.99.0.7/24 brd 10.99.0.255", "10.99.1.7 peer 10.99.1.8/32", "mtu 1400", "02:00:00:00:00:99"]
    {
        assert!(shown.contains(word), "{word}: {shown}");
    }
    assert!(!has_ipv6 || shown.contains("fd00:99::7/64"), "{shown}");
    assert!(!shown.contains("10.99.2.7") && !shown.contains("10.99.3.7"), "{shown}");
}

fn a_device_is_up_whatever_it_was_before() {
    let net = Net::new();
    assert!(net.output("ip link show dev one", json!({"one": {}})).contains("UP"));
    let net = Net::new();
    net.ip(&["link", "set", "one", "up"]);
    assert!(net.output("ip link show dev new", json!({"one": {"name": "new"}})).contains("UP"));
}

fn a_name_with_a_pattern_gets_the_next_number() {
    let devices = json!({"one": {"name": "eth%d"}, "two": {"name": "eth%d"}});
    assert_eq!(Net::new().output(NAMES, devices), "eth0\neth1\nlo");
}

fn a_device_moves_into_a_user_namespace() {
    let net = Net::new();
    let container =
        Bundle::shell("ip link show dev eth0 && ip link set eth0 mtu 1300 && echo changed").user_namespace();
    let container = container.config(|json| config::add_capabilities(json, &["CAP_NET_ADMIN"]));
    let container = container.set("/linux/netDevices", json!({"one": {"name": "eth0"}})).container();
    assert!(net.try_run(&container, "run").ok().text().ends_with("changed"));
}

fn a_device_moves_into_a_joined_namespace() {
    let (net, other) = (Net::new(), Net::new());
    other.ip(&["link", "del", "one"]);
    let path = format!("/run/netns/{}", other.0);
    let bundle = Bundle::shell(NAMES).config(|json| config::join_namespace(json, "network", &path));
    let container = bundle.set("/linux/netDevices", json!({"one": {}})).container();
    assert_eq!(net.try_run(&container, "run").ok().text(), "lo\none");
    assert!(other.ip(&["link"]).contains("one"));
}

fn hooks_of_the_runtime_see_the_device_inside() {
    let net = Net::new();
    let bundle = Bundle::nothing();
    let seen = bundle.folder.join("seen");
    let script =
        format!("pid=$(jq .pid); nsenter --net=/proc/$pid/ns/net cat /proc/net/dev > {}", seen.display());
    let hooks = json!({"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]}]});
    let container =
        bundle.set("/hooks", hooks).set("/linux/netDevices", json!({"one": {"name": "hooked"}})).container();
    net.try_run(&container, "run").ok();
    assert!(std::fs::read_to_string(&seen).unwrap().contains("hooked:"));
}

fn a_device_that_is_not_there_is_an_error() {
    let bundle = Bundle::nothing().set("/linux/netDevices", json!({"three": {}}));
    Net::new().refused(bundle, &["linux.netDevices[\"three\"]: if_nametoindex(\"three\"): ENODEV, the runtime's network namespace has no such device"]);
}

fn a_name_that_is_taken_in_the_container_is_an_error() {
    let net = Net::new();
    let bundle = Bundle::nothing().set("/linux/netDevices", json!({"one": {"name": "lo"}}));
    net.refused(bundle, &["linux.netDevices[\"one\"]: the container has a network device \"lo\" already"]);
    assert!(net.ip(&["link"]).contains("one"), "the device stays where it was");
}

fn refused(devices: Value, words: &[&str]) {
    Bundle::nothing().set("/linux/netDevices", devices).refused(words);
}

fn two_devices_of_one_name_are_refused() {
    refused(
        json!({"one": {"name": "eth0"}, "two": {"name": "eth0"}}),
        &["linux.netDevices[\"two\"].name: \"eth0\" is given twice"],
    );
    refused(
        json!({"one": {"name": "two"}, "two": {}}),
        &["linux.netDevices[\"two\"].name: \"two\" is given twice"],
    );
}

fn names_that_no_device_can_have_are_refused() {
    for name in ["a/b", "a b", "sixteen-letters!", "eth%s", "%d%d", "..", "a:b"] {
        refused(
            json!({"one": {"name": name}}),
            &["linux.netDevices[\"one\"].name: ", "is not the name of an interface"],
        );
    }
    refused(
        json!({"a b": {"name": "x"}}),
        &["linux.netDevices[\"a b\"]: \"a b\" is not the name of an interface"],
    );
}

fn devices_without_a_network_namespace_are_refused() {
    Bundle::nothing()
        .config(|json| config::remove_namespace(json, "network"))
        .set("/linux/netDevices", json!({"one": {}}))
        .refused(&[
            "linux.netDevices: it needs a network namespace of the container's own in linux.namespaces",
        ]);
}

fn devices_of_an_ordinary_user_are_refused() {
    refused(
        json!({"one": {}}),
        &["linux.netDevices: only the host's root can move network devices into a container"],
    );
}
