//! `linux.namespaces`: what a container shares with the host. Pure.

use oci_spec::runtime::LinuxNamespaceType as Kind;

use super::rules::{self, Rule};
use super::view::{Origin, View};
use super::{Findings, Reach};

/// Looks at each kind of namespace.
pub fn examine(view: &View<'_>, findings: &mut Findings) {
    let is_root = view.is_root_of_the_host();
    let with = |capability| is_root && view.capability(capability).is_some();
    let either = |worse: bool, bad: Reach, else_reach: Reach| if worse { bad } else { else_reach };
    let kinds: [(Kind, &'static Rule, Reach); 7] = [
        (Kind::Pid, rules::PID_NAMESPACE, either(with("SYS_PTRACE"), Reach::Host, Reach::Others)),
        (Kind::Network, rules::NETWORK_NAMESPACE, Reach::Others),
        (Kind::Ipc, rules::IPC_NAMESPACE, Reach::Others),
        (Kind::Uts, rules::UTS_NAMESPACE, either(with("SYS_ADMIN"), Reach::Others, Reach::Wall)),
        (Kind::Cgroup, rules::CGROUP_NAMESPACE, Reach::Wall),
        (Kind::Mount, rules::MOUNT_NAMESPACE, either(with("SYS_CHROOT"), Reach::Host, Reach::Wall)),
        (Kind::User, rules::USER_NAMESPACE, Reach::Wall),
    ];
    for (kind, rule, reach) in kinds {
        match view.origin(kind) {
            Origin::Apart => {}
            Origin::Absent => {
                findings.add(rule, reach, "linux.namespaces", format!("no {} namespace", word(kind)))
            }
            Origin::Named(index) => {
                let at = format!("linux.namespaces[{index}].path");
                findings.add(
                    rule,
                    reach,
                    at,
                    format!("it leads to the caller's own {} namespace", word(kind)),
                );
            }
        }
    }
    if let Some(index) = view.maps_root().filter(|_| !is_root) {
        let at = format!("linux.uidMappings[{index}]");
        findings.add(rules::USER_NAMESPACE, Reach::Wall, at, "root of the host is mapped");
    }
}

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Mount => "mount",
        Kind::Cgroup => "cgroup",
        Kind::Uts => "uts",
        Kind::Ipc => "ipc",
        Kind::User => "user",
        Kind::Pid => "pid",
        Kind::Network => "network",
        Kind::Time => "time",
    }
}
