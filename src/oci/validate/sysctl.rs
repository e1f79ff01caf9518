//! The allow-list of `linux.sysctl`: only what belongs to a namespace of the container's own. Pure.
//!
//! Every other sysctl is the host's. CVE-2022-0811: a key or value that hides a second setting
//! (`net/../kernel/core_pattern`, `a+kernel.core_pattern=…`) is refused by its form, before the list.

use oci_spec::runtime::{Linux, LinuxNamespaceType, Spec};

use super::{Wanted, wanted};
use crate::oci::fault::{Faults, quoted};

/// The sysctls of an ipc namespace (ipc_namespaces(7)).
const IPC: [&str; 8] = [
    "kernel/msgmax",
    "kernel/msgmnb",
    "kernel/msgmni",
    "kernel/sem",
    "kernel/shmall",
    "kernel/shmmax",
    "kernel/shmmni",
    "kernel/shm_rmid_forced",
];

/// The path below `/proc/sys` of a sysctl, given in either form: with dots, or with slashes (as sysctl(8),
/// the first of the two decides, and the other stands for itself: `net.ipv4.conf.eth0/1.mtu` is
/// `net/ipv4/conf/eth0.1/mtu`).
///
/// # Errors
/// Why the key is not acceptable in any form.
pub fn sysctl_path(key: &str) -> Result<String, String> {
    let first = key.find(['.', '/']).and_then(|at| key.as_bytes().get(at));
    let path: String = match first {
        None => return Err("it is not a name like net.ipv4.ip_forward".to_owned()),
        Some(b'/') => key.to_owned(),
        Some(_) => key.chars().map(swap).collect(),
    };
    let plain = |part: &str| part.chars().all(|c| c.is_ascii_alphanumeric() || "_-.:@".contains(c));
    let name = |part: &str| !part.is_empty() && part != "." && part != ".." && plain(part);
    match path.split('/').all(name) {
        true => Ok(path),
        false => Err("it is not a name like net.ipv4.ip_forward".to_owned()),
    }
}

fn swap(c: char) -> char {
    match c {
        '.' => '/',
        '/' => '.',
        other => other,
    }
}

pub(super) fn check(spec: &Spec, linux: &Linux, faults: &mut Faults) {
    let mut sysctls: Vec<_> = linux.sysctl().iter().flatten().collect();
    sysctls.sort();
    for (key, value) in sysctls {
        let place = format!("linux.sysctl[{}]", quoted(key));
        match sysctl_path(key).and_then(|path| allowed(spec, &path)) {
            Err(why) => faults.add(place, why),
            Ok(()) if value.contains(['\0', '\n', '+']) => {
                faults.add(place, format!("the value {} holds more than one setting", quoted(value)));
            }
            Ok(()) => {}
        }
    }
}

fn allowed(spec: &Spec, path: &str) -> Result<(), String> {
    use LinuxNamespaceType::{Ipc, Network, User, Uts};
    let (kind, name) = match path {
        "kernel/hostname" => return Err("it clashes with the hostname: set hostname instead".to_owned()),
        "kernel/domainname" => (Uts, "a uts"),
        _ if IPC.contains(&path) || path.starts_with("fs/mqueue/") => (Ipc, "an ipc"),
        _ if path.starts_with("net/") => (Network, "a network"),
        _ if path.starts_with("user/") => (User, "a user"),
        _ => return Err("it is the host's: it belongs to no namespace".to_owned()),
    };
    match wanted(spec, kind) {
        Wanted::No => Err(format!("it needs {name} namespace in linux.namespaces")),
        Wanted::New | Wanted::Joined => Ok(()),
    }
}
