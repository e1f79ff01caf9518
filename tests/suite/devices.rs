//! `/dev`: the nodes every container has, those the config adds, and which of them may be used.

use serde_json::json;

use crate::support::*;
use crate::tests;

tests![
    every_container_has_the_default_nodes,
    the_default_nodes_are_writable_by_everybody,
    every_container_has_the_default_links,
    ptmx_leads_to_the_containers_own_instance,
    nodes_of_the_config_are_made_with_mode_and_owner needs [Need::Root],
    a_node_may_lie_outside_dev needs [Need::Root],
    a_fifo_of_the_config_is_made needs [Need::Root],
    a_node_that_is_there_already_is_kept
        needs [Need::Root, Need::Not("runc", "1.1 forbids the use of a default node that the config lists")],
    a_node_of_an_unknown_kind_is_refused,
    a_dev_bound_from_the_host_is_left_as_it_is needs [Need::Root],
    a_dev_that_is_a_link_touches_nothing_outside needs [Need::Not("runc", "1.1 has CVE-2026-41579")],
    a_new_node_may_be_made_but_not_opened needs [Need::Cgroup("devices"), Need::File("/dev/fuse")],
    a_device_that_is_allowed_can_be_opened needs [Need::Cgroup("devices"), Need::File("/dev/fuse")],
    a_device_may_be_allowed_for_reading_alone needs [Need::Cgroup("devices"), Need::File("/dev/fuse")],
    the_last_rule_that_matches_wins needs [Need::Cgroup("devices"), Need::File("/dev/fuse")],
];

fn every_container_has_the_default_nodes() {
    let script = "for d in null zero full random urandom tty; do stat -c '%F %t:%T %n' /dev/$d; done";
    let wanted = "character special file 1:3 /dev/null\ncharacter special file 1:5 /dev/zero\n\
                  character special file 1:7 /dev/full\ncharacter special file 1:8 /dev/random\n\
                  character special file 1:9 /dev/urandom\ncharacter special file 5:0 /dev/tty";
    assert_eq!(Bundle::shell(script).output(), wanted);
}

fn the_default_nodes_are_writable_by_everybody() {
    let script = "stat -c %a /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty | sort -u; \
                  stat -c %u:%g /dev/null";
    let seen = Bundle::shell(script).output();
    assert!(seen.starts_with("666\n"), "{seen}");
    if nix::unistd::geteuid().is_root() {
        assert_eq!(seen, "666\n0:0");
    }
}

fn every_container_has_the_default_links() {
    let script = "for l in fd stdin stdout stderr ptmx; do readlink /dev/$l; done";
    let wanted = "/proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2\npts/ptmx";
    assert_eq!(Bundle::shell(script).output(), wanted);
}

fn ptmx_leads_to_the_containers_own_instance() {
    let script = "ls /dev/pts; : <> /dev/ptmx && echo opened";
    assert_eq!(Bundle::shell(script).output(), "ptmx\nopened");
}

fn nodes_of_the_config_are_made_with_mode_and_owner() {
    let devices = json!([
        {"path": "/dev/one", "type": "c", "major": 1, "minor": 5, "fileMode": 0o640, "uid": 12, "gid": 34},
        {"path": "/dev/two", "type": "b", "major": 7, "minor": 200, "fileMode": 0o777, "uid": 0, "gid": 0},
        {"path": "/dev/deep/three", "type": "u", "major": 1, "minor": 3}
    ]);
    let script = "umask; stat -c '%F %t:%T %a %u:%g' /dev/one /dev/two; stat -c '%F %t:%T' /dev/deep/three";
    let bundle = Bundle::shell(script).set("/linux/devices", devices);
    let wanted = "0022\ncharacter special file 1:5 640 12:34\nblock special file 7:c8 777 0:0\n\
                  character special file 1:3";
    assert_eq!(bundle.output(), wanted);
}

fn a_node_may_lie_outside_dev() {
    let devices = json!([{"path": "/srv/zero", "type": "c", "major": 1, "minor": 5, "fileMode": 0o666}]);
    let bundle = Bundle::shell("head -c 3 /srv/zero | wc -c").set("/linux/devices", devices);
    assert_eq!(bundle.output(), "3");
}

fn a_fifo_of_the_config_is_made() {
    let devices = json!([{"path": "/dev/pipe", "type": "p", "fileMode": 0o600, "uid": 0, "gid": 0}]);
    let bundle = Bundle::shell("stat -c '%F %a' /dev/pipe").set("/linux/devices", devices);
    assert_eq!(bundle.output(), "fifo 600");
}

fn a_node_that_is_there_already_is_kept() {
    let devices = json!([{"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666}]);
    let bundle = Bundle::shell("stat -c %t:%T /dev/null").set("/linux/devices", devices);
    assert_eq!(bundle.output(), "1:3");
}

fn a_node_of_an_unknown_kind_is_refused() {
    let devices = json!([{"path": "/dev/x", "type": "z", "major": 1, "minor": 3}]);
    Bundle::nothing().set("/linux/devices", devices).refused(&[]);
}

fn a_dev_bound_from_the_host_is_left_as_it_is() {
    let bundle = Bundle::shell("ls -A /dev").config(|json| {
        json["mounts"].as_array_mut().unwrap().retain(|mount| {
            !mount["destination"].as_str().is_some_and(|destination| destination.starts_with("/dev"))
        });
    });
    let dev = bundle.host_folder("dev");
    std::fs::write(dev.join("mine"), "").unwrap();
    child::run(std::process::Command::new("mknod").arg(dev.join("null")).args(["c", "1", "3"])).ok();
    let container = bundle.bind(&dev, "/dev", &["rprivate"]).container();
    assert_eq!(container.run(&[]).ok().text(), "mine\nnull");
    assert_eq!(std::fs::read_dir(&dev).unwrap().count(), 2);
}

fn a_dev_that_is_a_link_touches_nothing_outside() {
    // CVE-2026-41579: the default nodes are made, or removed, through the link.
    let bundle = Bundle::nothing().config(|json| {
        json["mounts"].as_array_mut().unwrap().retain(|mount| {
            !mount["destination"].as_str().is_some_and(|destination| destination.starts_with("/dev"))
        });
    });
    let outside = bundle.host_folder("outside");
    std::fs::write(outside.join("ptmx"), "precious").unwrap();
    std::fs::remove_dir(bundle.rootfs().join("dev")).unwrap();
    let container = bundle.link(outside.to_str().unwrap(), "dev").container();
    container.create(&[]);
    let names: Vec<_> =
        std::fs::read_dir(&outside).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(names, ["ptmx"]);
    assert_eq!(std::fs::read_to_string(outside.join("ptmx")).unwrap(), "precious");
}

/// 10:229 is `/dev/fuse`, which anybody may open whom the cgroup lets.
fn with_fuse(script: &str, rules: serde_json::Value) -> String {
    let bundle = Bundle::shell(script)
        .config(|json| config::add_capabilities(json, &["CAP_MKNOD"]))
        .limit("devices", rules);
    bundle.output()
}

fn a_new_node_may_be_made_but_not_opened() {
    let script = "mknod /tmp/k c 10 229 && { (: < /tmp/k) 2>/dev/null || echo refused; }";
    assert_eq!(with_fuse(script, json!([{"allow": false, "access": "rwm"}])), "refused");
}

fn a_device_that_is_allowed_can_be_opened() {
    let rules = json!([
        {"allow": false, "access": "rwm"},
        {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw"}
    ]);
    assert_eq!(with_fuse("mknod /tmp/k c 10 229 && : < /tmp/k && echo opened", rules), "opened");
}

fn a_device_may_be_allowed_for_reading_alone() {
    let rules = json!([
        {"allow": false, "access": "rwm"},
        {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "r"}
    ]);
    let script = "mknod /tmp/k c 10 229; : < /tmp/k && echo read; (: > /tmp/k) 2>/dev/null || echo refused";
    assert_eq!(with_fuse(script, rules), "read\nrefused");
}

fn the_last_rule_that_matches_wins() {
    let rules = json!([
        {"allow": false, "access": "rwm"},
        {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw"},
        {"allow": false, "type": "c", "major": 10, "minor": 229, "access": "rw"}
    ]);
    let script = "mknod /tmp/k c 10 229; (: < /tmp/k) 2>/dev/null || echo refused";
    assert_eq!(with_fuse(script, rules), "refused");
}
