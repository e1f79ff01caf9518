//! `start`: the tenant's container is made by a process of its own, in which the root is put together. For one
//! command that process ends once the command runs; for an init it stays, as the [`keeper`].
//!
//! The runtime process, with the caller's privilege, and the process it launches, in a session of its own. They talk
//! over one socket, the launched one's standard input: `ready`, or the error.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::container::{self, CgroupManager, CreateOptions, Status};
use crate::error::{Call, Error, Kind, Result};
use crate::ids::RootPath;
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
use crate::tenant::resources;
use crate::tenant::rootfs::{Owners, Rootfs};
use crate::tenant::settings;
use crate::tenant::snapshots;
use crate::tenant::stock;
use crate::tenant::users;

/// The hidden verb by which the program launches itself.
pub const VERB: &str = "launch";

/// How long a tenant may take to be made: a hung file system is told, not waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// How large a command's log may be when it is started again, in bytes.
const LOG: u64 = 1 << 20;

const READY: &[u8] = b"ready";

/// The most that is read of the root's `passwd` and `group`.
const NAMES: u64 = 1 << 20;

/// Starts a tenant; its lock is held by the caller.
///
/// # Errors
/// Exit code 32 when it runs; what its container says.
pub fn start(estate: &Estate, name: &Name) -> Result<Tenant> {
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
    let (ours, theirs) = UnixStream::pair().call(|| "socketpair")?;
    let mut command = Command::new("/proc/self/exe");
    command.args(global_options(estate)?).args(["tenant", VERB, name.as_str()]);
    command.stdin(OwnedFd::from(theirs)).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().call(|| "spawn(\"/proc/self/exe\")")?;
    // Its copy of the other end closes here.
    drop(command);
    let told = listen(ours);
    if told.is_err() || tenant.config.boot.mode == Mode::Command {
        let _ = child.wait();
    }
    told.map(|()| tenant)
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
fn global_options(estate: &Estate) -> Result<Vec<std::ffi::OsString>> {
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

fn listen(socket: UnixStream) -> Result<()> {
    socket.set_read_timeout(Some(PATIENCE)).call(|| "setsockopt(SO_RCVTIMEO)")?;
    let mut words = vec![];
    match socket.take(64 << 10).read_to_end(&mut words) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
            Err(Error::new("it is not made after 60 seconds")
                .hint("'isolate tenant stop --kill' gives it up"))
        }
        Err(error) => Err(Error::io("read", &error)),
        Ok(_) if words == READY => Ok(()),
        Ok(0) => Err(Error::new("the process that makes it died")),
        Ok(_) => Err(Error::from_wire(&words)),
    }
}

/// The launched process: makes the tenant's container and starts it. Returns when there is nothing left to do.
///
/// # Errors
/// None that matters: they go over the socket.
pub fn launched(estate: &Estate, name: &Name) -> Result<()> {
    let mut socket = take_socket()?;
    // Out of the caller's terminal and its signals. It fails for the leader of a group, which a launched process is not.
    let _ = nix::unistd::setsid();
    match launch(estate, name) {
        Ok(kept) => {
            let told = socket.write_all(READY).call(|| "write");
            drop(socket);
            match kept {
                Some(kept) => kept.keep(),
                None => told,
            }
        }
        Err(error) => socket.write_all(&error.to_wire()).call(|| "write"),
    }
}

/// Standard input becomes `/dev/null`: the tenant must not have the socket.
fn take_socket() -> Result<UnixStream> {
    let socket = nix::unistd::dup(std::io::stdin()).call(|| "dup(stdin)")?;
    nix::fcntl::fcntl(&socket, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC))
        .call(|| "fcntl")?;
    let null = File::open("/dev/null").call(|| "open(\"/dev/null\")")?;
    nix::unistd::dup2_stdin(&null).call(|| "dup2(stdin)")?;
    Ok(UnixStream::from(socket))
}

fn launch<'a>(estate: &'a Estate, name: &'a Name) -> Result<Option<keeper::Keeper<'a>>> {
    let tenant = estate.tenant(name)?;
    let standing = layers::of_tenant(estate, &tenant, Purpose::Running)?;
    match tenant.config.boot.mode {
        Mode::Command => {
            open_log(&standing).and_then(|()| run(estate, &tenant, &standing, None)).map(|_| None)
        }
        Mode::Init | Mode::Systemd => keeper::Keeper::start(estate, name, standing).map(Some),
    }
}

/// Makes the container on a standing root and starts it; the pid of its init.
///
/// # Errors
/// What its config or the lifecycle says; nothing is left then.
pub fn run(estate: &Estate, tenant: &Tenant, standing: &Standing, console: Option<&Path>) -> Result<i32> {
    let facts = facts(estate, tenant, standing)?;
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
        console_socket: console.map(Path::to_owned),
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

fn facts<'a>(estate: &Estate, tenant: &'a Tenant, standing: &Standing) -> Result<Facts<'a>> {
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
        device: backing::of_tenant(&tenant.config, &tenant.folder),
    })
}
