//! The capabilities of private systems: one list, and who has how much of it. Pure.
//!
//! All of them count within the system's own user namespace only. Not among them is CAP_SYS_RESOURCE: there it raises
//! nothing but the bounds of `/proc/sys/user`, which are the operator's.

use serde_json::{Value, json};

use crate::tenant::users::User;

/// What kind of system it is; each has what those before it have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// One that vanishes with its command (`isolate try`): podman's default set without what it does not need.
    Disposable,
    /// A tenant that runs a command: podman's default set.
    Command,
    /// A tenant with an init: what its services need, and the init to mount, to set its network up and to reboot.
    System,
}

/// Each with the least kind that has it.
const ALL: [(&str, Kind); 24] = [
    ("CAP_CHOWN", Kind::Disposable),
    ("CAP_DAC_OVERRIDE", Kind::Disposable),
    ("CAP_FOWNER", Kind::Disposable),
    ("CAP_FSETID", Kind::Disposable),
    ("CAP_KILL", Kind::Disposable),
    ("CAP_NET_BIND_SERVICE", Kind::Disposable),
    ("CAP_SETGID", Kind::Disposable),
    ("CAP_SETUID", Kind::Disposable),
    ("CAP_SYS_CHROOT", Kind::Disposable),
    ("CAP_SETFCAP", Kind::Command),
    ("CAP_SETPCAP", Kind::Command),
    ("CAP_AUDIT_WRITE", Kind::System),
    ("CAP_DAC_READ_SEARCH", Kind::System),
    ("CAP_IPC_LOCK", Kind::System),
    ("CAP_IPC_OWNER", Kind::System),
    ("CAP_LEASE", Kind::System),
    ("CAP_LINUX_IMMUTABLE", Kind::System),
    ("CAP_MKNOD", Kind::System),
    ("CAP_NET_ADMIN", Kind::System),
    ("CAP_NET_RAW", Kind::System),
    ("CAP_SYS_ADMIN", Kind::System),
    ("CAP_SYS_BOOT", Kind::System),
    ("CAP_SYS_NICE", Kind::System),
    ("CAP_SYS_PTRACE", Kind::System),
];

/// `process.capabilities`: root inside gets the set; others keep it in the bounding set only, as under podman.
pub fn of(kind: Kind, user: &User) -> Value {
    let bounding: Vec<&str> = ALL.iter().filter(|(_, least)| *least <= kind).map(|(name, _)| *name).collect();
    let own: &[&str] = if user.uid == 0 { &bounding } else { &[] };
    json!({"bounding": bounding, "effective": own, "permitted": own, "inheritable": [], "ambient": []})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_root_has_capabilities_in_effect() {
        let mut user = crate::tenant::users::resolve(None, "", "").unwrap();
        let count = |set: &Value, name: &str| set[name].as_array().unwrap().len();
        let counts =
            [Kind::Disposable, Kind::Command, Kind::System].map(|kind| count(&of(kind, &user), "effective"));
        assert_eq!(counts, [9, 11, 24]);
        user.uid = 1000;
        assert_eq!(
            (count(&of(Kind::System, &user), "effective"), count(&of(Kind::System, &user), "bounding")),
            (0, 24)
        );
    }
}
