//! Second walls, which hold when the first has fallen: Landlock and core scheduling, by annotations, in `isolate try` and
//! in tenants of one command.

use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::process::Command;

use serde_json::json;

use crate::support::*;
use crate::tests;

tests![
    with_landlock_a_descriptor_of_the_host_opens_nothing needs [Need::Isolate, Need::Kernel(5, 13)],
    with_landlock_nothing_is_mounted needs [Need::Isolate, Need::Root, Need::Kernel(5, 13)],
    with_landlock_no_process_outside_is_signalled needs [Need::Isolate, Need::Root, Need::Kernel(6, 12)],
    with_landlock_files_of_the_root_and_streams_are_used_as_before needs [Need::Isolate],
    programs_of_exec_can_still_end_those_of_a_container_with_landlock needs [Need::Isolate, Need::Kernel(5, 13)],
    a_system_with_the_hosts_network_reaches_no_abstract_socket
        needs [Need::Isolate, Need::UserNamespaces, Need::Kernel(6, 12)],
    try_asks_for_a_core_of_its_own needs [Need::Isolate, Need::Root, Need::Program("strace")],
    a_wall_that_is_not_known_is_refused needs [Need::Isolate],
];

fn walled(bundle: Bundle) -> Bundle {
    bundle.set("/annotations", json!({"org.isolate.landlock": "root"}))
}

/// Whether the attack works on the container without the wall, and does not with it.
#[track_caller]
fn holds(sound: impl Fn() -> Bundle, attack: impl Fn(&Container) -> String) {
    let without = attack(&sound().container());
    assert!(without.contains("gained"), "nothing to hold: {without}");
    let with = attack(&walled(sound()).container());
    assert!(!with.contains("gained"), "{with}");
}

fn with_landlock_a_descriptor_of_the_host_opens_nothing() {
    let sound = || {
        let bundle = Bundle::shell("cat /proc/self/fd/3/secret");
        fs::write(bundle.host_folder("host").join("secret"), "gained").unwrap();
        bundle
    };
    holds(sound, |container| {
        let run = container.bundle_command("run", &["--preserve-fds", "1"]);
        let arguments: Vec<_> = run.get_args().map(|part| format!("'{}'", part.to_str().unwrap())).collect();
        let folder = container.bundle.folder.join("host");
        let line = format!("exec {:?} {} 3<{}", run.get_program(), arguments.join(" "), folder.display());
        child::run(Command::new("sh").args(["-c", &line])).to_string()
    });
}

fn with_landlock_nothing_is_mounted() {
    let script = "mount -t tmpfs tmpfs /tmp && echo gained";
    let sound = || Bundle::shell(script).config(|json| config::add_capabilities(json, &["CAP_SYS_ADMIN"]));
    holds(sound, weakness::run);
}

fn with_landlock_no_process_outside_is_signalled() {
    let victim = Run::start(Command::new("sleep").arg("1000"));
    let script = format!("kill -0 {} && echo gained", victim.pid());
    holds(|| Bundle::shell(&script).config(config::share_pid_namespace), weakness::run);
}

fn with_landlock_files_of_the_root_and_streams_are_used_as_before() {
    let script = "echo one > /tmp/a && ln /tmp/a /tmp/b && mkdir /tmp/d && mv /tmp/b /tmp/d/c && cat /tmp/d/c && rm -r /tmp/d; \
        echo two > /dev/shm/x && cat /dev/shm/x; echo three >> /dev/stderr; echo four 2>/dev/null > /dev/null && echo five; \
        ls /proc/self/fd > /dev/null && cat /proc/self/comm";
    let seen = walled(Bundle::shell(script)).run().ok();
    assert_eq!(seen.stderr, "three\n", "{seen}");
    assert_eq!(seen.text().split_whitespace().collect::<Vec<_>>(), ["one", "two", "five", "cat"], "{seen}");
}

fn programs_of_exec_can_still_end_those_of_a_container_with_landlock() {
    let container =
        walled(Bundle::shell("sleep 1000 & echo $! > /tmp/pid; wait $!; echo $? > /tmp/end; sleep 1000"))
            .start();
    child::eventually("it sleeps", || !container.peek("/tmp/pid").is_empty());
    container.sh("kill -KILL $(cat /tmp/pid)");
    child::eventually("it has ended", || container.peek("/tmp/end").trim() == "137");
}

fn a_system_with_the_hosts_network_reaches_no_abstract_socket() {
    let name = session::unique("isolate-abstract-");
    let _service = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let bind = format!("{}:{}:ro", std::env::current_exe().unwrap().display(), attacker::PATH);
    let container = Bundle::without_root(&["true"]).container();
    let mut command = container.command(&["try", "--net", "host", "-v", &bind, "--", attacker::PATH]);
    let seen = child::run(command.args(["connect-abstract", &name])).ok();
    assert!(!seen.stdout.contains("gained"), "{seen}");
    // As it is without the wall.
    let bundle = attacker::bring(Bundle::new(&[attacker::PATH, "connect-abstract", &name]));
    let bundle = bundle.config(|json| {
        config::remove_namespace(json, "network");
        json["mounts"].as_array_mut().unwrap().retain(|mount| mount["destination"] != "/sys");
    });
    assert_eq!(bundle.output(), "gained");
}

fn try_asks_for_a_core_of_its_own() {
    let container = Bundle::without_root(&["true"]).container();
    let inner = container.command(&["try", "--", "true"]);
    let calls = container.bundle.folder.join("calls");
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-e", "trace=prctl", "-o"]).arg(&calls);
    child::run(command.arg(inner.get_program()).args(inner.get_args())).ok();
    let calls = fs::read_to_string(calls).unwrap();
    // PR_SCHED_CORE, PR_SCHED_CORE_CREATE; older strace has numbers only.
    assert!(calls.contains("PR_SCHED_CORE") || calls.contains("prctl(0x3e"), "{calls}");
}

fn a_wall_that_is_not_known_is_refused() {
    for key in ["org.isolate.landlock", "org.isolate.core-scheduling", "org.isolate.user-namespace-owner"] {
        let bundle = Bundle::nothing().set("/annotations", json!({ key: "some" }));
        bundle.refused(&[&format!("annotations[{key:?}]: \"some\" is not")]);
    }
}
