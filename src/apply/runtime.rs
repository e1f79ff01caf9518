//! The runtime's side: host steps, the clone, and what goes on beside the child. The runtime process runs
//! this, with the caller's privilege and a single thread; it never enters a namespace that it could not
//! leave again.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;

use super::channel::{self, Channel, Message};
use super::join::{Joined, join_container};
use super::{child, hooks, idmaps, links, listener, resctrl};
use crate::cgroup::{self, Cgroup};
use crate::error::{Call, Error, Explain, Result};
use crate::plan::seccomp::Listener;
use crate::plan::{HookKind, MountIdMap, Namespace, Plan, Planned, SourceLink, Step, Token};
use crate::sys::clone::{Cloned, Parent, clone};
use crate::sys::owner::{as_owner_of, clone_owned};
use crate::sys::process::Exit;
use crate::sys::{attributes, mount, namespace, pidfd, pty, socket};

/// What is needed beside the plan.
pub struct Work<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// Folder of the state, not to be kept open by the child: it is locked.
    pub lock: Option<BorrowedFd<'a>>,
    /// Where the terminal's master goes.
    pub console_socket: Option<OwnedFd>,
    /// Where the init listens for `isolate start`.
    pub listener: Option<OwnedFd>,
    /// A container to join, for `exec`.
    pub container: Option<Joined>,
    /// Its cgroups, for `exec`; those of a new container are added as they are made.
    pub cgroup: Cgroup,
    /// The state as hooks get it on their standard input, given the init's pid and the kind of hook.
    pub state: &'a dyn Fn(i32, HookKind) -> Vec<u8>,
    /// Told of every cgroup before it is made, and of the init once it is there.
    pub journal: &'a dyn Fn(Deed<'_>) -> Result<()>,
    /// What is left to do, without haste, while the child makes its root.
    pub meanwhile: &'a dyn Fn() -> Result<()>,
    /// The v2 cgroup in which a container's init is, for `exec` where its own is not a leaf any more.
    pub init_cgroup: &'a dyn Fn() -> Result<Option<OwnedFd>>,
    /// Writes state and pid file, before the child is told to live on alone.
    pub commit: &'a dyn Fn(&Made) -> Result<()>,
    /// Runs first in the child: gives it back the signals that the runtime keeps for itself.
    pub child_signals: &'a dyn Fn() -> Result<()>,
}

/// What the journal is told of.
pub enum Deed<'a> {
    /// Cgroups will be made.
    Cgroups(&'a [&'a cgroup::Group]),
    /// They were not, after all: nothing of them is ours.
    NotMade(&'a [&'a cgroup::Group]),
    /// A group of resctrl.
    CacheGroup(resctrl::Made<'a>),
    /// A process was made.
    Process(i32),
}

/// A child that is ready.
#[derive(Debug)]
pub struct Made {
    /// In the runtime's pid namespace.
    pub pid: i32,
    /// Of the same process.
    pub pidfd: OwnedFd,
    /// The terminal's master, when the runtime keeps it.
    pub master: Option<OwnedFd>,
    /// The cgroups it is in.
    pub cgroup: Cgroup,
    channel: Channel,
}

impl Made {
    /// Waits until the program has been executed.
    ///
    /// # Errors
    /// The child's own words when it could not be.
    pub fn wait_for_exec(&self) -> Result<()> {
        match self.channel.receive()? {
            Message::Closed => Ok(()),
            Message::Failed(error) => Err(error),
            _ => Err(Error::new("the container's init spoke out of turn")),
        }
    }
}

struct Runtime<'a> {
    work: Work<'a>,
    /// Own namespaces that were left for a while, to return to.
    left: Vec<(u64, OwnedFd)>,
    slots: Vec<Option<OwnedFd>>,
    hook_output: hooks::Output,
    made: Option<Made>,
    /// The child could not be born in its v2 cgroup.
    is_outside: bool,
    /// Cgroups of which the journal knows, and that are not made yet.
    announced: Vec<&'a cgroup::Group>,
}

/// Walks the plan: host, clone, beside. On failure the child is dead when this returns; files and
/// cgroups are the journal's.
///
/// # Errors
/// The first step that failed, in either process.
pub fn carry_out(work: Work<'_>) -> Result<Made> {
    let plan = work.plan;
    let mut runtime = Runtime {
        work,
        left: Vec::new(),
        slots: Vec::new(),
        hook_output: hooks::Output::default(),
        made: None,
        is_outside: false,
        announced: Vec::new(),
    };
    let result = plan
        .steps
        .iter()
        .filter(|planned| !planned.stage.is_child())
        .try_for_each(|planned| runtime.step(planned).at(|| place(planned)));
    runtime.return_home()?;
    match (result, runtime.made) {
        (Ok(()), Some(made)) => Ok(made),
        (Ok(()), None) => Err(Error::new("the plan makes no child")),
        (Err(error), made) => {
            made.iter().for_each(kill_and_reap);
            Err(error)
        }
    }
}

/// `mounts[3] /data`: where in the config, and what it is about.
pub(super) fn place(planned: &Planned) -> String {
    match planned.step.object() {
        Some(object) if planned.why == "default" => object,
        Some(object) => format!("{} {object}", planned.why),
        None => planned.why.clone(),
    }
}

fn kill_and_reap(made: &Made) {
    // It may be dead already, and then there is nothing to kill.
    let _ = pidfd::send_signal(&made.pidfd, libc::SIGKILL);
    let _ = pidfd::wait(&made.pidfd);
}

impl<'a> Runtime<'a> {
    fn step(&mut self, planned: &'a Planned) -> Result<()> {
        if crate::log::is_debug() {
            crate::log::debug(&planned.step);
        }
        match &planned.step {
            Step::JoinNamespace { namespace, path } => self.join(*namespace, path),
            Step::JoinContainer { namespaces } => join_container(self.work.container.as_ref(), namespaces),
            Step::NewTimeNamespace { offsets } => self.new_time(offsets),
            Step::OpenSource { slot, path, recursive, id_map, link } => {
                self.open_source(*slot, path, *recursive, id_map.as_ref(), *link)
            }
            Step::Affinity { cpus } => super::placement::set_cpus(cpus),
            Step::MakeCgroup(group) => self.make_cgroup(group),
            Step::LimitCgroup { hierarchy } => self.limit(hierarchy),
            Step::Clone { namespaces, owner } => self.clone(namespaces, *owner),
            Step::WriteIdMaps { uid, gid, writer } => idmaps::write(self.pid()?, uid, gid, *writer),
            Step::Tell { token } => self.tell(*token),
            Step::Await { token } => self.wait_for(*token),
            Step::HookOutput { stream, path } => self.hook_output.add(*stream, path),
            Step::Hooks { kind, hooks } => {
                hooks::run_all(hooks, *kind, &(self.work.state)(self.pid()?, *kind), &self.hook_output)
            }
            Step::Rlimit { resource, soft, hard, .. } => set_limit(self.pid()?, *resource, *soft, *hard),
            Step::MoveNetDevice { name, to } => super::net_devices::move_in(self.pid()?, name, to),
            Step::SendListener(to) => self.send_listener(to),
            Step::JoinCacheGroup(group) => {
                resctrl::join(group, self.pid()?, &|made| (self.work.journal)(Deed::CacheGroup(made)))
            }
            Step::OomScore { value, lenient } => self.oom_score(*value, *lenient),
            other => Err(Error::new(format!("the runtime has no way to do this: {other}"))),
        }
    }

    fn made(&self) -> Result<&Made> {
        self.made.as_ref().ok_or_else(|| Error::new("there is no child yet"))
    }

    fn pid(&self) -> Result<i32> {
        Ok(self.made()?.pid)
    }

    /// The child is born in what the runtime is in, so the runtime goes there first.
    fn join(&mut self, kind: Namespace, path: &Path) -> Result<()> {
        let flag = child::clone_flag(kind);
        let wanted = namespace::open_kind(path, flag)?;
        self.remember(kind)?;
        namespace::enter(&wanted, flag)
    }

    fn new_time(&mut self, offsets: &[String]) -> Result<()> {
        self.remember(Namespace::Time)?;
        namespace::unshare(child::clone_flag(Namespace::Time))?;
        child::write_time_offsets(offsets)
    }

    fn remember(&mut self, kind: Namespace) -> Result<()> {
        let path = format!("/proc/thread-self/ns/{}", kind.proc_name());
        let flag = child::clone_flag(kind);
        self.left.push((flag, namespace::open_kind(Path::new(&path), flag)?));
        Ok(())
    }

    fn return_home(&mut self) -> Result<()> {
        for (flag, fd) in self.left.drain(..).rev() {
            match namespace::enter(&fd, flag) {
                // Root of an inner user namespace may not go back to what the outer one owns.
                Err(error) if error.errno() == Some(Errno::EPERM) => {
                    crate::log::debug(format!("{error}: the runtime stays in the container's namespace"));
                }
                result => result?,
            }
        }
        Ok(())
    }

    /// A source opened by the runtime would otherwise stay in the host's peer group: what the container
    /// mounts below it would appear on the host.
    fn open_source(
        &mut self,
        slot: usize,
        path: &Path,
        recursive: bool,
        id_map: Option<&MountIdMap>,
        link: SourceLink,
    ) -> Result<()> {
        let (tree, kind) = links::open_source(path, recursive, link)?;
        if kind == links::Kind::Link {
            child::put(&mut self.slots, slot, tree);
            return Ok(());
        }
        let slave = nix::mount::MsFlags::MS_SLAVE.bits();
        match mount::set_attributes(&tree, mount::Depth::All, 0, 0, slave) {
            Err(Errno::ENOSYS | Errno::EPERM) => super::old_flags::make_slave(&tree)?,
            result => result.call(|| "mount_setattr(MS_SLAVE)")?,
        }
        if let Some(map) = id_map {
            idmaps::show_through(&tree, map)?;
        }
        child::put(&mut self.slots, slot, tree);
        Ok(())
    }

    fn make_cgroup(&mut self, group: &'a cgroup::Group) -> Result<()> {
        if !self.announced.contains(&group) {
            self.announce(group)?;
        }
        let result = match &group.unit {
            Some(unit) => {
                let pid = self.made.as_ref().map(|made| made.pid);
                cgroup::make_unit(group, unit, pid).map(Some)
            }
            None => cgroup::make(group),
        };
        let made = match result {
            Ok(made) => made,
            Err(error) => {
                (self.work.journal)(Deed::NotMade(&self.announced))?;
                return Err(error);
            }
        };
        self.announced.retain(|other| *other != group);
        let cgroup = match &mut self.made {
            Some(made) => &mut made.cgroup,
            None => &mut self.work.cgroup,
        };
        cgroup.groups.extend(made);
        Ok(())
    }

    /// Tells the journal of this cgroup and of all that follow it in its stage, in one write. A folder in use is another
    /// container's: it is refused before the journal takes it for ours, and struck from the journal if it came to
    /// be between the two.
    fn announce(&mut self, group: &'a cgroup::Group) -> Result<()> {
        let plan: &'a Plan = self.work.plan;
        let groups = plan.steps.iter().filter_map(|planned| match &planned.step {
            Step::MakeCgroup(group) => Some((planned.stage, group)),
            _ => None,
        });
        let mut from = groups.skip_while(|(_, other)| *other != group).peekable();
        let stage = from.peek().map(|(stage, _)| *stage);
        let all = from.filter(|(other, _)| Some(*other) == stage).map(|(_, group)| group);
        self.announced = all.collect();
        self.announced.iter().try_for_each(|group| cgroup::refuse_used(group))?;
        (self.work.journal)(Deed::Cgroups(&self.announced))
    }

    fn limit(&mut self, hierarchy: &str) -> Result<()> {
        let group = self.work.plan.steps.iter().find_map(|planned| match &planned.step {
            Step::MakeCgroup(group) if group.hierarchy == hierarchy => Some(group),
            _ => None,
        });
        let open = self.made()?.cgroup.groups.iter().find(|open| open.hierarchy == hierarchy);
        match (group, open) {
            (Some(group), Some(open)) => cgroup::limit(open, group),
            // An optional one that could not be made, and of which nothing was asked.
            _ => Ok(()),
        }
    }

    fn clone(&mut self, namespaces: &[Namespace], owner: Option<u32>) -> Result<()> {
        let (ours, theirs) = socket::seqpacket_pair()?;
        let flags = child::clone_flags(namespaces);
        let clone = |flags, cgroup: Option<BorrowedFd<'_>>, parent| match owner {
            Some(owner) => clone_owned(owner, flags, cgroup, parent),
            None => clone(flags, cgroup, parent),
        };
        let cloned = match clone(flags, self.work.cgroup.clone_into(), Parent::Caller) {
            // A cgroup that hands controllers on to others below takes no processes itself (an init that made
            // cgroups of its own): then where the init is.
            Err(error) if matches!(error.errno(), Some(Errno::EBUSY | Errno::ENOENT)) => {
                let other = (self.work.init_cgroup)()?;
                clone(flags, other.as_ref().map(OwnedFd::as_fd), Parent::Caller)?
            }
            Err(error) if matches!(error.errno(), Some(Errno::EACCES | Errno::EPERM | Errno::ENOSYS)) => {
                self.is_outside = true;
                clone(flags, None, Parent::Caller).map_err(|_| error)?
            }
            result => result?,
        };
        let Cloned::Parent { pid, pidfd } = cloned else {
            drop(ours);
            let (slots, output) = (std::mem::take(&mut self.slots), std::mem::take(&mut self.hook_output));
            child::Child::enter(&mut self.work, slots, output, Channel::new(theirs))
        };
        let cgroup = std::mem::take(&mut self.work.cgroup);
        self.made = Some(Made { pid, pidfd, master: None, cgroup, channel: Channel::new(ours) });
        self.slots.clear();
        self.return_home()?;
        (self.work.journal)(Deed::Process(pid))
    }

    fn tell(&mut self, token: Token) -> Result<()> {
        match token {
            Token::Cgroup => {
                let made = self.made()?;
                let mut fds = made.cgroup.tasks_files()?;
                if self.is_outside && !made.cgroup.attach_by_systemd(made.pid)? {
                    // Without CLONE_INTO_CGROUP the child goes there itself, if it may.
                    fds.extend(made.cgroup.procs_file()?);
                }
                self.say(token, &fds)
            }
            Token::Commit => {
                let made = self.made()?;
                (self.work.commit)(made)?;
                self.say(token, &[])
            }
            _ => self.say(token, &[]),
        }
    }

    /// A child that is gone has left its error on the channel, or died without a word.
    fn say(&self, token: Token, fds: &[OwnedFd]) -> Result<()> {
        match self.made()?.channel.tell(token, fds) {
            Err(error) if channel::is_gone(&error) => Err(self.child_died()),
            result => result,
        }
    }

    fn send_listener(&mut self, to: &Listener) -> Result<()> {
        let fd = loop {
            match self.made()?.channel.receive()? {
                Message::ListenerNumber(number) => break listener::take(&self.made()?.pidfd, number)?,
                Message::Listener(fd) => break fd,
                other => self.heard(other, "its filter")?,
            }
        };
        let pid = self.pid()?;
        listener::send(to, &fd, pid, &(self.work.state)(pid, HookKind::CreateRuntime))
    }

    fn wait_for(&mut self, wanted: Token) -> Result<()> {
        if wanted == Token::Ready {
            (self.work.meanwhile)()?;
        }
        loop {
            match self.made()?.channel.receive()? {
                Message::Token(token, _) if token == wanted => return Ok(()),
                other => self.heard(other, &format!("{wanted:?}"))?,
            }
        }
    }

    /// What the child may say at any time; the rest is out of turn.
    fn heard(&mut self, message: Message, wanted: &str) -> Result<()> {
        match message {
            Message::Master(master) => {
                // The program must never see a terminal without a size, so this comes before it can run.
                if let Ok(size) = pty::size(std::io::stdin()) {
                    pty::set_size(&master, size)?;
                }
                self.made_mut()?.master = Some(master);
                Ok(())
            }
            Message::Replaced(pid) => self.replace(pid),
            Message::Failed(error) => Err(error),
            Message::Closed => Err(self.child_died()),
            other => Err(Error::new(format!("the child said {other:?} instead of {wanted}"))),
        }
    }

    fn made_mut(&mut self) -> Result<&mut Made> {
        self.made.as_mut().ok_or_else(|| Error::new("there is no child yet"))
    }

    /// The first child has forked the init (CLONE_PARENT made it ours) and ended.
    fn replace(&mut self, pid: i32) -> Result<()> {
        let pidfd = pidfd::open(pid)?;
        let made = self.made_mut()?;
        let _ = pidfd::wait(&made.pidfd);
        (made.pid, made.pidfd) = (pid, pidfd);
        (self.work.journal)(Deed::Process(pid))
    }

    /// The child ended without a word: say how, and whether its memory limit did it.
    fn child_died(&self) -> Error {
        let Some(made) = &self.made else { return Error::new("the child died") };
        let is_visit = self.work.container.is_some();
        // A container that stands may have had OOMs before; whoever asked for the visit has counted them.
        if !is_visit && made.cgroup.oom_kills() > 0 {
            return Error::new("container init was OOM-killed (memory limit too low?)")
                .hint("raise linux.resources.memory.limit");
        }
        let who = if is_visit { "the new process" } else { "the container's init" };
        match pidfd::wait(&made.pidfd) {
            Ok(Exit::Signal(signal)) => Error::new(format!("{who} was ended by signal {signal}")),
            Ok(exit) => Error::new(format!("{who} ended with code {}", exit.code())),
            Err(error) => error,
        }
    }

    fn oom_score(&self, value: i32, lenient: bool) -> Result<()> {
        let path = format!("/proc/{}/oom_score_adj", self.pid()?);
        match std::fs::write(&path, value.to_string()) {
            Err(error) if lenient && error.raw_os_error() == Some(libc::EACCES) => Ok(()),
            result => result.call(|| format!("write({path:?}, \"{value}\")")),
        }
    }
}

/// Sets a limit of process `pid`, 0 for the caller.
pub(super) fn set_limit(pid: i32, resource: u32, soft: u64, hard: u64) -> Result<()> {
    let call = |errno| Error::sys(format!("prlimit(soft {soft}, hard {hard})"), errno);
    let set = || attributes::set_limit(pid, resource, soft, hard);
    let result = match set() {
        // Whoever owns the user namespace of a process may set its limits without CAP_SYS_RESOURCE of the host.
        Err(Errno::EPERM) if pid != 0 => as_owner_of(pid, set).unwrap_or(Err(Errno::EPERM)),
        result => result,
    };
    result.map_err(|errno| match errno {
        Errno::EPERM => call(errno)
            .because("a hard limit can be raised only with CAP_SYS_RESOURCE, which the runtime does not have")
            .hint("ask for at most the hard limit of the process that runs isolate ('ulimit -H')"),
        _ => call(errno),
    })
}

impl AsFd for Made {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}
