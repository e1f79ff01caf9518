//! pause and resume: nothing of a paused container moves, and what can be done with it meanwhile.

use crate::support::child::eventually;
use crate::support::*;
use crate::tests;

tests![
    a_paused_container_does_nothing_until_resumed needs [Need::Cgroup("freezer")],
    pause_refuses_a_container_that_does_not_run needs [Need::Cgroup("freezer")],
    resume_refuses_a_container_that_is_not_paused needs [Need::Cgroup("freezer")],
    exec_refuses_a_paused_container needs [Need::Cgroup("freezer")],
    exec_may_ignore_the_pause needs [Need::Cgroup("freezer")],
    delete_refuses_a_paused_container needs [Need::Cgroup("freezer")],
    delete_by_force_removes_a_paused_container needs [Need::Cgroup("freezer")],
    a_signal_to_a_paused_container_arrives_when_it_is_resumed needs [Need::Cgroup("freezer")],
    a_paused_container_can_be_killed needs [Need::Cgroup("freezer")],
    ps_shows_a_paused_container needs [Need::Cgroup("freezer")],
    start_refuses_a_paused_container needs [Need::Cgroup("freezer")],
];

fn paused(bundle: Bundle) -> Container {
    let container = bundle.start();
    container.runtime(&["pause", container.id()]).ok();
    assert_eq!(container.status(), "paused");
    container
}

fn a_paused_container_does_nothing_until_resumed() {
    let container = Bundle::shell("while :; do echo x >> /tmp/beat; sleep 0.01; done").start();
    let beats = || container.peek("/tmp/beat").len();
    eventually("it beats", || beats() > 0);
    container.runtime(&["pause", container.id()]).ok();
    let before = beats();
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert_eq!(beats(), before);
    container.runtime(&["resume", container.id()]).ok();
    assert_eq!(container.status(), "running");
    eventually("it beats again", || beats() > before);
}

fn pause_refuses_a_container_that_does_not_run() {
    let container = Bundle::sleeper().start();
    container.kill("KILL").ok();
    container.wait_for("stopped");
    container.runtime(&["pause", container.id()]).fails(1, &["not running"]);
}

fn resume_refuses_a_container_that_is_not_paused() {
    let container = Bundle::sleeper().start();
    container.runtime(&["resume", container.id()]).fails(1, &["not paused"]);
    assert_eq!(container.status(), "running");
}

fn exec_refuses_a_paused_container() {
    let container = paused(Bundle::sleeper());
    container.exec(&["true"]).fails(255, &["cannot exec in a paused container"]);
}

fn exec_may_ignore_the_pause() {
    let container = paused(Bundle::sleeper());
    let mut run = Run::start(&mut container.exec_command(&["--ignore-paused"], &["/bin/echo", "late"]));
    std::thread::sleep(std::time::Duration::from_millis(150));
    assert!(run.is_running(), "it waits in the frozen cgroup");
    container.runtime(&["resume", container.id()]).ok();
    assert_eq!(run.finish().ok().text(), "late");
}

fn delete_refuses_a_paused_container() {
    let container = paused(Bundle::sleeper());
    container.delete().fails(1, &["is not stopped"]);
    assert_eq!(container.status(), "paused");
}

fn delete_by_force_removes_a_paused_container() {
    let container = paused(Bundle::sleeper());
    container.delete_by_force().ok();
    container.leaves_nothing();
}

fn a_signal_to_a_paused_container_arrives_when_it_is_resumed() {
    let container = paused(Bundle::shell(
        "trap 'touch /tmp/got; exit 0' USR1; touch /tmp/up; while :; do sleep 0.02; done",
    ));
    container.kill("USR1").ok();
    std::thread::sleep(std::time::Duration::from_millis(50));
    let got = container.bundle.rootfs().join("tmp/got");
    assert!(!got.exists());
    container.runtime(&["resume", container.id()]).ok();
    // The signal may have come before the trap was set; then the program has ended by it, or still runs.
    let up = container.bundle.rootfs().join("tmp/up");
    eventually("the signal arrives", || {
        got.exists() || (up.exists() && container.status() == "stopped") || {
            container.kill("USR1");
            false
        }
    });
}

fn a_paused_container_can_be_killed() {
    let container = paused(Bundle::sleeper());
    container.kill("KILL").ok();
    // Version 1 keeps a killed process frozen: whoever kills must thaw, or resume must still work.
    if container.status() == "paused" {
        container.runtime(&["resume", container.id()]);
    }
    container.wait_for("stopped");
    container.delete().ok();
    container.leaves_nothing();
}

fn ps_shows_a_paused_container() {
    let container = paused(Bundle::new(&["/bin/sleep", "100"]));
    let list = container.runtime(&["ps", "--format=json", container.id()]).ok().json();
    assert_eq!(list.as_array().unwrap().len(), 1);
}

fn start_refuses_a_paused_container() {
    let container = paused(Bundle::sleeper());
    container.start().fails(1, &[]);
    assert_eq!(container.status(), "paused");
}
