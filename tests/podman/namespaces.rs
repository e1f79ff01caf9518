//! --userns, --uts, --ipc, --pid, --net, --cgroupns: of its own, the host's, another container's.

use std::fs;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::engine::*;
use crate::support::{Need, skip};
use crate::tests;

tests![
    each_namespace_is_private_by_default,
    the_host_s_namespaces_can_be_shared,
    another_container_s_namespaces_can_be_shared,
    a_namespace_can_be_joined_by_its_path needs [Need::Root],
    a_joined_pid_namespace_shows_both_containers,
    a_container_in_the_host_s_pid_namespace_dies_whole needs [Need::Root],
    userns_auto_maps_a_range_of_its_own,
    userns_keep_id_keeps_the_caller needs [Need::OrdinaryUser],
    userns_with_maps_of_ours needs [Need::Root],
    userns_host_is_the_user_namespace_of_podman,
    a_user_namespace_can_be_shared_with_another_container needs [Need::Root],
    the_root_of_a_user_namespace_owns_its_files_and_nothing_else,
    private_cgroup_namespace_hides_the_host_s_path,
];

fn link(name: &str) -> String {
    fs::read_link(format!("/proc/self/ns/{name}")).unwrap().to_string_lossy().into_owned()
}

fn links(names: &[&str]) -> String {
    names.iter().map(|name| format!("readlink /proc/self/ns/{name};")).collect()
}

fn each_namespace_is_private_by_default() {
    for name in ["mnt", "pid", "ipc", "uts", "net"] {
        assert_ne!(sh(&[], &links(&[name])), link(name), "{name}");
    }
}

fn the_host_s_namespaces_can_be_shared() {
    for name in ["pid", "ipc", "uts"] {
        if name == "ipc" && is_rootless() && !Path::new("/dev/mqueue").exists() {
            // podman binds it for an ordinary user's container, and is the one to refuse.
            continue;
        }
        assert_eq!(sh(&[&format!("--{name}"), "host"], &links(&[name])), link(name), "{name}");
    }
    assert_eq!(sh(&["--net", "host"], &links(&["net"])), link("net"));
}

fn another_container_s_namespaces_can_be_shared() {
    let first = Container::sleeper(&["--hostname", "first", "--ipc", "shareable"]);
    let names = ["pid", "ipc", "uts", "net"];
    let join: Vec<_> = names.iter().map(|name| format!("--{name}=container:{}", first.name)).collect();
    let join: Vec<_> = join.iter().map(String::as_str).collect();
    let second = sh(&join, &format!("{} hostname", links(&names)));
    assert_eq!(second, first.sh(&format!("{} hostname", links(&names))));
}

fn a_namespace_can_be_joined_by_its_path() {
    let first = Container::sleeper(&[]);
    for name in ["ipc", "uts", "net", "pid"] {
        let join = format!("--{name}=ns:/proc/{}/ns/{name}", first.pid());
        assert_eq!(sh(&[&join], &links(&[name])), first.sh(&links(&[name])), "{name}");
    }
}

fn a_joined_pid_namespace_shows_both_containers() {
    let first = Container::start(&[], &["sleep", "4242"]);
    let second = sh(&["--pid", &format!("container:{}", first.name)], "ps -o pid,args");
    assert!(second.contains("1 sleep 4242") && second.contains("ps -o pid"), "{second}");
}

fn a_container_in_the_host_s_pid_namespace_dies_whole() {
    let container = Container::start(&["--pid", "host"], &["sh", "-c", "sleep 4343 & sleep 4344"]);
    let sleepers = || {
        let lines = crate::support::process::all().into_iter().map(crate::support::process::command_line);
        lines.filter(|line| line == "sleep 4343" || line == "sleep 4344").count()
    };
    crate::support::child::eventually("both sleep", || sleepers() == 2);
    container.podman(&["rm", "--force", "--time", "0"]).ok();
    crate::support::child::eventually("both have died", || sleepers() == 0);
}

/// Held by the tests that take subordinate ids out of the common stock: a container of `keep-id` takes all of an
/// ordinary user's, and leaves none to `auto`.
static IDS: Mutex<()> = Mutex::new(());

fn take_ids() -> MutexGuard<'static, ()> {
    IDS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn maps(options: &[&str]) -> Vec<Vec<u32>> {
    let text = sh(options, "cat /proc/self/uid_map");
    let fields = |line: &str| line.split_whitespace().map(|field| field.parse().unwrap()).collect();
    text.lines().map(fields).collect()
}

fn userns_auto_maps_a_range_of_its_own() {
    let _ids = take_ids();
    if !is_rootless() && auto_user().is_none() {
        skip(
            "/etc/subuid gives no account 65536 subordinate ids, of which podman takes those of --userns auto",
        );
    }
    let map = maps(&["--userns", "auto:size=1500"]);
    assert!(map[0][0] == 0 && map[0][1] > 0 && map[0][2] == 1500, "{map:?}");
    // Two at the same time have different ids.
    let first = Container::sleeper(&["--userns", "auto:size=2000"]);
    let second = maps(&["--userns", "auto:size=3000"]);
    let map = first.sh("cat /proc/self/uid_map");
    assert_ne!(map.split_whitespace().nth(1).unwrap(), second[0][1].to_string());
    assert_eq!((map.split_whitespace().nth(2).unwrap(), second[0][2]), ("2000", 3000));
}

fn userns_keep_id_keeps_the_caller() {
    let _ids = take_ids();
    let uid = nix::unistd::getuid().to_string();
    assert_eq!(sh(&["--userns", "keep-id"], "id -u"), uid);
    let path = folder().join("kept");
    fs::create_dir_all(&path).unwrap();
    let volume = format!("{}:/data", path.display());
    sh(&["--userns", "keep-id", "-v", &volume], "echo x > /data/file");
    let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata(path.join("file")).unwrap());
    assert_eq!(owner.to_string(), uid);
}

fn userns_with_maps_of_ours() {
    let options = ["--uidmap", "0:200000:5000", "--gidmap", "0:300000:6000"];
    assert_eq!(maps(&options), [[0, 200_000, 5000]]);
    let container = Container::sleeper(&options);
    assert_eq!(container.sh("cat /proc/self/gid_map | tr -s ' '").trim(), "0 300000 6000");
    let pid = container.pid();
    let uid = std::os::unix::fs::MetadataExt::uid(&fs::metadata(format!("/proc/{pid}")).unwrap());
    assert_eq!(uid, 200_000);
    assert_eq!(container.sh("touch /new; stat -c %u /new /proc/1 /bin/busybox | sort -u"), "0");
}

fn userns_host_is_the_user_namespace_of_podman() {
    let container = sh(&["--userns", "host"], &links(&["user"]));
    let podman = podman(&["unshare", "readlink", "/proc/self/ns/user"]);
    // `podman unshare` is for ordinary users; root's containers stay in the host's.
    let expected = if is_rootless() { podman.ok().text().to_owned() } else { link("user") };
    assert_eq!(container, expected);
}

fn a_user_namespace_can_be_shared_with_another_container() {
    let first = Container::sleeper(&["--uidmap", "0:200000:5000", "--gidmap", "0:200000:5000"]);
    let second = sh(&["--userns", &format!("container:{}", first.name)], &links(&["user"]));
    assert_eq!(second, first.sh(&links(&["user"])));
}

fn the_root_of_a_user_namespace_owns_its_files_and_nothing_else() {
    let _ids = take_ids();
    if !is_rootless() && auto_user().is_none() {
        skip(
            "/etc/subuid gives no account 65536 subordinate ids, of which podman takes those of --userns auto",
        );
    }
    let output = sh(
        &["--userns", "auto:size=1024"],
        "id -u; touch /mine && chown 5:5 /mine && stat -c %u:%g /mine; cat /proc/self/setgroups",
    );
    assert_eq!(output, "0\n5:5\nallow");
}

fn private_cgroup_namespace_hides_the_host_s_path() {
    let container = sh(
        &["--cgroupns", "private"],
        "readlink /proc/self/ns/cgroup; cut -d: -f3 /proc/self/cgroup | sort -u",
    );
    let (namespace, paths) = container.split_once('\n').unwrap();
    assert_ne!(namespace, link("cgroup"));
    assert_eq!(paths, "/");
    assert_eq!(sh(&["--cgroupns", "host"], "readlink /proc/self/ns/cgroup"), link("cgroup"));
}
