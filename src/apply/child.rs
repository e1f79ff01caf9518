//! The child's side: from the clone to exec. Runs in the container's init to be, with the privilege that
//! each stage has left; nothing of it survives exec. It dies with the runtime until it is told to live on.

use std::convert::Infallible;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;

use super::channel::{Channel, Message};
use super::join::{Joined, join_container};
use super::process::Program;
use super::runtime::{Work, place};
use super::{devices, hooks, links, listener, mounts, placement, process};
use crate::cgroup;
use crate::error::{Call, Error, Explain, Result};
use crate::plan::{MapWriter, Namespace, Plan, Planned, Slot, Stage, Step, Token};
use crate::sys::clone::{Cloned, Parent, clone, exit_now};
use crate::sys::mount::{self, Depth};
use crate::sys::path::RootFolder;
use crate::sys::process::{Dumpable, ParentDeath, set_dumpable, set_parent_death};
use crate::sys::{attributes, namespace};

/// PROC_SUPER_MAGIC of linux/magic.h.
const PROC_MAGIC: i64 = 0x9fa0;

/// The child's state on its way.
pub(super) struct Child<'a> {
    pub(super) plan: &'a Plan,
    pub(super) channel: Channel,
    pub(super) slots: Vec<Option<OwnedFd>>,
    hook_output: hooks::Output,
    /// The container's root, once it is bound or entered.
    pub(super) root: Option<RootFolder>,
    pub(super) masks: mounts::Masks,
    pub(super) program: Option<Program>,
    pub(super) console_socket: Option<OwnedFd>,
    listener: Option<OwnedFd>,
    start: Option<OwnedFd>,
    /// The descriptor of a filter that notifies, until somebody else has it.
    notifier: Option<OwnedFd>,
    container: Option<Joined>,
    tasks: Vec<OwnedFd>,
    /// Whether an ordinary user made us, who could otherwise not look at us, or join what we are in.
    is_of_user: bool,
    /// Our pid as the runtime sees it.
    host_pid: i32,
    state: &'a dyn Fn(i32, crate::plan::HookKind) -> Vec<u8>,
}

impl<'a> Child<'a> {
    /// Everything the new process does. Reports its failure and ends.
    pub(super) fn enter(
        work: &mut Work<'a>,
        slots: Vec<Option<OwnedFd>>,
        hook_output: hooks::Output,
        channel: Channel,
    ) -> ! {
        let mut child = Child {
            plan: work.plan,
            channel,
            slots,
            hook_output,
            root: None,
            masks: mounts::Masks::default(),
            program: None,
            console_socket: work.console_socket.take(),
            listener: work.listener.take(),
            start: None,
            notifier: None,
            container: work.container.take(),
            tasks: Vec::new(),
            is_of_user: is_of_user(work.plan),
            host_pid: 0,
            state: work.state,
        };
        let Err(error) = child.prepare(work).and_then(|()| child.walk());
        match &child.start {
            Some(start) => process::report_to_starter(start, &error),
            None => child.channel.fail(&error),
        }
        exit_now(1)
    }

    /// The first things in the new process: it must not outlive the runtime, not hold what is the runtime's
    /// (its lock, its state folder, its namespaces: whoever may look into us could go through them), and not
    /// be looked into by what it joins (CVE-2016-9962, CVE-2024-21626).
    fn prepare(&mut self, work: &Work<'_>) -> Result<()> {
        die_with_runtime()?;
        (work.child_signals)()?;
        crate::log::silence();
        let first = self.plan.close_from();
        attributes::close_all_but(first, &self.descriptors()).call(|| "close_range")?;
        // An ordinary user's id maps can only be written while the process is open to its user; it closes
        // itself when it becomes root of its namespace.
        if !is_user_map(self.plan) {
            set_dumpable(Dumpable::No)?;
        }
        // Modes of nodes are given exactly.
        nix::sys::stat::umask(Mode::empty());
        // The program leads a session of its own; it may be one already when the engine made us lead one.
        let _ = nix::unistd::setsid();
        self.host_pid = own_pid_on_host()?;
        Ok(())
    }

    /// What the child needs of all that was open in the runtime.
    fn descriptors(&self) -> Vec<i32> {
        let container = self.container.iter().flat_map(|joined| [&joined.pidfd, &joined.root]);
        let slots = self.slots.iter().flatten();
        let others = self.console_socket.iter().chain(&self.listener).chain(container).chain(slots);
        let hooks = self.hook_output.files().map(AsRawFd::as_raw_fd);
        others.map(AsRawFd::as_raw_fd).chain(hooks).chain([self.channel.as_raw_fd()]).collect()
    }

    fn walk(&mut self) -> Result<Infallible> {
        let plan = self.plan;
        for (done, planned) in plan.child().enumerate() {
            if let Err(error) = self.step(planned).at(|| place(planned)) {
                mounts::take_back(self, done);
                return Err(error);
            }
        }
        Err(Error::new("the plan ends without a program"))
    }

    fn step(&mut self, planned: &Planned) -> Result<()> {
        match &planned.step {
            Step::JoinNamespace { namespace, path } => join(*namespace, path),
            Step::NewTimeNamespace { offsets } => new_time(offsets),
            Step::Fork { namespaces } => self.fork(namespaces),
            Step::Unshare { namespaces } => namespace::unshare(clone_flags(namespaces)),
            Step::JoinContainer { namespaces } => join_container(self.container.as_ref(), namespaces),
            Step::EnterRoot => self.enter_root(),
            Step::BecomeRoot => process::become_root(),
            Step::Tell { token } => self.tell(*token),
            Step::Await { token } => self.wait_for(*token),
            Step::JoinCgroups => self.join_cgroups(),
            Step::SessionKeyring { name } => process::session_keyring(name),
            Step::Propagation { flags } => mount::set_propagation(Path::new("/"), *flags),
            Step::BindRoot { path } => mounts::bind_root(self, path),
            Step::OpenSource { slot, path, recursive, link, .. } => {
                let (tree, _) = links::open_source(path, *recursive, *link)?;
                put(&mut self.slots, *slot, tree);
                Ok(())
            }
            Step::Bind { slot, target, attributes, link } => {
                mounts::bind(self, *slot, target, attributes, *link)
            }
            Step::MountFs { .. } => mounts::mount_filesystem(self, &planned.step),
            Step::AttachFs { target, fstype, options, attributes } => {
                mounts::attach_filesystem(self, target, fstype, options, attributes)
            }
            Step::Unmount { target } => mounts::unmount(self, target),
            Step::Done => exit_now(0),
            Step::BindCgroup { hierarchy, target, attributes } => {
                mounts::bind_cgroup(self, hierarchy, target, attributes)
            }
            Step::Remount { target, attributes } => mounts::remount(self, target, attributes),
            Step::MakeDevice { .. } => devices::make_device(self, &planned.step),
            Step::Symlink { path, target } => devices::make_link(self, path, target),
            Step::MakeFolder { path } => self.root()?.make_folder(path, 0o755).map(drop),
            Step::Hooks { kind, hooks } => {
                hooks::run_all(hooks, *kind, &(self.state)(self.host_pid, *kind), &self.hook_output)
            }
            Step::Pivot => mounts::pivot(self),
            Step::MoveRoot => mounts::move_root(self),
            Step::Chroot { path } => mounts::chroot(self, path),
            Step::Console { to, size, uid, bind } => devices::console(self, *to, *size, *uid, *bind),
            Step::LoopbackUp => attributes::loopback_up(),
            Step::Hostname { name } => {
                nix::unistd::sethostname(name).call(|| format!("sethostname({name:?})"))
            }
            Step::Domainname { name } => {
                attributes::set_domain_name(name).call(|| format!("setdomainname({name:?})"))
            }
            Step::Sysctl { path, value } => process::sysctl(path, value),
            Step::ReadonlyPath { path } => mounts::make_read_only(self, path),
            Step::MaskPath { path } => mounts::mask(self, path),
            Step::Rlimit { resource, soft, hard, .. } => process::set_limit(*resource, *soft, *hard),
            Step::Personality { persona } => attributes::set_personality(*persona).call(|| "personality"),
            Step::Affinity { cpus } => placement::set_cpus(cpus),
            Step::MemoryPolicy { name, mode, nodes } => placement::set_memory_policy(name, *mode, nodes),
            Step::Scheduler(wanted) => process::set_scheduler(wanted),
            Step::OwnCore => process::own_core(),
            Step::Landlock => process::keep_to_root(),
            Step::IoPriority { value } => {
                attributes::set_io_priority(*value).call(|| format!("ioprio_set({value:#x})"))
            }
            Step::ExecLabel { file, label } => process::label_at_exec(file, label),
            Step::OwnStdio { uid } => process::own_stdio(*uid),
            Step::NoNewPrivileges => attributes::no_new_privileges().call(|| "prctl(PR_SET_NO_NEW_PRIVS)"),
            Step::BoundingSet { keep } => process::lower_bounding_set(keep),
            Step::User { uid, gid, groups, effective } => {
                process::become_user(*uid, *gid, groups.as_deref(), effective)
            }
            Step::Umask { mask } => process::set_umask(*mask),
            Step::Cwd { path } => process::enter_folder(self, path),
            Step::FindExecutable { args, env } => process::find_program(self, args, env),
            Step::AwaitStart => self.wait_for_start(),
            Step::Seccomp(filter) => process::load_filter(filter),
            Step::SeccompNotify { filter, handover } => {
                process::raise_all()?;
                self.notifier = Some(listener::load(&self.channel, filter, *handover)?);
                Ok(())
            }
            Step::Capabilities(sets) => process::set_capabilities(sets),
            Step::CloseFrom { first } => {
                attributes::close_on_exec_from(*first).call(|| format!("close_range({first})"))
            }
            Step::Exec => process::exec(self),
            Step::Clone { .. }
            | Step::WriteIdMaps { .. }
            | Step::MakeCgroup(_)
            | Step::LimitCgroup { .. }
            | Step::HookOutput { .. }
            | Step::JoinCacheGroup(_)
            | Step::SendListener(_)
            | Step::MoveNetDevice { .. }
            | Step::OomScore { .. } => Err(Error::new("the child has no way to do this")),
        }
    }

    pub(super) fn root(&self) -> Result<&RootFolder> {
        self.root.as_ref().ok_or_else(|| Error::new("the root is not there yet"))
    }

    /// Whether somebody has said start.
    pub(super) fn has_waited(&self) -> bool {
        self.start.is_some()
    }

    fn wait_for(&mut self, wanted: Token) -> Result<()> {
        match self.channel.receive()? {
            Message::Token(token, fds) if token == wanted => self.heard(token, fds),
            // The runtime is dead, or gave up and says itself why: there is nobody to tell.
            Message::Closed => exit_now(1),
            _ => Err(Error::new(format!("the runtime did not say {wanted:?}"))),
        }
    }

    fn heard(&mut self, token: Token, fds: Vec<OwnedFd>) -> Result<()> {
        match token {
            Token::Cgroup => self.tasks = fds,
            // As long as a copy is open the kernel would not notice that nobody listens any more.
            Token::Listened => self.notifier = None,
            Token::Hooks if self.is_of_user => set_dumpable(Dumpable::No)?,
            _ => {}
        }
        Ok(())
    }

    /// From "ready" on the child waits on the channel, whose end tells of the runtime's death: a runtime
    /// that commits and ends at once must not take the child with it.
    fn tell(&mut self, token: Token) -> Result<()> {
        if token == Token::Ready {
            self.masks = mounts::Masks::default();
            set_parent_death(ParentDeath::IsIgnored)?;
        }
        // The runtime's hooks, and later commands, look into our namespaces through /proc/PID. For an ordinary
        // user they may only while we are open to that user; nobody else is in our new pid namespace yet.
        if self.is_of_user && matches!(token, Token::Namespaces | Token::Ready) {
            set_dumpable(Dumpable::Yes)?;
        }
        self.channel.tell(token, &[])
    }

    fn join_cgroups(&mut self) -> Result<()> {
        let tasks = std::mem::take(&mut self.tasks);
        cgroup::join::join_current(&tasks).map_err(|(index, errno)| {
            let error = Error::sys(format!("write(tasks #{index}, \"0\")"), errno);
            match errno {
                Errno::EACCES | Errno::EPERM => error
                    .because("the caller may not move a process from its own cgroup into the container's"),
                _ => error,
            }
        })
    }

    /// A child of ours takes our place: CLONE_PARENT makes it the runtime's. It goes on only once the runtime
    /// knows of it, and ends if that never happens.
    fn fork(&mut self, namespaces: &[Namespace]) -> Result<()> {
        let (told, tell) = nix::unistd::pipe2(OFlag::O_CLOEXEC).call(|| "pipe2")?;
        match clone(clone_flags(namespaces), None, Parent::Grandparent)? {
            Cloned::Child => {
                drop(tell);
                die_with_runtime()?;
                let mut pid = [0; 4];
                let length = nix::unistd::read(&told, &mut pid).call(|| "read(pipe)")?;
                if length != pid.len() {
                    exit_now(1);
                }
                self.host_pid = i32::from_ne_bytes(pid);
                Ok(())
            }
            Cloned::Parent { pid, .. } => {
                self.channel.replaced_by(pid)?;
                nix::unistd::write(&tell, &pid.to_ne_bytes()).call(|| "write(pipe)")?;
                exit_now(0)
            }
        }
    }

    /// setns(2) leaves us at the root of the mount namespace, which with `--no-pivot` is not the
    /// container's.
    fn enter_root(&mut self) -> Result<()> {
        let Some(container) = self.container.take() else {
            return Err(Error::new("there is no container to join"));
        };
        nix::unistd::fchdir(&container.root).call(|| "fchdir(/proc/PID/root)")?;
        nix::unistd::chroot(".").call(|| "chroot(\".\")")?;
        self.root = Some(RootFolder::new(container.root));
        Ok(())
    }

    /// Only an explicit word starts the program: whoever merely opens the socket changes nothing.
    fn wait_for_start(&mut self) -> Result<()> {
        let Some(listener) = self.listener.take() else { return Err(Error::new("nobody could say start")) };
        self.start = Some(process::wait_for_starter(&listener)?);
        Ok(())
    }
}

/// Whether an ordinary user writes the id maps.
fn is_user_map(plan: &Plan) -> bool {
    plan.stage(Stage::Beside).any(|planned| {
        matches!(planned.step, Step::WriteIdMaps { writer: MapWriter::Helpers | MapWriter::Single, .. })
    })
}

fn is_of_user(plan: &Plan) -> bool {
    let has_new_pid = plan.steps.iter().any(|planned| match &planned.step {
        Step::Clone { namespaces, .. } | Step::Fork { namespaces } => namespaces.contains(&Namespace::Pid),
        _ => false,
    });
    has_new_pid && is_user_map(plan)
}

fn die_with_runtime() -> Result<()> {
    set_parent_death(ParentDeath::Sends(Signal::SIGKILL))
}

/// Our pid as the runtime sees it: `self` of a procfs is named for that procfs' own pid namespace, and what
/// is mounted at `/proc` here is still the host's.
fn own_pid_on_host() -> Result<i32> {
    let name = nix::fcntl::readlink("/proc/self").call(|| "readlink(\"/proc/self\")")?;
    let pid = name.to_str().and_then(|name| name.parse().ok());
    pid.ok_or_else(|| Error::new("what is mounted at /proc is not procfs").hint("mount -t proc proc /proc"))
}

fn join(kind: Namespace, path: &Path) -> Result<()> {
    let flag = clone_flag(kind);
    namespace::enter(namespace::open_kind(path, flag)?, flag)
}

fn new_time(offsets: &[String]) -> Result<()> {
    namespace::unshare(clone_flag(Namespace::Time))?;
    write_time_offsets(offsets)
}

/// Only possible before the first process enters the namespace (time_namespaces(7)).
pub(super) fn write_time_offsets(offsets: &[String]) -> Result<()> {
    let path = "/proc/self/timens_offsets";
    for line in offsets {
        let file = std::fs::OpenOptions::new().write(true).open(path).call(|| format!("open({path:?})"))?;
        (&file).write_all(format!("{line}\n").as_bytes()).call(|| format!("write({path:?}, {line:?})"))?;
    }
    Ok(())
}

/// A detached copy of what is mounted at a host path.
pub(super) fn open_source(path: &Path, recursive: bool) -> Result<OwnedFd> {
    let depth = if recursive { Depth::All } else { Depth::One };
    mount::clone_tree(path, depth).map_err(|error| explain_source(error, path))
}

/// Why a source cannot be opened.
pub(super) fn explain_source(error: Error, path: &Path) -> Error {
    match error.errno() {
        Some(Errno::ENOENT) => {
            let hint = format!("create {} on the host, or remove the mount from the config", path.display());
            error.because("the source does not exist").hint(hint)
        }
        Some(Errno::EINVAL) => {
            error.because("the source is not reachable as a mount of its own (locked mounts below it?)")
        }
        _ => error,
    }
}

/// Puts a descriptor into the table of slots.
pub(super) fn put(slots: &mut Vec<Option<OwnedFd>>, slot: Slot, fd: OwnedFd) {
    if slots.len() <= slot {
        slots.resize_with(slot + 1, || None);
    }
    slots[slot] = Some(fd);
}

/// The CLONE_NEW flag of a kind.
pub(super) fn clone_flag(kind: Namespace) -> u64 {
    let flag = match kind {
        Namespace::User => libc::CLONE_NEWUSER,
        Namespace::Mount => libc::CLONE_NEWNS,
        Namespace::Pid => libc::CLONE_NEWPID,
        Namespace::Network => libc::CLONE_NEWNET,
        Namespace::Ipc => libc::CLONE_NEWIPC,
        Namespace::Uts => libc::CLONE_NEWUTS,
        Namespace::Cgroup => libc::CLONE_NEWCGROUP,
        Namespace::Time => libc::CLONE_NEWTIME,
    };
    flag as u64
}

/// The CLONE_NEW flags of several kinds.
pub(super) fn clone_flags(kinds: &[Namespace]) -> u64 {
    kinds.iter().map(|kind| clone_flag(*kind)).fold(0, |all, flag| all | flag)
}

/// What kind of filesystem an open file is on (statfs(2)).
pub(super) fn filesystem_magic(fd: impl AsFd) -> Result<i64> {
    Ok(nix::sys::statfs::fstatfs(fd).call(|| "fstatfs")?.filesystem_type().0 as i64)
}

/// Whether the file is on a procfs.
pub(super) fn is_procfs(fd: impl AsFd) -> Result<bool> {
    Ok(filesystem_magic(fd)? == PROC_MAGIC)
}
