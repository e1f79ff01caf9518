//! `-it`: podman at a real terminal of ours. The terminal's master end is read and written as a person's would
//! be, and resized.

use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::pty::openpty;

use crate::engine::*;
use crate::support::child::Run;
use crate::support::console::Terminal;
use crate::support::session::unique;
use crate::tests;

tests![
    run_it_gives_the_program_a_terminal_and_its_keys,
    the_program_sees_the_size_of_the_terminal_and_its_changes,
    exec_it_gives_a_second_program_a_terminal_of_its_own,
    exec_it_sees_changes_of_size,
    ctrl_c_interrupts_the_foreground_program,
    the_detach_keys_leave_the_container_running,
    run_t_without_a_terminal_of_ours_still_gives_one,
    a_terminal_s_output_is_in_the_logs,
];

/// Podman with a terminal of ours as its controlling one.
struct Session {
    run: Run,
    terminal: Terminal,
    slave: OwnedFd,
}

impl Session {
    /// Starts `podman ARGUMENTS` at a terminal of 24 rows and 80 columns.
    fn start(arguments: &[&str]) -> Session {
        let pair = openpty(None, None).unwrap();
        set_size(&pair.slave, 24, 80);
        let podman = {
            let mut podman = command();
            podman.args(arguments);
            podman
        };
        // `script` or `ssh` would do the same: a session of its own, with this terminal as the controlling one.
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--wait", "sh", "-c", "exec \"$@\" >&0 2>&0", "sh"]);
        command.arg(podman.get_program()).args(podman.get_args()).current_dir(folder());
        command.env_clear();
        command.envs(podman.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let run = Run::start_with(&mut command, Stdio::from(pair.slave.try_clone().unwrap()));
        Session { run, terminal: Terminal::new(pair.master), slave: pair.slave }
    }

    /// `podman run --rm -it … IMAGE COMMAND`.
    fn run(options: &[&str], arguments: &[&str]) -> Session {
        let verb = ["run", "--rm", "-it", "--network", "none"];
        Session::start(&[&verb, options, &[IMAGE], arguments].concat())
    }

    /// Rows first, then columns: one of two signals at once may be lost on podman.
    fn resize(&self, rows: u16, columns: u16) {
        set_size(&self.slave, rows, 80);
        std::thread::sleep(Duration::from_millis(300));
        set_size(&self.slave, rows, columns);
    }

    /// Types a line.
    fn type_line(&mut self, line: &str) {
        self.terminal.type_text(&format!("{line}\n"));
    }

    /// Types the detach keys, which podman takes only one at a time.
    fn detach(&mut self) {
        for key in ["\u{10}", "\u{11}"] {
            std::thread::sleep(Duration::from_millis(150));
            self.terminal.type_text(key);
        }
    }

    /// Waits for podman's end; gives its exit code and everything that the terminal has shown.
    #[track_caller]
    fn finish(self) -> (i32, String) {
        let Session { run, terminal, .. } = self;
        let output = run.finish();
        (output.code, terminal.seen)
    }
}

fn set_size(terminal: &OwnedFd, rows: u16, columns: u16) {
    let mut stty = Command::new("stty");
    stty.args(["rows", &rows.to_string(), "cols", &columns.to_string()]);
    Run::start_with(&mut stty, Stdio::from(terminal.try_clone().unwrap())).finish().ok();
}

fn run_it_gives_the_program_a_terminal_and_its_keys() {
    let script = "tty; test -t 0 && test -t 1 && test -t 2 && echo three; read line; echo got $line; exit 4";
    let mut session = Session::run(&[], &["sh", "-c", script]);
    session.terminal.wait_for("/dev/pts/0");
    session.terminal.wait_for("three");
    session.type_line("some keys");
    session.terminal.wait_for("got some keys");
    assert_eq!(session.finish().0, 4);
}

fn the_program_sees_the_size_of_the_terminal_and_its_changes() {
    let script = "trap 'echo now $(stty size)' WINCH; echo first $(stty size); while :; do sleep 0.05; done";
    let options = ["--name", &unique("isolate-test-tty-")];
    let mut session = Session::run(&options, &["sh", "-c", script]);
    // podman sets the size once the program runs, so that either line may be the one with the right size.
    session.terminal.wait_for("24 80");
    session.resize(40, 100);
    session.terminal.wait_for("now 40 100");
    podman(&["kill", options[1]]).ok();
    assert_eq!(session.finish().0, 137);
}

fn exec_it_gives_a_second_program_a_terminal_of_its_own() {
    let container = Container::sleeper(&[]);
    let script = "tty; read line; echo got $line; exit 6";
    let mut session = Session::start(&["exec", "-it", &container.name, "sh", "-c", script]);
    session.terminal.wait_for("/dev/pts/");
    session.type_line("more keys");
    session.terminal.wait_for("got more keys");
    assert_eq!(session.finish().0, 6);
}

fn exec_it_sees_changes_of_size() {
    let container = Container::sleeper(&[]);
    let script = "while test \"$(stty size)\" != '33 77'; do sleep 0.05; done; echo seen";
    let mut session = Session::start(&["exec", "-it", &container.name, "sh", "-c", script]);
    session.resize(33, 77);
    session.terminal.wait_for("seen");
    assert_eq!(session.finish().0, 0);
}

fn ctrl_c_interrupts_the_foreground_program() {
    let mut session = Session::run(
        &[],
        &["sh", "-c", "trap 'echo stopped; exit 3' INT; echo up; while :; do sleep 0.05; done"],
    );
    session.terminal.wait_for("up");
    session.terminal.type_text("\u{3}");
    session.terminal.wait_for("stopped");
    assert_eq!(session.finish().0, 3);
}

fn the_detach_keys_leave_the_container_running() {
    let container =
        Container::create(&["-it"], &["sh", "-c", "echo up; read line; echo got $line; sleep 100"]);
    let mut session = Session::start(&["start", "--attach", "--interactive", &container.name]);
    session.terminal.wait_for("up");
    session.detach();
    assert_eq!(session.finish().0, 0);
    assert_eq!(container.status(), "running");
    let mut session = Session::start(&["attach", &container.name]);
    session.type_line("later");
    session.terminal.wait_for("got later");
    session.detach();
    session.finish();
    assert_eq!(container.status(), "running");
}

fn run_t_without_a_terminal_of_ours_still_gives_one() {
    let output = run(&["-t"], &["sh", "-c", "test -t 1 && echo a terminal"]).ok();
    assert_eq!(output.stdout, "a terminal\r\n");
}

fn a_terminal_s_output_is_in_the_logs() {
    let container = Container::start(&["-t"], &["sh", "-c", "tty; echo done"]);
    container.podman(&["wait"]).ok();
    assert_eq!(container.logs(), "/dev/pts/0\r\ndone\r\n");
}
