//! create, start, kill, delete: the states of a container, and what each command refuses in which state.

use std::fs;

use crate::support::*;
use crate::tests;

tests![a_container_is_created_started_stopped_and_deleted, run_gives_the_exit_code_of_the_program];

fn a_container_is_created_started_stopped_and_deleted() {
    let container = Bundle::sleeper().container();
    container.create(&[]).ok();
    assert_eq!(container.status(), "created");
    let pid: i32 = fs::read_to_string(container.pid_file()).unwrap().parse().unwrap();
    assert_eq!(container.pid(), pid);
    container.start().ok();
    assert_eq!(container.status(), "running");
    container.kill("KILL").ok();
    container.wait_for("stopped");
    assert_eq!(container.state()["pid"], 0);
    container.delete().ok();
    container.leaves_nothing();
    container.runtime(&["state", container.id()]).fails(1, &["does not exist"]);
}

fn run_gives_the_exit_code_of_the_program() {
    let output = Bundle::shell("echo hello; echo problem >&2; exit 17").run();
    assert_eq!((output.code, output.text()), (17, "hello"));
    assert!(output.stderr.contains("problem"));
}
