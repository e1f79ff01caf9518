//! kill: which signal, to whom, and in which state.

use serde_json::json;

use crate::support::child::eventually;
use crate::support::*;
use crate::tests;

tests![
    a_signal_is_given_by_name_or_number,
    the_default_signal_is_term,
    a_real_time_signal_is_given_by_number,
    an_unknown_signal_is_refused,
    kill_refuses_a_stopped_container,
    kill_all_refuses_nothing_when_the_container_is_stopped,
    kill_ends_a_created_container,
    kill_reaches_the_init_alone,
    kill_all_reaches_every_process needs [Need::Cgroup("freezer")],
    killing_a_container_in_the_host_pid_namespace_ends_all_its_processes
        needs [Need::Cgroup("freezer"), Need::Not("runc", "1.1 kills the init alone")],
    delete_by_force_ends_every_process_in_the_host_pid_namespace needs [Need::Cgroup("freezer")],
    a_signal_reaches_a_program_that_is_another_user needs [Need::Root],
];

/// A container that writes the name of the signal it gets to `/tmp/got`.
fn listener() -> Container {
    let script = "for s in TERM HUP INT USR1 USR2; do trap \"echo $s >> /tmp/got\" $s; done; \
                  trap 'echo 40 >> /tmp/got' 40; : > /tmp/got; while :; do sleep 0.02; done";
    let container = Bundle::shell(script).start();
    let ready = container.bundle.rootfs().join("tmp/got");
    eventually("the program listens", || ready.exists());
    container
}

#[track_caller]
fn expect_signal(container: &Container, name: &str) {
    eventually(&format!("{name} arrives"), || container.peek("/tmp/got").lines().last() == Some(name));
}

fn a_signal_is_given_by_name_or_number() {
    let container = listener();
    for (argument, name) in
        [("HUP", "HUP"), ("SIGUSR1", "USR1"), ("2", "INT"), ("sigusr2", "USR2"), ("hup", "HUP")]
    {
        container.kill(argument).ok();
        expect_signal(&container, name);
    }
}

fn the_default_signal_is_term() {
    let container = listener();
    container.runtime(&["kill", container.id()]).ok();
    expect_signal(&container, "TERM");
}

fn a_real_time_signal_is_given_by_number() {
    let container = listener();
    container.kill("40").ok();
    expect_signal(&container, "40");
}

fn an_unknown_signal_is_refused() {
    let container = Bundle::sleeper().start();
    for signal in ["NONSENSE", "-3", "99999999999", "SIGSIGHUP"] {
        let output = container.runtime(&["kill", "--", container.id(), signal]);
        assert!(output.code != 0, "{signal:?}: {output}");
    }
    assert_eq!(container.status(), "running");
}

fn kill_refuses_a_stopped_container() {
    let container = Bundle::sleeper().start();
    container.kill("KILL").ok();
    container.wait_for("stopped");
    container.kill("KILL").fails(1, &["container not running"]);
}

fn kill_all_refuses_nothing_when_the_container_is_stopped() {
    let container = Bundle::sleeper().start();
    container.kill("KILL").ok();
    container.wait_for("stopped");
    container.runtime(&["kill", "--all", container.id(), "KILL"]).ok();
}

fn kill_ends_a_created_container() {
    let container = Bundle::sleeper().create();
    container.kill("KILL").ok();
    container.wait_for("stopped");
    container.delete().ok();
    container.leaves_nothing();
}

/// A shell and its child; both write the signal they get.
fn family() -> Container {
    let script = "sh -c 'trap \"echo child >> /tmp/got\" USR1; echo $$ > /tmp/child; while :; do sleep 0.02; done' & \
                  trap 'echo init >> /tmp/got' USR1; : > /tmp/got; while :; do sleep 0.02; done";
    let container = Bundle::shell(script).start();
    let child = container.bundle.rootfs().join("tmp/child");
    let ready = container.bundle.rootfs().join("tmp/got");
    eventually("both listen", || {
        ready.exists() && std::fs::read_to_string(&child).is_ok_and(|text| !text.is_empty())
    });
    container
}

fn kill_reaches_the_init_alone() {
    let container = family();
    container.kill("USR1").ok();
    expect_signal(&container, "init");
    std::thread::sleep(std::time::Duration::from_millis(60));
    assert!(!container.read("/tmp/got").contains("child"));
}

fn kill_all_reaches_every_process() {
    let container = family();
    container.runtime(&["kill", "--all", container.id(), "USR1"]).ok();
    eventually("both got it", || {
        let got = container.read("/tmp/got");
        got.contains("init") && got.contains("child")
    });
}

/// A container without a pid namespace whose child ignores its parent's end.
fn shared_pid_namespace() -> (Container, i32) {
    let script = "setsid sh -c 'echo $$ > /tmp/child; while :; do sleep 0.1; done' & sleep 100";
    let container = Bundle::shell(script).config(config::share_pid_namespace).start();
    let child = container.bundle.rootfs().join("tmp/child");
    eventually("the child runs", || std::fs::read_to_string(&child).is_ok_and(|text| text.ends_with('\n')));
    let child = container.read("/tmp/child").trim().parse().unwrap();
    (container, child)
}

fn killing_a_container_in_the_host_pid_namespace_ends_all_its_processes() {
    let (container, child) = shared_pid_namespace();
    container.kill("KILL").ok();
    eventually("the child is killed too", || !process::is_alive(child));
    container.wait_for("stopped");
}

fn delete_by_force_ends_every_process_in_the_host_pid_namespace() {
    let (container, child) = shared_pid_namespace();
    container.delete_by_force().ok();
    container.leaves_nothing();
    assert!(!process::is_alive(child));
}

fn a_signal_reaches_a_program_that_is_another_user() {
    let container = Bundle::sleeper().set("/process/user", json!({"uid": 1000, "gid": 1000})).start();
    eventually("the program runs", || process::command_line(container.pid()).starts_with("/bin/sh"));
    container.kill("TERM").ok();
    container.wait_for("stopped");
}
