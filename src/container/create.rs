//! `create`: config in, a container out that waits for `start`. The path of it, top to bottom: read and
//! check the config, compile the plan, make the state folder, carry the plan out, write the state.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::unistd::{UnlinkatFlags, unlinkat};
use oci_spec::runtime::Spec;

use super::console::{Attachment, check_terminal_rules};
use super::foreground::Signals;
use super::listen_fds::{Activation, FIRST, keep};
use super::{CgroupManager, CreateOptions, Runtime, State, Status, kept, notify};
use crate::apply::{self, Deed, Made, Work, resctrl};
use crate::cgroup::unit::Bus;
use crate::cgroup::{Cgroup, SavedGroup, systemd};
use crate::error::{Call, Error, Explain, Result};
use crate::host::{Host, probe};
use crate::ids::ContainerId;
use crate::oci::read::{self, Config};
use crate::plan::{self, ConsoleTo, HookKind, Namespace, Plan, Start, annotations};
use crate::store::{Folder, Saved, Store, Undo, VERSION, does_not_exist};
use crate::sys::{file, pidfd, process, socket, starter, time};

/// Makes a container and leaves it waiting for [`super::start()`].
///
/// # Errors
/// Every fault of the config at once; or the first step that failed, after everything was undone.
pub fn create(runtime: &Runtime, options: &CreateOptions) -> Result<()> {
    let doing = || format!("cannot create container '{}'", options.id);
    let prepared = Prepared::new(runtime, options, Attachment::Detached, Start::OnCommand).doing(doing)?;
    prepared.make(None).map(drop).doing(doing)
}

/// What [`create`] would do, without doing anything: the plan, or every fault of the config.
///
/// # Errors
/// As [`create`] before its first step.
pub fn plan(runtime: &Runtime, options: &CreateOptions) -> Result<Plan> {
    let doing = || format!("cannot plan container '{}'", options.id);
    // Whether a terminal could be handed over does not matter for looking.
    let attachment = Attachment::Foreground;
    let options = CreateOptions { console_socket: None, ..options.clone() };
    let prepared = Prepared::new(runtime, &options, attachment, Start::OnCommand).doing(doing)?;
    let mut plan = prepared.plan;
    let unknown = read::unknown_properties(&prepared.bytes);
    plan.ignored.extend(unknown.into_iter().map(|path| format!("{path}: no property of the specification")));
    Ok(plan)
}

/// Everything that is known before anything is done.
pub(super) struct Prepared<'a> {
    runtime: &'a Runtime,
    options: &'a CreateOptions,
    bundle: PathBuf,
    bytes: Vec<u8>,
    pub(super) spec: Spec,
    plan: Plan,
}

/// A container that stands, with its locked folder.
pub(super) struct Standing {
    pub(super) made: Made,
    pub(super) folder: Folder,
    pub(super) saved: Saved,
}

impl<'a> Prepared<'a> {
    /// Reads, checks, compiles. Changes nothing.
    pub(super) fn new(
        runtime: &'a Runtime,
        options: &'a CreateOptions,
        attachment: Attachment,
        start: Start,
    ) -> Result<Prepared<'a>> {
        let bundle = std::path::absolute(&options.bundle).call(|| format!("{:?}", options.bundle))?;
        let bytes = read_config(options.config.as_deref(), &bundle)?;
        let mut host = probe::probe()?;
        if runtime.cgroup_manager == CgroupManager::Systemd {
            let bus = if host.privileged { Bus::System } else { Bus::User };
            host.systemd = Some(systemd::find(bus)?);
        }
        let Config { mut spec, warnings, pids_limit } = plan::config::read(&bytes, &host)?;
        if pids_limit.is_none() {
            leave_pids_alone(&mut spec);
        }
        warnings.iter().for_each(crate::log::warning);
        warn_of_capabilities(&spec);
        let terminal = spec.process().as_ref().and_then(|process| process.terminal()).unwrap_or(false);
        check_terminal_rules(terminal, options.console_socket.as_deref(), attachment)?;
        crate::log::debug(format!("the config of {} is read", bundle.display()));
        let plan = compile(runtime, options, &spec, &bundle, &host, attachment, start)?;
        Ok(Prepared { runtime, options, bundle, bytes, spec, plan })
    }

    /// Does it. On failure nothing is left.
    pub(super) fn make(self, signals: Option<&Signals>) -> Result<Standing> {
        self.plan.warnings.iter().for_each(crate::log::warning);
        let store = Store::make(&self.runtime.root)?;
        let folder = store.create(&self.options.id)?;
        match self.make_in(&folder, signals) {
            Ok((made, saved)) => Ok(Standing { made, folder, saved }),
            Err(error) => {
                self.forget_pid_file();
                if let Err(left) = apply::undo::take_back(folder, None) {
                    crate::log::warning(format!("after the failure something was left: {left}"));
                }
                let state = self.state(0, Status::Stopped);
                super::delete::run_poststop(&self.spec, &state);
                Err(error)
            }
        }
    }

    fn make_in(&self, folder: &Folder, signals: Option<&Signals>) -> Result<(Made, Saved)> {
        if notify_wanted() {
            notify::make_folder(folder.path())?;
        }
        let waits = self.plan.steps.iter().any(|planned| planned.step == plan::Step::AwaitStart);
        let listener = if waits { Some(starter::listen_in(&folder.as_fd(), "start.sock")?) } else { None };
        let console_socket = self.options.console_socket.as_deref().map(connect_console).transpose()?;
        let saved = std::cell::RefCell::new(None);
        let work = Work {
            plan: &self.plan,
            lock: Some(folder.as_fd()),
            console_socket,
            listener,
            container: None,
            cgroup: Cgroup::default(),
            state: &|pid, kind| self.hook_state(pid, kind),
            journal: &|deed| record(folder, deed),
            // Nobody looks for these two before there is a state.
            meanwhile: &|| {
                folder.write_new("config.json", &self.bytes)?;
                kept::write(folder, &self.spec, &self.plan)
            },
            init_cgroup: &|| Ok(None),
            commit: &|made| {
                let state = self.commit(folder, made)?;
                saved.replace(Some(state));
                Ok(())
            },
            child_signals: &|| {
                signals.map_or(Ok(()), |signals| signals.unblock_in_child().call(|| "sigprocmask"))
            },
        };
        let made = apply::carry_out(work)?;
        let saved = saved.into_inner().ok_or_else(|| Error::new("the plan never commits"))?;
        Ok((made, saved))
    }

    /// The state, the pid file and the pidfd, written before the init is told to live on alone.
    fn commit(&self, folder: &Folder, made: &Made) -> Result<Saved> {
        let start_time = process::start_time(Path::new("/proc"), made.pid)?;
        let linux = self.spec.linux().as_ref();
        let listed = linux.and_then(|linux| linux.namespaces().as_ref()).into_iter().flatten();
        let own = |kind: Namespace| kind.proc_name().to_owned();
        let has_new_pid = |entry: &&oci_spec::runtime::LinuxNamespace| {
            Namespace::from(entry.typ()) == Namespace::Pid && entry.path().is_none()
        };
        let saved = Saved {
            version: VERSION,
            id: self.options.id.clone(),
            pid: made.pid,
            start_time: start_time.ok_or_else(|| Error::new("the container's init has vanished"))?,
            created: time::rfc3339(time::now()),
            oci_version: self.spec.version().clone(),
            bundle: self.bundle.clone(),
            rootfs: self.rootfs(),
            annotations: self.annotations(),
            cgroups: made.cgroup.save(),
            namespaces: listed.clone().map(|entry| own(Namespace::from(entry.typ()))).collect(),
            resources: None,
            has_poststart: !self.hooks_after_start().is_empty(),
            has_poststop: self.has_hooks_after_stop(),
            has_no_process: self.spec.process().is_none(),
            new_pid_namespace: listed.clone().any(|entry| has_new_pid(&entry)),
        };
        saved.write(folder)?;
        if let Some(path) = &self.options.pid_file {
            write_pid_file(path, made.pid)?;
        }
        let receiver = annotations::value(&self.spec, annotations::PIDFD_RECEIVER).map(Path::new);
        if let Some(path) = self.options.pidfd_socket.as_deref().or(receiver) {
            send_pidfd(path, &made.pidfd)?;
        }
        Ok(saved)
    }

    fn hooks_after_start(&self) -> Vec<plan::Hook> {
        plan::hooks(self.spec.hooks().as_ref().and_then(|hooks| hooks.poststart().as_ref()))
    }

    fn has_hooks_after_stop(&self) -> bool {
        let hooks = self.spec.hooks().as_ref().and_then(|hooks| hooks.poststop().as_ref());
        hooks.is_some_and(|hooks| !hooks.is_empty())
    }

    fn rootfs(&self) -> PathBuf {
        self.spec.root().as_ref().map_or_else(PathBuf::new, |root| self.bundle.join(root.path()))
    }

    fn annotations(&self) -> std::collections::BTreeMap<String, String> {
        let pairs = self.spec.annotations().iter().flatten();
        pairs.map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    /// A failure after the pid file was written must not leave it to be believed.
    fn forget_pid_file(&self) {
        if let Some(path) = &self.options.pid_file {
            let _ = std::fs::remove_file(path);
        }
    }

    fn hook_state(&self, pid: i32, kind: HookKind) -> Vec<u8> {
        let status = match kind {
            HookKind::StartContainer => Status::Created,
            _ => Status::Creating,
        };
        serde_json::to_vec(&self.state(pid, status)).unwrap_or_default()
    }

    fn state(&self, pid: i32, status: Status) -> State {
        State {
            oci_version: self.spec.version().clone(),
            id: self.options.id.to_string(),
            pid,
            status,
            bundle: self.bundle.display().to_string(),
            rootfs: self.rootfs().display().to_string(),
            created: time::rfc3339(time::now()),
            annotations: self.annotations(),
            owner: String::new(),
        }
    }
}

fn compile(
    runtime: &Runtime,
    options: &CreateOptions,
    spec: &Spec,
    bundle: &Path,
    host: &Host,
    attachment: Attachment,
    start: Start,
) -> Result<Plan> {
    let mut kept = kept_descriptors(options.preserve_fds)?;
    let notify = notify_wanted().then(|| {
        let folder = runtime.root.join(options.id.as_str());
        kept.1.push(notify::ENV.to_owned());
        notify::mount_source(&folder)
    });
    let options = plan::Options {
        id: options.id.clone(),
        no_pivot: options.no_pivot,
        no_new_keyring: options.no_new_keyring,
        console: match attachment {
            Attachment::Detached => ConsoleTo::Socket,
            Attachment::Foreground => ConsoleTo::Runtime,
        },
        start,
        close_from: kept.0,
        env: kept.1,
        notify,
        cgroups: runtime.cgroup_manager != CgroupManager::Disabled,
        cgroup_parent: (!runtime.is_default_root).then(|| name_of_root(&runtime.root)),
    };
    plan::compile(spec, bundle, &options, host)
}

/// A short name for a state root, always the same.
fn name_of_root(root: &Path) -> String {
    use sha2::{Digest, Sha256};
    let digest = Sha256::digest(root.as_os_str().as_encoded_bytes());
    digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

/// Capabilities that the runtime does not have cannot be given to anybody; in a new user namespace it has all.
fn warn_of_capabilities(spec: &Spec) {
    let in_user_namespace = spec
        .linux()
        .as_ref()
        .and_then(|linux| linux.namespaces().as_ref())
        .is_some_and(|list| list.iter().any(|entry| Namespace::from(entry.typ()) == Namespace::User));
    let sets = spec.process().as_ref().and_then(|process| process.capabilities().as_ref());
    let wanted = sets.and_then(|sets| sets.permitted().as_ref()).into_iter().flatten();
    let Ok(own) = caps::read(None, caps::CapSet::Permitted) else { return };
    let has = |name: &str| name.parse().is_ok_and(|capability: caps::Capability| own.contains(&capability));
    for name in
        wanted.map(|capability| format!("CAP_{capability}")).filter(|name| !in_user_namespace && !has(name))
    {
        crate::log::warning(format!(
            "the container does not get {name}: the runtime does not have it either"
        ));
    }
}

/// `pids: {}` says nothing, but the typed config cannot tell it from a limit of 0.
fn leave_pids_alone(spec: &mut Spec) {
    let linux = spec.linux_mut().as_mut();
    if let Some(resources) = linux.and_then(|linux| linux.resources_mut().as_mut()) {
        resources.set_pids(None);
    }
}

fn notify_wanted() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some_and(|value| !value.is_empty())
}

/// The host's end of readiness messages, if an engine wants them.
pub(super) fn notify_relay(folder: &Folder) -> Result<Option<notify::Relay>> {
    let value = std::env::var_os("NOTIFY_SOCKET").unwrap_or_default();
    if !folder.has("notify") {
        return Ok(None);
    }
    let host = notify::HostSocket::parse(&value)?;
    host.map(|host| notify::Relay::open(folder.path(), &host)).transpose()
}

/// The first descriptor that is closed, and the environment that tells of the kept ones.
pub(super) fn kept_descriptors(preserve: u32) -> Result<(u32, Vec<String>)> {
    let variable = |name| std::env::var(name).ok();
    let activation = Activation {
        pid: variable("LISTEN_PID"),
        fds: variable("LISTEN_FDS"),
        names: variable("LISTEN_FDNAMES"),
    };
    let kept = keep(&activation, std::process::id(), preserve, process::is_inherited)?;
    Ok((u32::try_from(FIRST).unwrap_or(3) + kept.count, kept.env))
}

pub(super) fn read_config(config: Option<&Path>, bundle: &Path) -> Result<Vec<u8>> {
    let path = config.map_or_else(|| bundle.join("config.json"), Path::to_path_buf);
    let hint = || "name a folder with a config.json by --bundle ('isolate spec' makes one)";
    read_limited(&path).at(|| path.display().to_string()).hint(hint)
}

/// Reads a file of the caller's: a regular one, so that nothing is waited for, and refused unread when it is
/// larger than what it should be can ever be.
pub(super) fn read_limited(path: &Path) -> Result<Vec<u8>> {
    let flags = nix::fcntl::OFlag::O_NONBLOCK.bits();
    let mut options = std::fs::OpenOptions::new();
    let file = options.read(true).custom_flags(flags).open(path).call(|| format!("open({path:?})"))?;
    let data = file.metadata().call(|| format!("fstat({path:?})"))?;
    if !data.is_file() {
        return Err(Error::new("it is not a regular file"));
    }
    if data.len() > read::LARGEST {
        return Err(read::too_large(data.len()));
    }
    let expected = usize::try_from(data.len()).unwrap_or(0);
    let bytes = file::read_up_to(&file, read::LARGEST + 1, expected).call(|| format!("read({path:?})"))?;
    if bytes.len() as u64 > read::LARGEST {
        return Err(read::too_large(bytes.len() as u64));
    }
    Ok(bytes)
}

fn connect_console(path: &Path) -> Result<OwnedFd> {
    socket::connect_unix(path).at(|| format!("--console-socket {}", path.display()))
}

fn record(folder: &Folder, deed: Deed<'_>) -> Result<()> {
    match deed {
        Deed::NotMade(groups) => {
            let records = groups.iter().map(|group| Undo::NotMade { dir: group.dir.clone() });
            Undo::record(folder, &records.collect::<Vec<_>>())
        }
        Deed::Cgroups(groups) => {
            let records = groups.iter().map(|group| Undo::Cgroup(SavedGroup::planned(group)));
            Undo::record(folder, &records.collect::<Vec<_>>())
        }
        Deed::CacheGroup(made) => {
            let record = match made {
                resctrl::Made::Soon(dir) => Undo::CacheGroup { dir: dir.to_owned() },
                resctrl::Made::Not(dir) => Undo::NotMade { dir: dir.to_owned() },
            };
            Undo::record(folder, &[record])
        }
        Deed::Process(pid) => match process::start_time(Path::new("/proc"), pid)? {
            Some(start_time) => Undo::record(folder, &[Undo::Process { pid, start_time }]),
            None => Ok(()),
        },
    }
}

/// The pid in decimal, without a newline, there all at once.
pub(super) fn write_pid_file(path: &Path, pid: i32) -> Result<()> {
    let place = || format!("--pid-file {}", path.display());
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| Error::new("it is not the name of a file")).at(place)?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let temporary = parent.join(format!(".{name}.{}", std::process::id()));
    let file = std::fs::OpenOptions::new().write(true).create_new(true).open(&temporary);
    let mut file = file.call(|| format!("open({temporary:?})")).at(place)?;
    let written = std::io::Write::write_all(&mut file, pid.to_string().as_bytes())
        .call(|| format!("write({temporary:?})"));
    let renamed =
        written.and_then(|()| std::fs::rename(&temporary, path).call(|| format!("rename({path:?})")));
    if renamed.is_err() {
        let _ = unlinkat(nix::fcntl::AT_FDCWD, &temporary, UnlinkatFlags::NoRemoveDir);
    }
    renamed.at(place)
}

/// Hands a descriptor of the process to the caller's socket.
pub(super) fn send_pidfd(path: &Path, pidfd: &OwnedFd) -> Result<()> {
    let send = || socket::send_fd(socket::connect_unix(path)?, pidfd, b"pidfd");
    send().at(|| format!("--pidfd-socket {}", path.display()))
}

/// The name of a container, checked, with what the command was about.
pub(super) fn open_locked(runtime: &Runtime, id: &ContainerId) -> Result<Folder> {
    match Store::open(&runtime.root)? {
        Some(store) => store.own()?.find(id)?.lock(),
        None => Err(does_not_exist()),
    }
}

/// Root may look at the containers of others, but what their state folders say is theirs to forge.
pub(super) fn own_root(runtime: &Runtime) -> Result<()> {
    Store::open(&runtime.root)?.map_or(Ok(()), |store| store.own().map(drop))
}

/// The folder of a container, not locked.
pub(super) fn find(runtime: &Runtime, id: &ContainerId) -> Result<Folder> {
    match Store::open(&runtime.root)? {
        Some(store) => store.find(id),
        None => Err(does_not_exist()),
    }
}

/// Kills and reaps the init, after a failure with the container standing.
pub(super) fn kill_init(made: &Made) {
    let _ = pidfd::send_signal(&made.pidfd, libc::SIGKILL);
    let _ = pidfd::wait(&made.pidfd);
}
