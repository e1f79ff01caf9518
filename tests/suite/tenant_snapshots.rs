//! Snapshots of tenants, going back to them, and clones, with disks of both kinds.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::child::{self, eventually};
use crate::support::estate::Estate;
use crate::support::*;
use crate::tenant_disks::{has_program, with_disk};
use crate::tests;

tests![
    a_rollback_brings_disk_and_settings_back_and_keeps_what_it_leaves needs [Need::Isolate, Need::UserNamespaces],
    so_it_does_with_an_image needs [Need::Isolate, Need::Root, Need::UserNamespaces],
    a_running_tenant_goes_on_after_a_snapshot needs [Need::Isolate, Need::CgroupV1("freezer")],
    an_image_that_is_written_to_is_copied_as_of_one_moment needs [Need::Isolate, Need::Root, Need::UserNamespaces],
    a_difference_tells_what_was_added_removed_and_changed needs [Need::Isolate, Need::UserNamespaces],
    images_are_compared_too needs [Need::Isolate, Need::Root, Need::UserNamespaces],
    a_clone_has_an_identity_of_its_own needs [Need::Isolate, Need::UserNamespaces],
    a_clone_of_a_running_image_is_its_state_now needs [Need::Isolate, Need::Root, Need::UserNamespaces],
    a_clone_can_be_of_a_snapshot_with_other_settings needs [Need::Isolate, Need::UserNamespaces],
    what_a_killed_snapshot_left_is_removed needs [Need::Isolate, Need::UserNamespaces],
    a_killed_rollback_is_completed_or_undone needs [Need::Isolate, Need::UserNamespaces],
    snapshots_that_cannot_be_are_refused needs [Need::Isolate, Need::UserNamespaces],
];

fn stopped(estate: &Estate) {
    estate.t(&["stop", "--kill", "web"]).ok();
}

fn goes_back_and_forth(estate: &Estate) {
    estate.sh("echo one > /etc/mark; rm /etc/profile; ln -s mark /etc/link");
    stopped(estate);
    estate.t(&["snapshot", "create", "web", "first", "--note", "it works"]).ok();
    estate.t(&["set", "web", "hostname=other"]).ok();
    estate.t(&["start", "web"]).ok();
    estate.sh("echo two > /etc/mark; echo new > /etc/new; echo back > /etc/profile");
    estate.t(&["snapshot", "rollback", "web", "first"]).fails(32, &["it is running", "--restart"]);
    let told = estate.t(&["snapshot", "rollback", "--restart", "web", "first"]).ok();
    let left = told.text().rsplit(' ').next().unwrap().to_owned();
    assert!(left.starts_with("before-"), "{told}");
    let seen = "cat /etc/mark; readlink /etc/link; ls /etc/new /etc/profile 2>/dev/null | wc -l; hostname";
    assert_eq!(estate.sh(seen), "one\nmark\n0\nweb");
    let listed = estate.t(&["snapshot", "ls", "--json", "web"]).ok().json();
    let names: Vec<_> =
        listed["snapshots"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["first", left.as_str()]);
    assert_eq!(
        (&listed["snapshots"][0]["note"], &listed["snapshots"][0]["current"]),
        (&"it works".into(), &true.into())
    );
    assert_eq!(listed["snapshots"][1]["parent"], "first");
    stopped(estate);
    estate.t(&["snapshot", "rollback", "web", &left]).ok();
    estate.t(&["start", "web"]).ok();
    assert_eq!(estate.sh("cat /etc/mark /etc/new /etc/profile; hostname"), "two\nnew\nback\nother");
    estate.t(&["snapshot", "rm", "web", "first"]).fails(21, &["--yes"]);
    estate.t(&["snapshot", "rm", "--yes", "web", "first"]).ok();
    estate.t(&["snapshot", "rm", "--yes", "web", "first"]).fails(14, &["there is no snapshot 'first'"]);
}

fn a_rollback_brings_disk_and_settings_back_and_keeps_what_it_leaves() {
    goes_back_and_forth(&Estate::with_running(&[]));
}

fn so_it_does_with_an_image() {
    goes_back_and_forth(&with_disk("40M"));
}

fn a_running_tenant_goes_on_after_a_snapshot() {
    let estate = Estate::with_running(&[]);
    estate.sh("echo now > /etc/mark");
    let taken = estate.t(&["snapshot", "create", "--json", "web"]).ok().json();
    assert!(taken["snapshot"]["paused_ms"].is_u64(), "{taken}");
    assert_eq!((estate.state("web"), estate.sh("cat /etc/mark")), ("running".to_owned(), "now".to_owned()));
    let name = taken["snapshot"]["name"].as_str().unwrap();
    let copy = estate.tenant("web").join("snapshots").join(name).join("upper/etc/mark");
    assert_eq!(fs::read_to_string(copy).unwrap(), "now\n");
    // One that stands still already goes on standing still.
    estate.t(&["pause", "web"]).ok();
    estate.t(&["snapshot", "create", "web", "paused"]).ok();
    assert_eq!(estate.state("web"), "paused");
    estate.t(&["unpause", "web"]).ok();
}

fn an_image_that_is_written_to_is_copied_as_of_one_moment() {
    let estate = with_disk("40M");
    let writer = "i=0; while :; do i=$((i + 1)); echo $i > /srv-$((i % 50)); head -c 20000 /dev/zero > /data-$((i % 7)); done";
    estate.t(&["exec", "web", "--", "sh", "-c", &format!("({writer}) > /dev/null 2>&1 &")]).ok();
    eventually("it writes", || estate.t(&["exec", "web", "--", "cat", "/srv-49"]).code == 0);
    for name in ["one", "two"] {
        estate.t(&["snapshot", "create", "web", name]).ok();
        let image = estate.tenant("web").join("snapshots").join(name).join("disk.img");
        let checked = child::run(Command::new("/sbin/e2fsck").args(["-f", "-n"]).arg(&image));
        assert_eq!(checked.code, 0, "{checked}");
    }
    assert_eq!(estate.state("web"), "running");
    let before = estate.sh("cat /srv-1");
    eventually("it goes on writing", || estate.sh("cat /srv-1") != before);
}

fn tells_differences(estate: &Estate) {
    estate.sh("mkdir -p /data; echo one > /data/changed; echo old > /data/removed; echo same > /data/same");
    stopped(estate);
    estate.t(&["snapshot", "create", "web", "first"]).ok();
    estate.t(&["start", "web"]).ok();
    estate.sh("echo longer > /data/changed; rm /data/removed; echo new > /data/added; rm /etc/profile");
    stopped(estate);
    let diff =
        |words: &[&str]| estate.t(&[&["snapshot", "diff", "web"], words].concat()).ok().text().to_owned();
    let wanted = "+ /data/added\n~ /data/changed\n- /data/removed\n- /etc/profile";
    let told = diff(&["first"]);
    let about = |line: &&str| ["/data", "/etc/profile"].iter().any(|path| line.contains(path));
    assert_eq!(told.lines().filter(about).collect::<Vec<_>>().join("\n"), wanted, "{told}");
    estate.t(&["snapshot", "create", "web", "second"]).ok();
    assert_eq!(diff(&["first", "second"]), told);
    assert_eq!(diff(&["second"]), "");
    let json = estate.t(&["snapshot", "diff", "--json", "web", "second", "first"]).ok().json();
    assert!(
        json["diff"]
            .as_array()
            .unwrap()
            .contains(&serde_json::json!({"change": "added", "path": "/data/removed"})),
        "{json}"
    );
}

fn a_difference_tells_what_was_added_removed_and_changed() {
    tells_differences(&Estate::with_running(&[]));
}

fn images_are_compared_too() {
    tells_differences(&with_disk("40M"));
}

fn a_clone_has_an_identity_of_its_own() {
    let estate = Estate::with_running(&["--owner", "alice", "--protect", "on"]);
    estate.sh(
        "echo mine > /etc/mark; echo 11111111111111111111111111111111 > /etc/machine-id; mkdir -p /etc/ssh",
    );
    estate.sh("echo secret > /etc/ssh/ssh_host_ed25519_key; echo public > /etc/ssh/ssh_host_ed25519_key.pub");
    stopped(&estate);
    estate.t(&["clone", "web", "two"]).ok();
    let (one, two) = (estate.info("web"), estate.info("two"));
    assert_ne!(one["settings"]["uuid"], two["settings"]["uuid"]);
    assert!(
        one["settings"]["first-id"].is_null() || one["settings"]["first-id"] != two["settings"]["first-id"]
    );
    assert_eq!(
        (&two["settings"]["admin"]["owner"], &two["settings"]["admin"]["protect"]),
        (&"alice".into(), &false.into())
    );
    estate.t(&["start", "two"]).ok();
    let sh = |script: &str| estate.t(&["exec", "two", "--", "sh", "-c", script]).ok().text().to_owned();
    assert_eq!(sh("cat /etc/mark; hostname; cat /etc/hostname"), "mine\ntwo\ntwo");
    let id = two["settings"]["uuid"].as_str().unwrap().replace('-', "");
    assert_eq!(sh("cat /etc/machine-id"), id);
    let keys = sh("cat /etc/ssh/ssh_host_ed25519_key /etc/ssh/ssh_host_ed25519_key.pub 2>/dev/null; true");
    match has_program("ssh-keygen") {
        true => assert!(keys.contains("OPENSSH PRIVATE KEY") && keys.contains("ssh-ed25519"), "{keys}"),
        false => assert_eq!(keys, ""),
    }
    estate.t(&["clone", "web", "two"]).fails(44, &["there is a tenant 'two' already"]);
}

fn a_clone_of_a_running_image_is_its_state_now() {
    let estate = with_disk("40M");
    estate.sh("echo now > /etc/mark");
    estate.t(&["clone", "web", "two"]).ok();
    estate.t(&["start", "two"]).ok();
    let seen =
        estate.t(&["exec", "two", "--", "sh", "-c", "cat /etc/mark; hostname; echo more > /etc/more"]).ok();
    assert_eq!(seen.text(), "now\ntwo");
    assert_eq!(estate.sh("cat /etc/mark; ls /etc/more 2>/dev/null || echo apart"), "now\napart");
}

fn a_clone_can_be_of_a_snapshot_with_other_settings() {
    let estate = Estate::with_running(&[]);
    estate.sh("echo one > /etc/mark");
    stopped(&estate);
    estate.t(&["snapshot", "create", "web", "first"]).ok();
    estate.t(&["start", "web"]).ok();
    estate.sh("echo two > /etc/mark");
    estate.t(&["clone", "web", "test", "--snapshot", "first", "--hostname", "elsewhere"]).ok();
    estate.t(&["start", "test"]).ok();
    let seen = estate.t(&["exec", "test", "--", "sh", "-c", "cat /etc/mark; hostname"]).ok();
    assert_eq!(seen.text(), "one\nelsewhere");
}

fn what_a_killed_snapshot_left_is_removed() {
    let estate = Estate::with_busybox();
    estate.t(&["create", "web", "--template", "busybox"]).ok();
    let half = estate.tenant("web").join("snapshots/.new-half");
    fs::create_dir_all(half.join("upper/etc")).unwrap();
    fs::create_dir(estate.tenant("web").join("disk/upper.fresh")).unwrap();
    assert_eq!(
        estate.t(&["snapshot", "ls", "--json", "web"]).ok().json()["snapshots"],
        serde_json::json!([])
    );
    estate.t(&["start", "web"]).ok();
    assert!(!half.exists() && !estate.tenant("web").join("disk/upper.fresh").exists());
    assert_eq!(estate.sh("hostname"), "web");
}

fn a_killed_rollback_is_completed_or_undone() {
    let estate = Estate::with_running(&[]);
    estate.sh("echo one > /etc/mark");
    stopped(&estate);
    estate.t(&["snapshot", "create", "web", "first"]).ok();
    let (tenant, rename) = (estate.tenant("web"), |from: &Path, to: &Path| fs::rename(from, to).unwrap());
    // As one leaves it that dies after the disk went into the snapshot of the state before.
    let making = tenant.join("snapshots/.new-before-now");
    fs::create_dir(&making).unwrap();
    let facts = fs::read_to_string(tenant.join("snapshots/first/snapshot.toml")).unwrap();
    fs::write(making.join("snapshot.toml"), facts.replace("name = \"first\"", "name = \"before-now\""))
        .unwrap();
    rename(&tenant.join("disk/upper"), &making.join("upper"));
    rename(&tenant.join("snapshots/first/upper"), &tenant.join("disk/upper.fresh"));
    estate.t(&["start", "web"]).ok();
    assert_eq!(estate.sh("cat /etc/mark"), "one");
    let listed = estate.t(&["snapshot", "ls", "--json", "web"]).ok().json();
    assert_eq!(listed["snapshots"].as_array().unwrap().len(), 2, "{listed}");
}

fn snapshots_that_cannot_be_are_refused() {
    let estate = Estate::with_busybox();
    estate.t(&["create", "web", "--template", "busybox"]).ok();
    estate.t(&["snapshot", "create", "web", "one"]).ok();
    estate.t(&["snapshot", "create", "web", "one"]).fails(44, &["there is a snapshot 'one' already"]);
    for name in ["..", "a/b", "A", "", ".new-x"] {
        estate.t(&["snapshot", "create", "web", name]).fails(21, &["invalid name"]);
        estate.t(&["snapshot", "rm", "--yes", "web", name]).fails(21, &["invalid name"]);
    }
    for words in [
        vec!["snapshot", "rollback", "web", "none"],
        vec!["snapshot", "diff", "web", "none"],
        vec!["snapshot", "ls", "nonesuch"],
        vec!["snapshot", "create", "nonesuch"],
        vec!["clone", "nonesuch", "two"],
        vec!["clone", "web", "two", "--snapshot", "none"],
    ] {
        estate.t(&words).fails(14, &["there is no"]);
    }
    estate.t(&["clone", "web", "two", "--tasks", "0"]).fails(21, &["1 to 4194304"]);
    estate.t(&["clone", "web", "two", "--disk", "1G"]).fails(20, &["--disk"]);
    assert!(!estate.tenant("two").exists());
    estate.t(&["snapshot", "crate", "web"]).fails(20, &["did you mean 'isolate tenant snapshot create'?"]);
}
