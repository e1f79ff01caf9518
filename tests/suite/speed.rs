//! What makes the commands fast, seen without a clock: how many system calls they make, and that what is left out or
//! done later than it could be changes nothing for the container.

use std::fs;
use std::process::Command;

use serde_json::json;

use crate::support::bundle::runtime;
use crate::support::child::{Run, eventually};
use crate::support::*;
use crate::tests;

tests![
    each_command_makes_few_system_calls needs [Need::Isolate, Need::Root, Need::Program("strace")],
    a_process_from_outside_ends_with_the_container needs [Need::Root, Need::Cgroup("freezer")],
    a_program_that_left_its_session_ends_with_the_container,
    a_private_mount_on_a_shared_one_is_private,
    a_mount_is_private_without_being_told,
    a_create_container_hook_runs_in_the_cgroup_of_the_container needs [Need::Cgroup("pids")],
    files_copied_up_count_for_the_memory_of_the_container needs [Need::Root, Need::CgroupV1("memory")],
    a_cgroup_of_another_stays_when_a_later_one_is_in_use needs [Need::Root, Need::CgroupV1("pids"), Need::CgroupV1("devices")],
    a_word_of_a_command_as_a_value_changes_nothing needs [Need::Isolate],
    exec_without_its_shortcut_runs_the_same_program needs [Need::Isolate],
    signals_that_the_caller_ignores_are_the_programs_own,
    a_hook_that_reads_nothing_ends_nobody,
    more_containers_than_one_thread_reads_are_listed_in_order needs [Need::Isolate, Need::Program("taskset")],
];

/// System calls of a command under strace, those of the processes it makes included. What the standard library asks
/// only in builds for debugging (whether a descriptor is open, before it is closed) is left out.
fn calls(container: &Container, verb: &str, arguments: &[&str]) -> usize {
    let list = container.bundle.folder.join("calls");
    let mut command = strace(container, &list, &[&[verb], arguments].concat());
    child::run(&mut command).ok();
    count(&list)
}

fn strace(container: &Container, list: &std::path::Path, arguments: &[&str]) -> Command {
    let inner = container.command(arguments);
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-e", "trace=!fcntl", "-e", "signal=none", "-o"]).arg(list);
    command.arg(inner.get_program()).args(inner.get_args());
    command
}

fn count(list: &std::path::Path) -> usize {
    let text = fs::read_to_string(list).unwrap();
    text.lines().filter(|line| !line.contains(" resumed>") && !line.contains("+++")).count()
}

/// The bounds are what was counted when they were written, and a tenth more: a new step may cost a few calls, a second
/// look at everything may not. Every cgroup hierarchy takes calls of its own.
fn each_command_makes_few_system_calls() {
    // A cgroup right below the top: above another, whether this is the first container in it would count too.
    let path = format!("/{}-calls", session().mark);
    let container = Bundle::sleeper().set("/linux/cgroupsPath", json!(path)).container();
    // The init of `create` waits, and strace with it: until the container is gone.
    let list = container.bundle.folder.join("calls-create");
    let folder = container.bundle.folder.display().to_string();
    let mut create = strace(&container, &list, &["create", "--bundle", &folder, container.id()]);
    let create = Run::start(&mut create);
    eventually("it is created", || {
        container.runtime(&["state", container.id()]).stdout.contains("\"created\"")
    });
    container.delete_by_force().ok();
    create.finish();
    let create = count(&list);
    container.create(&[]).ok();
    let id = container.id();
    let counts = [
        ("create", create, 355, 25),
        ("start", calls(&container, "start", &[id]), 61, 0),
        ("exec", calls(&container, "exec", &[id, "/bin/true"]), 310, 8),
        ("state", calls(&container, "state", &[id]), 44, 0),
        ("delete", calls(&container, "delete", &["--force", id]), 85, 7),
    ];
    let hierarchies = cgroup::hierarchies().len();
    let too_many: Vec<_> =
        counts.iter().filter(|(_, count, fixed, each)| *count > fixed + each * hierarchies).collect();
    assert!(
        too_many.is_empty(),
        "command, calls, bound, and for each of {hierarchies} hierarchies: {too_many:?} of {counts:?}"
    );
}

fn a_process_from_outside_ends_with_the_container() {
    let container = Bundle::sleeper().start();
    let other = Run::start(Command::new("sleep").arg("100"));
    let pid = other.pid();
    let path = container.bundle.cgroups_path();
    for (point, _) in cgroup::hierarchies() {
        fs::write(point.join(path.trim_start_matches('/')).join("cgroup.procs"), pid.to_string()).unwrap();
    }
    container.delete_by_force().ok();
    assert_eq!(other.finish().code, 128 + 9);
    container.leaves_nothing();
}

fn a_program_that_left_its_session_ends_with_the_container() {
    let container = Bundle::shell("setsid sleep 100 & setsid sleep 100 & sleep 100").start();
    eventually("all run", || process::descendants(container.pid()).len() >= 2);
    let all = process::descendants(container.pid());
    container.delete_by_force().ok();
    eventually("all have ended", || !all.iter().any(|pid| process::is_alive(*pid)));
    container.leaves_nothing();
}

/// The optional fields of a mount's line in mountinfo: `shared:1` and the like.
fn propagation(container: &Container, target: &str) -> String {
    let table = container.sh("cat /proc/self/mountinfo");
    let line = table.lines().find(|line| line.split(' ').nth(4) == Some(target));
    let line = line.unwrap_or_else(|| panic!("{target} is not in\n{table}"));
    line.split(" - ").next().unwrap().split(' ').skip(6).collect::<Vec<_>>().join(" ")
}

fn with_mounts(options: [&str; 2]) -> Bundle {
    Bundle::sleeper().config(|json| {
        let mounts = json["mounts"].as_array_mut().unwrap();
        for (target, option) in ["/tmp", "/tmp/below"].into_iter().zip(options) {
            let options = if option.is_empty() { json!([]) } else { json!([option]) };
            mounts
                .push(json!({"destination": target, "type": "tmpfs", "source": "tmpfs", "options": options}));
        }
    })
}

fn a_private_mount_on_a_shared_one_is_private() {
    let container = with_mounts(["shared", "private"]).start();
    assert!(propagation(&container, "/tmp").contains("shared:"));
    assert_eq!(propagation(&container, "/tmp/below"), "");
}

fn a_mount_is_private_without_being_told() {
    let container = with_mounts(["rprivate", ""]).start();
    assert_eq!(propagation(&container, "/tmp"), "");
    assert_eq!(propagation(&container, "/tmp/below"), "");
}

fn a_create_container_hook_runs_in_the_cgroup_of_the_container() {
    let bundle = Bundle::sleeper();
    let seen = bundle.folder.join("seen");
    let procs = cgroup::folder("pids", &bundle.cgroups_path()).join("cgroup.procs");
    let script = format!("grep -qx $$ {} && echo within > {}", procs.display(), seen.display());
    let hook = json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]}]);
    let _container = bundle.set("/hooks", json!({"createContainer": hook})).create();
    assert_eq!(fs::read_to_string(seen).unwrap(), "within\n");
}

fn files_copied_up_count_for_the_memory_of_the_container() {
    let bundle = Bundle::sleeper();
    fs::write(bundle.rootfs().join("tmp/large"), vec![1; 4 << 20]).unwrap();
    let mount = json!({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]});
    let container = bundle.config(|json| json["mounts"].as_array_mut().unwrap().push(mount)).create();
    let used: u64 = container.cgroup("memory", "memory.usage_in_bytes").parse().unwrap();
    assert!(used >= 4 << 20, "{used}");
}

fn a_cgroup_of_another_stays_when_a_later_one_is_in_use() {
    let container = Bundle::sleeper().container();
    let path = container.bundle.cgroups_path();
    let folder = |controller: &str| cgroup::folder(controller, &path);
    for controller in ["devices", "pids"] {
        fs::create_dir_all(folder(controller)).unwrap();
    }
    let other = Run::start(Command::new("sleep").arg("100"));
    fs::write(folder("devices").join("cgroup.procs"), other.pid().to_string()).unwrap();
    container.create(&[]).fails(1, &["container's cgroup is not empty"]);
    assert!(process::is_alive(other.pid()), "the other's process lives on");
    assert!(folder("devices").exists() && folder("pids").exists());
    other.signal(nix::sys::signal::Signal::SIGKILL);
    other.finish();
    for controller in ["devices", "pids"] {
        eventually("its cgroup goes", || fs::remove_dir(folder(controller)).is_ok());
        let _ = fs::remove_dir(folder(controller).parent().unwrap());
    }
}

fn a_word_of_a_command_as_a_value_changes_nothing() {
    // "run" among the arguments makes the program execute itself anew, whatever it is there for.
    let container = Bundle::sleeper().container();
    container.runtime(&["state", "run"]).fails(1, &["does not exist"]);
    container.runtime(&["run"]).fails(1, &["requires exactly 1 argument"]);
}

/// What a second program is: rights, user, limits, filter.
fn self_portrait(container: &Container) -> String {
    container.sh("grep -E 'Cap|Groups|NoNewPrivs|Seccomp|Umask|Uid' /proc/self/status; ulimit -n; mkdir /tmp/x 2>&1; env; pwd")
}

fn exec_without_its_shortcut_runs_the_same_program() {
    let filter = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 100}]
    });
    let bundle = Bundle::sleeper().set("/linux/seccomp", filter).set("/process/user/umask", json!(0o27));
    let bundle =
        bundle.set("/process/cwd", json!("/tmp")).set("/linux/personality", json!({"domain": "LINUX"}));
    let container = bundle.set("/process/noNewPrivileges", json!(true)).start();
    let shortcut = container.bundle.root.join(container.id()).join("exec.json");
    let expected = self_portrait(&container);
    assert!(expected.contains("Network is down") && expected.contains("0027"), "{expected}");
    let whole = fs::read(&shortcut).unwrap();
    let other_version =
        String::from_utf8(whole.clone()).unwrap().replacen("\"version\":1", "\"version\":2", 1);
    let damaged = String::from_utf8(whole.clone()).unwrap().replacen("\"program\":\"", "\"program\":\"x", 1);
    for content in [&b""[..], b"{", &whole[..whole.len() / 2], other_version.as_bytes(), damaged.as_bytes()] {
        fs::write(&shortcut, content).unwrap();
        assert_eq!(self_portrait(&container), expected, "{}", String::from_utf8_lossy(content));
    }
    fs::remove_file(&shortcut).unwrap();
    assert_eq!(self_portrait(&container), expected);
    container.delete_by_force().ok();
    container.leaves_nothing();
}

fn more_containers_than_one_thread_reads_are_listed_in_order() {
    // Folders without a state are no containers; broken ones are told, and left out.
    let folder = tempfile::tempdir().unwrap();
    let container = Bundle::sleeper().start();
    let state = fs::read_to_string(container.bundle.root.join(container.id()).join("state.json")).unwrap();
    let mut expected = Vec::new();
    for number in 0..200 {
        let name = format!("many-{number:03}");
        fs::create_dir(folder.path().join(&name)).unwrap();
        let named = state.replacen(container.id(), &name, 1);
        match number % 50 {
            7 => continue,
            9 => fs::write(folder.path().join(&name).join("state.json"), "{").unwrap(),
            _ => {
                fs::write(folder.path().join(&name).join("state.json"), named).unwrap();
                expected.push(name);
            }
        }
    }
    let list = runtime(&["--root", &folder.path().display().to_string(), "list", "--quiet"]).ok();
    assert_eq!(list.stdout.lines().collect::<Vec<_>>(), expected);
    // On one processor one thread reads them all, and in the same order.
    let root = folder.path().display().to_string();
    let mut alone = Command::new("taskset");
    alone.args(["-c", "0"]).arg(&session().runtime).args(["--root", &root, "list", "--quiet"]);
    assert_eq!(child::run(&mut alone).ok().stdout, list.stdout);
    assert_eq!(list.stderr.matches("is left out").count(), 4, "{}", list.stderr);
}

fn signals_that_the_caller_ignores_are_the_programs_own() {
    // A container that waits for its start resets most of them while it waits. (`run`: `process::…`.)
    let container = Bundle::sleeper().container();
    container.bundle.write();
    let inner = container.bundle_command("create", &[]);
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' HUP INT PIPE USR1 TERM; exec \"$0\" \"$@\""]);
    command.arg(inner.get_program()).args(inner.get_args());
    child::run(&mut command).ok();
    container.start().ok();
    let pid = container.state()["pid"].as_i64().unwrap();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:\t")).unwrap();
    let ignored = u64::from_str_radix(ignored, 16).unwrap();
    for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGPIPE, libc::SIGUSR1, libc::SIGTERM] {
        assert_eq!(ignored >> (signal - 1) & 1, 0, "{signal}: {status}");
    }
    assert!(status.contains("SigBlk:\t0000000000000000\n"), "{status}");
}

fn a_hook_that_reads_nothing_ends_nobody() {
    // The state is written to it while SIGPIPE is ignored still, though the other signals are not any more.
    let hook = json!([{"path": "/bin/sh", "args": ["sh", "-c", "exec <&-"]}]);
    let container =
        Bundle::shell("echo began; sleep 100").set("/hooks", json!({"startContainer": hook})).start();
    assert_eq!(container.status(), "running");
}
