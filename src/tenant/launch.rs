//! `start`: the tenant's container is made by a process of its own, in which the root is put together. For one
//! command that process ends once the command runs; for an init it stays, as the [`keeper`].
//!
//! The runtime process, with the caller's privilege, and the process it launches, in a session of its own. They talk
//! over one socket, the launched one's standard input: `started` and `ready`, or the error.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::apply::idmaps;
use crate::container::{self, CgroupManager, CreateOptions, Status};
use crate::error::{Call, Error, Kind, Result};
use crate::ids::RootPath;
use crate::sys::{channel, socket};
use crate::tenant::backing;
use crate::tenant::compile::{self, Facts};
use crate::tenant::config::{Config, Mode};
use crate::tenant::estate::{Estate, Tenant, write_whole};
use crate::tenant::halt;
use crate::tenant::identity;
use crate::tenant::keeper;
use crate::tenant::layers::{self, Purpose, Standing};
use crate::tenant::look;
use crate::tenant::name::Name;
use crate::tenant::offline;
use crate::tenant::prepare;
use crate::tenant::readiness::Started;
use crate::tenant::resources;
use crate::tenant::rootfs::{Owners, Rootfs};
use crate::tenant::settings;
use crate::tenant::snapshots;
use crate::tenant::stock;
use crate::tenant::users;

/// The hidden verb by which the program launches itself.
pub const VERB: &str = "launch";

/// How long a tenant may take to be made: a hung file system is told, not waited for.
const PATIENCE: u16 = 60;

/// How large a command's log may be when it is started again, in bytes.
const LOG: u64 = 1 << 20;

/// What the launched process says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// The program runs.
    Started,
    /// The tenant is of use; at once where an init does not tell.
    Ready,
}

impl Word {
    /// As it is said.
    pub(super) fn bytes(self) -> &'static [u8] {
        match self {
            Word::Started => b"started",
            Word::Ready => b"ready",
        }
    }
}

/// How a container is connected to its keeper.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ways<'a> {
    /// The socket to which its terminal is sent.
    pub console: Option<&'a Path>,
    /// The socket on which its init says that it is ready.
    pub bell: Option<&'a Path>,
}

/// The most that is read of the root's `passwd` and `group`.
const NAMES: u64 = 1 << 20;

/// Starts a tenant; its lock is held by the caller, and not needed for waiting until it is ready.
///
/// # Errors
/// Exit code 32 when it runs; what its container says.
pub fn start(estate: &Estate, name: &Name) -> Result<Started> {
    let since = Instant::now();
    let tenant = estate.tenant(name)?;
    if look::status(estate, name)? != Status::Stopped {
        return Err(Error::new("it is running").kind(Kind::WrongState).code(32));
    }
    halt::forget(estate, name)?;
    estate.make()?;
    // Faults of the settings are told here, and not by a process nobody sees.
    let device = backing::of_tenant(&tenant.config, &tenant.folder);
    resources::all(&tenant.config.limits, &estate.place(device))?;
    snapshots::settle(estate, &tenant)?;
    renew_identity(estate, &tenant)?;
    estate.save_started(&tenant)?;
    let (ours, theirs) = socket::seqpacket_pair()?;
    let mut command = Command::new("/proc/self/exe");
    command.args(global_options(estate)?).args(["tenant", VERB, name.as_str()]);
    // It is about us, not about the tenant.
    command.env_remove("NOTIFY_SOCKET");
    command.stdin(theirs).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().call(|| "spawn(\"/proc/self/exe\")")?;
    // Its copy of the other end closes here.
    drop(command);
    let told = listen(&ours);
    if told.is_err() || tenant.config.boot.mode == Mode::Command {
        let _ = child.wait();
    }
    told.map(|()| Started { tenant, socket: ours, since })
}

/// Name and addresses in the root's files, if they are others than at the last start.
fn renew_identity(estate: &Estate, tenant: &Tenant) -> Result<()> {
    let same = |started: &Config| started.system == tenant.config.system;
    match estate.started(&tenant.name).is_none_or(|started| same(&started)) {
        true => Ok(()),
        false => offline::change(estate, tenant, |root| identity::write(&tenant.config, &tenant.name, root)),
    }
}

/// The options before the command, as they were given to us.
///
/// # Errors
/// A state root that is no text.
pub fn global_options(estate: &Estate) -> Result<Vec<std::ffi::OsString>> {
    let containers = &estate.runtime.root;
    let run = containers.parent().and_then(Path::to_str).and_then(|run| run.strip_suffix("-tenants"));
    let root = run.ok_or_else(|| Error::new("the state root is no text"))?;
    let mut options = vec!["--root".into(), root.into()];
    if estate.runtime.cgroup_manager == CgroupManager::Disabled {
        options.extend(["--cgroup-manager".into(), "disabled".into()]);
    }
    Ok(options)
}

/// A command's output goes into a file on the tenant's own disk, which its limit covers. What an earlier start has left
/// is put aside once it is large.
fn open_log(standing: &Standing) -> Result<()> {
    let path = PathBuf::from(format!("/proc/self/fd/{}/log", standing.disk.as_raw_fd()));
    if std::fs::metadata(&path).is_ok_and(|found| found.len() > LOG) {
        let _ = std::fs::rename(&path, path.with_extension("1"));
    }
    let file = File::options().append(true).create(true).mode(0o600).open(&path);
    let file = file.call(|| "open(\"disk/log\")")?;
    nix::unistd::dup2_stdout(&file).call(|| "dup2(stdout)")?;
    nix::unistd::dup2_stderr(&file).call(|| "dup2(stderr)")
}

fn listen(socket: &OwnedFd) -> Result<()> {
    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    let heard = poll(&mut fds, PollTimeout::from(PATIENCE * 1000)).call(|| "poll")?;
    if heard == 0 {
        return Err(Error::new(format!("it is not made after {PATIENCE} seconds"))
            .hint("'isolate tenant stop --kill' gives it up"));
    }
    match channel::receive(socket).call(|| "recvmsg")?.0 {
        words if words == Word::Started.bytes() => Ok(()),
        words if words.is_empty() => Err(Error::new("the process that makes it died")),
        words => Err(Error::from_wire(&words)),
    }
}

/// The launched process: makes the tenant's container and starts it. Returns when there is nothing left to do.
///
/// # Errors
/// None that matters: they go over the socket.
pub fn launched(estate: &Estate, name: &Name) -> Result<()> {
    let socket = take_socket()?;
    // Out of the caller's terminal and its signals. It fails for the leader of a group, which a launched process is not.
    let _ = nix::unistd::setsid();
    match launch(estate, name) {
        Ok(kept) => {
            say(&socket, Word::Started);
            match kept {
                Some(kept) if kept.tells() => kept.keep(Some(socket)),
                kept => {
                    say(&socket, Word::Ready);
                    drop(socket);
                    kept.map_or(Ok(()), |kept| kept.keep(None))
                }
            }
        }
        Err(error) => channel::send(&socket, &error.to_wire(), NO_FDS).call(|| "sendmsg"),
    }
}

const NO_FDS: &[OwnedFd] = &[];

/// Tells whoever has started it; nobody may be there any more.
pub(super) fn say(socket: &OwnedFd, word: Word) {
    let _ = channel::send(socket, word.bytes(), NO_FDS);
}

/// Standard input becomes `/dev/null`: the tenant must not have the socket.
fn take_socket() -> Result<OwnedFd> {
    let socket = nix::unistd::dup(std::io::stdin()).call(|| "dup(stdin)")?;
    nix::fcntl::fcntl(&socket, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC))
        .call(|| "fcntl")?;
    let null = File::open("/dev/null").call(|| "open(\"/dev/null\")")?;
    nix::unistd::dup2_stdin(&null).call(|| "dup2(stdin)")?;
    Ok(socket)
}

fn launch<'a>(estate: &'a Estate, name: &'a Name) -> Result<Option<keeper::Keeper<'a>>> {
    let tenant = estate.tenant(name)?;
    let standing = layers::of_tenant(estate, &tenant, Purpose::Running)?;
    if standing.namespace.is_none() {
        idmaps::bound_inotify(tenant.config.inotify())?;
    }
    match tenant.config.boot.mode {
        Mode::Command => {
            open_log(&standing).and_then(|()| run(estate, &tenant, &standing, &Ways::default())).map(|_| None)
        }
        Mode::Init | Mode::Systemd => keeper::Keeper::start(estate, name, standing).map(Some),
    }
}

/// Makes the container on a standing root and starts it; the pid of its init.
///
/// # Errors
/// What its config or the lifecycle says; nothing is left then.
pub fn run(estate: &Estate, tenant: &Tenant, standing: &Standing, ways: &Ways<'_>) -> Result<i32> {
    let facts = facts(estate, tenant, standing, ways)?;
    // In the user namespace of an ordinary user this machine looks different.
    let host = crate::host::probe::probe()?;
    let spec = compile::compile(&tenant.config, &facts, &host)?;
    let text = serde_json::to_vec(&spec).map_err(|error| Error::new(error.to_string()))?;
    write_whole(&tenant.folder, "config.json", &text)?;
    let id = estate.container(&tenant.name)?;
    let options = CreateOptions {
        id: id.clone(),
        bundle: tenant.folder.clone(),
        config: None,
        console_socket: ways.console.map(Path::to_owned),
        pidfd_socket: None,
        pid_file: None,
        no_pivot: false,
        no_new_keyring: false,
        preserve_fds: 0,
    };
    container::create(&estate.runtime, &options)?;
    let pid = container::state(&estate.runtime, &id).map(|state| state.pid);
    let started = pid.and_then(|pid| container::start(&estate.runtime, &id).map(|()| pid));
    started.inspect_err(|_| {
        if let Err(left) = container::delete(&estate.runtime, &id, true) {
            crate::log::warning(left);
        }
    })
}

fn facts<'a>(estate: &Estate, tenant: &'a Tenant, standing: &Standing, ways: &Ways<'_>) -> Result<Facts<'a>> {
    let (template, _) = stock::find(estate, &tenant.config.template.name)?;
    let root = Rootfs::open(&standing.root, Owners::Caller)?;
    let text = |path| root.text(&RootPath::new(path), NAMES);
    let wanted = tenant.config.boot.user.as_deref().map(prepare::image_user).transpose()?;
    let user = wanted.as_ref().or(None).map_or_else(|| settings::parse_user("0"), |user| Ok(user.clone()))?;
    Ok(Facts {
        name: &tenant.name,
        rootfs: standing.root.clone(),
        namespace: standing
            .namespace
            .as_ref()
            .map(|fd| format!("/proc/{}/fd/{}", std::process::id(), fd.as_raw_fd())),
        ids: estate.maps(&tenant.config),
        user: users::resolve(Some(&user), &text("/etc/passwd"), &text("/etc/group"))?,
        binds: template.binds,
        env: template.env,
        workdir: template.workdir,
        nofile: prepare::nofile()?,
        cgroups: estate.cgroups(),
        bell: ways.bell.map(|path| path.display().to_string()),
        device: backing::of_tenant(&tenant.config, &tenant.folder),
    })
}
