//! Terminals: the console socket, the size, the controlling terminal, and the relay in the foreground.

use serde_json::json;

use crate::support::console::{DescriptorSocket, Terminal, open_terminal};
use crate::support::*;
use crate::tests;

tests![
    create_sends_the_terminal_to_the_console_socket,
    the_terminal_is_the_containers_own,
    the_console_is_the_terminal,
    the_size_is_that_of_the_config needs [Need::Not("runc", "1.1 takes the size of the caller's terminal")],
    a_later_size_is_seen_inside,
    control_c_reaches_the_program,
    the_end_of_the_program_hangs_the_terminal_up,
    a_path_of_a_socket_may_be_long needs [Need::Not("runc", "1.1 fails")],
    the_terminal_belongs_to_the_user needs [Need::Root],
    a_terminal_without_a_socket_is_refused_by_create,
    a_terminal_without_a_socket_is_refused_by_run_detached,
    a_socket_without_a_terminal_is_refused,
    a_socket_that_does_not_exist_is_refused,
    run_in_the_foreground_uses_the_callers_terminal,
    run_in_the_foreground_copies_the_size_and_its_changes,
    run_in_the_foreground_restores_the_callers_terminal,
    run_in_the_foreground_gives_the_exit_code,
    exec_gets_a_terminal_over_a_socket,
    exec_in_the_foreground_uses_the_callers_terminal,
    exec_detached_with_a_terminal_wants_a_socket,
    a_terminal_works_with_a_read_only_root,
    a_terminal_works_in_a_user_namespace needs [Need::UserNamespaces],
];

/// A bundle with a terminal.
fn with_terminal(script: &str) -> Bundle {
    Bundle::shell(script).set("/process/terminal", json!(true))
}

/// Creates the container with a console socket, and takes the terminal.
fn created(bundle: Bundle) -> (Container, Terminal) {
    let container = bundle.container();
    let socket = DescriptorSocket::listen(container.bundle.folder.join("console.sock"));
    container.create(&["--console-socket", socket.path()]).ok();
    let received = socket.receive();
    assert_eq!(received.descriptors.len(), 1, "exactly one descriptor");
    assert!(!received.payload.is_empty(), "the name of the terminal goes with it");
    assert!(!socket.has_caller(), "exactly one connection");
    let master = received.descriptors.into_iter().next().unwrap();
    (container, Terminal::new(master))
}

fn started(script: &str) -> (Container, Terminal) {
    let (container, terminal) = created(with_terminal(script));
    container.start().ok();
    (container, terminal)
}

fn create_sends_the_terminal_to_the_console_socket() {
    let (_container, mut terminal) = started("read line; echo \"got $line\"; sleep 100");
    terminal.type_text("hello\n");
    terminal.wait_for("got hello");
}

fn the_terminal_is_the_containers_own() {
    let (_container, mut terminal) =
        started("tty; ls /dev/pts; test -t 0 && test -t 1 && test -t 2 && echo all three; sleep 100");
    terminal.wait_for("all three");
    assert!(
        terminal.seen.contains("/dev/pts/0") || terminal.seen.contains("/dev/console"),
        "{}",
        terminal.seen
    );
    assert!(terminal.seen.contains("0     ptmx") || terminal.seen.contains("ptmx"), "{}", terminal.seen);
}

fn the_console_is_the_terminal() {
    let (_container, mut terminal) =
        started("echo to the console > /dev/console; test -c /dev/console && echo device; sleep 100");
    terminal.wait_for("to the console");
    terminal.wait_for("device");
}

fn the_size_is_that_of_the_config() {
    let bundle =
        with_terminal("stty size; sleep 100").set("/process/consoleSize", json!({"height": 33, "width": 77}));
    let (container, mut terminal) = created(bundle);
    container.start().ok();
    terminal.wait_for("33 77");
}

fn a_later_size_is_seen_inside() {
    let (_container, mut terminal) = started("trap 'stty size' WINCH; echo up; while :; do sleep 0.05; done");
    terminal.wait_for("up");
    terminal.resize(44, 88);
    terminal.wait_for("44 88");
}

fn control_c_reaches_the_program() {
    let (_container, mut terminal) =
        started("trap 'echo interrupted' INT; echo up; while :; do sleep 0.05; done");
    terminal.wait_for("up");
    terminal.type_text("\u{3}");
    terminal.wait_for("interrupted");
}

fn the_end_of_the_program_hangs_the_terminal_up() {
    let (container, mut terminal) = started("echo bye");
    terminal.wait_for("bye");
    container.wait_for("stopped");
    // Nobody else, the runtime included, holds the other end open.
    let mut file = terminal.into_file();
    child::eventually("reading gives EIO", || {
        let error = std::io::Read::read(&mut file, &mut [0; 64]).err();
        error.and_then(|error| error.raw_os_error()) == Some(nix::errno::Errno::EIO as i32)
    });
}

fn a_path_of_a_socket_may_be_long() {
    let container = with_terminal("echo hello; sleep 100").container();
    let folder = container.bundle.host_folder(&"long/".repeat(30));
    let socket = DescriptorSocket::listen(folder.join("console.sock"));
    assert!(socket.path().len() > 108);
    container.create(&["--console-socket", socket.path()]).ok();
    assert_eq!(socket.receive().descriptors.len(), 1);
}

fn the_terminal_belongs_to_the_user() {
    let bundle = with_terminal("stat -c 'owner %u' $(tty); echo again > $(tty); sleep 100");
    let (container, mut terminal) = created(bundle.set("/process/user", json!({"uid": 1000, "gid": 1000})));
    container.start().ok();
    terminal.wait_for("owner 1000");
    terminal.wait_for("again");
}

fn a_terminal_without_a_socket_is_refused_by_create() {
    with_terminal("true")
        .refused(&["cannot allocate tty if runc will detach without setting console socket"]);
}

fn a_terminal_without_a_socket_is_refused_by_run_detached() {
    let container = with_terminal("true").container();
    container
        .run(&["--detach"])
        .fails(1, &["cannot allocate tty if runc will detach without setting console socket"]);
    container.leaves_nothing();
}

fn a_socket_without_a_terminal_is_refused() {
    let container = Bundle::nothing().container();
    let socket = DescriptorSocket::listen(container.bundle.folder.join("console.sock"));
    container.create(&["--console-socket", socket.path()]).fails(1, &["cannot use console socket if"]);
    container.leaves_nothing();
}

fn a_socket_that_does_not_exist_is_refused() {
    let container = with_terminal("true").container();
    let output = container.create(&["--console-socket", "/nonesuch/socket"]);
    assert_eq!(output.code, 1, "{output}");
    container.leaves_nothing();
}

/// `run` in the foreground on a terminal of the test's own.
fn foreground(script: &str, rows: u16, columns: u16) -> (Container, Run, Terminal) {
    let container = with_terminal(script).container();
    let (terminal, end) = open_terminal();
    terminal.resize(rows, columns);
    let run = Run::start_on(&mut container.bundle_command("run", &[]), &end);
    (container, run, terminal)
}

fn run_in_the_foreground_uses_the_callers_terminal() {
    let (_container, run, mut terminal) = foreground("echo up; read line; echo \"got $line\"", 24, 80);
    terminal.wait_for("up");
    terminal.type_text("typed\n");
    terminal.wait_for("got typed");
    assert_eq!(run.finish().code, 0);
}

fn run_in_the_foreground_copies_the_size_and_its_changes() {
    let script = "stty size; trap 'stty size; exit 0' WINCH; echo up; while :; do sleep 0.05; done";
    let (_container, run, mut terminal) = foreground(script, 31, 97);
    terminal.wait_for("31 97");
    terminal.wait_for("up");
    terminal.resize(35, 101);
    run.signal(nix::sys::signal::Signal::SIGWINCH);
    terminal.wait_for("35 101");
    assert_eq!(run.finish().code, 0);
}

fn run_in_the_foreground_restores_the_callers_terminal() {
    let container = with_terminal("echo up; sleep 0.1").container();
    let (mut terminal, end) = open_terminal();
    let settings = || nix::sys::termios::tcgetattr(&end).unwrap().local_flags;
    let before = settings();
    let run = Run::start_on(&mut container.bundle_command("run", &[]), &end);
    terminal.wait_for("up");
    assert!(!settings().contains(nix::sys::termios::LocalFlags::ICANON), "raw while the program runs");
    run.finish();
    assert_eq!(settings(), before);
}

fn run_in_the_foreground_gives_the_exit_code() {
    let (_container, run, _terminal) = foreground("exit 41", 24, 80);
    assert_eq!(run.finish().code, 41);
}

fn exec_gets_a_terminal_over_a_socket() {
    let container = Bundle::sleeper().start();
    let socket = DescriptorSocket::listen(container.bundle.folder.join("exec.sock"));
    let options = ["--tty", "--detach", "--console-socket", socket.path()];
    container.exec_with(&options, &["/bin/sh", "-c", "tty; read line; echo \"got $line\"; sleep 9"]).ok();
    let mut terminal = Terminal::new(socket.receive().descriptors.remove(0));
    terminal.type_text("hello\n");
    terminal.wait_for("got hello");
    assert!(terminal.seen.contains("/dev/pts/"), "{}", terminal.seen);
}

fn exec_in_the_foreground_uses_the_callers_terminal() {
    let container = Bundle::sleeper().start();
    let (mut terminal, end) = open_terminal();
    terminal.resize(28, 91);
    let mut command =
        container.exec_command(&["--tty"], &["/bin/sh", "-c", "stty size; read l; echo got $l; exit 4"]);
    let run = Run::start_on(&mut command, &end);
    terminal.wait_for("28 91");
    terminal.type_text("typed\n");
    terminal.wait_for("got typed");
    assert_eq!(run.finish().code, 4);
}

fn exec_detached_with_a_terminal_wants_a_socket() {
    let container = Bundle::sleeper().start();
    let output = container.exec_with(&["--tty", "--detach"], &["true"]);
    assert!(
        output.code != 0 && output.stderr.contains("cannot allocate tty if runc will detach"),
        "{output}"
    );
}

fn a_terminal_works_with_a_read_only_root() {
    let bundle =
        with_terminal("echo to the console > /dev/console; sleep 100").set("/root/readonly", json!(true));
    let (container, mut terminal) = created(bundle);
    container.start().ok();
    terminal.wait_for("to the console");
}

fn a_terminal_works_in_a_user_namespace() {
    let (container, mut terminal) = created(with_terminal("tty; echo up; sleep 100").user_namespace());
    container.start().ok();
    terminal.wait_for("up");
}
