//! What the program is and may do: user, groups, capabilities, labels, filter, and the program itself. The
//! child runs this, with less privilege after each step.

use std::collections::HashMap;
use std::convert::Infallible;
use std::ffi::CString;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::signal::Signal;
use nix::sys::socket::{MsgFlags, send};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::unistd::{AccessFlags, Gid, Uid};

use super::child::{Child, is_procfs};
use crate::error::{Call, Error, Result};
use crate::ids::RootPath;
use crate::plan::seccomp::Filter;
use crate::plan::{CapabilitySets, Scheduler};
use crate::sys::capabilities::{self, Sets};
use crate::sys::process::{Dumpable, ParentDeath, set_dumpable, set_parent_death};
use crate::sys::signal::{self, Reset};
use crate::sys::{attributes, seccomp};

/// Where programs are looked for when the environment has no PATH.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The most that is read of a container's `/etc/passwd`.
const LARGEST_PASSWD: u64 = 1 << 20;

/// How long somebody who connected may take to say "start".
const STARTER_PATIENCE: Duration = Duration::from_secs(2);

/// A program that was found, ready for execve(2).
#[derive(Debug)]
pub(super) struct Program {
    path: CString,
    args: Vec<CString>,
    env: Vec<CString>,
}

/// Root of the user namespace. Where id 0 is not mapped, the process keeps the id it came with.
pub(super) fn become_root() -> Result<()> {
    let (root_user, root_group) = (Uid::from_raw(0), Gid::from_raw(0));
    for (call, result) in [
        ("setresgid(0)", nix::unistd::setresgid(root_group, root_group, root_group)),
        ("setresuid(0)", nix::unistd::setresuid(root_user, root_user, root_user)),
    ] {
        match result {
            Ok(()) | Err(Errno::EINVAL) => {}
            Err(errno) => return Err(Error::sys(call, errno)),
        }
    }
    // A change of user makes the process dumpable as the system's default says; it must stay closed.
    set_dumpable(Dumpable::No)?;
    set_parent_death(ParentDeath::Sends(Signal::SIGKILL))
}

/// A session keyring of the container's own. A host that is out of keys is no reason to stop.
pub(super) fn session_keyring(name: &str) -> Result<()> {
    match attributes::join_session_keyring(name) {
        Err(error) if matches!(error.errno(), Some(Errno::ENOSYS | Errno::EDQUOT | Errno::EPERM)) => {
            crate::log::warning(format!("{error}: the container keeps the session keyring of its caller"));
            Ok(())
        }
        result => result,
    }
}

/// Writes a kernel setting, before the pivot: what is mounted at `/proc` is still the host's, and shows the
/// settings of the namespaces of whoever writes (CVE-2025-52881).
pub(super) fn sysctl(path: &str, value: &str) -> Result<()> {
    write_proc(&format!("/proc/sys/{path}"), value).map_err(|error| match error.errno() {
        Some(Errno::ENOENT) => error.because("this kernel has no such setting"),
        _ => error,
    })
}

fn write_proc(path: &str, value: &str) -> Result<()> {
    let flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    let file = nix::fcntl::open(path, flags, Mode::empty()).call(|| format!("open({path:?})"))?;
    if !is_procfs(&file)? {
        return Err(Error::new(format!("{path} is covered by another filesystem")));
    }
    nix::unistd::write(&file, value.as_bytes()).call(|| format!("write({path:?}, {value:?})")).map(drop)
}

/// The label that the kernel gives the program at exec; written before the pivot, for the same reason.
pub(super) fn label_at_exec(file: &str, label: &str) -> Result<()> {
    write_proc(&format!("/proc/thread-self/attr/{file}"), label)
}

/// The program may use the standard streams it was given. Streams that cannot be given away stay as they
/// are, and so does the null device, which is the host's.
pub(super) fn own_stdio(uid: u32) -> Result<()> {
    let streams = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    for stream in [streams.0.as_fd(), streams.1.as_fd(), streams.2.as_fd()] {
        let Ok(stat) = fstat(stream) else { continue };
        let is_null = stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFCHR.bits()
            && stat.st_rdev == nix::sys::stat::makedev(1, 3);
        if stat.st_uid != uid && !is_null {
            let _ = nix::unistd::fchown(stream, Some(Uid::from_raw(uid)), None);
        }
    }
    Ok(())
}

/// Drops everything else from the bounding set.
pub(super) fn lower_bounding_set(keep: &[String]) -> Result<()> {
    capabilities::lower_bounding_set(capabilities::parse(keep))
}

/// Becomes the program's user. Permitted capabilities stay for the steps to come; the effective ones are
/// the program's, so that every permission from here on is checked as it will be for the program.
pub(super) fn become_user(uid: u32, gid: u32, groups: Option<&[u32]>, effective: &[String]) -> Result<()> {
    attributes::keep_capabilities(true).call(|| "prctl(PR_SET_KEEPCAPS)")?;
    if let Some(groups) = groups {
        match attributes::set_groups(groups) {
            // A user namespace with a single id denies it, and then there is nothing to take away either.
            Err(Errno::EPERM) if groups.is_empty() => {}
            result => result.call(|| format!("setgroups({groups:?})"))?,
        }
    }
    let (user, group) = (Uid::from_raw(uid), Gid::from_raw(gid));
    let unmapped = |what: &'static str| {
        move |errno| match errno {
            Errno::EINVAL => Error::new(format!("cannot set {what} to unmapped user in user namespace")),
            _ => Error::sys(format!("setres{what}"), errno),
        }
    };
    nix::unistd::setresgid(group, group, group).map_err(unmapped("gid"))?;
    nix::unistd::setresuid(user, user, user).map_err(unmapped("uid"))?;
    attributes::keep_capabilities(false).call(|| "prctl(PR_SET_KEEPCAPS)")?;
    set_dumpable(Dumpable::No)?;
    let sets = capabilities::read()?;
    capabilities::write(Sets { effective: capabilities::parse(effective) & sets.permitted, ..sets })
}

/// The mask for files the program makes.
pub(super) fn set_umask(mask: u32) -> Result<()> {
    nix::sys::stat::umask(Mode::from_bits_truncate(mask));
    Ok(())
}

/// Enters the working folder. It is resolved in the root, never through `/proc/self/fd`: a descriptor that
/// leaked into the container would otherwise be a way out (CVE-2024-21626).
pub(super) fn enter_folder(child: &Child<'_>, path: &Path) -> Result<()> {
    let folder = child.root()?.find(&RootPath::new(path))?;
    let folder = folder.ok_or_else(|| Error::sys(format!("chdir({path:?})"), Errno::ENOENT))?;
    nix::unistd::fchdir(&folder).call(|| format!("chdir({path:?})"))?;
    let inside = nix::unistd::getcwd().is_ok_and(|cwd| cwd.is_absolute());
    if inside {
        return Ok(());
    }
    Err(Error::new(
        "the working folder lies outside the container's root: possible container breakout detected",
    ))
}

/// Finds the program as execvp(3) would, with the container's PATH, as the user.
pub(super) fn find_program(child: &mut Child<'_>, args: &[String], env: &[String]) -> Result<()> {
    let env = environment(child, env)?;
    let name = args.first().ok_or_else(|| Error::new("there is no command"))?;
    let path = match name.contains('/') {
        true => usable(name).map(|()| name.clone()),
        false => search(name, value_of(&env, "PATH").unwrap_or(DEFAULT_PATH)),
    };
    let path = path.map_err(|why| Error::new(format!("exec: {name:?}: {why}")))?;
    let strings = |text: String| CString::new(text).map_err(|_| Error::new("there is a NUL byte in it"));
    let pairs = env.into_iter().map(|(key, value)| format!("{key}={value}"));
    child.program = Some(Program {
        path: strings(path)?,
        args: args.iter().cloned().map(strings).collect::<Result<_>>()?,
        env: pairs.map(strings).collect::<Result<_>>()?,
    });
    Ok(())
}

/// Pairs in the order of their names' first mention; the last of several values counts. HOME comes from the
/// container's `/etc/passwd` when it is not given.
fn environment(child: &Child<'_>, env: &[String]) -> Result<Vec<(String, String)>> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    for (key, value) in env.iter().filter_map(|pair| pair.split_once('=')) {
        match places.get(key) {
            Some(place) => pairs[*place].1 = value.to_owned(),
            None => {
                places.insert(key, pairs.len());
                pairs.push((key.to_owned(), value.to_owned()));
            }
        }
    }
    if value_of(&pairs, "HOME").is_none_or(str::is_empty) {
        let home = home_of(child, nix::unistd::getuid().as_raw()).unwrap_or_else(|| "/".to_owned());
        pairs.retain(|(key, _)| key != "HOME");
        pairs.push(("HOME".to_owned(), home));
    }
    Ok(pairs)
}

fn value_of<'a>(env: &'a [(String, String)], name: &str) -> Option<&'a str> {
    env.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// The file is the container's: it may be anything, of any size.
fn home_of(child: &Child<'_>, uid: u32) -> Option<String> {
    let file = child.root().ok()?.open_file(&RootPath::new("/etc/passwd")).ok()??;
    let mut content = Vec::new();
    file.take(LARGEST_PASSWD).read_to_end(&mut content).ok()?;
    let content = String::from_utf8_lossy(&content).into_owned();
    let mut users = content.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let user = users.find(|fields| fields.get(2).and_then(|id| id.parse::<u32>().ok()) == Some(uid))?;
    user.get(5).filter(|home| home.starts_with('/') && !home.contains('\0')).map(|home| (*home).to_owned())
}

fn search(name: &str, path: &str) -> std::result::Result<String, String> {
    let mut found_but = None;
    for folder in path.split(':') {
        let folder = if folder.is_empty() { "." } else { folder };
        let candidate = format!("{folder}/{name}");
        match usable(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(why) if why.contains("permission denied") => found_but = Some(why),
            Err(_) => {}
        }
    }
    Err(found_but.unwrap_or_else(|| "executable file not found in $PATH".to_owned()))
}

/// The words are the ones every engine looks for.
fn usable(path: &str) -> std::result::Result<(), String> {
    let stat = nix::sys::stat::stat(path).map_err(|errno| match errno {
        Errno::ENOENT => format!("stat {path}: no such file or directory"),
        Errno::ENOTDIR => format!("stat {path}: not a directory"),
        Errno::EACCES => "permission denied".to_owned(),
        other => format!("stat {path}: {}", crate::error::errno_name(other)),
    })?;
    if stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits() {
        return Err("is a directory: permission denied".to_owned());
    }
    let executable =
        nix::unistd::faccessat(nix::fcntl::AT_FDCWD, path, AccessFlags::X_OK, AtFlags::AT_EACCESS);
    executable.map_err(|_| "permission denied".to_owned())
}

/// One of the process' own limits; raising a hard one takes a capability the program itself need not have.
pub(super) fn set_limit(resource: u32, soft: u64, hard: u64) -> Result<()> {
    let sets = capabilities::read()?;
    raise_all()?;
    super::runtime::set_limit(0, resource, soft, hard)?;
    capabilities::write(sets)
}

/// Without `noNewPrivileges` the kernel wants CAP_SYS_ADMIN for this.
pub(super) fn load_filter(filter: &Filter) -> Result<()> {
    raise_all()?;
    seccomp::load(&filter.program, filter.flags)
}

/// Effective capabilities become all that are permitted, for the last acts of the runtime.
pub(super) fn raise_all() -> Result<()> {
    let sets = capabilities::read()?;
    if sets.effective == sets.permitted {
        return Ok(());
    }
    capabilities::write(Sets { effective: sets.permitted, ..sets })
}

/// The final sets. Inheritable may be raised only while CAP_SETPCAP is effective, hence the first call; in
/// the second the kernel measures all three by what was there before it.
pub(super) fn set_capabilities(wanted: &CapabilitySets) -> Result<()> {
    let sets = capabilities::read()?;
    raise_all()?;
    let within = |names: &[String]| capabilities::parse(names) & sets.permitted;
    capabilities::write(Sets {
        effective: within(&wanted.effective),
        permitted: within(&wanted.permitted),
        inheritable: within(&wanted.inheritable),
    })?;
    capabilities::raise_ambient(within(&wanted.ambient))
}

/// Without `noNewPrivileges` the kernel wants CAP_SYS_ADMIN for this.
pub(super) fn keep_to_root() -> Result<()> {
    raise_all()?;
    crate::sys::landlock::keep_below("/")
}

/// A core of its own is asked of kernels that have it; others, and processors with one thread a core, need none.
pub(super) fn own_core() -> Result<()> {
    match attributes::own_core() {
        Ok(()) | Err(Errno::EINVAL | Errno::ENODEV | Errno::ENOSYS) => Ok(()),
        Err(errno) => Err(Error::sys("prctl(PR_SCHED_CORE_CREATE)", errno)),
    }
}

/// Scheduling of the program.
pub(super) fn set_scheduler(wanted: &Scheduler) -> Result<()> {
    let attr = attributes::SchedAttr {
        policy: wanted.policy,
        flags: wanted.flags,
        nice: wanted.nice,
        priority: wanted.priority,
        runtime: wanted.runtime,
        deadline: wanted.deadline,
        period: wanted.period,
        ..attributes::SchedAttr::default()
    };
    attributes::set_scheduler(attr).call(|| format!("sched_setattr(policy {})", wanted.policy)).map_err(
        |error| match error.errno() {
            Some(Errno::EPERM) => {
                error.because("the caller may not give this scheduling, or the cgroup has no budget for it")
            }
            _ => error,
        },
    )
}

/// Waits for `isolate start`; returns the connection, over which a failure to exec is reported. Closing
/// it without a word means success: exec closes it.
pub(super) fn wait_for_starter(listener: &OwnedFd) -> Result<OwnedFd> {
    // Here nobody waits for it; after the word `start` does.
    signal::reset(Reset::AllButPipe);
    loop {
        let connection = crate::sys::starter::accept(listener)?;
        if !crate::sys::starter::has_word(&connection, STARTER_PATIENCE)? {
            continue;
        }
        let mut word = [0; 5];
        let length = nix::unistd::read(&connection, &mut word).unwrap_or(0);
        if word[..length] == *b"start" {
            return Ok(connection);
        }
    }
}

/// The starter hears why the program could not be executed.
pub(super) fn report_to_starter(connection: &OwnedFd, error: &Error) {
    let _ = send(connection.as_raw_fd(), &error.to_wire(), MsgFlags::MSG_NOSIGNAL);
}

/// Becomes the program.
pub(super) fn exec(child: &mut Child<'_>) -> Result<()> {
    let Some(program) = child.program.take() else { return Err(Error::new("there is no program")) };
    signal::reset(if child.has_waited() { Reset::Pipe } else { Reset::All });
    let Err(errno): nix::Result<Infallible> = nix::unistd::execve(&program.path, &program.args, &program.env);
    let path = program.path.to_string_lossy();
    Err(match errno {
        Errno::ENOENT => Error::new(format!("exec {path:?}: no such file or directory (its interpreter?)")),
        Errno::EACCES => Error::new(format!("exec {path:?}: permission denied")),
        Errno::ENOEXEC => Error::new(format!("exec {path:?}: exec format error"))
            .hint("is it a script without a first line '#!…', or made for another processor?"),
        _ => Error::sys(format!("execve({path:?})"), errno),
    })
}
