//! run, stop, kill, rm, logs, pause, inspect, top, healthcheck: a container's life as podman tells it.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::engine::*;
use crate::support::child::{self, Run, eventually};
use crate::support::session::session;
use crate::support::{cgroup, process};
use crate::tests;

tests![
    run_passes_both_streams_and_standard_input,
    run_gives_the_exit_code_of_the_program,
    run_gives_128_and_the_number_of_the_signal_that_ended_the_program,
    run_forwards_signals_to_the_program,
    rm_at_the_end_leaves_neither_cgroup_nor_container,
    a_detached_container_runs_until_it_is_stopped,
    a_stopped_container_starts_again,
    stop_kills_a_program_that_ignores_the_stop_signal,
    stop_sends_the_stop_signal_of_the_container,
    kill_sends_the_signal_it_is_told_to,
    rm_refuses_a_running_container_and_removes_it_by_force,
    a_container_that_was_created_only_can_be_removed,
    logs_keep_both_streams,
    pause_freezes_every_process_and_unpause_thaws_them,
    inspect_names_pid_runtime_and_exit_code,
    top_lists_the_processes_of_the_container,
    healthcheck_runs_its_command_in_the_container,
    ten_containers_run_at_the_same_time,
    stats_read_the_cgroup_of_the_container,
    wait_gives_the_exit_code,
];

fn run_passes_both_streams_and_standard_input() {
    let mut command =
        run_command(&["-i"], &["sh", "-c", "echo out; echo err >&2; read line; echo got $line"]);
    let output = child::run_with_input(&mut command, b"a line\n").ok();
    assert_eq!(output.stdout, "out\ngot a line\n");
    assert_eq!(output.stderr, "err\n");
}

fn run_gives_the_exit_code_of_the_program() {
    run(&[], &["sh", "-c", "exit 17"]).fails(17, &[]);
    assert_eq!(run(&[], &["true"]).ok().stdout, "");
}

fn run_gives_128_and_the_number_of_the_signal_that_ended_the_program() {
    // A first process can end itself by no signal; one of its children can, and `exec` shows the same for real.
    let container = Container::sleeper(&[]);
    container.exec(&[], &["sh", "-c", "kill -9 $$"]).fails(137, &[]);
    container.podman(&["kill"]).ok();
    assert_eq!(container.podman(&["wait"]).ok().text(), "137");
}

fn run_forwards_signals_to_the_program() {
    let mut run = Run::start(&mut run_command(
        &[],
        &["sh", "-c", "trap 'exit 9' USR1; echo up; while :; do sleep 0.1; done"],
    ));
    run.wait_for_output("up");
    // podman forwards from some time after the start of the program on; a second signal while the container ends would
    // be an error of its own. An ordinary user's podman is two processes, of which only the inner one forwards.
    let inner = process::descendants(run.pid()).first().copied();
    let target = inner.filter(|_| is_rootless()).unwrap_or(run.pid());
    for _ in 0..4 {
        std::thread::sleep(Duration::from_millis(300));
        let _ = kill(Pid::from_raw(target), Signal::SIGUSR1);
        let sent = Instant::now();
        while run.is_running() && sent.elapsed() < Duration::from_secs(3) {
            std::thread::sleep(Duration::from_millis(10));
        }
        if !run.is_running() {
            break;
        }
    }
    assert_eq!(run.finish().code, 9);
}

fn rm_at_the_end_leaves_neither_cgroup_nor_container() {
    let container = Container::sleeper(&["--rm"]);
    let (id, pid) = (container.inspect(".ID"), container.pid());
    container.podman(&["kill", "--signal", "TERM"]).ok();
    eventually("podman has removed it", || podman(&["container", "exists", &id]).code == 1);
    assert!(!process::is_alive(pid));
    let left: Vec<_> =
        cgroup::all_folders().into_iter().filter(|path| path.to_string_lossy().contains(&id)).collect();
    assert!(left.is_empty(), "{left:?}");
}

fn a_detached_container_runs_until_it_is_stopped() {
    let container = Container::sleeper(&[]);
    assert_eq!(container.status(), "running");
    let pid = container.pid();
    assert!(process::is_alive(pid));
    assert!(podman(&["ps", "--format", "{{.Names}}"]).ok().stdout.contains(&container.name));
    container.podman(&["stop", "--time", "8"]).ok();
    assert_eq!(container.status(), "exited");
    assert_eq!(container.inspect(".State.ExitCode"), "0");
    assert!(!process::is_alive(pid));
}

fn a_stopped_container_starts_again() {
    let container = Container::start(&[], &["sh", "-c", "echo again >> /times; wc -l < /times"]);
    assert_eq!(container.podman(&["wait"]).ok().text(), "0");
    assert_eq!(container.podman(&["start", "--attach"]).ok().text(), "2");
    container.podman(&["restart", "--time", "1"]).ok();
    container.podman(&["wait"]).ok();
    assert_eq!(container.logs(), "1\n2\n3\n");
}

fn stop_kills_a_program_that_ignores_the_stop_signal() {
    let container = Container::start(&[], &["sleep", "100"]);
    container.podman(&["stop", "--time", "1"]).ok();
    assert_eq!(
        (container.status().as_str(), container.inspect(".State.ExitCode").as_str()),
        ("exited", "137")
    );
}

fn stop_sends_the_stop_signal_of_the_container() {
    let script = "trap 'exit 33' HUP; echo up; while :; do sleep 0.1; done";
    let container = Container::start(&["--stop-signal", "HUP"], &["sh", "-c", script]);
    eventually("the container is up", || container.logs().contains("up"));
    container.podman(&["stop", "--time", "8"]).ok();
    assert_eq!(container.inspect(".State.ExitCode"), "33");
}

fn kill_sends_the_signal_it_is_told_to() {
    let script = "trap 'echo one' USR1; trap 'exit 42' USR2; echo up; while :; do sleep 0.1; done";
    let container = Container::start(&[], &["sh", "-c", script]);
    eventually("the container is up", || container.logs().contains("up"));
    container.podman(&["kill", "--signal", "USR1"]).ok();
    eventually("the program has seen USR1", || container.logs().contains("one"));
    assert_eq!(container.status(), "running");
    container.podman(&["kill", "--signal", "12"]).ok();
    assert_eq!(container.podman(&["wait"]).ok().text(), "42");
    container.podman(&["kill"]).fails(125, &["can only kill running containers"]);
}

fn rm_refuses_a_running_container_and_removes_it_by_force() {
    let container = Container::sleeper(&[]);
    let refusal = container.podman(&["rm"]);
    assert!(refusal.code != 0 && refusal.stderr.contains("running"), "{refusal}");
    container.podman(&["rm", "--force", "--time", "0"]).ok();
    podman(&["container", "exists", &container.name]).fails(1, &[]);
}

fn a_container_that_was_created_only_can_be_removed() {
    let container = Container::create(&[], &["sleep", "100"]);
    assert_eq!(container.status(), "created");
    container.podman(&["init"]).ok();
    assert_eq!(container.status(), "initialized");
    container.podman(&["rm", "--force", "--time", "0"]).ok();
    podman(&["container", "exists", &container.name]).fails(1, &[]);
}

fn logs_keep_both_streams() {
    let container = Container::start(&[], &["sh", "-c", "echo out; echo err >&2"]);
    container.podman(&["wait"]).ok();
    let output = container.podman(&["logs"]).ok();
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("out\n", "err\n"));
}

fn pause_freezes_every_process_and_unpause_thaws_them() {
    needs_cgroups();
    let container =
        Container::start(&[], &["sh", "-c", "i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done"]);
    eventually("the container counts", || container.logs().lines().count() > 2);
    container.podman(&["pause"]).ok();
    assert_eq!(container.status(), "paused");
    let before = container.logs();
    std::thread::sleep(std::time::Duration::from_millis(400));
    assert_eq!(container.logs(), before, "a paused container goes on");
    let refusal = container.exec(&[], &["true"]);
    assert!(refusal.code != 0, "{refusal}");
    container.podman(&["unpause"]).ok();
    assert_eq!(container.status(), "running");
    eventually("it counts again", || container.logs().len() > before.len());
}

fn inspect_names_pid_runtime_and_exit_code() {
    let container = Container::sleeper(&[]);
    let runtime = container.inspect(".OCIRuntime");
    assert_eq!(runtime, session().runtime.to_string_lossy());
    assert_eq!(process::status(container.pid(), "Name").unwrap(), "sh");
    container.podman(&["kill", "--signal", "TERM"]).ok();
    container.podman(&["wait"]).ok();
    assert_eq!((container.status().as_str(), container.inspect(".State.ExitCode").as_str()), ("exited", "0"));
}

fn top_lists_the_processes_of_the_container() {
    let container = Container::sleeper(&[]);
    let output = podman(&["top", &container.name, "pid", "args"]).ok();
    let first = output.stdout.lines().nth(1).unwrap_or_default();
    assert!(first.starts_with('1') && first.contains("sh"), "{output}");
    // Other columns than its own are those of the container's `ps`, run by exec.
    let output = podman(&["top", &container.name, "-o", "pid,args"]).ok();
    assert!(output.stdout.contains("sleep 100"), "{output}");
}

fn healthcheck_runs_its_command_in_the_container() {
    let options =
        ["--health-cmd", "test -e /healthy", "--health-interval", "disable", "--health-retries", "1"];
    let container = Container::sleeper(&options);
    let sick = container.podman(&["healthcheck", "run"]);
    assert!(sick.code == 1, "{sick}");
    container.exec(&[], &["touch", "/healthy"]).ok();
    container.podman(&["healthcheck", "run"]).ok();
    assert_eq!(inspect_health(&container), "healthy");
}

fn inspect_health(container: &Container) -> String {
    let state = container.podman(&["inspect"]).ok().json()[0]["State"].clone();
    let health = state.get("Health").or(state.get("Healthcheck")).cloned().unwrap_or_default();
    health["Status"].as_str().unwrap_or_default().to_owned()
}

fn ten_containers_run_at_the_same_time() {
    let runs: Vec<_> = (0..10)
        .map(|number| Run::start(&mut run_command(&[], &["sh", "-c", &format!("sleep 0.2; echo {number}")])))
        .collect();
    for (number, run) in runs.into_iter().enumerate() {
        assert_eq!(run.finish_within(std::time::Duration::from_secs(60)).ok().text(), number.to_string());
    }
}

fn stats_read_the_cgroup_of_the_container() {
    needs_cgroups();
    let container = Container::sleeper(&["--memory", "64m"]);
    let output =
        podman(&["stats", "--no-stream", "--format", "{{.PIDs}} {{.MemUsage}}", &container.name]).ok();
    assert!(output.text().starts_with('2'), "{output}");
    assert!(output.text().contains("67.11MB") || output.text().contains("64MiB"), "{output}");
}

fn wait_gives_the_exit_code() {
    let container = Container::start(&[], &["sh", "-c", "sleep 0.3; exit 5"]);
    assert_eq!(container.podman(&["wait"]).ok().text(), "5");
    assert_eq!(container.inspect(".State.ExitCode"), "5");
}
