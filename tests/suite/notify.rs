//! NOTIFY_SOCKET: a container that tells its supervisor it is ready, through the runtime.

use std::os::unix::net::UnixDatagram;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::*;
use crate::tests;

tests![
    ready_is_relayed_with_the_pid_of_the_container needs [Need::Root],
    the_container_sees_a_socket_of_its_own needs [Need::Root],
    start_waits_until_the_container_is_ready needs [Need::Root],
    without_a_supervisor_there_is_no_socket,
];

/// A supervisor that takes every message, as systemd does: one that carries a descriptor (BARRIER) is
/// answered by closing it.
struct Supervisor {
    path: std::path::PathBuf,
    messages: Arc<Mutex<String>>,
}

impl Supervisor {
    fn new(bundle: &Bundle) -> Supervisor {
        let path = bundle.folder.join("notify.sock");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let messages = Arc::new(Mutex::new(String::new()));
        let kept = Arc::clone(&messages);
        std::thread::spawn(move || {
            let mut bytes = [0; 512];
            while let Ok(length) = socket.recv(&mut bytes) {
                *kept.lock().unwrap() += &(String::from_utf8_lossy(&bytes[..length]) + "\n");
            }
        });
        Supervisor { path, messages }
    }

    #[track_caller]
    fn wait_for(&self, word: &str) {
        child::eventually(&format!("the supervisor hears {word}"), || {
            self.messages.lock().unwrap().contains(word)
        });
    }
}

const SCRIPT: &str = "echo $NOTIFY_SOCKET > /tmp/socket; while :; do sleep 0.1; done";

fn started() -> (Container, Supervisor, Run) {
    let bundle = Bundle::shell(SCRIPT);
    let supervisor = Supervisor::new(&bundle);
    let container = bundle.container();
    let mut create = container.bundle_command("create", &[]);
    child::run(create.env("NOTIFY_SOCKET", &supervisor.path)).ok();
    let mut start = container.command(&["start", container.id()]);
    let run = Run::start(start.env("NOTIFY_SOCKET", &supervisor.path));
    child::eventually("the program runs", || container.peek("/tmp/socket").ends_with('\n'));
    (container, supervisor, run)
}

/// Sends from the host what the program inside would send.
fn send(container: &Container, text: &str) {
    let inside = container.peek("/tmp/socket").trim().to_owned();
    assert!(inside.starts_with('/'), "{inside:?}");
    let path = format!("/proc/{}/root{inside}", container.pid());
    UnixDatagram::unbound().unwrap().send_to(text.as_bytes(), path).unwrap();
}

fn ready_is_relayed_with_the_pid_of_the_container() {
    let (container, supervisor, run) = started();
    send(&container, "READY=1\n");
    supervisor.wait_for("READY=1");
    supervisor.wait_for(&format!("MAINPID={}\n", container.pid()));
    run.finish().ok();
}

fn the_container_sees_a_socket_of_its_own() {
    let (container, supervisor, run) = started();
    let inside = container.sh("test -S $(cat /tmp/socket) && echo socket");
    assert_eq!(inside, "socket");
    assert_ne!(container.peek("/tmp/socket").trim(), supervisor.path.to_str().unwrap());
    send(&container, "READY=1\n");
    run.finish().ok();
}

fn start_waits_until_the_container_is_ready() {
    let (container, _supervisor, mut run) = started();
    std::thread::sleep(Duration::from_millis(150));
    assert!(run.is_running());
    send(&container, "READY=1\n");
    run.finish().ok();
    assert_eq!(container.status(), "running");
}

fn without_a_supervisor_there_is_no_socket() {
    assert_eq!(Bundle::shell("echo \"[$NOTIFY_SOCKET]\"; ls /run").output(), "[]");
}
