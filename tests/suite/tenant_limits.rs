//! Settings of tenants that change while they run: `isolate tenant set` and what shows its effect.

use std::fs;

use serde_json::Value;

use crate::support::child::Output;
use crate::support::estate::Estate;
use crate::support::*;
use crate::tests;

tests![
    limits_change_while_it_runs_and_are_kept needs [Need::Isolate, Need::CgroupV1("memory"), Need::CgroupV1("pids")],
    all_settings_of_one_call_change_or_none needs [Need::Isolate, Need::CgroupV1("memory"), Need::CgroupV1("cpuset")],
    a_limit_taken_away_is_gone_at_once needs [Need::Isolate, Need::CgroupV1("memory"), Need::CgroupV1("cpuset")],
    a_change_until_it_stops_is_not_kept needs [Need::Isolate, Need::CgroupV1("pids")],
    a_dry_run_changes_nothing needs [Need::Isolate, Need::CgroupV1("pids")],
    memory_in_use_is_not_taken_away needs [Need::Isolate, Need::CgroupV1("memory")],
    a_setting_that_cannot_change_now_waits_for_the_next_start needs [Need::Isolate, Need::UserNamespaces],
    reading_from_the_disk_is_slowed_down_by_its_limit needs [Need::Isolate, Need::CgroupV1("blkio")],
    what_is_used_and_refused_is_counted needs [Need::Isolate, Need::CgroupV1("memory"), Need::CgroupV1("pids")],
    stats_and_top_show_those_that_run needs [Need::Isolate, Need::UserNamespaces],
    settings_that_make_no_sense_are_refused needs [Need::Isolate, Need::UserNamespaces],
    a_setting_is_changed_for_all_with_a_tag needs [Need::Isolate, Need::UserNamespaces],
    limits_of_ordinary_users_are_refused_by_set_too needs [Need::Isolate, Need::OrdinaryUser, Need::UserNamespaces],
];

/// A file of the tenant `web`'s cgroup.
fn cgroup_file(estate: &Estate, controller: &str, file: &str) -> String {
    let uuid = estate.info("web")["settings"]["uuid"].as_str().unwrap().to_owned();
    cgroup::read(controller, &format!("/isolate-tenants/{uuid}"), file).trim().to_owned()
}

fn config(estate: &Estate) -> Value {
    estate.t(&["config", "--json", "web"]).ok().json()["config"].take()
}

fn limit(estate: &Estate, resource: &str) -> Value {
    let limits = estate.t(&["limits", "--json", "web"]).ok().json();
    let found = limits["limits"].as_array().unwrap().iter().find(|line| line["resource"] == resource);
    found.unwrap().clone()
}

fn changes(output: &Output) -> Vec<String> {
    let lines = output.stdout.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    lines.collect()
}

fn limits_change_while_it_runs_and_are_kept() {
    let estate = Estate::with_running(&["--ram", "64M", "--tasks", "50"]);
    let init = estate.pid("web");
    let told = estate
        .t(&["set", "web", "ram=32M", "swap=8M", "--cpus", "0.5", "--cpu-weight", "200", "--tasks", "20"])
        .ok();
    assert_eq!(changes(&told)[..2], ["web ram 64M -> 32M applied", "web swap none -> 8M applied"]);
    assert_eq!(estate.pid("web"), init);
    let read = |controller: &str, file: &str| cgroup_file(&estate, controller, file);
    let now = || {
        [
            read("memory", "memory.limit_in_bytes"),
            read("memory", "memory.memsw.limit_in_bytes"),
            read("cpu", "cpu.cfs_quota_us"),
            read("cpu", "cpu.shares"),
            read("pids", "pids.max"),
        ]
    };
    let wanted = ["33554432", "41943040", "50000", "2048", "20"];
    assert_eq!(now(), wanted);
    let bomb = "n=0; while [ $n -lt 40 ]; do sleep 5 & n=$((n + 1)); done 2>/dev/null; echo all";
    assert_ne!(estate.t(&["exec", "web", "--", "sh", "-c", bomb]).text(), "all");
    estate.t(&["restart", "--timeout", "0", "web"]).ok();
    assert_eq!(now(), wanted);
}

fn all_settings_of_one_call_change_or_none() {
    let estate = Estate::with_running(&["--ram", "64M"]);
    let before = fs::read_to_string(estate.tenant("web").join("tenant.toml")).unwrap();
    estate
        .t(&["set", "web", "ram=32M", "cpuset=4000"])
        .fails(1, &["cannot change tenant 'web'", "cpuset.cpus"]);
    assert_eq!(cgroup_file(&estate, "memory", "memory.limit_in_bytes"), (64 << 20).to_string());
    assert_eq!(fs::read_to_string(estate.tenant("web").join("tenant.toml")).unwrap(), before);
    estate.t(&["set", "web", "ram=32M", "swap=junk"]).fails(21, &["swap"]);
    assert_eq!(cgroup_file(&estate, "memory", "memory.limit_in_bytes"), (64 << 20).to_string());
}

fn a_limit_taken_away_is_gone_at_once() {
    let estate = Estate::with_running(&["--ram", "64M", "--cpus", "0.5", "--cpuset", "0"]);
    estate.t(&["unset", "web", "ram", "cpus", "cpuset"]).ok();
    assert!(cgroup_file(&estate, "memory", "memory.limit_in_bytes").parse::<u64>().unwrap() > 1 << 60);
    assert_eq!(cgroup_file(&estate, "cpu", "cpu.cfs_quota_us"), "-1");
    let online = fs::read_to_string("/sys/devices/system/cpu/online").unwrap();
    assert_eq!(cgroup_file(&estate, "cpuset", "cpuset.cpus"), online.trim());
    assert_eq!((&config(&estate)["ram"], &config(&estate)["cpuset"]), (&Value::Null, &Value::Null));
}

fn a_change_until_it_stops_is_not_kept() {
    let estate = Estate::with_running(&["--tasks", "50"]);
    estate.t(&["set", "--runtime", "web", "tasks=30"]).ok();
    assert_eq!(
        (cgroup_file(&estate, "pids", "pids.max"), &config(&estate)["tasks"]),
        ("30".into(), &"50".into())
    );
    estate.t(&["set", "--runtime", "web", "owner=me"]).fails(21, &["owner is no limit"]);
    // Named again, it counts, though the file says so already.
    estate.t(&["set", "web", "tasks=50"]).ok();
    assert_eq!(cgroup_file(&estate, "pids", "pids.max"), "50");
    estate.t(&["stop", "--kill", "web"]).ok();
    estate.t(&["set", "--runtime", "web", "tasks=30"]).fails(31, &["it is not running"]);
}

fn a_dry_run_changes_nothing() {
    let estate = Estate::with_running(&["--tasks", "50"]);
    let told = estate.t(&["set", "--dry-run", "web", "tasks=30", "net=host"]).ok();
    assert_eq!(changes(&told), ["web tasks 50 -> 30 at once", "web net none -> host at its next start"]);
    assert_eq!(
        (cgroup_file(&estate, "pids", "pids.max"), &config(&estate)["tasks"]),
        ("50".into(), &"50".into())
    );
}

fn memory_in_use_is_not_taken_away() {
    let estate = Estate::with_running(&["--ram", "128M"]);
    estate.sh("head -c 40m /dev/zero > /dev/shm/kept");
    estate.t(&["set", "web", "ram=16M"]).fails(1, &["MiB of memory, more than ram 16M", "--force"]);
    assert_eq!(cgroup_file(&estate, "memory", "memory.limit_in_bytes"), (128 << 20).to_string());
}

fn a_setting_that_cannot_change_now_waits_for_the_next_start() {
    let estate = Estate::with_running(&[]);
    let told = estate.t(&["set", "web", "hostname=other"]).ok();
    assert_eq!(changes(&told), ["web hostname none -> other at its next start"]);
    assert_eq!(estate.sh("hostname"), "web");
    let shown = estate.t(&["config", "--json", "web"]).ok().json();
    assert_eq!(
        (&shown["config"]["hostname"], &shown["pending"]["hostname"]["now"]),
        (&"other".into(), &Value::Null)
    );
    assert!(shown["pending"].as_object().unwrap().contains_key("hostname"));
    estate.t(&["stop", "--kill", "web"]).ok();
    estate.t(&["start", "web"]).ok();
    assert_eq!(estate.sh("hostname; cat /etc/hostname; grep -c other /etc/hosts"), "other\nother\n1");
    assert_eq!(estate.t(&["config", "--json", "web"]).ok().json()["pending"], serde_json::json!({}));
    let before = estate.pid("web");
    estate.t(&["set", "--restart", "web", "owner=me"]).ok();
    assert_eq!(estate.pid("web"), before);
}

fn reading_from_the_disk_is_slowed_down_by_its_limit() {
    let estate = Estate::with_running(&[]);
    let told = estate.t(&["set", "web", "io-read=3M", "iops=100"]);
    if told.code == 21 && told.stderr.contains("not on one block device") {
        skip("the folder of tests is on no block device");
    }
    told.ok();
    let rule = cgroup_file(&estate, "blkio", "blkio.throttle.read_bps_device");
    assert!(rule.ends_with(" 3145728"), "{rule}");
    assert!(cgroup_file(&estate, "blkio", "blkio.throttle.write_iops_device").ends_with(" 100"));
    estate.t(&["unset", "web", "io-read", "iops"]).ok();
    assert_eq!(cgroup_file(&estate, "blkio", "blkio.throttle.read_bps_device"), "");
}

fn what_is_used_and_refused_is_counted() {
    let estate = Estate::with_running(&["--ram", "32M", "--tasks", "20"]);
    let bomb = "n=0; while [ $n -lt 40 ]; do sleep 5 & n=$((n + 1)); done 2>/dev/null";
    estate.t(&["exec", "web", "--", "sh", "-c", "head -c 300m /dev/zero | tail -c 290m | wc -c"]);
    estate.t(&["exec", "web", "--", "sh", "-c", bomb]);
    let (ram, tasks, kills) = (limit(&estate, "ram"), limit(&estate, "tasks"), limit(&estate, "oom-kills"));
    assert_eq!((&ram["limit"], &tasks["limit"]), (&(32 << 20).into(), &20.into()));
    assert!(ram["peak"].as_u64() > Some(30 << 20) && ram["fails"].as_u64() > Some(0), "{ram}");
    assert!(tasks["fails"].as_u64() > Some(0) && kills["fails"].as_u64() > Some(0), "{tasks} {kills}");
    estate.t(&["stop", "--kill", "web"]).ok();
    assert_eq!(
        (&limit(&estate, "ram")["limit"], &limit(&estate, "ram")["used"]),
        (&(32 << 20).into(), &Value::Null)
    );
}

fn stats_and_top_show_those_that_run() {
    let estate = Estate::with_running(&[]);
    estate.t(&["create", "two", "--template", "busybox"]).ok();
    let stats = estate.t(&["stats", "--json"]).ok().json();
    let names: Vec<_> = stats["stats"].as_array().unwrap().iter().map(|used| used["name"].clone()).collect();
    assert_eq!(names, ["web"]);
    let top = estate.t(&["top", "--count", "1", "--interval", "1"]).ok();
    assert!(
        top.stdout.starts_with("NAME") && top.stdout.lines().nth(1).unwrap().starts_with("web "),
        "{top}"
    );
    estate.t(&["stats", "nonesuch"]).fails(14, &["there is no tenant 'nonesuch'"]);
}

fn settings_that_make_no_sense_are_refused() {
    let estate = Estate::with_busybox();
    estate.t(&["create", "web", "--template", "busybox"]).ok();
    for (words, code, told) in [
        (vec!["set", "web", "rma=5M"], 20, "did you mean \"ram\"?"),
        (vec!["set", "web"], 21, "no setting is named"),
        (vec!["set", "ram=5M"], 21, "no tenant is named"),
        (vec!["set", "web", "ram=5"], 21, "it needs a unit"),
        (vec!["set", "web", "tasks=5", "--tasks", "6"], 21, "tasks is given twice"),
        (vec!["set", "web", "swap=5M"], 21, "only beside ram"),
        (vec!["set", "web", "net=x"], 21, "invalid network"),
        (vec!["set", "nonesuch", "owner=me"], 14, "there is no tenant"),
        (vec!["set", "web", "=5"], 20, "no setting is called"),
        (vec!["unset", "web", "rma"], 20, "did you mean \"ram\"?"),
        (vec!["unset", "web"], 21, "no setting is named"),
        (vec!["config", "nonesuch"], 14, "there is no tenant"),
        (vec!["limits", "nonesuch"], 14, "there is no tenant"),
        (vec!["top", "--interval", "0"], 20, "interval"),
    ] {
        estate.t(&words).fails(code, &[told]);
    }
}

fn a_setting_is_changed_for_all_with_a_tag() {
    let estate = Estate::with_busybox();
    for name in ["one", "two"] {
        estate.t(&["create", name, "--template", "busybox", "--tags", "both"]).ok();
    }
    let told = estate.t(&["set", "--json", "@both", "owner=me"]).ok().json();
    let tenants: Vec<_> =
        told["changes"].as_array().unwrap().iter().map(|change| change["tenant"].clone()).collect();
    assert_eq!(tenants, ["one", "two"]);
    assert_eq!(estate.info("two")["settings"]["admin"]["owner"], "me");
    estate.t(&["set", "--all", "protect=on"]).ok();
    estate
        .t(&["destroy", "--yes", "one"])
        .fails(105, &["it is protected", "isolate tenant set one protect=off"]);
    estate.t(&["set", "--all", "protect=off"]).ok();
    estate.t(&["destroy", "--yes", "one"]).ok();
}

fn limits_of_ordinary_users_are_refused_by_set_too() {
    if cgroup::v1_writable("memory") {
        skip("an ordinary user may write cgroups here");
    }
    let estate = Estate::with_running(&[]);
    estate.t(&["set", "web", "ram=64M", "owner=me"]).fails(21, &["ram cannot be limited"]);
    estate.t(&["set", "web", "owner=me"]).ok();
    estate.t(&["unset", "web", "ram"]).ok();
    assert_eq!(config(&estate)["owner"], "me");
}
