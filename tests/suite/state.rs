//! `state`: the fields, as engines read them.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::support::*;
use crate::tests;

tests![
    state_has_every_field_that_engines_read,
    the_time_of_creation_is_rfc_3339,
    annotations_are_given_back,
    an_empty_annotation_key_is_refused needs [Need::Not("runc", "1.1 takes it")],
    the_status_follows_the_container,
    the_owner_is_the_user_of_the_state,
    success_prints_nothing_on_standard_error,
    state_is_read_by_another_process_of_the_runtime,
];

fn state_has_every_field_that_engines_read() {
    let container = Bundle::sleeper().start();
    let state = container.state();
    assert_eq!(state["id"], container.id());
    assert_eq!(state["status"], "running");
    assert_eq!(state["bundle"], json!(container.bundle.folder));
    assert_eq!(state["rootfs"], json!(container.bundle.rootfs()));
    assert!(state["ociVersion"].as_str().unwrap().starts_with("1."), "{state}");
    assert!(process::is_alive(state["pid"].as_i64().unwrap() as i32));
    assert!(state["owner"].is_string(), "{state}");
}

fn seconds(date: &str) -> u64 {
    let output = child::run(std::process::Command::new("date").args(["-u", "+%s", "-d", date])).ok();
    output.text().parse().unwrap()
}

fn the_time_of_creation_is_rfc_3339() {
    let container = Bundle::sleeper().create();
    let created = container.state()["created"].as_str().unwrap().to_owned();
    assert!(created.ends_with('Z') && created.as_bytes()[10] == b'T', "{created}");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    assert!(now.abs_diff(seconds(&created)) < 30, "{created}");
}

fn annotations_are_given_back() {
    let annotations = json!({"org.example.key": "value with \"quotes\" and ä", "empty": ""});
    let container = Bundle::sleeper().set("/annotations", annotations.clone()).create();
    assert_eq!(container.state()["annotations"], annotations);
}

fn an_empty_annotation_key_is_refused() {
    Bundle::nothing().set("/annotations", json!({"": "x"})).refused(&["annotations"]);
}

fn the_status_follows_the_container() {
    let container = Bundle::sleeper().create();
    assert_eq!(container.status(), "created");
    container.start().ok();
    assert_eq!(container.status(), "running");
    container.kill("KILL").ok();
    container.wait_for("stopped");
    assert_eq!(container.state()["pid"], 0);
}

fn the_owner_is_the_user_of_the_state() {
    let container = Bundle::sleeper().create();
    let own = child::run(std::process::Command::new("id").arg("-un")).ok();
    assert_eq!(container.runtime(&["list", "--format", "json"]).ok().json()[0]["owner"], own.text());
}

fn success_prints_nothing_on_standard_error() {
    // containerd and CRI-O read both streams as one.
    let container = Bundle::sleeper().start();
    for arguments in
        [vec!["state", container.id()], vec!["ps", "--format", "json", container.id()], vec!["list"]]
    {
        let output = container.runtime(&arguments).ok();
        assert_eq!(output.stderr, "", "{arguments:?}");
    }
    for argument in ["--version", "features"] {
        assert_eq!(bundle::runtime(&[argument]).ok().stderr, "", "{argument}");
    }
}

fn state_is_read_by_another_process_of_the_runtime() {
    let container = Bundle::sleeper().start();
    let first = container.state();
    assert_eq!(container.state(), first);
}
