//! create, start, run, delete: the states of a container, and what each command refuses in which state.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::support::child::{self, eventually};
use crate::support::*;
use crate::tests;

tests![
    a_container_is_created_started_stopped_and_deleted,
    create_runs_nothing_of_the_user,
    create_keeps_its_own_copy_of_the_config,
    the_pid_file_holds_the_bare_number,
    the_bundle_defaults_to_the_current_folder,
    a_relative_bundle_is_shown_as_absolute,
    the_same_id_twice_is_refused_and_the_first_one_lives_on,
    two_state_roots_may_use_the_same_id,
    start_refuses_a_running_container,
    start_refuses_a_stopped_container,
    delete_refuses_a_running_container,
    delete_removes_a_created_container,
    delete_by_force_removes_a_running_container,
    delete_by_force_of_an_unknown_container_succeeds,
    every_command_names_a_container_that_does_not_exist,
    a_container_killed_from_the_host_is_stopped_and_can_be_deleted,
    run_gives_the_exit_code_of_the_program,
    run_gives_128_plus_the_signal_that_ended_the_program,
    run_passes_standard_input_through,
    run_leaves_nothing_behind,
    run_with_keep_leaves_a_stopped_container,
    run_detached_returns_at_once,
    run_forwards_signals_to_the_program,
    run_reaps_the_orphans_of_the_container needs [Need::Root],
    a_missing_program_is_told_at_create,
    a_missing_absolute_program_is_told_at_create,
    a_program_that_may_not_be_executed_is_told_at_create,
    a_failed_create_leaves_nothing,
    a_command_without_an_id_fails,
    a_command_with_too_many_arguments_fails,
    success_prints_nothing,
];

fn a_container_is_created_started_stopped_and_deleted() {
    let container = Bundle::sleeper().container();
    container.create(&[]).ok();
    assert_eq!(container.status(), "created");
    container.start().ok();
    assert_eq!(container.status(), "running");
    container.kill("KILL").ok();
    container.wait_for("stopped");
    assert_eq!(container.state()["pid"], 0);
    container.delete().ok();
    container.leaves_nothing();
    container.runtime(&["state", container.id()]).fails(1, &["does not exist"]);
}

fn create_runs_nothing_of_the_user() {
    let container = Bundle::shell("touch /tmp/ran; sleep 100").create();
    let mark = container.bundle.rootfs().join("tmp/ran");
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert!(!mark.exists());
    container.start().ok();
    eventually("the program runs after start", || mark.exists());
}

fn create_keeps_its_own_copy_of_the_config() {
    let container = Bundle::shell("echo first > /tmp/who; sleep 100").create();
    fs::write(container.bundle.folder.join("config.json"), "{}").unwrap();
    container.start().ok();
    eventually("the first program runs", || container.peek("/tmp/who").trim() == "first");
    assert_eq!(container.status(), "running");
}

fn the_pid_file_holds_the_bare_number() {
    let container = Bundle::sleeper().create();
    let text = fs::read_to_string(container.pid_file()).unwrap();
    assert_eq!(text, container.pid().to_string());
    assert!(process::is_alive(text.parse().unwrap()));
}

fn the_bundle_defaults_to_the_current_folder() {
    let container = Bundle::new(&["/bin/echo", "from here"]).container();
    let mut command = container.command(&["run", container.id()]);
    let output = child::run(command.current_dir(&container.bundle.folder)).ok();
    assert_eq!(output.text(), "from here");
}

fn a_relative_bundle_is_shown_as_absolute() {
    let container = Bundle::sleeper().container();
    let mut command = container.command(&["create", "--bundle=.", container.id()]);
    child::run(command.current_dir(&container.bundle.folder)).ok();
    assert_eq!(container.state()["bundle"], json!(container.bundle.folder));
    assert_eq!(container.state()["rootfs"], json!(container.bundle.rootfs()));
}

fn the_same_id_twice_is_refused_and_the_first_one_lives_on() {
    let container = Bundle::sleeper().start();
    let pid = container.pid();
    container
        .runtime(&["create", "--bundle", container.bundle.folder.to_str().unwrap(), container.id()])
        .fails(1, &["exist"]);
    assert_eq!((container.status().as_str(), container.pid()), ("running", pid));
}

fn two_state_roots_may_use_the_same_id() {
    let one = Bundle::sleeper().start();
    let mut other = Bundle::sleeper();
    let path = other.cgroups_path();
    other.id = one.id().to_owned();
    let other = other.config(|json| json["linux"]["cgroupsPath"] = json!(path)).start();
    assert_ne!(one.pid(), other.pid());
}

fn start_refuses_a_running_container() {
    let container = Bundle::sleeper().start();
    container.start().fails(1, &["cannot start an already running container"]);
    assert_eq!(container.status(), "running");
}

fn start_refuses_a_stopped_container() {
    let container = Bundle::sleeper().start();
    container.kill("KILL").ok();
    container.wait_for("stopped");
    container.start().fails(1, &["cannot start a container that has stopped"]);
}

fn delete_refuses_a_running_container() {
    let container = Bundle::sleeper().start();
    container.delete().fails(1, &["that is not stopped: running"]);
    assert_eq!(container.status(), "running");
}

fn delete_removes_a_created_container() {
    let container = Bundle::sleeper().create();
    let pid = container.pid();
    container.delete().ok();
    container.leaves_nothing();
    eventually("the waiting init is gone", || !process::is_alive(pid));
}

fn delete_by_force_removes_a_running_container() {
    let container = Bundle::sleeper().start();
    let pid = container.pid();
    container.delete_by_force().ok();
    container.leaves_nothing();
    assert!(!process::is_alive(pid));
}

fn delete_by_force_of_an_unknown_container_succeeds() {
    let container = Bundle::nothing().container();
    container.delete_by_force().ok();
}

fn every_command_names_a_container_that_does_not_exist() {
    let container = Bundle::nothing().container();
    for command in ["state", "start", "delete", "kill", "pause", "resume", "ps"] {
        container.runtime(&[command, "nobody"]).fails(1, &["does not exist"]);
    }
    let output = container.runtime(&["exec", "nobody", "true"]);
    assert!(output.code != 0 && output.stderr.contains("does not exist"), "{output}");
}

fn a_container_killed_from_the_host_is_stopped_and_can_be_deleted() {
    let container = Bundle::sleeper().start();
    kill(Pid::from_raw(container.pid()), Signal::SIGKILL).unwrap();
    container.wait_for("stopped");
    container.delete().ok();
    container.leaves_nothing();
}

fn run_gives_the_exit_code_of_the_program() {
    let output = Bundle::shell("echo hello; echo problem >&2; exit 17").run();
    assert_eq!((output.code, output.text(), output.stderr.trim()), (17, "hello", "problem"));
}

fn run_gives_128_plus_the_signal_that_ended_the_program() {
    let container = Bundle::sleeper().container();
    let mut run = container.run_in_background(&[]);
    run.wait_for_output("up");
    container.kill("KILL").ok();
    assert_eq!(run.finish().code, 128 + 9);
}

fn run_passes_standard_input_through() {
    let container = Bundle::new(&["/bin/cat"]).container();
    let output = child::run_with_input(&mut container.bundle_command("run", &[]), b"typed text");
    assert_eq!(output.ok().stdout, "typed text");
}

fn run_leaves_nothing_behind() {
    let container = Bundle::nothing().container();
    container.run(&[]).ok();
    container.leaves_nothing();
}

fn run_with_keep_leaves_a_stopped_container() {
    let container = Bundle::shell("exit 3").container();
    assert_eq!(container.run(&["--keep"]).code, 3);
    assert_eq!(container.status(), "stopped");
    container.delete().ok();
    container.leaves_nothing();
}

fn run_detached_returns_at_once() {
    let container = Bundle::sleeper().container();
    container.run(&["--detach", "--pid-file", container.pid_file().to_str().unwrap()]).ok();
    assert_eq!(container.status(), "running");
    assert_eq!(fs::read_to_string(container.pid_file()).unwrap(), container.pid().to_string());
}

fn run_forwards_signals_to_the_program() {
    let script = "trap 'echo got usr1; exit 5' USR1; echo up; while :; do sleep 0.05; done";
    let container = Bundle::shell(script).container();
    let mut run = container.run_in_background(&[]);
    run.wait_for_output("up");
    run.signal(Signal::SIGUSR1);
    let output = run.finish();
    assert_eq!(output.code, 5);
    assert!(output.stdout.contains("got usr1"), "{output}");
}

fn run_reaps_the_orphans_of_the_container() {
    // Without a pid namespace of its own the container's orphans go to the runtime, which is their subreaper.
    let script = "sh -c 'sleep 100 & echo $! > /tmp/orphan'; echo up; trap 'exit 0' USR2; while :; do sleep 0.05; done";
    let container = Bundle::shell(script).config(config::share_pid_namespace).container();
    let mut run = container.run_in_background(&[]);
    run.wait_for_output("up");
    let orphan: i32 = container.read("/tmp/orphan").trim().parse().unwrap();
    assert_eq!(process::parent(orphan), Some(run.pid()));
    kill(Pid::from_raw(orphan), Signal::SIGKILL).unwrap();
    eventually("the orphan is reaped", || process::status(orphan, "State").is_none());
    run.signal(Signal::SIGUSR2);
    assert_eq!(run.finish().code, 0);
}

fn a_missing_program_is_told_at_create() {
    Bundle::new(&["nonesuch"]).refused(&["executable file not found in $PATH"]);
}

fn a_missing_absolute_program_is_told_at_create() {
    Bundle::new(&["/bin/nonesuch"]).refused(&["no such file or directory"]);
}

fn a_program_that_may_not_be_executed_is_told_at_create() {
    Bundle::new(&["/etc/passwd"]).refused(&["permission denied"]);
}

fn a_failed_create_leaves_nothing() {
    let missing = json!({"destination": "/x", "type": "bind", "source": "/nonesuch", "options": ["bind"]});
    Bundle::sleeper().mount(missing).refused(&[]);
}

fn a_command_without_an_id_fails() {
    for command in ["create", "start", "run", "state", "kill", "delete", "exec", "ps", "pause", "resume"] {
        let output = bundle::runtime(&[command]);
        assert!(output.code != 0, "{output}");
        assert!(!(output.stderr + &output.stdout).is_empty());
    }
}

fn a_command_with_too_many_arguments_fails() {
    let container = Bundle::sleeper().start();
    for command in ["state", "start", "delete", "pause", "resume"] {
        let output = container.runtime(&[command, container.id(), "more"]);
        assert!(output.code != 0, "{output}");
    }
    assert_eq!(container.status(), "running");
}

fn success_prints_nothing() {
    let container = Bundle::new(&["/bin/sleep", "100"]).container();
    let silent = |output: Output| assert_eq!(output.ok().stdout + "|", "|");
    silent(container.create(&[]));
    silent(container.start());
    silent(container.kill("KILL"));
    container.wait_for("stopped");
    let output = container.delete().ok();
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("", ""));
}
