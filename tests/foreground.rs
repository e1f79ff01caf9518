//! The foreground relay against real terminals and processes (tier 1: no privilege but a devpts).
//!
//! The relay must run in a process of its own, single-threaded as in the product, so this program is its
//! own helper: `--relay MODE SCRIPT` runs a shell script as the "container" and relays it.

// A failed step is a failed test, and `pre_exec` is unsafe.
#![allow(unsafe_code, clippy::unwrap_used, clippy::panic)]

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use isolate::container::foreground::{Init, Signals, Subreaper, wait};
use isolate::container::notify;
use isolate::container::terminal::Terminal;
use isolate::sys::process::Exit;
use isolate::sys::{pidfd, pty};
use libtest_mimic::{Arguments, Trial};
use nix::sys::termios::{LocalFlags, tcgetattr};

fn main() {
    hear_keys();
    let args: Vec<String> = std::env::args().collect();
    if let [_, flag, mode, script] = args.as_slice()
        && flag == "--relay"
    {
        std::process::exit(relay(mode, script));
    }
    libtest_mimic::run(&Arguments::from_args(), trials()).exit();
}

/// A shell starts what it puts in the background with keys ignored (and nohup does so with SIGHUP), and a shell cannot trap
/// what was ignored when it was started.
fn hear_keys() {
    use nix::sys::signal::{SigHandler, Signal, signal};
    for key in [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGHUP] {
        // SAFETY: the default action installs no handler.
        unsafe { signal(key, SigHandler::SigDfl) }.unwrap();
    }
}

/// The modes: `plain` has no terminal, `tty` has one, `loose` has one that controls nobody.
fn relay(mode: &str, script: &str) -> i32 {
    let signals = Signals::block_early(Subreaper::Yes).unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    let mut terminal = None;
    if mode != "plain" {
        let pair = pty::open_master(File::open("/dev/pts").unwrap().as_fd()).unwrap();
        terminal = Some(Terminal::attach(pair.master).unwrap());
        let copy = || Stdio::from(pair.slave.try_clone().unwrap());
        command.stdin(copy()).stdout(copy()).stderr(copy());
    }
    // With both variables set, readiness messages are relayed too.
    let messages = std::env::var_os("STATE").map(|state| {
        let host = notify::HostSocket::parse(&std::env::var_os("NOTIFY_SOCKET").unwrap()).unwrap().unwrap();
        notify::Relay::open(state.as_ref(), &host).unwrap()
    });
    let (mask, is_controlling) = (*signals.original(), mode == "tty");
    let before_exec = move || {
        mask.thread_set_mask()?;
        if is_controlling {
            pty::make_controlling(std::io::stdin())
                .map_err(|error| std::io::Error::other(error.to_string()))?;
        }
        Ok(())
    };
    // SAFETY: this process has one thread, so the child may call anything between fork and exec.
    unsafe { command.pre_exec(before_exec) };
    #[expect(clippy::zombie_processes, reason = "the relay itself waits, by pidfd")]
    let child = command.spawn().unwrap();
    drop(command);
    let pid = child.id().cast_signed();
    let pidfd = pidfd::open(pid).unwrap();
    wait(Init { pid, pidfd: pidfd.as_fd() }, terminal, messages, &signals).unwrap().code()
}

/// A relay under test; killed when the test is over.
struct Relay(Child);

impl Relay {
    fn command(mode: &str, script: &str) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--relay", mode, script]);
        command
    }

    fn piped(mode: &str, script: &str) -> Relay {
        let mut command = Relay::command(mode, script);
        Relay(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap())
    }

    fn signal(&self, number: i32) {
        pidfd::send_signal(pidfd::open(self.0.id().cast_signed()).unwrap(), number).unwrap();
    }

    /// Reads the output up to and with `text`.
    fn expect(&mut self, text: &str) {
        read_until(self.0.stdout.as_mut().unwrap(), text);
    }

    fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.0.stdout.take().unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    }

    /// Its exit code; a relay that does not end is a failure.
    fn code(&mut self) -> i32 {
        let pidfd = pidfd::open(self.0.id().cast_signed()).unwrap();
        assert!(pidfd::poll_exit(&pidfd, Some(Duration::from_secs(20))).unwrap(), "the relay hangs");
        match pidfd::wait(&pidfd).unwrap() {
            Exit::Code(code) => code,
            Exit::Signal(number) => panic!("signal {number} ended the relay"),
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn read_until(from: &mut impl Read, text: &str) -> String {
    let mut seen = Vec::new();
    let mut byte = [0];
    while !seen.ends_with(text.as_bytes()) {
        let count = from.read(&mut byte).unwrap_or(0);
        assert!(count == 1, "{text:?} never came, but {:?}", String::from_utf8_lossy(&seen));
        seen.push(byte[0]);
    }
    String::from_utf8_lossy(&seen).into_owned()
}

/// A relay on a terminal of the host, in front of a session of its own.
fn on_host_terminal(script: &str, size: pty::Size) -> (Relay, File, OwnedFd) {
    let host = pty::open_master(File::open("/dev/pts").unwrap().as_fd()).unwrap();
    pty::set_size(&host.master, size).unwrap();
    let copy = || Stdio::from(host.slave.try_clone().unwrap());
    let mut command = Relay::command("tty", script);
    command.stdin(copy()).stdout(copy());
    let lead =
        || pty::make_controlling(std::io::stdin()).map_err(|error| std::io::Error::other(error.to_string()));
    // SAFETY: setsid and one ioctl; the error text is only made on failure, and the test fails then.
    unsafe { command.pre_exec(lead) };
    let child = command.spawn().unwrap();
    (Relay(child), File::from(host.master), host.slave)
}

const SIZE: pty::Size = pty::Size { rows: 31, columns: 97 };

/// Keeps a shell waiting for a signal, for at most ten seconds.
const IDLE: &str = "echo ready; i=0; while [ $i -lt 200 ]; do sleep 0.05; i=$((i+1)); done";

fn trials() -> Vec<Trial> {
    let tests: [(&str, fn()); 23] = [
        ("output_that_is_pending_at_the_end_arrives_complete", pending_output_is_complete),
        ("output_on_a_host_terminal_arrives_complete", host_terminal_output_is_complete),
        ("a_pipe_gets_bare_newlines", bare_newlines),
        ("a_program_that_ends_at_once_is_not_missed", ends_at_once),
        ("exit_codes_and_fatal_signals_are_told", codes),
        ("a_caller_that_ignores_sigchld_still_gets_the_code", ignored_sigchld),
        ("signals_are_passed_on_by_number", signals_pass),
        ("signals_are_passed_on_with_a_terminal_too", signals_pass_with_terminal),
        ("an_ordinary_signal_that_the_program_does_not_catch_ends_it", uncaught_signal),
        ("the_size_is_copied_at_the_start_and_follows_the_host", size_follows),
        ("the_host_terminal_is_raw_meanwhile_and_has_its_modes_back_afterwards", raw_and_back),
        ("keys_go_to_the_program_and_not_to_the_relay", keys_pass),
        ("a_background_job_leaves_the_terminal_alone_until_it_is_in_front", background_job),
        ("much_input_arrives_complete", much_input),
        ("the_end_of_the_input_does_not_end_the_program", input_ends),
        ("a_reader_that_goes_away_does_not_stop_the_program", reader_goes_away),
        ("a_process_that_keeps_the_terminal_is_not_waited_for", kept_terminal),
        ("a_process_that_writes_for_ever_is_not_waited_for", endless_writer),
        ("a_terminal_that_is_closed_and_opened_again_works", reopened),
        ("orphans_are_adopted_and_reaped", orphans),
        ("output_that_nobody_reads_is_given_up_on_sigterm", nobody_reads),
        ("a_non_blocking_pipe_gets_all_output", non_blocking_output),
        ("readiness_messages_are_passed_on_meanwhile", readiness),
    ];
    tests
        .into_iter()
        .map(|(name, test)| {
            Trial::test(name, move || {
                test();
                Ok(())
            })
        })
        .collect()
}

const MUCH: &str = "head -c 100000 /dev/zero | tr '\\0' x; exit 3";

fn pending_output_is_complete() {
    for _ in 0..5 {
        let mut relay = Relay::piped("tty", MUCH);
        // The program can only end once all but the terminal's buffer is taken; then the reader is late.
        std::thread::sleep(Duration::from_millis(50));
        let mut first = vec![0; 90_000];
        relay.0.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(first.len() + relay.rest().len(), 100_000);
        assert_eq!(relay.code(), 3);
    }
}

fn host_terminal_output_is_complete() {
    let (mut relay, mut master, slave) = on_host_terminal(&format!("{{ {MUCH}; }}"), SIZE);
    drop(slave);
    let mut count = 0;
    let mut buffer = [0; 1000];
    while let Ok(more @ 1..) = master.read(&mut buffer) {
        assert!(buffer[..more].iter().all(|byte| *byte == b'x'));
        count += more;
    }
    assert_eq!(count, 100_000);
    assert_eq!(relay.code(), 3);
}

fn bare_newlines() {
    let mut relay = Relay::piped("tty", "echo a; echo b");
    assert_eq!(relay.rest(), b"a\nb\n");
}

fn ends_at_once() {
    for mode in ["plain", "tty", "loose"] {
        for _ in 0..20 {
            let mut relay = Relay::piped(mode, "exit 5");
            assert_eq!(relay.code(), 5, "{mode}");
        }
    }
}

fn codes() {
    for (script, code) in [("exit 0", 0), ("exit 255", 255), ("kill -KILL $$", 137), ("kill -35 $$", 163)] {
        assert_eq!(Relay::piped("plain", script).code(), code, "{script}");
        assert_eq!(Relay::piped("tty", script).code(), code, "{script}");
    }
}

fn ignored_sigchld() {
    use nix::sys::signal::{SigHandler, Signal, signal};
    let mut command = Relay::command("plain", "exit 5");
    let ignore = || {
        // SAFETY: ignoring a signal installs no handler.
        unsafe { signal(Signal::SIGCHLD, SigHandler::SigIgn) }.map(drop).map_err(Into::into)
    };
    // SAFETY: one async-signal-safe call.
    unsafe { command.pre_exec(ignore) };
    assert_eq!(Relay(command.spawn().unwrap()).code(), 5);
}

fn signals_pass_in(mode: &str) {
    for (name, number) in [("USR1", 10), ("TERM", 15), ("HUP", 1), ("INT", 2), ("TSTP", 20), ("36", 36)] {
        let mut relay = Relay::piped(mode, &format!("trap 'exit 42' {name}; {IDLE}"));
        relay.expect("ready\n");
        relay.signal(number);
        assert_eq!(relay.code(), 42, "{name}");
    }
}

fn signals_pass() {
    signals_pass_in("plain");
}

fn signals_pass_with_terminal() {
    signals_pass_in("tty");
}

fn uncaught_signal() {
    let mut relay = Relay::piped("plain", &format!("trap 'exit 1' URG WINCH; {IDLE}"));
    relay.expect("ready\n");
    relay.signal(nix::libc::SIGURG);
    relay.signal(nix::libc::SIGWINCH);
    std::thread::sleep(Duration::from_millis(150));
    relay.signal(nix::libc::SIGTERM);
    assert_eq!(relay.code(), 143, "URG and WINCH are not passed on, TERM is");
}

fn size_follows() {
    let script = format!("stty size; trap 'stty size; exit 7' WINCH; {IDLE}");
    let (mut relay, mut master, _slave) = on_host_terminal(&script, SIZE);
    assert_eq!(read_until(&mut master, "ready\r\n"), "31 97\r\nready\r\n");
    pty::set_size(&master, pty::Size { rows: 5, columns: 6 }).unwrap();
    assert_eq!(read_until(&mut master, "5 6\r\n"), "5 6\r\n");
    assert_eq!(relay.code(), 7);
}

fn raw_and_back() {
    let (mut relay, mut master, slave) =
        on_host_terminal("trap 'exit 1' INT; echo ready; read line; exit 7", SIZE);
    let modes = || tcgetattr(&slave).unwrap().local_flags;
    let before = LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG;
    read_until(&mut master, "ready\r\n");
    assert!(!modes().intersects(before));
    master.write_all(b"\r").unwrap();
    assert_eq!(relay.code(), 7);
    assert!(modes().contains(before));
}

fn background_job() {
    let host = pty::open_master(File::open("/dev/pts").unwrap().as_fd()).unwrap();
    let copy = || Stdio::from(host.slave.try_clone().unwrap());
    let job = "\"$0\" --relay tty 'echo ready; read line; exit 7' &";
    let look = "sleep 0.4; stty -a | grep -q ' icanon' && echo cooked";
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("set -m; {job} {look}; fg >&-; echo code $?"));
    shell.arg(std::env::current_exe().unwrap()).stdin(copy()).stdout(copy()).stderr(copy());
    let lead =
        || pty::make_controlling(std::io::stdin()).map_err(|error| std::io::Error::other(error.to_string()));
    // SAFETY: setsid and one ioctl; the error text is only made on failure, and the test fails then.
    unsafe { shell.pre_exec(lead) };
    let _shell = Relay(shell.spawn().unwrap());
    let mut master = File::from(host.master);
    read_until(&mut master, "cooked\r\n");
    let is_raw = || !tcgetattr(&host.slave).unwrap().local_flags.contains(LocalFlags::ICANON);
    let start = Instant::now();
    while !is_raw() {
        assert!(start.elapsed() < Duration::from_secs(10), "never came to the front");
        std::thread::sleep(Duration::from_millis(10));
    }
    master.write_all(b"\r").unwrap();
    read_until(&mut master, "code 7\r\n");
}

fn keys_pass() {
    let (mut relay, mut master, _slave) = on_host_terminal(&format!("trap 'exit 9' INT; {IDLE}"), SIZE);
    read_until(&mut master, "ready\r\n");
    master.write_all(b"\x03").unwrap();
    assert_eq!(relay.code(), 9);
}

fn much_input() {
    // The program reads slowly at first: the terminal is full, and writes are partial.
    let mut relay =
        Relay::piped("tty", "stty raw -echo; echo ready; sleep 0.3; head -c 200000 | tr -d x | wc -c");
    relay.expect("ready\n");
    let mut input = relay.0.stdin.take().unwrap();
    input.write_all(&vec![b'x'; 200_000]).unwrap();
    assert_eq!(relay.rest(), b"0\n");
    assert_eq!(relay.code(), 0);
}

fn input_ends() {
    let mut relay =
        Relay::piped("tty", "stty -echo; echo ready; read line; sleep 0.2; echo got:$line; exit 6");
    relay.expect("ready\n");
    relay.0.stdin.take().unwrap().write_all(b"hello\n").unwrap();
    assert_eq!(relay.rest(), b"got:hello\n");
    assert_eq!(relay.code(), 6);
}

fn reader_goes_away() {
    let mut relay = Relay::piped("tty", "head -c 300000 /dev/zero; exit 6");
    drop(relay.0.stdout.take());
    assert_eq!(relay.code(), 6);
}

fn kept_terminal() {
    let before = Instant::now();
    let mut relay = Relay::piped("loose", "sleep 3 & echo x; exit 4");
    assert_eq!(relay.code(), 4);
    assert!(before.elapsed() < Duration::from_secs(2));
    assert_eq!(relay.rest(), b"x\n");
}

fn endless_writer() {
    let mut relay = Relay::piped("loose", "yes & sleep 0.1; exit 4");
    // Slower than the writer, so that there is always more to copy.
    let (mut buffer, mut total) = (vec![0; 8192], 0);
    while let count @ 1.. = relay.0.stdout.as_mut().unwrap().read(&mut buffer).unwrap() {
        total += count;
        assert!(total < 4 << 20, "the relay copies for ever");
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(relay.code(), 4);
}

fn reopened() {
    let script = "t=$(tty); echo one; exec <&- >&- 2>&-; sleep 0.3; exec >$t <$t; stty -echo; echo two; read line; echo $line";
    let mut relay = Relay::piped("loose", script);
    relay.expect("one\n");
    // Typed while nobody has the terminal open: kept until somebody has.
    std::thread::sleep(Duration::from_millis(100));
    relay.0.stdin.as_mut().unwrap().write_all(b"three\n").unwrap();
    relay.expect("two\n");
    assert_eq!(relay.rest(), b"three\n");
    assert_eq!(relay.code(), 0);
}

fn orphans() {
    let adopted = "test \"$(cut -d' ' -f4 /proc/$p/stat)\" = $PPID || exit 9";
    let script = format!("p=$(sh -c 'sleep 0.4 >&- & echo $!'); {adopted}; sleep 0.8; test ! -e /proc/$p");
    assert_eq!(Relay::piped("plain", &script).code(), 0);
}

fn nobody_reads() {
    let (_reader, mut writer) = std::io::pipe().unwrap();
    nix::fcntl::fcntl(&writer, nix::fcntl::FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
    writer.write_all(&[0; 4096]).unwrap();
    let mut command = Relay::command("tty", "trap '' TERM; echo x; exit 3");
    let mut relay = Relay(command.stdin(Stdio::null()).stdout(writer).spawn().unwrap());
    std::thread::sleep(Duration::from_millis(300));
    assert!(relay.0.try_wait().unwrap().is_none(), "output is still there to be read");
    // The program ignores it, should it still run on a busy machine.
    let pidfd = pidfd::open(relay.0.id().cast_signed()).unwrap();
    let has_ended = || {
        relay.signal(nix::libc::SIGTERM);
        pidfd::poll_exit(&pidfd, Some(Duration::from_millis(100))).unwrap()
    };
    assert!((0..100).any(|_| has_ended()), "the relay waits for a reader");
    assert_eq!(relay.code(), 3);
}

fn non_blocking_output() {
    let (reader, writer) = nix::unistd::pipe().unwrap();
    nix::fcntl::fcntl(&writer, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK)).unwrap();
    let mut command = Relay::command("tty", "head -c 300000 /dev/zero; exit 3");
    let mut relay = Relay(command.stdin(Stdio::null()).stdout(writer).spawn().unwrap());
    drop(command);
    std::thread::sleep(Duration::from_millis(100));
    let mut bytes = Vec::new();
    File::from(reader).read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes.len(), 300_000);
    assert_eq!(relay.code(), 3);
}

fn readiness() {
    let folder = tempfile::tempdir().unwrap();
    let manager = UnixDatagram::bind(folder.path().join("host")).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    notify::make_folder(folder.path()).unwrap();
    let mut command = Relay::command("plain", &format!("trap 'exit 8' USR1; {IDLE}"));
    command.env("NOTIFY_SOCKET", folder.path().join("host")).env("STATE", folder.path());
    let mut relay = Relay(command.stdout(Stdio::piped()).spawn().unwrap());
    relay.expect("ready\n");
    let container = UnixDatagram::unbound().unwrap();
    container.send_to(b"READY=1", notify::mount_source(folder.path()).join("notify.sock")).unwrap();
    let mut buffer = [0; 64];
    let mut next =
        || manager.recv(&mut buffer).map(|count| String::from_utf8_lossy(&buffer[..count]).into_owned());
    assert_eq!(next().unwrap(), "READY=1\n");
    assert_eq!(next().unwrap(), format!("MAINPID={}\n", relay.0.id()));
    relay.signal(nix::libc::SIGUSR1);
    assert_eq!(relay.code(), 8);
}
