//! A candidate: how its commands are written, started and timed.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::Result;
use super::bundle::Bundles;

/// A runtime, or the floor, which takes programs instead of bundles.
pub struct Runtime {
    /// As in the tables.
    pub name: String,
    program: PathBuf,
    options: Vec<String>,
    floor: Option<Floor>,
}

struct Floor {
    root: PathBuf,
    state: PathBuf,
    options: &'static str,
}

/// What is done with a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// `run`, to its end and removal.
    Run,
    /// `create`.
    Create,
    /// `start`.
    Start,
    /// `exec` of `/bin/true`.
    Exec,
    /// `delete --force`.
    Delete,
    /// `state`.
    State,
    /// `list`.
    List,
}

impl Verb {
    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Verb::Run => "run",
            Verb::Create => "create",
            Verb::Start => "start",
            Verb::Exec => "exec",
            Verb::Delete => "delete",
            Verb::State => "state",
            Verb::List => "list",
        }
    }
}

impl Runtime {
    /// The kernel's own price.
    pub fn floor(program: &Path, bundles: &Bundles) -> Runtime {
        let floor = Floor { root: bundles.root(), state: bundles.state("floor"), options: "" };
        Runtime { name: "floor".into(), program: program.into(), options: Vec::new(), floor: Some(floor) }
    }

    /// The same, whose `start` waits until the program has been executed: a runtime has to, since it tells why it could not.
    pub fn waiting_floor(program: &Path, bundles: &Bundles) -> Runtime {
        let floor = Floor { root: bundles.root(), state: bundles.state("waiting"), options: "w" };
        Runtime { name: "floor-w".into(), program: program.into(), options: Vec::new(), floor: Some(floor) }
    }

    /// Where it puts a container in each hierarchy, when the config does not say.
    pub fn cgroup(&self, id: &str) -> String {
        if !self.name.starts_with("isolate") {
            return id.to_owned();
        }
        // With a state root of its own, a digest of that stands in the name.
        let root = self.options.iter().skip_while(|option| *option != "--root").nth(1);
        let digest = Sha256::digest(root.map(String::as_bytes).unwrap_or_default());
        let digest: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        format!("isolate-{digest}-{id}")
    }

    /// From `PROGRAM`, or `NAME=PROGRAM OPTION…`.
    pub fn parse(words: &str, bundles: &Bundles) -> Result<Runtime> {
        let (name, command) = words.split_once('=').map_or((None, words), |(name, rest)| (Some(name), rest));
        let mut command = command.split_whitespace().map(str::to_owned);
        let program = find(&command.next().ok_or("an empty runtime")?)?;
        let own = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let name = name.map_or(own, str::to_owned);
        let root = ["--root".to_owned(), bundles.state(&name).display().to_string()];
        Ok(Runtime { name, program, options: root.into_iter().chain(command).collect(), floor: None })
    }

    /// Whether it is the floor.
    pub fn is_floor(&self) -> bool {
        self.floor.is_some()
    }

    /// The whole command, silent. `bundle` is for `run` and `create`.
    pub fn command(&self, verb: Verb, id: &str, bundle: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.options).arg(verb.name());
        match (&self.floor, verb) {
            (Some(_), Verb::Create) if bundle.ends_with("sleep") => command.args([id, "/bin/sleep", "1000"]),
            (Some(_), Verb::Run | Verb::Create | Verb::Exec) => command.args([id, "/bin/true"]),
            (None, Verb::Run | Verb::Create) => command.arg("--bundle").arg(bundle).arg(id),
            (None, Verb::Exec) => command.args([id, "/bin/true"]),
            (None, Verb::Delete) => command.args(["--force", id]),
            (_, Verb::Start | Verb::Delete | Verb::State) => command.arg(id),
            (_, Verb::List) => &mut command,
        };
        if let Some(floor) = &self.floor {
            command.env("FLOOR_ROOTFS", &floor.root).env("FLOOR_STATE", &floor.state);
            command.env("FLOOR_OPTS", floor.options);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// Starts a command.
    pub fn start(&self, verb: Verb, id: &str, bundle: &Path) -> Result<Child> {
        Ok(self.command(verb, id, bundle).spawn().map_err(|error| format!("{:?}: {error}", self.program))?)
    }

    /// Runs a command; the time from before its start to its end.
    pub fn time(&self, verb: Verb, id: &str, bundle: &Path) -> Result<Duration> {
        let mut command = self.command(verb, id, bundle);
        let begin = Instant::now();
        let mut child = command.spawn().map_err(|error| format!("{:?}: {error}", self.program))?;
        let status = end_of(&mut child)?;
        let took = begin.elapsed();
        match status {
            Some(status) if status.success() => Ok(took),
            Some(status) => Err(self.words_of(command, verb, status).into()),
            None => Err(format!("{} {} did not end within {PATIENCE:?}", self.name, verb.name()).into()),
        }
    }

    /// Whether a container of that name has a folder of its state.
    pub fn knows(&self, id: &str) -> bool {
        let root = self.options.iter().skip_while(|option| *option != "--root").nth(1).map(PathBuf::from);
        let state = self.floor.as_ref().map(|floor| floor.state.clone()).or(root);
        state.is_some_and(|state| state.join(id).exists())
    }

    /// Removes what a command that was ended, or ended itself in the middle, has left.
    pub fn clean(&self, id: &str) {
        let mut command = self.command(Verb::Delete, id, Path::new(""));
        if let Ok(mut child) = command.spawn() {
            let _ = end_of(&mut child);
        }
        // The floor does not know any more where it was. Names that are not ours are never looked for.
        if !id.starts_with("isolate-") {
            return;
        }
        let hierarchies = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
        let folders = hierarchies.map(|hierarchy| hierarchy.path()).chain([PathBuf::from("/sys/fs/cgroup")]);
        for folder in
            folders.map(|hierarchy| hierarchy.join(self.cgroup(id))).filter(|folder| folder.is_dir())
        {
            let pids = std::fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
            for pid in pids.lines().filter_map(|pid| pid.parse().ok()) {
                let _ = nix::sys::signal::kill(
                    nix::unistd::Pid::from_raw(pid),
                    nix::sys::signal::Signal::SIGKILL,
                );
            }
            let until = Instant::now() + PATIENCE;
            while std::fs::remove_dir(&folder).is_err() && folder.is_dir() && Instant::now() < until {
                super::measure::reap();
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    /// Runs a command that has failed once more, for what it says.
    fn words_of(&self, mut command: Command, verb: Verb, status: ExitStatus) -> String {
        let said = command.stderr(Stdio::piped()).output().map(|output| output.stderr).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        format!("{} {}: {status}: {}", self.name, verb.name(), said.lines().next().unwrap_or_default())
    }

    /// Peak memory of a command in KiB, asked of the floor program: a small parent, for a child that is not its own
    /// program yet counts as large as its parent.
    pub fn peak(&self, floor: &Runtime, verb: Verb, id: &str, bundle: &Path) -> Result<u64> {
        let inner = self.command(verb, id, bundle);
        let mut outer = Command::new(&floor.program);
        outer.arg("rss").arg(inner.get_program()).args(inner.get_args());
        outer.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let output = outer.stdin(Stdio::null()).output()?;
        Ok(String::from_utf8(output.stdout)?.trim().parse().unwrap_or(0))
    }
}

/// How long a command may take: more than any takes on a busy machine, so that one that hangs is told and not waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// How a command has ended; `None` when it had to be ended.
pub fn end_of(child: &mut Child) -> Result<Option<ExitStatus>> {
    let pidfd = isolate::sys::pidfd::open(child.id().cast_signed())?;
    let has_ended = isolate::sys::pidfd::poll_exit(&pidfd, Some(PATIENCE))?;
    if !has_ended {
        child.kill()?;
    }
    let status = child.wait()?;
    Ok(has_ended.then_some(status))
}

/// The path of a program: what has no slash is looked for on the PATH.
fn find(program: &str) -> Result<PathBuf> {
    if program.contains('/') {
        return Ok(program.into());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(program)).find(|path| path.is_file());
    Ok(found.ok_or_else(|| format!("{program} is not on the PATH"))?)
}
