//! Many containers at once, and many commands on one.

use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::support::*;
use crate::tests;

tests![
    a_hundred_containers_live_and_die_in_parallel,
    of_many_creates_with_one_id_one_wins,
    of_many_starts_one_wins,
    of_many_deletes_one_wins_and_nothing_is_left,
    state_is_whole_while_a_container_comes_and_goes,
    many_execs_at_once_all_run,
    kill_and_delete_during_create_leave_nothing,
];

/// Long enough for a hundred at once on two processors.
const PATIENCE: Duration = Duration::from_secs(120);

#[track_caller]
fn patiently(container: &Container, arguments: &[&str]) -> Output {
    Run::start(&mut container.command(arguments)).finish_within(PATIENCE)
}

fn live_and_die(shared_root: &std::path::Path) {
    let bundle = Bundle::without_root(&["/bin/sleep", "1000"]).set("/root/path", json!(shared_root));
    let container = bundle.set("/root/readonly", json!(true)).container();
    let folder = container.bundle.folder.to_str().unwrap().to_owned();
    let id = container.id().to_owned();
    patiently(&container, &["create", "--bundle", &folder, &id]).ok();
    patiently(&container, &["start", &id]).ok();
    assert_eq!(patiently(&container, &["exec", &id, "echo", "here"]).ok().text(), "here");
    patiently(&container, &["kill", &id, "KILL"]).ok();
    container.wait_for("stopped");
    patiently(&container, &["delete", &id]).ok();
    container.leaves_nothing();
}

fn a_hundred_containers_live_and_die_in_parallel() {
    let owner = Bundle::nothing().container();
    let root = owner.bundle.rootfs();
    thread::scope(|scope| {
        let all: Vec<_> = (0..100).map(|_| scope.spawn(|| live_and_die(&root))).collect();
        for one in all {
            if let Err(panic) = one.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
}

/// Runs the same command in eight threads; gives how many succeeded, and the failures.
fn eight_times(container: &Container, arguments: &[&str]) -> (usize, Vec<Output>) {
    let outputs: Vec<Output> = thread::scope(|scope| {
        let all: Vec<_> = (0..8).map(|_| scope.spawn(|| patiently(container, arguments))).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let (good, bad): (Vec<_>, Vec<_>) = outputs.into_iter().partition(|output| output.code == 0);
    (good.len(), bad)
}

fn of_many_creates_with_one_id_one_wins() {
    let container = Bundle::sleeper().container();
    let folder = container.bundle.folder.to_str().unwrap().to_owned();
    let (won, lost) = eight_times(&container, &["create", "--bundle", &folder, container.id()]);
    assert_eq!(won, 1, "{lost:?}");
    assert!(lost.iter().all(|output| output.code == 1 && output.stderr.contains("exist")), "{lost:?}");
    container.start().ok();
    assert_eq!(container.status(), "running");
}

fn of_many_starts_one_wins() {
    let container = Bundle::shell("echo x >> /tmp/starts; sleep 100").create();
    let (won, lost) = eight_times(&container, &["start", container.id()]);
    assert_eq!(won, 1, "{lost:?}");
    child::eventually("the program runs", || container.peek("/tmp/starts") == "x\n");
}

fn of_many_deletes_one_wins_and_nothing_is_left() {
    let container = Bundle::sleeper().start();
    let (won, lost) = eight_times(&container, &["delete", "--force", container.id()]);
    assert!(won >= 1 && lost.is_empty(), "{lost:?}");
    container.leaves_nothing();
}

fn state_is_whole_while_a_container_comes_and_goes() {
    let container = Bundle::nothing().container();
    let done = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                let output = container.runtime(&["state", container.id()]);
                match output.code {
                    0 => drop(output.json()),
                    _ => assert!(output.stderr.contains("does not exist"), "{output}"),
                }
                container.runtime(&["list", "--format=json"]).ok().json();
            }
        });
        for _ in 0..10 {
            container.run(&[]).ok();
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        if let Err(panic) = reader.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

fn many_execs_at_once_all_run() {
    let container = Bundle::sleeper().start();
    let (won, lost) = eight_times(&container, &["exec", container.id(), "/bin/echo", "x"]);
    assert_eq!(won, 8, "{lost:?}");
}

fn kill_and_delete_during_create_leave_nothing() {
    for round in 0..15 {
        let container = Bundle::sleeper().container();
        let create = Run::start(&mut container.bundle_command("create", &[]));
        thread::sleep(Duration::from_millis(round));
        container.delete_by_force().ok();
        create.finish();
        container.delete_by_force().ok();
        container.leaves_nothing();
    }
}
