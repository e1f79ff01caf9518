//! Namespaces: new, joined by path, or the caller's; seen from inside and from the host.

use std::fs;

use serde_json::json;

use crate::support::*;
use crate::tests;

tests![
    a_listed_namespace_is_a_new_one,
    a_namespace_that_is_not_listed_is_the_callers needs [Need::Root],
    a_cgroup_namespace_is_new_and_rooted_at_the_containers_cgroup needs [Need::Cgroup("memory")],
    a_time_namespace_has_the_offsets_asked_for
        needs [Need::Root, Need::File("/proc/self/ns/time"), Need::Not("runc", "1.1 knows no time namespace")],
    time_offsets_without_a_time_namespace_are_refused needs [Need::Not("runc", "1.1 knows no time namespace")],
    a_namespace_joined_by_path_is_that_one,
    a_pid_namespace_joined_by_path_shows_its_processes,
    a_path_of_another_kind_is_refused,
    a_path_that_is_no_namespace_is_refused,
    a_namespace_listed_twice_is_refused needs [Need::Not("runc", "1.1 takes the first")],
    the_program_is_process_one_of_a_new_pid_namespace,
    a_new_pid_namespace_hides_the_host,
    a_new_network_has_a_loopback_that_is_up,
    a_joined_network_is_left_as_it_is needs [Need::Root],
    the_hostname_is_set,
    a_hostname_without_its_namespace_is_refused,
    the_domain_name_is_set needs [Need::Not("runc", "1.1 knows no domainname")],
    the_hosts_name_stays_what_it_was,
    ipc_objects_are_not_shared,
];

const NAMES: [(&str, &str); 5] =
    [("pid", "pid"), ("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("mount", "mnt")];

fn a_listed_namespace_is_a_new_one() {
    let container = Bundle::sleeper().start();
    for (_, link) in NAMES {
        let inside = container.sh(&format!("readlink /proc/1/ns/{link}"));
        assert_eq!(process::namespace(container.pid(), link).as_ref(), Some(&inside), "{link}");
        assert_ne!(inside, process::own_namespace(link), "{link}");
    }
}

fn a_namespace_that_is_not_listed_is_the_callers() {
    for (kind, link) in [("pid", "pid"), ("network", "net"), ("ipc", "ipc"), ("uts", "uts")] {
        let container = Bundle::sleeper()
            .config(|json| {
                config::remove_namespace(json, kind);
                if kind == "uts" {
                    json.as_object_mut().unwrap().remove("hostname");
                }
                if kind == "ipc" {
                    json["mounts"].as_array_mut().unwrap().retain(|mount| mount["type"] != "mqueue");
                }
            })
            .start();
        assert_eq!(process::namespace(container.pid(), link), Some(process::own_namespace(link)), "{kind}");
    }
}

fn a_cgroup_namespace_is_new_and_rooted_at_the_containers_cgroup() {
    let bundle = Bundle::sleeper().config(|json| config::add_namespace(json, json!({"type": "cgroup"})));
    let container = bundle.start();
    assert_ne!(process::namespace(container.pid(), "cgroup"), Some(process::own_namespace("cgroup")));
    let inside = container.sh("cat /proc/1/cgroup");
    let of_memory = |line: &&str| line.contains(if cgroup::is_v2() { "0::" } else { ":memory:" });
    let memory = inside.lines().find(of_memory).unwrap();
    assert!(memory.ends_with(":/"), "{inside}");
}

fn a_time_namespace_has_the_offsets_asked_for() {
    let container = Bundle::sleeper()
        .config(|json| {
            config::add_namespace(json, json!({"type": "time"}));
            json["linux"]["timeOffsets"] = json!({"boottime": {"secs": 1_000_000, "nanosecs": 0}});
        })
        .start();
    assert_ne!(process::namespace(container.pid(), "time"), Some(process::own_namespace("time")));
    let seconds = |text: &str| text.split('.').next().unwrap().parse::<u64>().unwrap();
    let inside = seconds(&container.sh("cat /proc/uptime"));
    let outside = seconds(&fs::read_to_string("/proc/uptime").unwrap());
    assert!((999_990..=1_000_010).contains(&(inside - outside)), "{inside} {outside}");
}

fn time_offsets_without_a_time_namespace_are_refused() {
    Bundle::sleeper()
        .set("/linux/timeOffsets", json!({"boottime": {"secs": 1, "nanosecs": 0}}))
        .refused(&["timeOffsets"]);
}

fn a_namespace_joined_by_path_is_that_one() {
    let first = Bundle::sleeper().start();
    for (kind, link) in [("network", "net"), ("ipc", "ipc"), ("uts", "uts")] {
        let path = format!("/proc/{}/ns/{link}", first.pid());
        let second = Bundle::sleeper().config(|json| {
            config::join_namespace(json, kind, &path);
            if json["linux"].get("uidMappings").is_some() {
                // A namespace of another user namespace can only be joined from there.
                let user = format!("/proc/{}/ns/user", first.pid());
                config::join_namespace(json, "user", &user);
                let linux = json["linux"].as_object_mut().unwrap();
                linux.remove("uidMappings");
                linux.remove("gidMappings");
            }
        });
        let second = second.start();
        assert_eq!(process::namespace(second.pid(), link), process::namespace(first.pid(), link), "{kind}");
        assert_ne!(process::namespace(second.pid(), "mnt"), process::namespace(first.pid(), "mnt"));
    }
}

fn a_pid_namespace_joined_by_path_shows_its_processes() {
    let first = Bundle::new(&["/bin/sleep", "1234"]).start();
    let path = format!("/proc/{}/ns/pid", first.pid());
    let second = Bundle::sleeper().config(|json| config::join_namespace(json, "pid", &path));
    if second.json["linux"].get("uidMappings").is_some() {
        skip("joining a pid namespace as an ordinary user needs its user namespace too");
    }
    let second = second.start();
    assert_eq!(process::namespace(second.pid(), "pid"), process::namespace(first.pid(), "pid"));
    assert!(second.sh("cat /proc/1/cmdline | tr '\\0' ' '").contains("sleep 1234"));
    second.kill("KILL").ok();
    second.wait_for("stopped");
    assert_eq!(first.status(), "running");
}

fn a_path_of_another_kind_is_refused() {
    let path = format!("/proc/{}/ns/uts", std::process::id());
    Bundle::sleeper().config(|json| config::join_namespace(json, "network", &path)).refused(&[]);
}

fn a_path_that_is_no_namespace_is_refused() {
    for path in ["/etc/passwd", "/nonesuch/net"] {
        Bundle::sleeper().config(|json| config::join_namespace(json, "network", path)).refused(&[]);
    }
}

fn a_namespace_listed_twice_is_refused() {
    Bundle::sleeper()
        .config(|json| config::add_namespace(json, json!({"type": "pid"})))
        .refused(&["linux.namespaces"]);
}

fn the_program_is_process_one_of_a_new_pid_namespace() {
    assert_eq!(Bundle::shell("echo $$").output(), "1");
}

fn a_new_pid_namespace_hides_the_host() {
    let pids = Bundle::shell("ls /proc | grep '^[0-9]' | sort -n").output();
    let pids: Vec<u32> = pids.lines().map(|pid| pid.parse().unwrap()).collect();
    assert!(pids[0] == 1 && pids.len() < 8 && *pids.last().unwrap() < 50, "{pids:?}");
}

fn a_new_network_has_a_loopback_that_is_up() {
    let lines = Bundle::shell("ip -o addr; ip -o link").output();
    assert!(lines.contains("inet 127.0.0.1/8"), "{lines}");
    let interfaces = Bundle::shell("ls /sys/class/net").output();
    assert!(interfaces.lines().any(|name| name == "lo") && !interfaces.contains("eth"), "{interfaces}");
}

fn a_joined_network_is_left_as_it_is() {
    let first = Bundle::sleeper().start();
    // Taking `lo` down in a network of the first container needs a right that it does not have by default.
    child::run(std::process::Command::new("nsenter").args([
        "-t",
        &first.pid().to_string(),
        "-n",
        "ip",
        "link",
        "set",
        "lo",
        "down",
    ]));
    if !first.sh("ip -o addr").is_empty() && first.sh("cat /sys/class/net/lo/flags") != "0x8" {
        skip("no program ip to take a loopback down with");
    }
    let path = format!("/proc/{}/ns/net", first.pid());
    let second = Bundle::sleeper().config(|json| config::join_namespace(json, "network", &path)).start();
    assert_eq!(second.sh("cat /sys/class/net/lo/flags"), "0x8");
}

fn the_hostname_is_set() {
    assert_eq!(Bundle::shell("hostname; uname -n").output(), "box\nbox");
}

fn a_hostname_without_its_namespace_is_refused() {
    Bundle::sleeper().config(|json| config::remove_namespace(json, "uts")).refused(&["hostname"]);
}

fn the_domain_name_is_set() {
    let bundle = Bundle::shell("cat /proc/sys/kernel/domainname").set("/domainname", json!("example.test"));
    assert_eq!(bundle.output(), "example.test");
}

fn the_hosts_name_stays_what_it_was() {
    let before = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    Bundle::nothing().run().ok();
    assert_eq!(fs::read_to_string("/proc/sys/kernel/hostname").unwrap(), before);
}

fn ipc_objects_are_not_shared() {
    let bundle = Bundle::shell("cat /proc/sysvipc/shm | wc -l; ls -A /dev/mqueue | wc -l");
    assert_eq!(bundle.output(), "1\n0");
}
