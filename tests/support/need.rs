//! What a test may need of the machine, and how a missing one is reported: as a skip that names the kernel
//! feature or program, or as a failure when `ISOLATE_TEST_MUST_RUN` lists its tier (`root,userns,cgroup,…`).

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use libtest_mimic::{Completion, Failed};
use nix::unistd::geteuid;

use super::{cgroup, child, process, session};

/// One thing a test needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// The suite runs as root of the host. Tier `root`.
    Root,
    /// The caller has this capability, given by name and number. Tier `root`.
    Capability(&'static str, u32),
    /// The suite runs as an ordinary user. Tier `user`.
    OrdinaryUser,
    /// The caller may make user namespaces. Tier `userns`.
    UserNamespaces,
    /// A version 1 hierarchy with this controller, writable. Tier `cgroup`.
    CgroupV1(&'static str),
    /// A pure version 2 hierarchy. Tier `cgroup2`.
    CgroupV2,
    /// A hierarchy of either version with this controller (`freezer` and `devices` are part of version 2), writable.
    /// Tier `cgroup`.
    Cgroup(&'static str),
    /// The kernel limits swap. Tier `kernel`.
    Swap,
    /// No cgroup that an ordinary user could make folders in. Tier `nocgroup`.
    NoCgroup,
    /// A systemd that makes units for the caller: process 1 for root, a user manager with a bus for others. Tier
    /// `systemd`.
    Systemd,
    /// A program on the PATH. Tier: the program's name.
    Program(&'static str),
    /// A file or folder of the kernel, such as `/proc/self/ns/time`. Tier `kernel`.
    File(&'static str),
    /// The kernel is at least this. Tier `kernel`.
    Kernel(u32, u32),
    /// At least this many subordinate ids in `/etc/subuid` for the caller. Tier `subuid`.
    SubordinateIds(u32),
    /// The runtime under test is `isolate`, because the test asks for its own surface. Tier `isolate`.
    Isolate,
    /// The runtime under test is not this one, for the reason given.
    Not(&'static str, &'static str),
}

/// A need that is not met: its tier, and what to tell.
pub struct Missing {
    tier: String,
    reason: String,
}

impl Missing {
    /// For what a test finds out on its way.
    pub fn found(reason: String) -> Missing {
        Missing { tier: "found".to_owned(), reason }
    }

    /// A skip, unless the tier must run.
    pub fn into_completion(self) -> Result<Completion, Failed> {
        let must_run = std::env::var("ISOLATE_TEST_MUST_RUN").unwrap_or_default();
        match must_run.split(',').any(|tier| tier == self.tier || tier == "all") {
            true => Err(Failed::from(format!("must not be skipped, but {}", self.reason))),
            false => Ok(Completion::ignored_with(self.reason)),
        }
    }
}

/// The first need that this machine does not meet.
pub fn first_missing(needs: &[Need]) -> Option<Missing> {
    needs.iter().find_map(|need| {
        let reason = need.what_is_missing()?;
        Some(Missing { tier: need.tier(), reason })
    })
}

impl Need {
    fn tier(self) -> String {
        match self {
            Need::Root | Need::Capability(..) => "root",
            Need::OrdinaryUser => "user",
            Need::UserNamespaces => "userns",
            Need::CgroupV1(_) | Need::Cgroup(_) => "cgroup",
            Need::CgroupV2 => "cgroup2",
            Need::NoCgroup => "nocgroup",
            Need::Systemd => "systemd",
            Need::Program(name) => name,
            Need::File(_) | Need::Kernel(..) | Need::Swap => "kernel",
            Need::SubordinateIds(_) => "subuid",
            Need::Isolate | Need::Not(..) => "isolate",
        }
        .to_owned()
    }

    fn what_is_missing(self) -> Option<String> {
        let unless = |met: bool, reason: String| if met { None } else { Some(reason) };
        match self {
            Need::Root => unless(geteuid().is_root(), "needs root of the host".into()),
            Need::Capability(name, bit) => {
                unless(capabilities() >> bit & 1 == 1, format!("the caller has no {name}"))
            }
            Need::OrdinaryUser => unless(!geteuid().is_root(), "needs an ordinary user, runs as root".into()),
            Need::UserNamespaces => unless(
                can_make_user_namespace(),
                "the kernel gives no user namespace (CONFIG_USER_NS)".into(),
            ),
            Need::CgroupV1(name) => unless(
                cgroup::v1_writable(name),
                format!("no writable cgroup v1 hierarchy with the controller {name} is mounted"),
            ),
            Need::CgroupV2 => unless(
                Path::new("/sys/fs/cgroup/cgroup.controllers").exists(),
                "no pure cgroup v2 hierarchy is mounted at /sys/fs/cgroup".into(),
            ),
            Need::Cgroup(name) => unless(
                cgroup::is_writable(name),
                format!("no writable cgroup hierarchy with the controller {name} is mounted"),
            ),
            Need::Swap => unless(
                cgroup::limits_swap(),
                "the kernel does not limit swap (CONFIG_SWAP, swapaccount)".into(),
            ),
            Need::NoCgroup => unless(
                !cgroup::is_writable("memory"),
                "a cgroup is delegated to the caller, and this is about the lack of one".into(),
            ),
            Need::Systemd => unless(
                has_systemd(),
                "no systemd that makes units for the caller (process 1, or a user manager with a bus)".into(),
            ),
            Need::Program(name) => {
                unless(find_program(name).is_some(), format!("no program {name} on the PATH"))
            }
            Need::File(path) => unless(Path::new(path).exists(), format!("the kernel has no {path}")),
            Need::Kernel(major, minor) => unless(
                kernel() >= (major, minor),
                format!("needs Linux {major}.{minor}, this is {:?}", kernel()),
            ),
            Need::SubordinateIds(count) => unless(
                subordinate_ids("/etc/subuid").is_some_and(|(_, has)| has >= count),
                format!("/etc/subuid gives the caller fewer than {count} subordinate ids"),
            ),
            Need::Isolate => {
                unless(ask_all() || session::session().is_isolate(), "asks for isolate's own surface".into())
            }
            Need::Not(name, why) => {
                unless(ask_all() || session::session().flavour() != name, format!("{name}: {why}"))
            }
        }
    }
}

/// ISOLATE_TEST_ASK_ALL: other runtimes are asked even what they are known not to stand, to see an attack work.
fn ask_all() -> bool {
    std::env::var_os("ISOLATE_TEST_ASK_ALL").is_some()
}

/// Finds a program as a shell would.
pub fn find_program(name: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// The caller's effective capabilities.
pub fn capabilities() -> u64 {
    let text = process::status(std::process::id() as i32, "CapEff").unwrap_or_default();
    u64::from_str_radix(&text, 16).unwrap_or(0)
}

/// Kernel release as (major, minor).
pub fn kernel() -> (u32, u32) {
    // Of what the tests ask the version for, most is mount_setattr(2).
    let without = super::vanish::asked_for().unwrap_or_default().0;
    let oldest = if without.split(',').any(|call| call == "mount_setattr") { (5, 11) } else { (u32::MAX, 0) };
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut parts = release.split(['.', '-']).map(|part| part.trim().parse().unwrap_or(0));
    oldest.min((parts.next().unwrap_or(0), parts.next().unwrap_or(0)))
}

fn has_systemd() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| {
        let runs = Path::new("/run/systemd/system").exists() && find_program("systemctl").is_some();
        let manager = if geteuid().is_root() { "--system" } else { "--user" };
        runs && child::run(Command::new("systemctl").args([manager, "show", "-p", "Version"])).code == 0
    })
}

fn can_make_user_namespace() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| {
        find_program("unshare").is_some()
            && child::run(Command::new("unshare").args(["-U", "true"])).code == 0
    })
}

/// The caller's first range in `/etc/subuid` or `/etc/subgid`.
pub fn subordinate_ids(file: &str) -> Option<(u32, u32)> {
    let uid = geteuid();
    // Not of libc, whose look-up of an account that /etc/passwd does not have ends a static program by a signal.
    let name = isolate::sys::users::name_of(uid.as_raw());
    let text = std::fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let owner = fields.next()?;
        if Some(owner) != name.as_deref() && owner != uid.to_string() {
            return None;
        }
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    })
}
