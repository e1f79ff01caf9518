//! Running hooks (config.md, "POSIX-platform Hooks"): in order, with the state on standard input, exactly
//! the environment they name (never the container's: CVE-2025-23266), and killed when their time is up.
//! The runtime runs most of them; the child runs `createContainer` and `startContainer`.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::error::{Call, Error, Result};
use crate::plan::{Hook, HookKind};

/// How much of a failed hook's own words is shown.
const LONGEST_OUTPUT: u64 = 4096;

/// Runs all hooks of one kind; the first failure ends it.
///
/// # Errors
/// "error running createRuntime hook #1: …", with the hook's exit status and its own last words.
pub fn run_all(hooks: &[Hook], kind: HookKind, state: &[u8]) -> Result<()> {
    for (index, hook) in hooks.iter().enumerate() {
        run(hook, state).map_err(|error| {
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

fn run(hook: &Hook, state: &[u8]) -> Result<()> {
    // A file in memory, not a pipe: however much the hook says, it never waits for us to read it.
    let output = memfd_create("hook output", MFdFlags::MFD_CLOEXEC).call(|| "memfd_create")?;
    let mut output = File::from(output);
    let mut child = spawn(hook, state, &output)?;
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

fn spawn(hook: &Hook, state: &[u8], output: &File) -> Result<Child> {
    let mut command = Command::new(&hook.path);
    if let Some((first, rest)) = hook.args.split_first() {
        command.arg0(first).args(rest);
    }
    command.env_clear().envs(hook.env.iter().filter_map(|pair| pair.split_once('=')));
    let copy = || output.try_clone().call(|| "dup(hook output)");
    command.stdin(input(state)?).stdout(copy()?).stderr(copy()?);
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
