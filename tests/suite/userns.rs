//! User namespaces: maps written directly or through newuidmap, and what an id is on either side.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};

use serde_json::{Value, json};

use crate::support::*;
use crate::tests;

tests![
    the_maps_are_those_of_the_config needs [Need::UserNamespaces],
    root_inside_is_the_mapped_user_outside needs [Need::UserNamespaces],
    files_made_inside_belong_to_the_mapped_user needs [Need::UserNamespaces],
    several_ranges_are_mapped needs [Need::Root, Need::UserNamespaces],
    a_user_that_is_not_mapped_is_refused needs [Need::UserNamespaces],
    a_group_that_is_not_mapped_is_refused needs [Need::UserNamespaces],
    a_new_user_namespace_without_maps_is_refused needs [Need::Root, Need::UserNamespaces],
    maps_without_a_user_namespace_are_refused
        needs [Need::Root, Need::UserNamespaces, Need::Not("runc", "1.1 ignores them")],
    overlapping_maps_are_refused needs [Need::Root, Need::UserNamespaces],
    a_user_namespace_is_joined_by_path
        needs [Need::Root, Need::UserNamespaces, Need::Not("runc", "1.1 wants maps with a joined one")],
    devices_exist_in_a_user_namespace needs [Need::UserNamespaces],
    every_namespace_belongs_to_the_new_user_namespace needs [Need::UserNamespaces],
    capabilities_inside_are_those_of_the_config needs [Need::UserNamespaces],
    exec_enters_the_user_namespace needs [Need::UserNamespaces],
    an_ordinary_user_with_one_id_denies_setgroups needs [Need::OrdinaryUser, Need::UserNamespaces],
    an_ordinary_user_with_one_id_gets_no_additional_groups needs [Need::OrdinaryUser, Need::UserNamespaces],
    subordinate_ids_are_mapped_by_newuidmap
        needs [Need::OrdinaryUser, Need::Program("newuidmap"), Need::SubordinateIds(1000)],
    an_ordinary_user_may_ask_for_no_limits needs [Need::OrdinaryUser, Need::UserNamespaces],
];

fn host_id(map: &Value) -> u64 {
    map[0]["hostID"].as_u64().unwrap()
}

/// A bundle with a user namespace whose root folder belongs to its root.
fn mapped(script: &str) -> Bundle {
    let bundle = Bundle::shell(script).user_namespace();
    let uid = host_id(&bundle.json["linux"]["uidMappings"]) as u32;
    let gid = host_id(&bundle.json["linux"]["gidMappings"]) as u32;
    for folder in ["", "tmp", "etc", "dev", "root"] {
        chown(bundle.rootfs().join(folder), Some(uid), Some(gid)).unwrap();
    }
    bundle
}

fn numbers(text: &str) -> Vec<u64> {
    text.split_whitespace().map(|number| number.parse().unwrap()).collect()
}

fn as_numbers(map: &Value) -> Vec<u64> {
    let lines = map.as_array().unwrap().iter();
    lines
        .flat_map(|line| ["containerID", "hostID", "size"].map(|field| line[field].as_u64().unwrap()))
        .collect()
}

fn the_maps_are_those_of_the_config() {
    let bundle = mapped("sleep 100");
    let (uids, gids) =
        (bundle.json["linux"]["uidMappings"].clone(), bundle.json["linux"]["gidMappings"].clone());
    let container = bundle.start();
    let seen =
        |name: &str| numbers(&fs::read_to_string(format!("/proc/{}/{name}", container.pid())).unwrap());
    assert_eq!(seen("uid_map"), as_numbers(&uids));
    assert_eq!(seen("gid_map"), as_numbers(&gids));
}

fn root_inside_is_the_mapped_user_outside() {
    let bundle = mapped("id -u > /tmp/id; sleep 100");
    let uid = host_id(&bundle.json["linux"]["uidMappings"]);
    let container = bundle.start();
    child::eventually("the program runs", || container.peek("/tmp/id").trim() == "0");
    let outside = process::status(container.pid(), "Uid").unwrap();
    assert_eq!(numbers(&outside), vec![uid; 4]);
}

fn files_made_inside_belong_to_the_mapped_user() {
    let bundle = mapped("touch /tmp/made");
    let uid = host_id(&bundle.json["linux"]["uidMappings"]) as u32;
    let container = bundle.container();
    container.run(&[]).ok();
    assert_eq!(fs::metadata(container.bundle.rootfs().join("tmp/made")).unwrap().uid(), uid);
}

fn several_ranges_are_mapped() {
    let map = json!([
        {"containerID": 0, "hostID": 400_000, "size": 1000},
        {"containerID": 1000, "hostID": 500_000, "size": 1},
        {"containerID": 1001, "hostID": 401_000, "size": 100}
    ]);
    let bundle = mapped("awk '{print $1, $2, $3}' /proc/self/uid_map; id -u")
        .set("/linux/uidMappings", map.clone())
        .set("/linux/gidMappings", map)
        .set("/process/user", json!({"uid": 1000, "gid": 1000}));
    assert_eq!(bundle.output(), "0 400000 1000\n1000 500000 1\n1001 401000 100\n1000");
}

fn a_user_that_is_not_mapped_is_refused() {
    mapped("true").set("/process/user/uid", json!(99_999_999)).refused(&[]);
}

fn a_group_that_is_not_mapped_is_refused() {
    mapped("true").set("/process/user/gid", json!(99_999_999)).refused(&[]);
}

fn a_new_user_namespace_without_maps_is_refused() {
    Bundle::nothing().config(|json| config::add_namespace(json, json!({"type": "user"}))).refused(&[]);
}

fn maps_without_a_user_namespace_are_refused() {
    mapped("true").config(|json| config::remove_namespace(json, "user")).refused(&["linux.uidMappings"]);
}

fn overlapping_maps_are_refused() {
    let map = json!([
        {"containerID": 0, "hostID": 400_000, "size": 1000},
        {"containerID": 500, "hostID": 500_000, "size": 1000}
    ]);
    mapped("true").set("/linux/uidMappings", map).refused(&[]);
}

fn a_user_namespace_is_joined_by_path() {
    let first = mapped("sleep 100").start();
    let path = format!("/proc/{}/ns/user", first.pid());
    let second = mapped("sleep 100")
        .config(|json| config::join_namespace(json, "user", &path))
        .unset("/linux/uidMappings")
        .unset("/linux/gidMappings")
        .start();
    assert_eq!(process::namespace(second.pid(), "user"), process::namespace(first.pid(), "user"));
    assert_eq!(numbers(&process::status(second.pid(), "Uid").unwrap())[0], 400_000);
}

fn devices_exist_in_a_user_namespace() {
    let script = "for d in null zero full random urandom tty; do test -c /dev/$d || echo no $d; done; \
                  echo x > /dev/null && head -c 4 /dev/zero | wc -c";
    assert_eq!(mapped(script).output(), "4");
}

fn every_namespace_belongs_to_the_new_user_namespace() {
    // Only the owner's root may do these.
    let script = "hostname other && hostname && mount -t tmpfs tmpfs /tmp && ip link set lo down && echo all";
    let bundle =
        mapped(script).config(|json| config::add_capabilities(json, &["CAP_SYS_ADMIN", "CAP_NET_ADMIN"]));
    assert_eq!(bundle.output(), "other\nall");
}

fn capabilities_inside_are_those_of_the_config() {
    let output =
        mapped("cat /proc/self/status").config(|json| config::set_capabilities(json, &["CAP_CHOWN"]));
    let status = output.output();
    assert_eq!(process::field_of(&status, "CapEff").as_deref(), Some("0000000000000001"));
    assert_eq!(process::field_of(&status, "CapBnd").as_deref(), Some("0000000000000001"));
}

fn exec_enters_the_user_namespace() {
    let container = mapped("sleep 100").start();
    assert_eq!(
        container.sh("readlink /proc/self/ns/user"),
        process::namespace(container.pid(), "user").unwrap()
    );
    assert_eq!(container.sh("id -u"), "0");
}

fn lone() -> Value {
    json!([{"containerID": 0, "hostID": nix::unistd::geteuid().as_raw(), "size": 1}])
}

fn an_ordinary_user_with_one_id_denies_setgroups() {
    let group = json!([{"containerID": 0, "hostID": nix::unistd::getegid().as_raw(), "size": 1}]);
    let bundle = Bundle::shell("cat /proc/self/setgroups")
        .set("/linux/uidMappings", lone())
        .set("/linux/gidMappings", group)
        .config(|json| {
            config::mount_at(json, "/dev/pts")["options"] = json!(["newinstance", "ptmxmode=0666"])
        });
    assert_eq!(bundle.output(), "deny");
}

fn an_ordinary_user_with_one_id_gets_no_additional_groups() {
    let group = json!([{"containerID": 0, "hostID": nix::unistd::getegid().as_raw(), "size": 1}]);
    Bundle::nothing()
        .set("/linux/uidMappings", lone())
        .set("/linux/gidMappings", group)
        .set("/process/user/additionalGids", json!([1]))
        .refused(&[]);
}

fn subordinate_ids_are_mapped_by_newuidmap() {
    let bundle = Bundle::shell("id -u; id -g").set("/process/user", json!({"uid": 999, "gid": 998}));
    assert_eq!(bundle.output(), "999\n998");
}

fn an_ordinary_user_may_ask_for_no_limits() {
    assert_eq!(Bundle::shell("echo works").output(), "works");
}
