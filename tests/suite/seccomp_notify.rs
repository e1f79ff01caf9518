//! `SCMP_ACT_NOTIFY`: somebody outside answers calls for the container (`linux.seccomp.listenerPath`).

use serde_json::{Value, json};

use crate::support::agent::{Agent, Answer, notifiers};
use crate::support::*;
use crate::tests;

const OWN: Need = Need::Not("runc", "Debian's 1.1 is built without it");

tests![
    a_listener_answers_calls_of_the_container needs [OWN],
    the_listener_is_told_of_the_container needs [OWN],
    exactly_one_state_comes_and_the_connection_is_closed needs [OWN],
    calls_of_exec_come_to_a_connection_of_their_own needs [OWN],
    the_container_does_not_keep_the_descriptor needs [OWN, Need::Root],
    a_call_that_nobody_hears_any_more_is_enosys needs [OWN],
    a_filter_that_notifies_works_without_new_privileges needs [OWN],
    every_call_may_be_notified needs [Need::Isolate, Need::Root],
    sendmsg_cannot_be_notified_for_an_ordinary_user needs [Need::Isolate, Need::OrdinaryUser],
    the_annotation_of_crun_names_the_listener needs [Need::Isolate],
    a_listener_that_is_not_there_is_an_error needs [OWN],
    notify_without_a_listener_is_refused needs [OWN],
    metadata_without_a_listener_is_refused needs [OWN],
    a_listener_without_notify_is_ignored needs [OWN],
    every_flag_works_with_a_listener needs [Need::Isolate, Need::Kernel(5, 19)],
    killable_waiting_without_a_listener_has_no_effect needs [Need::Isolate],
];

const MKDIR: [&str; 2] = ["mkdir", "mkdirat"];

fn filter(names: &[&str]) -> Value {
    json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": names, "action": "SCMP_ACT_NOTIFY"}]
    })
}

/// A bundle whose filter asks an agent about mkdir, and the agent.
fn asking(bundle: Bundle, answer: Answer) -> (Bundle, Agent) {
    let agent = Agent::listen(&bundle.folder, answer);
    let mut filter = filter(&MKDIR);
    filter["listenerPath"] = json!(agent.path);
    (bundle.set("/linux/seccomp", filter), agent)
}

fn a_listener_answers_calls_of_the_container() {
    let (bundle, agent) = asking(Bundle::shell("mkdir /tmp/x"), Answer::Fail(libc::ENOMEDIUM));
    let output = bundle.run();
    assert!(output.code == 1 && output.stderr.contains("No medium found"), "{output}");
    agent.heard();
    let (bundle, agent) = asking(Bundle::shell("mkdir /tmp/x && ls /tmp"), Answer::Continue);
    assert_eq!(bundle.output(), "x");
    agent.heard();
}

fn the_listener_is_told_of_the_container() {
    let (bundle, agent) = asking(Bundle::sleeper(), Answer::Continue);
    let bundle = bundle.set("/linux/seccomp/listenerMetadata", json!("what=ever; \u{e4}"));
    let container = bundle.set("/annotations", json!({"some": "thing"})).create();
    let pid = container.pid();
    let id = container.id().to_owned();
    let folder = container.bundle.folder.clone();
    container.delete_by_force().ok();
    let (state, _) = agent.heard();
    assert_eq!(state["fds"], json!(["seccompFd"]), "{state}");
    assert_eq!(state["pid"], pid, "{state}");
    assert_eq!(state["metadata"], "what=ever; \u{e4}", "{state}");
    assert_eq!(state["ociVersion"], "1.0.2", "{state}");
    let inner = &state["state"];
    assert_eq!(
        (&inner["id"], &inner["pid"], &inner["status"]),
        (&json!(id), &json!(pid), &json!("creating")),
        "{state}"
    );
    assert_eq!(
        (&inner["bundle"], &inner["annotations"]),
        (&json!(folder), &json!({"some": "thing"})),
        "{state}"
    );
}

fn exactly_one_state_comes_and_the_connection_is_closed() {
    let (bundle, agent) = asking(Bundle::nothing(), Answer::Continue);
    bundle.run().ok();
    let (state, is_closed) = agent.heard();
    assert!(state.is_object() && is_closed, "{state}");
}

fn calls_of_exec_come_to_a_connection_of_their_own() {
    let (bundle, agent) = asking(Bundle::sleeper(), Answer::Continue);
    let container = bundle.start();
    std::fs::remove_file(&agent.path).unwrap();
    let second = Agent::listen(&container.bundle.folder, Answer::Fail(libc::ENOMEDIUM));
    let output = container.exec(&["mkdir", "/tmp/x"]);
    assert!(output.code == 1 && output.stderr.contains("No medium found"), "{output}");
    let (state, _) = second.heard();
    let init = container.pid();
    assert!(state["pid"].as_i64().is_some_and(|pid| pid > 0 && pid != i64::from(init)), "{state}");
    assert_eq!(
        (&state["state"]["pid"], &state["state"]["status"]),
        (&json!(init), &json!("running")),
        "{state}"
    );
    container.delete_by_force().ok();
    agent.heard();
}

fn the_container_does_not_keep_the_descriptor() {
    let (bundle, agent) = asking(Bundle::sleeper(), Answer::Continue);
    let container = bundle.create();
    assert_eq!(notifiers(container.pid()), 0);
    container.start().ok();
    assert_eq!(notifiers(container.pid()), 0);
    container.delete_by_force().ok();
    agent.heard();
}

fn a_call_that_nobody_hears_any_more_is_enosys() {
    let bundle = Bundle::shell("mkdir /tmp/x");
    let path = bundle.folder.join("agent.sock");
    let socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
    // The connection waits in the queue and dies with the socket, and the descriptor with it.
    let mut asking = filter(&MKDIR);
    asking["listenerPath"] = json!(path);
    let container = bundle.set("/linux/seccomp", asking).create();
    drop(socket);
    let run = container.start();
    run.ok();
    container.wait_for("stopped");
    assert!(!container.bundle.rootfs().join("tmp/x").exists());
}

fn a_filter_that_notifies_works_without_new_privileges() {
    let (bundle, agent) = asking(Bundle::shell("mkdir /tmp/x || echo refused"), Answer::Fail(libc::EPERM));
    assert_eq!(bundle.set("/process/noNewPrivileges", json!(true)).output(), "refused");
    agent.heard();
}

fn every_call_may_be_notified() {
    // Nothing is left to the filtered process to tell of its descriptor: not even `write` or `sendmsg`.
    let bundle = Bundle::shell("echo still here");
    let agent = Agent::listen(&bundle.folder, Answer::Continue);
    let all = json!({"defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": agent.path});
    assert_eq!(bundle.set("/linux/seccomp", all).output(), "still here");
    agent.heard();
}

fn sendmsg_cannot_be_notified_for_an_ordinary_user() {
    let mut asking = filter(&["sendmsg"]);
    asking["listenerPath"] = json!("/nonesuch");
    Bundle::nothing()
        .set("/linux/seccomp", asking)
        .refused(&["SCMP_ACT_NOTIFY cannot be used for the sendmsg syscall"]);
}

fn the_annotation_of_crun_names_the_listener() {
    let bundle = Bundle::shell("mkdir /tmp/x || echo refused");
    let agent = Agent::listen(&bundle.folder, Answer::Fail(libc::EPERM));
    let receiver = json!({"run.oci.seccomp.receiver": agent.path});
    assert_eq!(
        bundle.set("/linux/seccomp", filter(&MKDIR)).set("/annotations", receiver).output(),
        "refused"
    );
    agent.heard();
}

fn a_listener_that_is_not_there_is_an_error() {
    let mut asking = filter(&MKDIR);
    asking["listenerPath"] = json!("/nonesuch/socket");
    let words = ["linux.seccomp.listenerPath /nonesuch/socket: failed to connect with seccomp agent"];
    Bundle::nothing().set("/linux/seccomp", asking).refused(&words);
}

fn notify_without_a_listener_is_refused() {
    let words = ["linux.seccomp.listenerPath: SCMP_ACT_NOTIFY needs a listener"];
    Bundle::nothing().set("/linux/seccomp", filter(&MKDIR)).refused(&words);
}

fn metadata_without_a_listener_is_refused() {
    let mut metadata = filter(&MKDIR);
    metadata["listenerMetadata"] = json!("x");
    Bundle::nothing()
        .set("/linux/seccomp", metadata)
        .refused(&["linux.seccomp.listenerMetadata: it needs listenerPath"]);
}

fn a_listener_without_notify_is_ignored() {
    let unused = json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/nonesuch/socket", "listenerMetadata": "x"});
    Bundle::nothing().set("/linux/seccomp", unused).run().ok();
}

fn every_flag_works_with_a_listener() {
    let (bundle, agent) = asking(Bundle::shell("mkdir /tmp/x || echo refused"), Answer::Fail(libc::EPERM));
    let flags = json!([
        "SECCOMP_FILTER_FLAG_TSYNC",
        "SECCOMP_FILTER_FLAG_LOG",
        "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
        "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"
    ]);
    assert_eq!(bundle.set("/linux/seccomp/flags", flags).output(), "refused");
    agent.heard();
}

fn killable_waiting_without_a_listener_has_no_effect() {
    let unused = json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
        "syscalls": [{"names": MKDIR, "action": "SCMP_ACT_ERRNO"}]});
    assert_eq!(
        Bundle::shell("mkdir /tmp/x || echo refused").set("/linux/seccomp", unused).output(),
        "refused"
    );
}
