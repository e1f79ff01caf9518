//! What a hostile image, neighbour or caller may try, beyond the files on single capabilities: each test was
//! seen to fail before its defence was there.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::support::child::{self, eventually};
use crate::support::*;
use crate::tests;

tests![
    a_created_init_holds_no_folder_of_the_host,
    exec_into_a_created_container_sees_nothing_of_the_host needs [Need::Root],
    a_hook_in_the_container_gets_no_descriptor_of_the_caller
        needs [Need::Not("runc", "1.1 hands the caller's descriptors to the hook")],
    a_container_without_procfs_runs,
    a_link_into_procfs_is_not_mounted_on needs [Need::Not("runc", "1.1 judges by the name in the config alone")],
    state_and_delete_answer_while_the_init_is_stopped,
    a_hook_may_read_late_and_have_for_ever,
    a_caller_that_ignores_the_end_of_children_changes_nothing,
    delete_works_without_its_journal needs [Need::Isolate],
    a_state_of_the_first_version_is_understood needs [Need::Isolate],
    root_changes_nothing_in_a_state_root_of_others needs [Need::Root, Need::Isolate],
    renames_without_end_do_not_keep_the_runtime_without_end needs [Need::Program("strace"), Need::Isolate],
];

/// Where the descriptors of the container's init lead, the standard ones left out.
fn descriptors(container: &Container) -> Vec<String> {
    let folder = format!("/proc/{}/fd", container.pid());
    let entries = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap());
    let others = entries.filter(|entry| entry.file_name().to_str().unwrap().parse::<u32>().unwrap() > 2);
    others.map(|entry| fs::read_link(entry.path()).unwrap().display().to_string()).collect()
}

fn a_created_init_holds_no_folder_of_the_host() {
    let container = Bundle::sleeper().create();
    for target in descriptors(&container) {
        // The container's own root shows as `/`, or by the path of its rootfs.
        let own = target == "/" || target.ends_with("/rootfs");
        let harmless =
            target.starts_with("socket:") || target.starts_with("pipe:") || target.starts_with("anon_inode:");
        assert!(own || harmless, "{target}");
    }
}

fn exec_into_a_created_container_sees_nothing_of_the_host() {
    let all = ["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_SYS_CHROOT"];
    let container = Bundle::sleeper().config(|json| config::add_capabilities(json, &all)).create();
    fs::write("/tmp/isolate-test-host-mark", "").unwrap();
    let script = "for f in /proc/1/fd/*; do ls -d $f/../../../../../tmp/isolate-test-host-mark; done 2>/dev/null; echo end";
    let seen = container.sh(script);
    fs::remove_file("/tmp/isolate-test-host-mark").unwrap();
    assert_eq!(seen, "end");
}

fn a_hook_in_the_container_gets_no_descriptor_of_the_caller() {
    let hook = json!([{"path": "/bin/sh", "args": ["sh", "-c", "ls /proc/self/fd > /tmp/seen; ls /proc/self/fd/9/ >> /tmp/seen"]}]);
    let container = Bundle::sleeper().set("/hooks", json!({"startContainer": hook})).container();
    let create = container.bundle_command("create", &[]);
    let arguments: Vec<_> = create.get_args().map(|part| format!("'{}'", part.to_str().unwrap())).collect();
    let line = format!("exec {:?} {} 9</", create.get_program(), arguments.join(" "));
    child::run(std::process::Command::new("/bin/sh").args(["-c", &line])).ok();
    container.start();
    let seen = container.read("/tmp/seen");
    // 3 is the folder that `ls` itself has open.
    assert_eq!(seen.split_whitespace().collect::<Vec<_>>(), ["0", "1", "2", "3"], "{seen}");
}

fn a_container_without_procfs_runs() {
    let bundle = Bundle::new(&["/bin/echo", "fine"]).config(|json| {
        let mounts = json["mounts"].as_array_mut().unwrap();
        mounts.retain(|mount| mount["destination"] != "/proc");
    });
    assert_eq!(bundle.output(), "fine");
}

fn a_link_into_procfs_is_not_mounted_on() {
    let mount = json!({"destination": "/way/sys", "type": "tmpfs", "source": "tmpfs"});
    Bundle::nothing().link("proc", "way").mount(mount).refused(&["procfs"]);
}

fn state_and_delete_answer_while_the_init_is_stopped() {
    let container = Bundle::sleeper().create();
    kill(Pid::from_raw(container.pid()), Signal::SIGSTOP).unwrap();
    for _ in 0..40 {
        assert_eq!(container.status(), "created");
    }
    container.delete_by_force().ok();
    container.leaves_nothing();
}

fn a_hook_may_read_late_and_have_for_ever() {
    let hook =
        json!([{"path": "/bin/sh", "args": ["sh", "-c", "sleep 0.2; cat > /dev/null"], "timeout": i64::MAX}]);
    let long = "x".repeat(200_000);
    let bundle = Bundle::nothing()
        .set("/hooks", json!({"createRuntime": hook}))
        .set("/annotations", json!({"long": long}));
    bundle.run().ok();
}

fn a_caller_that_ignores_the_end_of_children_changes_nothing() {
    let hook = json!([{"path": "/bin/sh", "args": ["sh", "-c", "exit 0"]}]);
    let bundle = Bundle::shell("exit 7").set("/hooks", json!({"createRuntime": hook}));
    let container = bundle.container();
    let run = container.bundle_command("run", &[]);
    let arguments: Vec<_> = run.get_args().map(|part| format!("'{}'", part.to_str().unwrap())).collect();
    let line = format!("trap '' CHLD; exec {:?} {}", run.get_program(), arguments.join(" "));
    let output = child::run(std::process::Command::new("/bin/sh").args(["-c", &line]));
    assert_eq!(output.code, 7, "{output}");
}

fn delete_works_without_its_journal() {
    let container = Bundle::sleeper().start();
    let pid = container.pid();
    fs::write(container.bundle.root.join(container.id()).join("journal"), "").unwrap();
    container.delete_by_force().ok();
    eventually("the init is gone", || !process::is_alive(pid));
    container.leaves_nothing();
}

fn a_state_of_the_first_version_is_understood() {
    let container = Bundle::sleeper().container();
    container.create(&[]).ok();
    let folder = container.bundle.root.join("kept");
    fs::create_dir(&folder).unwrap();
    let kept = repository("tests/data/state/v1.json");
    fs::copy(kept, folder.join("state.json")).unwrap();
    fs::write(folder.join("config.json"), "{}").unwrap();
    let state = container.runtime(&["state", "kept"]).ok().json();
    assert_eq!(
        (&state["id"], &state["status"], &state["pid"]),
        (&json!("kept"), &json!("stopped"), &json!(0))
    );
    assert_eq!(state["annotations"], json!({"org.example.key": "value"}));
    container.runtime(&["delete", "kept"]).ok();
    assert!(!folder.exists());
}

fn root_changes_nothing_in_a_state_root_of_others() {
    let container = Bundle::sleeper().start();
    std::os::unix::fs::chown(&container.bundle.root, Some(12345), None).unwrap();
    assert_eq!(container.status(), "running");
    container.runtime(&["delete", "--force", container.id()]).fails(1, &["belongs to user 12345"]);
    container.runtime(&["kill", container.id(), "KILL"]).fails(1, &["belongs to user 12345"]);
    std::os::unix::fs::chown(&container.bundle.root, Some(0), None).unwrap();
    assert_eq!(container.status(), "running");
}

fn renames_without_end_do_not_keep_the_runtime_without_end() {
    // openat2 answers EAGAIN as long as something is renamed while it walks; here it always does.
    let container = Bundle::nothing().traceable().container();
    let run = container.bundle_command("run", &[]);
    let mut command = std::process::Command::new("strace");
    command.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=openat2", "--inject=openat2:error=EAGAIN"]);
    let output = child::run(command.arg(run.get_program()).args(run.get_args()));
    output.fails(1, &["openat2(", "EAGAIN"]);
    container.delete_by_force().ok();
}
