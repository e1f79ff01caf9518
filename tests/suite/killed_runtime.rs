//! The runtime killed at any instant: `delete --force` finds all that it had made.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::*;
use crate::tests;

tests![
    a_create_killed_at_any_time_leaves_nothing_after_delete
        needs [Need::Not("runc", "1.1 forgets a container whose state it had not written")],
    a_create_killed_at_any_call_leaves_nothing_after_delete needs [Need::Program("strace"), Need::Isolate],
    a_delete_killed_at_any_call_can_be_repeated needs [Need::Program("strace"), Need::Isolate],
    a_start_killed_at_any_time_leaves_nothing_after_delete,
    a_killed_run_leaves_nothing_after_delete,
    a_killed_exec_leaves_the_container_alone,
];

/// What a container of this bundle shows in its command line, before and after its exec.
fn processes_of(container: &Container, program: &str) -> Vec<i32> {
    let marks = [container.bundle.folder.display().to_string(), program.to_owned()];
    let ours = |pid: &i32| {
        let line = process::command_line(*pid);
        marks.iter().any(|mark| line.contains(mark.as_str())) && process::is_alive(*pid)
    };
    process::descendants(std::process::id() as i32).into_iter().filter(ours).collect()
}

/// A bundle with an unmistakable program. All share one root, which none of them writes to.
fn marked() -> (Container, String) {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    let root = ROOT.get_or_init(|| {
        let root = session().folder.join(session::unique("shared-root-"));
        bundle::make_rootfs(&root);
        root
    });
    let seconds = session::unique("98765");
    let bundle = Bundle::without_root(&["/bin/sleep", &seconds]).set("/root/path", serde_json::json!(root));
    (bundle.container(), format!("sleep {seconds}"))
}

#[track_caller]
fn deleted_by_force_leaves_nothing(container: &Container, program: &str, when: &str) {
    let output = container.delete_by_force();
    assert_eq!(output.code, 0, "{when}: {output}");
    container.leaves_nothing();
    child::eventually(&format!("{when}: no process is left"), || processes_of(container, program).is_empty());
}

/// Steps from nothing to a bit more than a whole create, in an order that looks random.
fn instants(rounds: u64) -> impl Iterator<Item = Duration> {
    (0..rounds).map(move |round| Duration::from_micros(round * 7919 % rounds * 400))
}

fn a_create_killed_at_any_time_leaves_nothing_after_delete() {
    for instant in instants(60) {
        let (container, program) = marked();
        let create = Run::start(&mut container.bundle_command("create", &[]));
        std::thread::sleep(instant);
        create.signal(Signal::SIGKILL);
        create.finish();
        deleted_by_force_leaves_nothing(&container, &program, &format!("killed after {instant:?}"));
    }
}

/// `strace` that kills its tracee when it enters this call the nth time.
fn killed_at(call: &str, number: u32, inner: &Command) -> Command {
    let mut command = Command::new("strace");
    command.args(["-qq", "-o", "/dev/null", "-e", &format!("trace={call}")]);
    command.arg(format!("--inject={call}:signal=KILL:when={number}"));
    command.arg(inner.get_program()).args(inner.get_args());
    command
}

const CALLS: [&str; 14] = [
    "clone3",
    "clone",
    "mkdir",
    "mkdirat",
    "openat",
    "write",
    "rename",
    "renameat",
    "sendmsg",
    "recvmsg",
    "poll",
    "setns",
    "unlinkat",
    "prlimit64",
];

fn a_create_killed_at_any_call_leaves_nothing_after_delete() {
    let mut killed = 0;
    for call in CALLS {
        for number in 1..80 {
            let (container, program) = marked();
            let output = child::run(&mut killed_at(call, number, &container.bundle_command("create", &[])));
            deleted_by_force_leaves_nothing(&container, &program, &format!("killed at {call} {number}"));
            if output.code == 0 {
                break;
            }
            assert!(output.code == 128 + 9, "{call} {number}: {output}");
            killed += 1;
        }
    }
    assert!(killed > 20, "only {killed} calls were hit: the list of calls is out of date");
}

fn a_delete_killed_at_any_call_can_be_repeated() {
    for call in ["rmdir", "unlinkat", "kill", "pidfd_send_signal", "openat", "write"] {
        for number in 1..30 {
            let (container, program) = marked();
            container.create(&[]).ok();
            let inner = container.command(&["delete", "--force", container.id()]);
            let output = child::run(&mut killed_at(call, number, &inner));
            deleted_by_force_leaves_nothing(&container, &program, &format!("killed at {call} {number}"));
            if output.code == 0 {
                break;
            }
        }
    }
}

fn a_start_killed_at_any_time_leaves_nothing_after_delete() {
    for instant in instants(15) {
        let (container, program) = marked();
        container.create(&[]).ok();
        let start = Run::start(&mut container.command(&["start", container.id()]));
        std::thread::sleep(instant);
        start.signal(Signal::SIGKILL);
        start.finish();
        let status = container.status();
        assert!(["created", "running", "stopped"].contains(&status.as_str()), "{status}");
        deleted_by_force_leaves_nothing(&container, &program, &format!("killed after {instant:?}"));
    }
}

fn a_killed_run_leaves_nothing_after_delete() {
    let (container, program) = marked();
    let run = container.run_in_background(&[]);
    child::eventually("the program runs", || {
        processes_of(&container, &program).iter().any(|pid| process::command_line(*pid).ends_with(&program))
    });
    run.signal(Signal::SIGKILL);
    run.finish();
    deleted_by_force_leaves_nothing(&container, &program, "a killed run");
}

fn a_killed_exec_leaves_the_container_alone() {
    let container = Bundle::sleeper().start();
    for instant in instants(10) {
        let run = Run::start(&mut container.exec_command(&[], &["/bin/true"]));
        std::thread::sleep(instant);
        run.signal(Signal::SIGKILL);
        run.finish();
    }
    assert_eq!(container.status(), "running");
    assert_eq!(container.sh("echo works"), "works");
}
