//! The runtime inside a container of podman, which the same runtime has made.

use serde_json::json;

use crate::engine::*;
use crate::support::nested::{self, Inner, SAID};
use crate::support::{Need, session};
use crate::tests;

tests![
    a_privileged_container_makes_containers needs [Need::Isolate],
    a_user_in_a_container_makes_containers needs [Need::Isolate],
    the_usual_confinement_is_told_by_the_call_that_it_denies needs [Need::Isolate],
];

/// Options that put the inner containers, and the runtime, into the outer one.
fn with(inner: &Inner, options: &[&str]) -> Vec<String> {
    let volume = |source: &std::path::Path, target: &str| format!("{}:{target}", source.display());
    let mut all = vec!["--volume".to_owned(), volume(&inner.folder, nested::FOLDER)];
    all.extend(["--volume".to_owned(), volume(&session().runtime, &format!("{}:ro", nested::RUNTIME))]);
    all.extend(["--tmpfs", "/tmp:mode=1777"].iter().chain(options).map(|option| (*option).to_owned()));
    all
}

fn script(inner: &Inner, options: &[&str]) -> crate::support::Output {
    let options = with(inner, options);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    run(&options, &["/bin/sh", "/inner/script"])
}

fn a_privileged_container_makes_containers() {
    assert_eq!(script(&Inner::new("", |_| {}), &["--privileged"]).ok().stdout, SAID);
}

/// Without a capability, as another user: only the masks and the filter of the outer one have to go.
fn a_user_in_a_container_makes_containers() {
    let inner = Inner::new("", |json| nested::in_user_namespace(json, 1000));
    let options =
        ["--user", "1000:1000", "--security-opt", "unmask=ALL", "--security-opt", "seccomp=unconfined"];
    assert_eq!(script(&inner, &options).ok().stdout, SAID);
}

fn the_usual_confinement_is_told_by_the_call_that_it_denies() {
    let inner = Inner::new("", |json| nested::in_user_namespace(json, 1000));
    script(&inner, &["--user", "1000:1000"]).fails(1, &["EPERM"]);
    let masked = ["--user", "1000:1000", "--security-opt", "seccomp=unconfined"];
    script(&inner, &masked).fails(1, &["/proc", "covered in places", "unmask=ALL"]);
    let read_only = Inner::new("", |json| json["hostname"] = json!("box"));
    let output = script(&read_only, &[]);
    output.fails(1, &["an ordinary user can only make containers with a user namespace"]);
}
