//! exec: another program in a container that runs. As whom, where, with what it is given.

use std::fs;

use serde_json::{Value, json};

use crate::support::child::{self, eventually};
use crate::support::*;
use crate::tests;

tests![
    exec_gives_the_exit_code_and_the_output_of_the_program,
    exec_gives_128_plus_the_signal,
    a_program_that_memory_has_no_room_for_is_said_to_be_killed needs [Need::CgroupV1("memory")],
    exec_passes_standard_input_through,
    exec_is_in_every_namespace_of_the_container,
    exec_is_in_every_cgroup_of_the_container needs [Need::Root],
    a_sub_cgroup_of_an_unknown_controller_or_outside_is_refused
        needs [Need::Root, Need::Not("crun", "takes paths of cgroup v2 only")],
    exec_works_in_a_created_container,
    exec_refuses_a_stopped_container,
    a_missing_program_is_told_by_exec,
    a_program_that_may_not_be_executed_is_told_by_exec,
    exec_sets_the_working_folder,
    exec_adds_to_the_environment_of_the_config,
    exec_runs_as_the_user_and_group_asked_for,
    exec_with_a_user_alone_keeps_the_group,
    exec_refuses_a_user_that_is_no_number,
    exec_refuses_an_id_that_does_not_fit needs [Need::Not("runc", "1.1 takes an id of 2^32 for 0")],
    exec_does_not_look_users_up_in_the_image,
    exec_takes_additional_groups,
    exec_takes_the_whole_process_from_a_file,
    a_process_file_wins_over_the_flags,
    a_process_file_without_capabilities_gives_none,
    exec_detached_leaves_a_pid_file_and_the_process,
    a_failed_detached_exec_leaves_no_pid_file,
    exec_adds_capabilities_but_never_inheritable_ones,
    exec_sets_no_new_privileges,
    exec_inherits_no_new_privileges_of_the_config,
    exec_is_under_the_seccomp_filter_of_the_container,
    exec_leaks_no_descriptor,
    exec_passes_options_after_the_id_to_the_program,
    exec_refuses_a_working_folder_outside_the_container,
    exec_forwards_signals,
    exec_sees_the_mounts_of_the_container,
    exec_refuses_an_empty_command,
];

fn exec_gives_the_exit_code_and_the_output_of_the_program() {
    let container = Bundle::sleeper().start();
    let output = container.exec(&["/bin/sh", "-c", "echo out; echo err >&2; exit 23"]);
    assert_eq!((output.code, output.text(), output.stderr.trim()), (23, "out", "err"));
}

fn exec_gives_128_plus_the_signal() {
    let container = Bundle::sleeper().start();
    assert_eq!(container.exec(&["/bin/sh", "-c", "kill -USR1 $$"]).code, 128 + 10);
}

fn exec_passes_standard_input_through() {
    let container = Bundle::sleeper().start();
    let output = child::run_with_input(&mut container.exec_command(&[], &["/bin/cat"]), b"typed");
    assert_eq!(output.ok().stdout, "typed");
}

fn exec_is_in_every_namespace_of_the_container() {
    let container = Bundle::sleeper().start();
    let pid = container.pid();
    for name in ["pid", "net", "ipc", "uts", "mnt", "user", "cgroup"] {
        let inside = container.sh(&format!("readlink /proc/self/ns/{name}"));
        assert_eq!(Some(inside), process::namespace(pid, name), "{name}");
    }
}

fn a_sub_cgroup_of_an_unknown_controller_or_outside_is_refused() {
    let container = Bundle::sleeper().start();
    let exec = |cgroup: &str| container.exec_with(&["--cgroup", cgroup], &["true"]);
    exec("bogus:/").fails(255, &["unknown controller \"bogus\""]);
    exec("../..").fails(255, &["bad sub cgroup path"]);
    exec("/nonesuch").fails(255, &["bad sub cgroup path"]);
    exec("/").ok();
}

fn exec_is_in_every_cgroup_of_the_container() {
    let container = Bundle::sleeper().start();
    let init = fs::read_to_string(format!("/proc/{}/cgroup", container.pid())).unwrap();
    assert_eq!(container.sh("cat /proc/self/cgroup"), init.trim());
}

fn exec_works_in_a_created_container() {
    let container = Bundle::sleeper().create();
    assert_eq!(container.sh("echo early"), "early");
    assert_eq!(container.status(), "created");
}

fn exec_refuses_a_stopped_container() {
    let container = Bundle::sleeper().start();
    container.kill("KILL").ok();
    container.wait_for("stopped");
    container.exec(&["true"]).fails(255, &["cannot exec in a stopped container"]);
}

fn a_missing_program_is_told_by_exec() {
    let container = Bundle::sleeper().start();
    container.exec(&["nonesuch"]).fails(255, &["executable file not found in $PATH"]);
    container.exec(&["/nonesuch"]).fails(255, &["no such file or directory"]);
}

fn a_program_that_may_not_be_executed_is_told_by_exec() {
    let container = Bundle::sleeper().start();
    container.exec(&["/etc/passwd"]).fails(255, &["permission denied"]);
}

fn exec_sets_the_working_folder() {
    let container = Bundle::sleeper().start();
    assert_eq!(container.exec_with(&["--cwd", "/usr/bin"], &["pwd"]).ok().text(), "/usr/bin");
    assert_eq!(container.exec(&["pwd"]).ok().text(), "/");
}

fn exec_adds_to_the_environment_of_the_config() {
    let container = Bundle::sleeper().start();
    let options = ["--env", "ONE=1", "--env=TERM=dumb"];
    let output = container.exec_with(&options, &["/bin/sh", "-c", "echo $ONE $TERM $PATH"]).ok();
    assert_eq!(output.text(), "1 dumb /usr/local/bin:/usr/bin:/bin");
}

/// Tests of other users need ids that a single map does not have.
fn with_many_ids() -> Container {
    if config::id_maps().0[0]["size"] == 1 && config::id_maps().0.get(1).is_none() {
        skip("the caller has no subordinate ids in /etc/subuid");
    }
    Bundle::sleeper().start()
}

fn exec_runs_as_the_user_and_group_asked_for() {
    let container = with_many_ids();
    let output = container.exec_with(&["--user", "1000:1001"], &["/bin/sh", "-c", "id -u; id -g"]);
    assert_eq!(output.ok().text(), "1000\n1001");
}

fn exec_with_a_user_alone_keeps_the_group() {
    let container = with_many_ids();
    let output = container.exec_with(&["-u", "1"], &["/bin/sh", "-c", "id -u; id -g"]);
    assert_eq!(output.ok().text(), "1\n0");
}

fn exec_refuses_a_user_that_is_no_number() {
    let container = Bundle::sleeper().start();
    for user in ["nobody", "1:", ":1", "1x", "-1", "1:2:3", "1:x"] {
        let output = container.exec_with(&[&format!("--user={user}")], &["id", "-u"]);
        assert!(output.code != 0 && output.stdout.is_empty(), "{user:?}: {output}");
    }
}

fn exec_refuses_an_id_that_does_not_fit() {
    // CVE-2026-30892 and CVE-2026-46680: an id that wraps around becomes root's; the last one means "nobody".
    let container = Bundle::sleeper().start();
    for user in ["4294967295", "4294967296", "18446744073709551616", "0:4294967296"] {
        let output = container.exec_with(&[&format!("--user={user}")], &["id", "-u"]);
        assert!(output.code != 0 && output.stdout.is_empty(), "{user:?}: {output}");
    }
}

fn exec_does_not_look_users_up_in_the_image() {
    // CVE-2016-3697: a user *named* 1000 with uid 0.
    let container = with_many_ids();
    fs::write(container.bundle.rootfs().join("etc/passwd"), "1000:x:0:0::/:/bin/sh\n").unwrap();
    assert_eq!(container.exec_with(&["--user", "1000"], &["id", "-u"]).ok().text(), "1000");
}

fn exec_takes_additional_groups() {
    let container = with_many_ids();
    let options = ["--user", "1000:1000", "--additional-gids", "5", "--additional-gids=7"];
    let output = container.exec_with(&options, &["/bin/sh", "-c", "grep Groups /proc/self/status"]);
    assert_eq!(process::field_of(&output.ok().stdout, "Groups").as_deref(), Some("5 7"));
}

fn process_file(container: &Container, process: &Value) -> String {
    let file = container.bundle.folder.join("process.json");
    fs::write(&file, process.to_string()).unwrap();
    file.to_str().unwrap().to_owned()
}

fn exec_takes_the_whole_process_from_a_file() {
    let container = Bundle::sleeper().start();
    let process = json!({
        "user": {"uid": 0, "gid": 0}, "cwd": "/tmp", "env": ["PATH=/bin", "ONLY=this"],
        "args": ["/bin/sh", "-c", "pwd; env | sort; ulimit -t"],
        "rlimits": [{"type": "RLIMIT_CPU", "soft": 77, "hard": 88}]
    });
    let file = process_file(&container, &process);
    let output = container.exec_with(&["--process", &file], &[]).ok();
    let lines: Vec<_> = output.text().lines().filter(|line| !line.starts_with(['_', 'S'])).collect();
    let environment: Vec<_> =
        lines.iter().filter(|line| line.contains('=')).map(|line| line.split('=').next()).collect();
    assert_eq!((lines[0], *lines.last().unwrap()), ("/tmp", "77"), "{output}");
    assert!(environment.contains(&Some("ONLY")) && !environment.contains(&Some("TERM")), "{output}");
}

fn a_process_file_wins_over_the_flags() {
    let container = Bundle::sleeper().start();
    let process = json!({"user": {"uid": 0, "gid": 0}, "cwd": "/usr", "args": ["/bin/pwd"]});
    let file = process_file(&container, &process);
    let output = container.exec_with(&["--process", &file, "--cwd", "/bin"], &[]).ok();
    assert_eq!(output.text(), "/usr");
}

fn a_process_file_without_capabilities_gives_none() {
    let container = Bundle::sleeper().start();
    let process = json!({
        "user": {"uid": 0, "gid": 0}, "cwd": "/", "args": ["/bin/grep", "Cap", "/proc/self/status"],
        "capabilities": {}
    });
    let output = container.exec_with(&["--process", &process_file(&container, &process)], &[]).ok();
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(process::field_of(&output.stdout, set).as_deref(), Some("0000000000000000"), "{set}");
    }
}

fn exec_detached_leaves_a_pid_file_and_the_process() {
    let container = Bundle::sleeper().start();
    let pid_file = container.bundle.folder.join("exec-pid");
    let options = ["--detach", "--pid-file", pid_file.to_str().unwrap()];
    container.exec_with(&options, &["/bin/sleep", "100"]).ok();
    let pid: i32 = fs::read_to_string(&pid_file).unwrap().parse().unwrap();
    assert_eq!(process::namespace(pid, "pid"), process::namespace(container.pid(), "pid"));
    eventually("it is the program", || process::command_line(pid) == "/bin/sleep 100");
    assert_eq!(process::parent(pid), Some(std::process::id() as i32), "it was left to the caller");
}

fn a_failed_detached_exec_leaves_no_pid_file() {
    // conmon knows of the failure only by the absent pid file.
    let container = Bundle::sleeper().start();
    let pid_file = container.bundle.folder.join("exec-pid");
    let options = ["--detach", "--pid-file", pid_file.to_str().unwrap()];
    let output = container.exec_with(&options, &["/nonesuch"]);
    assert!(output.code != 0 && !pid_file.exists(), "{output}");
}

fn exec_adds_capabilities_but_never_inheritable_ones() {
    // CVE-2022-29162.
    let container = Bundle::sleeper().start();
    let output =
        container.exec_with(&["--cap", "CAP_NET_RAW"], &["/bin/grep", "Cap", "/proc/self/status"]).ok();
    let set = |name| u64::from_str_radix(&process::field_of(&output.stdout, name).unwrap(), 16).unwrap();
    let net_raw = 1 << 13;
    assert_eq!(
        (set("CapBnd") & net_raw, set("CapEff") & net_raw, set("CapPrm") & net_raw),
        (net_raw, net_raw, net_raw)
    );
    assert_eq!((set("CapInh"), set("CapAmb")), (0, 0));
}

fn exec_sets_no_new_privileges() {
    let container = Bundle::sleeper().start();
    let status = ["/bin/grep", "NoNewPrivs", "/proc/self/status"];
    assert_eq!(container.exec_with(&["--no-new-privs"], &status).ok().text(), "NoNewPrivs:\t1");
    assert_eq!(container.exec(&status).ok().text(), "NoNewPrivs:\t0");
}

fn exec_inherits_no_new_privileges_of_the_config() {
    let container = Bundle::sleeper().set("/process/noNewPrivileges", json!(true)).start();
    assert_eq!(container.sh("grep NoNewPrivs /proc/self/status"), "NoNewPrivs:\t1");
}

fn exec_is_under_the_seccomp_filter_of_the_container() {
    let filter = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 100}]
    });
    let container = Bundle::sleeper().set("/linux/seccomp", filter).start();
    let output = container.exec(&["/bin/mkdir", "/tmp/x"]);
    assert!(output.code == 1 && output.stderr.contains("Network is down"), "{output}");
}

fn exec_leaks_no_descriptor() {
    let container = Bundle::sleeper().start();
    let mut command = std::process::Command::new("sh");
    let inner = container.exec_command(&[], &["/bin/ls", "/proc/self/fd"]);
    command.args(["-c", "exec \"$0\" \"$@\" 8</ 9</etc"]).arg(inner.get_program()).args(inner.get_args());
    let output = child::run(&mut command).ok();
    // `ls` itself has the folder open.
    assert_eq!(output.text().split_whitespace().collect::<Vec<_>>(), ["0", "1", "2", "3"]);
}

fn exec_passes_options_after_the_id_to_the_program() {
    let container = Bundle::sleeper().start();
    let output = container.exec(&["/bin/echo", "--cwd", "/x", "-t", "--detach"]).ok();
    assert_eq!(output.text(), "--cwd /x -t --detach");
    let output = container.exec(&["--", "/bin/echo", "after dashes"]);
    assert!(output.code == 255 || output.text() == "after dashes", "{output}");
}

fn exec_refuses_a_working_folder_outside_the_container() {
    // CVE-2024-21626.
    let container = Bundle::sleeper().start();
    for descriptor in 3..20 {
        let cwd = format!("/proc/self/fd/{descriptor}");
        let output = container.exec_with(&["--cwd", &cwd], &["/bin/ls", "."]);
        assert!(output.code != 0 && output.stdout.is_empty(), "{cwd}: {output}");
    }
}

fn exec_forwards_signals() {
    let container = Bundle::sleeper().start();
    let script = "trap 'echo got it; exit 6' USR2; echo up; while :; do sleep 0.05; done";
    let mut run = Run::start(&mut container.exec_command(&[], &["/bin/sh", "-c", script]));
    run.wait_for_output("up");
    run.signal(nix::sys::signal::Signal::SIGUSR2);
    let output = run.finish();
    assert!(output.code == 6 && output.stdout.contains("got it"), "{output}");
}

fn exec_sees_the_mounts_of_the_container() {
    let container = Bundle::shell("echo inside > /tmp/f; sleep 100")
        .mount(json!({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"}))
        .start();
    eventually("the program has written", || container.exec(&["cat", "/tmp/f"]).text() == "inside");
    assert!(!container.bundle.rootfs().join("tmp/f").exists());
}

fn exec_refuses_an_empty_command() {
    let container = Bundle::sleeper().start();
    assert!(container.exec(&[]).code != 0);
}

/// Engines look for these words, and tell their user to raise the limit.
fn a_program_that_memory_has_no_room_for_is_said_to_be_killed() {
    let container = Bundle::sleeper().limit("memory", json!({"limit": 64 << 20})).start();
    let folder = cgroup::folder("memory", &container.bundle.cgroups_path());
    let usage =
        || fs::read_to_string(folder.join("memory.usage_in_bytes")).unwrap().trim().parse::<u64>().unwrap();
    let limit = |bytes: u64| fs::write(folder.join("memory.limit_in_bytes"), bytes.to_string()).is_ok();
    // Less and less, until the kernel has taken back what it can; then room for the init, which is not to be the one.
    eventually("nothing can be taken back", || !limit(usage().saturating_sub(64 << 10)));
    assert!(limit(usage() + (768 << 10)));
    // More than there is room for: the new program begins with a copy of it.
    let variables: Vec<String> =
        (0..15).map(|index| format!("--env=V{index}={}", "x".repeat(100_000))).collect();
    let variables: Vec<&str> = variables.iter().map(String::as_str).collect();
    let output = container.exec_with(&variables, &["/bin/true"]);
    assert!(
        output.code == 255 && output.stderr.contains("(possibly OOM-killed)"),
        "{} {}",
        output.code,
        output.stderr
    );
}
