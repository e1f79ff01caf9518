//! Looks at this host. Read-only; any privilege.

use std::path::Path;

use caps::{CapSet, Capability};

use super::{Host, Resctrl};
use crate::cgroup::{self, layout::Layout};
use crate::error::{Call, Result};

/// Inode of the initial user namespace (PROC_USER_INIT_INO of linux/proc_ns.h). The look of the id map
/// says nothing: containers may map all ids onto themselves.
const INITIAL_USER_NAMESPACE: u64 = 0xefff_fffd;

/// All facts that a plan may need.
///
/// # Errors
/// When procfs is not there, or the cgroup tables cannot be read.
pub fn probe() -> Result<Host> {
    let caller = probe_caller()?;
    let mut cgroups = cgroup::probe::probe()?;
    if !caller.privileged {
        cgroup::probe::find_delegation(&mut cgroups);
    }
    Ok(Host { cgroups, resctrl: resctrl(), namespaces: namespaces(), ..caller })
}

/// The facts about the caller and the kernel's security modules alone, for a plan that makes no namespace and no
/// cgroup: the rest is empty.
///
/// # Errors
/// When procfs is not there.
pub fn probe_caller() -> Result<Host> {
    let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    let inode = crate::sys::namespace::own_inode("user").call(|| "stat(\"/proc/thread-self/ns/user\")")?;
    let initial_user_namespace = inode == INITIAL_USER_NAMESPACE;
    let sys_admin = caps::has_cap(None, CapSet::Effective, Capability::CAP_SYS_ADMIN).unwrap_or(false);
    let privileged = uid == 0 && initial_user_namespace && sys_admin;
    // The host's root maps whatever ids it likes; only others need ranges of their own.
    let (subuids, subgids, newidmap) = if sys_admin {
        (Vec::new(), Vec::new(), false)
    } else {
        (
            ranges("/etc/subuid", uid),
            ranges("/etc/subgid", uid),
            has_program("newuidmap") && has_program("newgidmap"),
        )
    };
    Ok(Host {
        kernel: kernel()?,
        uid,
        gid,
        initial_user_namespace,
        privileged,
        sys_admin,
        subuids,
        subgids,
        newidmap,
        cgroups: Layout::default(),
        systemd: None,
        apparmor: std::fs::read("/sys/module/apparmor/parameters/enabled")
            .is_ok_and(|text| text.starts_with(b"Y")),
        selinux: Path::new("/sys/fs/selinux/enforce").exists(),
        resctrl: Resctrl::Missing,
        namespaces: Vec::new(),
    })
}

/// RDTGROUP_SUPER_MAGIC of linux/magic.h.
const RESCTRL_MAGIC: i64 = 0x0765_5821;

fn resctrl() -> Resctrl {
    match nix::sys::statfs::statfs(super::RESCTRL) {
        Ok(stat) if stat.filesystem_type().0 == RESCTRL_MAGIC => Resctrl::Mounted,
        Ok(_) => Resctrl::NotMounted,
        Err(_) => Resctrl::Missing,
    }
}

fn kernel() -> Result<(u32, u32)> {
    let name = nix::sys::utsname::uname().call(|| "uname")?;
    let release = name.release().to_string_lossy().into_owned();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    Ok((numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)))
}

fn namespaces() -> Vec<String> {
    let known = ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "time"];
    let there = known.into_iter().filter(|name| crate::sys::namespace::own_inode(name).is_ok());
    there.map(str::to_owned).collect()
}

/// The caller's lines `NAME-OR-ID:FIRST:COUNT` (subuid(5)).
fn ranges(path: &str, uid: u32) -> Vec<(u32, u32)> {
    let content = std::fs::read_to_string(path).unwrap_or_default();
    let name = crate::sys::users::name_of(uid);
    let is_own = |owner: &str| owner.parse() == Ok(uid) || name.as_deref() == Some(owner);
    content
        .lines()
        .filter_map(parse_range)
        .filter(|(owner, ..)| is_own(owner))
        .map(|(_, first, count)| (first, count))
        .collect()
}

fn parse_range(line: &str) -> Option<(&str, u32, u32)> {
    let mut fields = line.trim().split(':');
    let owner = fields.next()?;
    Some((owner, fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

fn has_program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subordinate_ranges_are_read_and_nonsense_is_left_out() {
        assert_eq!(parse_range("user:100000:65536"), Some(("user", 100_000, 65_536)));
        assert_eq!(parse_range("user:x:65536"), None);
        assert_eq!(parse_range(""), None);
    }
}
