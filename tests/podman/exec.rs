//! `podman exec`: another program in a running container.

use crate::engine::*;
use crate::support::child::{self, Run, eventually};
use crate::support::process;
use crate::tests;

tests![
    exec_passes_streams_and_exit_code,
    exec_reads_standard_input,
    exec_sees_what_the_container_sees,
    exec_takes_user_workdir_and_env,
    exec_has_the_capabilities_of_the_container_and_all_with_privileged,
    exec_in_the_background_goes_on_alone,
    exec_lands_in_the_cgroup_of_the_container,
    exec_in_a_stopped_container_is_refused,
    exec_of_a_missing_command_exits_127,
    exec_of_a_file_that_is_not_executable_exits_126,
    twenty_execs_at_the_same_time_all_succeed,
    an_exec_ends_with_the_container,
];

fn exec_passes_streams_and_exit_code() {
    let container = Container::sleeper(&[]);
    let output = container.exec(&[], &["sh", "-c", "echo out; echo err >&2; exit 7"]).fails(7, &[]);
    assert_eq!(output.stdout, "out\n");
    assert!(output.stderr.starts_with("err\n"), "{output}");
}

fn exec_reads_standard_input() {
    let container = Container::sleeper(&[]);
    let mut exec = command();
    exec.args(["exec", "-i", &container.name, "cat"]);
    assert_eq!(child::run_with_input(&mut exec, b"typed\n").ok().stdout, "typed\n");
}

fn exec_sees_what_the_container_sees() {
    let container = Container::sleeper(&["--hostname", "inside"]);
    container.sh("echo written > /file");
    assert_eq!(container.sh("cat /file; hostname; readlink /proc/1/exe"), "written\ninside\n/bin/busybox");
    for name in ["mnt", "pid", "ipc", "uts", "net", "user"] {
        container.sh(&format!("test $(readlink /proc/1/ns/{name}) = $(readlink /proc/self/ns/{name})"));
    }
}

fn exec_takes_user_workdir_and_env() {
    let container = Container::sleeper(&["--env", "OLD=old"]);
    let options = ["--user", "12:34", "--workdir", "/tmp", "--env", "NEW=new"];
    let output = container.exec(&options, &["sh", "-c", "id -u; id -g; pwd; echo $OLD $NEW"]).ok();
    assert_eq!(output.stdout, "12\n34\n/tmp\nold new\n");
}

fn exec_has_the_capabilities_of_the_container_and_all_with_privileged() {
    let container = Container::sleeper(&["--cap-drop", "all", "--cap-add", "chown"]);
    let effective = "grep CapEff /proc/self/status | tr -d '\\t'";
    assert_eq!(container.sh(effective), "CapEff:0000000000000001");
    let privileged = container.exec(&["--privileged"], &["sh", "-c", effective]).ok();
    assert_ne!(privileged.text(), "CapEff:0000000000000001");
}

fn exec_in_the_background_goes_on_alone() {
    let container = Container::sleeper(&[]);
    container.exec(&["-d"], &["sh", "-c", "sleep 0.2; echo done > /finished"]).ok();
    eventually("the background program ends", || container.exec(&[], &["cat", "/finished"]).code == 0);
}

fn exec_lands_in_the_cgroup_of_the_container() {
    needs_cgroups();
    let container = Container::sleeper(&[]);
    container.exec(&["-d"], &["sleep", "77"]).ok();
    let mut found = None;
    eventually("the background program runs", || {
        let command_line = |pid: &i32| process::command_line(*pid).contains("sleep 77");
        let same_root = |pid: &i32| namespace(*pid, "mnt") == namespace(container.pid(), "mnt");
        found = process::all().into_iter().filter(command_line).find(same_root);
        found.is_some()
    });
    let cgroups = |pid: i32| std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    assert_eq!(cgroups(found.unwrap()), cgroups(container.pid()));
}

fn namespace(pid: i32, name: &str) -> Option<std::path::PathBuf> {
    std::fs::read_link(format!("/proc/{pid}/ns/{name}")).ok()
}

fn exec_in_a_stopped_container_is_refused() {
    let container = Container::start(&[], &["true"]);
    container.podman(&["wait"]).ok();
    let refusal = container.exec(&[], &["true"]);
    assert!(refusal.code == 125 || refusal.code == 255, "{refusal}");
    assert!(refusal.stderr.contains("can only create exec sessions on running containers"), "{refusal}");
}

fn exec_of_a_missing_command_exits_127() {
    let container = Container::sleeper(&[]);
    container
        .exec(&[], &["no-such-program"])
        .fails(127, &["no-such-program", "OCI runtime attempted to invoke a command that was not found"]);
    container
        .exec(&[], &["/no/such/program"])
        .fails(127, &["OCI runtime attempted to invoke a command that was not found"]);
    assert_eq!(container.sh("echo still here"), "still here");
}

fn exec_of_a_file_that_is_not_executable_exits_126() {
    let container = Container::sleeper(&[]);
    container.exec(&[], &["/etc/passwd"]).fails(126, &["/etc/passwd", "OCI permission denied"]);
}

fn twenty_execs_at_the_same_time_all_succeed() {
    let container = Container::sleeper(&[]);
    let start = |number: usize| {
        let mut exec = command();
        exec.args(["exec", &container.name, "sh", "-c", &format!("echo {number}")]);
        Run::start(&mut exec)
    };
    let runs: Vec<_> = (0..20).map(start).collect();
    for (number, run) in runs.into_iter().enumerate() {
        assert_eq!(run.finish_within(std::time::Duration::from_secs(60)).ok().text(), number.to_string());
    }
}

fn an_exec_ends_with_the_container() {
    let container = Container::sleeper(&[]);
    let mut exec = command();
    exec.args(["exec", &container.name, "sh", "-c", "echo up; sleep 100"]);
    let mut exec = Run::start(&mut exec);
    exec.wait_for_output("up");
    container.podman(&["kill"]).ok();
    assert!(exec.finish().code != 0);
}
