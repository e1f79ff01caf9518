//! `exec`: one more program in a container that stands. The child is born in the container's pid
//! namespace and cgroup, joins the rest by one setns(2) on a pidfd of the init, and goes the same last
//! steps as the init did.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use oci_spec::runtime::{Capability, LinuxCapabilities, Process, Spec};

use super::console::{Attachment, check_terminal_rules};
use super::create::{find, kept_descriptors, kill_init, read_limited, send_pidfd, write_pid_file};
use super::foreground::{self, Init, Signals, Subreaper};
use super::kept::{self, Kept};
use super::query::{read, shown, status};
use super::start::refuse_dead;
use super::terminal::Terminal;
use super::{ExecOptions, Privilege, Runtime, Status};
use crate::apply::{self, Joined, Made, Work};
use crate::cgroup::Cgroup;
use crate::error::{Call, Error, Explain, Kind, Result};
use crate::host::probe;
use crate::ids::ContainerId;
use crate::oci::read::parse_process;
use crate::plan::seccomp::Filter;
use crate::plan::{self, ConsoleTo, Namespace, Plan, Start};
use crate::store::{Folder, Saved};
use crate::sys::{namespace, pidfd, process, socket};

/// Runs another program in the container; the program's exit code unless detached (then 0).
///
/// # Errors
/// When the container is not running, or the program cannot be executed.
pub fn exec(runtime: &Runtime, id: &ContainerId, options: &ExecOptions) -> Result<i32> {
    let doing = || format!("cannot exec in container '{id}'");
    let folder = find(runtime, id).doing(doing)?;
    let saved = read(&folder).doing(doing)?;
    check_status(&folder, &saved, options).doing(doing)?;
    let Kept { spec, filter } = kept::read(&folder).doing(doing)?;
    let process = wanted_process(&spec, options).doing(doing)?;
    let attachment = if options.detach { Attachment::Detached } else { Attachment::Foreground };
    let terminal = process.terminal().unwrap_or(false);
    check_terminal_rules(terminal, options.console_socket.as_deref(), attachment).doing(doing)?;
    let plan = compile(id, &spec, filter, &saved, &process, options, attachment).doing(doing)?;
    drop(folder);
    let cgroup = Cgroup::open(&saved.cgroups).doing(doing)?;
    let kills = cgroup.oom_kills();
    // Somebody in the cgroup was ended since: it may have been the new process.
    let explain = |error: Error| match Cgroup::open(&saved.cgroups) {
        Ok(cgroup) if cgroup.oom_kills() > kills => error.followed_by("(possibly OOM-killed)"),
        _ => error,
    };
    carry_out(&plan, &saved, options, cgroup).map_err(explain).doing(doing)
}

fn carry_out(plan: &Plan, saved: &Saved, options: &ExecOptions, cgroup: Cgroup) -> Result<i32> {
    let join = |signals| join(plan, saved, options, cgroup, signals);
    if options.detach {
        let made = join(None)?;
        made.wait_for_exec().and_then(|()| refuse_dead(made.pid, None))?;
        return Ok(0);
    }
    let subreaper = if options.no_subreaper { Subreaper::No } else { Subreaper::Yes };
    let signals = Signals::block_early(subreaper)?;
    let made = join(Some(&signals))?;
    wait(made, &signals)
}

fn wait(mut made: Made, signals: &Signals) -> Result<i32> {
    let terminal = made.master.take().map(Terminal::attach).transpose()?;
    if let Err(error) = made.wait_for_exec().and_then(|()| refuse_dead(made.pid, None)) {
        kill_init(&made);
        return Err(error);
    }
    let init = Init { pid: made.pid, pidfd: made.pidfd.as_fd() };
    Ok(foreground::wait(init, terminal, None, signals)?.code())
}

fn check_status(folder: &Folder, saved: &Saved, options: &ExecOptions) -> Result<()> {
    let refuse = |text: &str| Err(Error::new(text).kind(Kind::WrongState));
    match status(folder, saved)? {
        Status::Stopped => refuse("cannot exec in a stopped container"),
        Status::Paused if !options.ignore_paused => {
            refuse("cannot exec in a paused container (use --ignore-paused to override)")
        }
        _ => Ok(()),
    }
}

/// The process object of `--process`, or the config's own with what the flags change.
fn wanted_process(spec: &Spec, options: &ExecOptions) -> Result<Process> {
    if let Some(path) = &options.process {
        let place = || format!("--process {}", path.display());
        let (process, warnings) = read_limited(path).and_then(|bytes| parse_process(&bytes)).at(place)?;
        warnings.iter().for_each(crate::log::warning);
        return Ok(process);
    }
    let mut process = spec.process().clone().ok_or_else(|| Error::new("the config has no process"))?;
    process.set_args(Some(options.args.clone())).set_terminal(Some(options.tty)).set_console_size(None);
    if let Some(cwd) = &options.cwd {
        process.set_cwd(cwd.into());
    }
    add_variables(process.env_mut().get_or_insert_default(), &options.env);
    set_user(&mut process, options);
    if options.no_new_privs {
        process.set_no_new_privileges(Some(true));
    }
    if let Some(profile) = &options.apparmor {
        process.set_apparmor_profile(Some(profile.clone()));
    }
    if let Some(label) = &options.process_label {
        process.set_selinux_label(Some(label.clone()));
    }
    if options.privilege == Privilege::BoundingOnly {
        keep_bounding_set(&mut process);
    }
    add_capabilities(&mut process, &options.caps)?;
    Ok(process)
}

/// One that is there already is replaced: programs differ in which of two they see.
fn add_variables(env: &mut Vec<String>, more: &[String]) {
    let name = |variable: &str| variable.split_once('=').map_or(variable, |(name, _)| name).to_owned();
    for variable in more {
        env.retain(|other| name(other) != name(variable));
        env.push(variable.clone());
    }
}

fn keep_bounding_set(process: &mut Process) {
    let mut sets = no_capabilities();
    let bounding = process.capabilities().as_ref().and_then(|sets| sets.bounding().clone());
    sets.set_bounding(Some(bounding.unwrap_or_default()));
    process.set_capabilities(Some(sets));
}

fn set_user(process: &mut Process, options: &ExecOptions) {
    let user = process.user_mut();
    if let Some((uid, gid)) = options.user {
        user.set_uid(uid);
        if let Some(gid) = gid {
            user.set_gid(gid);
        }
    }
    if !options.additional_gids.is_empty() {
        let mut groups = user.additional_gids().clone().unwrap_or_default();
        groups.extend(&options.additional_gids);
        user.set_additional_gids(Some(groups));
    }
}

/// `--cap` adds to what the program may use, never to what it hands on (CVE-2022-29162).
fn add_capabilities(process: &mut Process, names: &[String]) -> Result<()> {
    let mut sets = process.capabilities().clone().unwrap_or_else(no_capabilities);
    for name in names {
        let short = name.strip_prefix("CAP_").unwrap_or(name);
        let capability: Capability =
            short.parse().map_err(|_| Error::new(format!("{name:?} is not a capability")).at("--cap"))?;
        let add = |set: &Option<oci_spec::runtime::Capabilities>| {
            let mut set = set.clone().unwrap_or_default();
            set.insert(capability);
            Some(set)
        };
        let (bounding, effective, permitted) =
            (add(sets.bounding()), add(sets.effective()), add(sets.permitted()));
        let is_inheritable = sets.inheritable().as_ref().is_some_and(|set| set.contains(&capability));
        if is_inheritable {
            let ambient = add(sets.ambient());
            sets.set_ambient(ambient);
        }
        sets.set_bounding(bounding).set_effective(effective).set_permitted(permitted);
    }
    if !names.is_empty() {
        process.set_capabilities(Some(sets));
    }
    Ok(())
}

fn no_capabilities() -> LinuxCapabilities {
    let mut sets = LinuxCapabilities::default();
    let none = || Some(oci_spec::runtime::Capabilities::default());
    sets.set_bounding(none())
        .set_effective(none())
        .set_permitted(none())
        .set_inheritable(none())
        .set_ambient(none());
    sets
}

fn compile(
    id: &ContainerId,
    spec: &Spec,
    filter: Option<Filter>,
    saved: &Saved,
    process: &Process,
    options: &ExecOptions,
    attachment: Attachment,
) -> Result<Plan> {
    let (close_from, env) = kept_descriptors(options.preserve_fds)?;
    let options = plan::Options {
        id: id.clone(),
        no_pivot: false,
        no_new_keyring: false,
        console: match attachment {
            Attachment::Detached => ConsoleTo::Socket,
            Attachment::Foreground => ConsoleTo::Runtime,
        },
        start: Start::AtOnce,
        close_from,
        env,
        notify: None,
        cgroups: !saved.cgroups.is_empty(),
        cgroup_parent: None,
    };
    plan::compile_exec(process, spec, filter, &namespaces_to_join(saved)?, &options, &probe::probe_caller()?)
}

/// The namespaces in which the container is not ours. Entering the user namespace one is in already is
/// refused by the kernel, and needless. One that cannot be looked at is an error: left out, the program would run in
/// the host's.
pub(super) fn namespaces_to_join(saved: &Saved) -> Result<Vec<Namespace>> {
    let mut joined = Vec::new();
    for kind in Namespace::ALL {
        let name = kind.proc_name();
        let own = match namespace::own_inode(name) {
            // The kernel has no such kind.
            Err(Errno::ENOENT) => continue,
            own => own.call(|| format!("stat(\"/proc/thread-self/ns/{name}\")"))?,
        };
        let theirs =
            namespace::inode(saved.pid, name).call(|| format!("stat(\"/proc/{}/ns/{name}\")", saved.pid))?;
        if own != theirs {
            joined.push(kind);
        }
    }
    Ok(joined)
}

/// The v2 cgroup of a process, by what the kernel says now.
fn init_cgroup(pid: i32) -> Result<Option<OwnedFd>> {
    let path = format!("/proc/{pid}/cgroup");
    let text = std::fs::read_to_string(&path).call(|| format!("read({path:?})"))?;
    let layout = crate::cgroup::probe::probe()?;
    let place = text.lines().find_map(|line| line.strip_prefix("0::/"));
    let Some((hierarchy, place)) = layout.unified().zip(place) else { return Ok(None) };
    let folder = hierarchy.mount_point.join(place);
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    nix::fcntl::open(&folder, flags, Mode::empty()).call(|| format!("open({folder:?})")).map(Some)
}

fn join(
    plan: &Plan,
    saved: &Saved,
    options: &ExecOptions,
    cgroup: Cgroup,
    signals: Option<&Signals>,
) -> Result<Made> {
    let gone = || Error::new("cannot exec in a stopped container").kind(Kind::WrongState);
    let pidfd = apply::undo::open_process(saved.pid, saved.start_time)?.ok_or_else(gone)?;
    let path = format!("/proc/{}/root", saved.pid);
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let root = nix::fcntl::open(Path::new(&path), flags, Mode::empty()).call(|| format!("open({path:?})"))?;
    if pidfd::poll_exit(&pidfd, Some(Duration::ZERO))? {
        // Its pid may be another process' by now, and so may be what was opened.
        return Err(gone());
    }
    let connect = |path: &std::path::PathBuf| socket::connect_unix(path);
    let work = Work {
        plan,
        lock: None,
        console_socket: options.console_socket.as_ref().map(connect).transpose()?,
        listener: None,
        container: Some(Joined { pid: saved.pid, pidfd, root }),
        cgroup: cgroup.below(&options.cgroup)?,
        // Who listens to a seccomp filter is told of the container's init, beside the new process.
        state: &|_, _| {
            let state = shown(saved.clone(), Status::Running, String::new());
            serde_json::to_vec(&state).unwrap_or_default()
        },
        journal: &|_| Ok(()),
        meanwhile: &|| Ok(()),
        init_cgroup: &|| init_cgroup(saved.pid),
        commit: &|made| {
            if let Some(path) = &options.pidfd_socket {
                send_pidfd(path, &made.pidfd)?;
            }
            options.pid_file.as_ref().map_or(Ok(()), |path| write_pid_file(path, made.pid))
        },
        child_signals: &|| {
            signals.map_or(Ok(()), |signals| signals.unblock_in_child().call(|| "sigprocmask"))
        },
    };
    process::set_dumpable(process::Dumpable::No)?;
    apply::carry_out(work)
}
