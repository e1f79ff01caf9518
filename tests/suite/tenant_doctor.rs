//! What is left of commands that were killed, and who puts it right; where tenants lie; which snapshots are kept.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use crate::support::child::{Run, eventually};
use crate::support::estate::Estate;
use crate::support::*;
use crate::tests;

tests![
    a_doctor_finds_nothing_where_nothing_is_wrong needs [Need::Isolate, Need::UserNamespaces],
    what_killed_commands_have_left_is_found_and_put_right needs [Need::Isolate, Need::UserNamespaces],
    what_only_people_can_put_right_is_told needs [Need::Isolate, Need::UserNamespaces],
    a_doctor_passes_over_what_somebody_works_on needs [Need::Isolate, Need::UserNamespaces],
    a_rollback_killed_between_its_renames_is_completed_with_its_settings needs [Need::Isolate, Need::UserNamespaces],
    a_rollback_killed_at_any_time_is_there_or_not needs [Need::Isolate, Need::UserNamespaces],
    a_clone_killed_at_any_time_leaves_nothing_for_long needs [Need::Isolate, Need::UserNamespaces],
    the_place_of_tenants_is_told_in_words needs [Need::Isolate],
    snapshots_that_no_rule_keeps_go needs [Need::Isolate, Need::UserNamespaces],
];

fn a_doctor_finds_nothing_where_nothing_is_wrong() {
    let estate = Estate::new();
    assert_eq!(estate.t(&["doctor"]).ok().text(), "nothing is wrong");
    let estate = Estate::with_running(&[]);
    estate.t(&["stop", "--kill", "web"]).ok();
    estate.t(&["snapshot", "create", "web", "one"]).ok();
    estate.t(&["start", "web"]).ok();
    assert_eq!(estate.t(&["doctor"]).ok().text(), "nothing is wrong");
    assert_eq!(estate.t(&["doctor", "--fix", "--json"]).ok().json()["findings"], serde_json::json!([]));
    assert_eq!(estate.state("web"), "running");
}

/// As commands that were killed would leave it.
fn leave_half(estate: &Estate) {
    fs::create_dir_all(estate.tenant("half").join("disk/upper")).unwrap();
    fs::create_dir(estate.data().join("templates/.import-1")).unwrap();
    fs::create_dir_all(estate.tenant("web").join("snapshots/.new-two/upper")).unwrap();
    fs::create_dir(estate.tenant("web").join(".export")).unwrap();
}

fn what_killed_commands_have_left_is_found_and_put_right() {
    let estate = Estate::with_running(&[]);
    estate.sh("echo mine > /etc/mark");
    estate.t(&["stop", "--kill", "web"]).ok();
    leave_half(&estate);
    let told = estate.t(&["doctor"]);
    assert_eq!(told.code, 1, "{told:?}");
    for words in [
        "half: a command that made or removed it was killed",
        "web: a snapshot or rollback was killed on its way",
        "web: .export was left by a command that was killed",
        ".import-1: an import was killed on its way",
    ] {
        assert!(told.text().contains(words), "{words}: {told:?}");
    }
    assert!(estate.tenant("half").exists(), "without --fix nothing changes");
    let fixed = estate.t(&["doctor", "--fix"]).ok();
    assert_eq!(fixed.text().lines().filter(|line| line.ends_with(": put right")).count(), 4, "{fixed:?}");
    assert_eq!(estate.t(&["doctor"]).ok().text(), "nothing is wrong");
    estate.t(&["start", "web"]).ok();
    assert_eq!(estate.sh("cat /etc/mark"), "mine");
}

fn what_only_people_can_put_right_is_told() {
    let estate = Estate::with_busybox();
    for name in ["web", "two"] {
        estate.t(&["create", name, "--template", "busybox"]).ok();
    }
    let path = estate.tenant("two").join("tenant.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("[boot]", "[bood]")).unwrap();
    let path = estate.tenant("web").join("tenant.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("sha256:", "sha256:0")).unwrap();
    let told = estate.t(&["doctor", "--fix"]);
    assert_eq!(told.code, 1);
    assert!(told.text().contains("two: its settings cannot be read"), "{told:?}");
    assert!(told.text().contains("web: template 'busybox' is another one than it was made from"), "{told:?}");
    assert!(estate.tenant("two").join("tenant.toml").exists());
}

fn a_doctor_passes_over_what_somebody_works_on() {
    use nix::fcntl::{Flock, FlockArg};
    let estate = Estate::with_busybox();
    estate.t(&["create", "web", "--template", "busybox"]).ok();
    leave_half(&estate);
    let held: Vec<_> = ["web", "half"]
        .map(|name| {
            let path = estate.tenant(name).join("lock");
            let file = fs::File::options().write(true).create(true).truncate(false).open(path).unwrap();
            Flock::lock(file, FlockArg::LockExclusive).unwrap()
        })
        .into();
    estate.t(&["doctor", "--fix"]).ok();
    assert!(estate.tenant("half").exists() && estate.tenant("web").join(".export").exists());
    drop(held);
}

/// `web` with the snapshot `one` of host name and data `old`; both are `new` now.
fn with_snapshot() -> Estate {
    let estate = Estate::with_running(&["--hostname", "old"]);
    estate.sh("echo old > /etc/mark");
    estate.t(&["stop", "--kill", "web"]).ok();
    estate.t(&["snapshot", "create", "web", "one"]).ok();
    estate.t(&["set", "web", "hostname=new"]).ok();
    estate.t(&["start", "web"]).ok();
    estate.sh("echo new > /etc/mark");
    estate.t(&["stop", "--kill", "web"]).ok();
    estate
}

fn settings_and_data(estate: &Estate) -> (String, String) {
    let host = estate.info("web")["settings"]["system"]["hostname"].as_str().unwrap().to_owned();
    let data = fs::read_to_string(estate.tenant("web").join("disk/upper/etc/mark")).unwrap();
    (host, data.trim().to_owned())
}

fn a_rollback_killed_between_its_renames_is_completed_with_its_settings() {
    let estate = with_snapshot();
    let folder = estate.tenant("web");
    let facts = fs::read_to_string(folder.join("snapshots/one/snapshot.toml")).unwrap();
    let settings = &facts[facts.find("[settings").unwrap()..];
    fs::write(folder.join("snapshots/rolling.toml"), format!("snapshot = \"one\"\n\n{settings}")).unwrap();
    let making = folder.join("snapshots/.new-before-it");
    fs::create_dir(&making).unwrap();
    fs::write(making.join("snapshot.toml"), facts.replacen("\"one\"", "\"before-it\"", 1)).unwrap();
    fs::rename(folder.join("disk/upper"), making.join("upper")).unwrap();
    fs::rename(folder.join("snapshots/one/upper"), folder.join("disk/upper.fresh")).unwrap();
    assert_eq!(estate.t(&["doctor"]).code, 1);
    estate.t(&["doctor", "--fix"]).ok();
    assert_eq!(settings_and_data(&estate), ("old".into(), "old".into()));
    let left = making.with_file_name("before-it").join("upper/etc/mark");
    assert_eq!(fs::read_to_string(left).unwrap(), "new\n");
}

/// Starts a command, and kills it after some time.
fn killed(estate: &Estate, words: &[&str], after: Duration) {
    let run = Run::start_with(&mut estate.command(words), Stdio::null());
    std::thread::sleep(after);
    run.signal(nix::sys::signal::Signal::SIGKILL);
    run.finish();
}

fn a_rollback_killed_at_any_time_is_there_or_not() {
    let estate = with_snapshot();
    let mut outcomes = std::collections::BTreeSet::new();
    for step in 0..12 {
        killed(&estate, &["snapshot", "rollback", "web", "one"], Duration::from_millis(4 * step));
        // A child of the killed one may still be copying, and hold the lock.
        eventually("the doctor can get at it", || {
            estate.t(&["doctor", "--fix"]).ok();
            estate.tenant("web").join("disk/upper/etc/mark").exists()
        });
        let (host, data) = settings_and_data(&estate);
        assert_eq!(host, data, "after {step}");
        outcomes.insert(host.clone());
        if host == "old" {
            // As it was: the state that the rollback has left is a snapshot.
            let all = estate.t(&["snapshot", "ls", "--json", "web"]).ok().json();
            let names = all["snapshots"].as_array().unwrap().iter();
            let name = names.filter_map(|one| one["name"].as_str()).find(|name| name.starts_with("before-"));
            estate.t(&["snapshot", "rollback", "web", name.unwrap()]).ok();
            assert_eq!(settings_and_data(&estate).1, "new");
        }
    }
    // One that nobody kills arrives.
    estate.t(&["snapshot", "rollback", "web", "one"]).ok();
    outcomes.insert(settings_and_data(&estate).0);
    assert!(outcomes.contains("old"), "{outcomes:?}");
}

fn a_clone_killed_at_any_time_leaves_nothing_for_long() {
    let estate = with_snapshot();
    for step in 0..8 {
        killed(&estate, &["clone", "web", "two"], Duration::from_millis(6 * step));
        // A child of the killed one may still be copying, and hold the lock.
        eventually("the doctor can get at it", || {
            estate.t(&["doctor", "--fix"]).ok();
            !estate.tenant("two").exists() || estate.tenant("two").join("tenant.toml").exists()
        });
        if estate.tenant("two").exists() {
            estate.t(&["start", "two"]).ok();
            estate.t(&["destroy", "--yes", "--force", "two"]).ok();
        }
        estate.t(&["clone", "web", "two"]).ok();
        estate.t(&["destroy", "--yes", "two"]).ok();
    }
    assert_eq!(settings_and_data(&estate), ("new".into(), "new".into()));
}

fn the_place_of_tenants_is_told_in_words() {
    let estate = Estate::with_busybox();
    let told = estate.t(&["pool"]).ok();
    assert!(told.text().starts_with(&estate.data().join("tenants").display().to_string()), "{told:?}");
    assert!(
        told.text().contains("0 tenants, 1 templates") && told.text().contains("copies share"),
        "{told:?}"
    );
    let pool = estate.t(&["pool", "--json"]).ok().json()["pool"].take();
    assert!(pool["free"].as_u64().unwrap() > 0 && pool["free"].as_u64() <= pool["size"].as_u64());
    assert_eq!(pool["images"], nix::unistd::geteuid().is_root() && Path::new("/dev/loop-control").exists());
    let left: Vec<_> = fs::read_dir(estate.data().join("tenants")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

fn snapshots_that_no_rule_keeps_go() {
    let estate = Estate::with_busybox();
    estate.t(&["create", "web", "--template", "busybox"]).ok();
    for name in ["a", "b", "c", "d"] {
        estate.t(&["snapshot", "create", "web", name]).ok();
    }
    estate.t(&["snapshot", "create", "web", "noted", "--note", "works"]).ok();
    estate.t(&["snapshot", "prune", "web"]).fails(21, &["no rule says what is kept"]);
    estate
        .t(&["snapshot", "prune", "--keep-last", "2", "web"])
        .fails(21, &["Remove 2 of 5 snapshots?", "--yes"]);
    let told = estate.t(&["snapshot", "prune", "--keep-last", "2", "--dry-run", "web"]).ok();
    assert_eq!(told.text(), "a      would go\nb      would go\nc      kept\nd      kept\nnoted  kept");
    estate.t(&["snapshot", "prune", "--keep-last", "2", "--yes", "web"]).ok();
    let told = estate
        .t(&["snapshot", "prune", "--keep-daily", "1", "--noted", "--yes", "--json", "web"])
        .ok()
        .json();
    let kept: Vec<_> =
        told["snapshots"].as_array().unwrap().iter().map(|one| one["kept"].as_bool().unwrap()).collect();
    assert_eq!(kept, [false, false, true]);
    let all = estate.t(&["snapshot", "ls", "--json", "web"]).ok().json();
    assert_eq!(all["snapshots"].as_array().unwrap().len(), 1);
}
