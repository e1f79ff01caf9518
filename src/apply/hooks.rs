//! Running hooks (config.md, "POSIX-platform Hooks"): in order, with the state on standard input, exactly
//! the environment they name (never the container's: CVE-2025-23266), and killed when their time is up.
//! The runtime runs most of them; the child runs `createContainer` and `startContainer`.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::Mode;

use crate::error::{Call, Error, Explain, Result};
use crate::plan::{Hook, HookKind, Stream};

/// How much of a failed hook's own words is shown.
const LONGEST_OUTPUT: u64 = 4096;

/// Files that get what hooks say; what they say elsewhere is shown only if they fail.
#[derive(Debug, Default)]
pub struct Output {
    stdout: Option<File>,
    stderr: Option<File>,
}

impl Output {
    /// Opens all of them: what is written, why, and where to.
    ///
    /// # Errors
    /// One cannot be opened.
    pub fn open(files: Vec<(Stream, String, PathBuf)>) -> Result<Output> {
        let mut output = Output::default();
        for (stream, why, path) in files {
            output.add(stream, &path).at(|| why)?;
        }
        Ok(output)
    }

    /// Opens one of them.
    ///
    /// # Errors
    /// It cannot be opened, or is a pipe that nobody reads.
    pub fn add(&mut self, stream: Stream, path: &Path) -> Result<()> {
        let flags = OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_CREAT | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        let fd = open(path, flags | OFlag::O_NONBLOCK, mode).call(|| format!("open({path:?}, O_APPEND)"))?;
        // Only the opening must not wait; hooks find what they would have got of a shell.
        fcntl(&fd, FcntlArg::F_SETFL(OFlag::O_APPEND)).call(|| "fcntl(F_SETFL)")?;
        let place = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        *place = Some(File::from(fd));
        Ok(())
    }

    /// What is open of them.
    pub fn files(&self) -> impl Iterator<Item = &File> {
        self.stdout.iter().chain(&self.stderr)
    }
}

/// Runs all hooks of one kind; the first failure ends it.
///
/// # Errors
/// "error running createRuntime hook #1: …", with the hook's exit status and its own last words.
pub fn run_all(hooks: &[Hook], kind: HookKind, state: &[u8], output: &Output) -> Result<()> {
    for (index, hook) in hooks.iter().enumerate() {
        run(hook, state, output).map_err(|error| {
            Error::new(format!("error running {} hook #{}: {error}", name(kind), index + 1))
                .at(format!("hooks.{}[{index}]", name(kind)))
        })?;
    }
    Ok(())
}

/// The kind as the config spells it.
pub fn name(kind: HookKind) -> &'static str {
    match kind {
        HookKind::Prestart => "prestart",
        HookKind::CreateRuntime => "createRuntime",
        HookKind::CreateContainer => "createContainer",
        HookKind::StartContainer => "startContainer",
        HookKind::Poststart => "poststart",
        HookKind::Poststop => "poststop",
    }
}

fn run(hook: &Hook, state: &[u8], wanted: &Output) -> Result<()> {
    // A file in memory, not a pipe: however much the hook says, it never waits for us to read it.
    let output = memfd_create("hook output", MFdFlags::MFD_CLOEXEC).call(|| "memfd_create")?;
    let mut output = File::from(output);
    let (stdout, stderr) = (wanted.stdout.as_ref(), wanted.stderr.as_ref());
    let mut child = spawn(hook, state, stdout.unwrap_or(&output), stderr.unwrap_or(&output))?;
    let status = wait(&mut child, hook.timeout)?;
    if status.success() {
        return Ok(());
    }
    let mut words = Vec::new();
    let _ = output.rewind();
    let _ = output.take(LONGEST_OUTPUT).read_to_end(&mut words);
    let words = String::from_utf8_lossy(&words);
    let end = match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (_, Some(signal)) => format!("ended by signal {signal}"),
        _ => status.to_string(),
    };
    Err(Error::new(format!("{:?}: {end}, output: {:?}", hook.path, words.trim())))
}

fn spawn(hook: &Hook, state: &[u8], stdout: &File, stderr: &File) -> Result<Child> {
    let mut command = Command::new(&hook.path);
    if let Some((first, rest)) = hook.args.split_first() {
        command.arg0(first).args(rest);
    }
    command.env_clear().envs(hook.env.iter().filter_map(|pair| pair.split_once('=')));
    let copy = |file: &File| file.try_clone().call(|| "dup(hook output)");
    command.stdin(input(state)?).stdout(copy(stdout)?).stderr(copy(stderr)?);
    crate::sys::signal::unblock_in(&mut command);
    let call = || format!("exec({:?})", hook.path);
    command.spawn().call(call).map_err(|error| error.because("the hook cannot be run"))
}

/// The state, in memory as well: a hook that does not read must not stop us, nor one that reads late.
fn input(state: &[u8]) -> Result<File> {
    let input = memfd_create("hook state", MFdFlags::MFD_CLOEXEC).call(|| "memfd_create")?;
    let mut input = File::from(input);
    input.write_all(state).call(|| "write(memfd)")?;
    input.rewind().call(|| "lseek(memfd)")?;
    Ok(input)
}

fn wait(child: &mut Child, timeout: Option<u64>) -> Result<std::process::ExitStatus> {
    // A time that no clock reaches is none.
    let limit = timeout.filter(|seconds| *seconds < u64::from(u32::MAX));
    let Some(seconds) = limit else { return child.wait().call(|| "wait(hook)") };
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let pid = i32::try_from(child.id()).unwrap_or(-1);
    let pidfd = crate::sys::pidfd::open(pid)?;
    let left = deadline.saturating_duration_since(Instant::now());
    if crate::sys::pidfd::poll_exit(&pidfd, Some(left))? {
        return child.wait().call(|| "wait(hook)");
    }
    let _ = child.kill();
    let _ = child.wait();
    Err(Error::new(format!("it did not end within {seconds} seconds")))
}
