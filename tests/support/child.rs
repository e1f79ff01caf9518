//! Child processes with a time limit. Output goes to files, not pipes: a container that outlives the
//! command keeps them open, and reading a pipe to its end would wait for it.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use std::os::unix::process::ExitStatusExt;

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use super::session::{session, unique};

/// Pids that a [`Run`] waits for; all other children are orphans, and the reaper's.
static WAITED: Mutex<Option<HashSet<i32>>> = Mutex::new(None);

/// What a command left: exit code (128 + signal when killed) and its whole output.
#[derive(Debug, Clone)]
pub struct Output {
    /// Exit code, or 128 + the signal's number.
    pub code: i32,
    /// Standard output, invalid UTF-8 replaced.
    pub stdout: String,
    /// Standard error, likewise.
    pub stderr: String,
    /// The command, for messages.
    pub command: String,
}

impl Output {
    /// Fails the test unless the command succeeded.
    #[track_caller]
    pub fn ok(self) -> Output {
        assert!(self.code == 0, "{self}");
        self
    }

    /// Fails the test unless the command failed with `code` and said each of `words` on standard error.
    #[track_caller]
    pub fn fails(self, code: i32, words: &[&str]) -> Output {
        assert!(self.code == code, "expected exit code {code}: {self}");
        for word in words {
            assert!(self.stderr.contains(word), "expected {word:?} on standard error: {self}");
        }
        self
    }

    /// Standard output without white space at its ends.
    pub fn text(&self) -> &str {
        self.stdout.trim()
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("not JSON ({error}): {self}"))
    }
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Output { code, stdout, stderr, command } = self;
        write!(f, "`{command}` exited with {code}\n  stdout: {stdout}\n  stderr: {stderr}")
    }
}

/// A command under way, with its output files.
pub struct Run {
    child: Child,
    command: String,
    stdout: PathBuf,
    stderr: PathBuf,
    started: Instant,
}

/// The longest that any command of the suite may take (times [`patience`]).
pub const LIMIT: Duration = Duration::from_secs(30);

impl Run {
    /// Starts `command` without standard input.
    pub fn start(command: &mut Command) -> Run {
        Run::start_with(command, Stdio::null())
    }

    /// Starts `command` with `stdin`.
    pub fn start_with(command: &mut Command, stdin: Stdio) -> Run {
        let name = session().folder.join(unique("output-"));
        let (stdout, stderr) = (name.with_extension("out"), name.with_extension("err"));
        command.stdin(stdin);
        command.stdout(File::create(&stdout).unwrap()).stderr(File::create(&stderr).unwrap());
        let text = format!("{command:?}").replace('"', "");
        let child = spawn(command);
        Run { child, command: text, stdout, stderr, started: Instant::now() }
    }

    /// Starts `command` with all three standard descriptors on `terminal`; its output is read there.
    pub fn start_on(command: &mut Command, terminal: &File) -> Run {
        let stdio = || Stdio::from(terminal.try_clone().unwrap());
        command.stdin(stdio()).stdout(stdio()).stderr(stdio());
        let text = format!("{command:?}").replace('"', "");
        let child = spawn(command);
        Run { child, command: text, stdout: PathBuf::new(), stderr: PathBuf::new(), started: Instant::now() }
    }

    /// The process id.
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Sends a signal to the process.
    pub fn signal(&self, signal: Signal) {
        let _ = kill(Pid::from_raw(self.pid()), signal);
    }

    /// What it has written on standard output so far.
    pub fn stdout_so_far(&self) -> String {
        read_lossy(&self.stdout)
    }

    /// Waits until its standard output contains `word`; fails the test after the time limit.
    #[track_caller]
    pub fn wait_for_output(&mut self, word: &str) {
        eventually(&format!("`{}` prints {word:?}", self.command), || self.stdout_so_far().contains(word));
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_none())
    }

    /// Waits for its end; kills it and fails the test after the time limit.
    #[track_caller]
    pub fn finish(self) -> Output {
        self.finish_within(LIMIT)
    }

    /// [`Run::finish`] with a limit of its own (times [`patience`]).
    #[track_caller]
    pub fn finish_within(mut self, limit: Duration) -> Output {
        let limit = limit * patience();
        let mut pause = Duration::from_micros(300);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return self.collect(status);
            }
            if self.started.elapsed() > limit {
                let _ = self.child.kill();
                let status = self.child.wait().unwrap();
                panic!("took longer than {limit:?} and was killed: {}", self.collect(status));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(5));
        }
    }

    fn collect(&self, status: ExitStatus) -> Output {
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
        let (stdout, stderr) = (read_lossy(&self.stdout), read_lossy(&self.stderr));
        Output { code, stdout, stderr, command: self.command.clone() }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if self.is_running() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        with_waited(|waited| waited.remove(&(self.child.id() as i32)));
        let _ = fs::remove_file(&self.stdout);
        let _ = fs::remove_file(&self.stderr);
    }
}

/// Runs `command` to its end.
#[track_caller]
pub fn run(command: &mut Command) -> Output {
    Run::start(command).finish()
}

/// Runs `command` to its end with `input` on standard input.
#[track_caller]
pub fn run_with_input(command: &mut Command, input: &[u8]) -> Output {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(input).unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    Run::start_with(command, Stdio::from(file)).finish()
}

/// How many times longer than on a machine of its own a command may take: `ISOLATE_TEST_PATIENCE`, more where a kernel runs
/// as a program, or a processor is emulated. By default three, as other work of the machine may come between.
pub fn patience() -> u32 {
    std::env::var("ISOLATE_TEST_PATIENCE").ok().and_then(|text| text.parse().ok()).unwrap_or(3)
}

/// Waits until `condition` holds; fails the test, naming `what`, after ten seconds (times [`patience`]).
#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let (start, limit) = (Instant::now(), Duration::from_secs(10) * patience());
    while !condition() {
        assert!(start.elapsed() < limit, "waited {limit:?} in vain: {what}");
        std::thread::sleep(Duration::from_millis(3));
    }
}

fn read_lossy(path: &PathBuf) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

fn with_waited<T>(act: impl FnOnce(&mut HashSet<i32>) -> T) -> T {
    let mut lock = WAITED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    act(lock.get_or_insert_default())
}

/// Spawning and registering are one step, so that the reaper never takes a child that is waited for.
fn spawn(command: &mut Command) -> Child {
    with_waited(|waited| {
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        waited.insert(child.id() as i32);
        child
    })
}

/// Writes an executable while nothing is being spawned: a child between fork and exec would hold it open
/// for writing, and executing it would fail with ETXTBSY.
pub fn while_nothing_is_spawned<T>(write: impl FnOnce() -> T) -> T {
    with_waited(|_| write())
}

/// Makes this process the reaper of every orphan below it, as conmon or a shim is, and reaps them.
pub fn start_reaper() {
    nix::sys::prctl::set_child_subreaper(true).unwrap();
    std::thread::spawn(|| {
        loop {
            reap_orphans();
            std::thread::sleep(Duration::from_millis(10));
        }
    });
}

fn reap_orphans() {
    with_waited(|waited| {
        for pid in super::process::children_of_self() {
            if !waited.contains(&pid) {
                let _ = waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG));
            }
        }
    });
}

/// A shell starts what it puts in the background with keys ignored, nohup with SIGHUP, and so would be every program of
/// the tests.
#[allow(unsafe_code)]
pub fn hear_keys() {
    use nix::sys::signal::{SigHandler, Signal, signal};
    for key in [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGHUP] {
        // SAFETY: the default action installs no handler.
        unsafe { signal(key, SigHandler::SigDfl) }.unwrap();
    }
}
