//! `exec`: one more program in a running tenant, as a user of the tenant's own. The runtime process, with the
//! caller's privilege; the tenant's files are read below a descriptor of its root.

use std::path::PathBuf;

use crate::container::{self, ExecOptions, Privilege, Status};
use crate::error::{Error, Kind, Result};
use crate::ids::RootPath;
use crate::tenant::estate::Estate;
use crate::tenant::look;
use crate::tenant::name::Name;
use crate::tenant::rootfs::{Owners, Rootfs};
use crate::tenant::settings;
use crate::tenant::users::{self, User};

/// The most that is read of the tenant's `passwd` and `group`.
const NAMES: u64 = 1 << 20;

/// What is run.
#[derive(Debug, Clone, Default)]
pub struct Program {
    /// The command and its arguments; empty: the user's login shell.
    pub command: Vec<String>,
    /// Who runs it; absent: root.
    pub user: Option<String>,
    /// The folder it starts in; absent: the user's home.
    pub workdir: Option<String>,
    /// `NAME=VALUE`.
    pub env: Vec<String>,
    /// Whether it gets a terminal.
    pub tty: bool,
}

/// Runs it, and returns its exit code.
///
/// # Errors
/// Exit code 14 without the tenant, 31 when it does not run, 21 for a user it does not have; else as
/// [`container::exec`].
pub fn exec(estate: &Estate, name: &Name, program: &Program) -> Result<i32> {
    estate.tenant(name)?;
    let state = look::state(estate, name)?.filter(|state| state.status != Status::Stopped);
    let Some(state) = state else {
        return Err(Error::new("it is not running")
            .hint(format!("'isolate tenant start {name}' starts it"))
            .kind(Kind::WrongState)
            .code(31));
    };
    if state.status == Status::Paused {
        return Err(Error::new("it is paused").kind(Kind::WrongState).code(31));
    }
    // The dot, because the kernel's link is not opened for what it is, but followed.
    let root = Rootfs::open(&PathBuf::from(format!("/proc/{}/root/.", state.pid)), Owners::Caller)?;
    let (mut user, shell) = find_user(program, &root)?;
    // As login(1) does.
    if !root.is_folder(&RootPath::new(&user.home)) {
        user.home = "/".to_owned();
    }
    let options = options(program, &user, shell);
    container::exec(&estate.runtime, &estate.container(name)?, &options)
}

fn find_user(program: &Program, root: &Rootfs) -> Result<(User, String)> {
    let wanted =
        program.user.as_deref().map(settings::parse_user).transpose().map_err(|error| error.code(21))?;
    let text = |path| root.text(&RootPath::new(path), NAMES);
    let passwd = text("/etc/passwd");
    let user =
        users::resolve(wanted.as_ref(), &passwd, &text("/etc/group")).map_err(|error| error.code(21))?;
    let shell = users::shell(user.uid, &passwd);
    Ok((user, shell))
}

fn options(program: &Program, user: &User, shell: String) -> ExecOptions {
    let mut env = vec![format!("HOME={}", user.home)];
    env.extend(user.name.iter().flat_map(|name| [format!("USER={name}"), format!("LOGNAME={name}")]));
    if program.tty {
        env.push(format!("TERM={}", std::env::var("TERM").unwrap_or_else(|_| "xterm".to_owned())));
    }
    env.extend(program.env.iter().cloned());
    let args =
        if program.command.is_empty() { vec![shell, "-l".to_owned()] } else { program.command.clone() };
    ExecOptions {
        args,
        cwd: Some(program.workdir.clone().unwrap_or_else(|| user.home.clone())),
        env,
        tty: program.tty,
        user: Some((user.uid, Some(user.gid))),
        additional_gids: user.groups.clone(),
        privilege: if user.uid == 0 { Privilege::Config } else { Privilege::BoundingOnly },
        ..ExecOptions::default()
    }
}
