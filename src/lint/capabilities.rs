//! `process.capabilities`: those that lead out of a container. Pure.

use oci_spec::runtime::LinuxNamespaceType as Kind;

use super::rules::{self, Rule};
use super::view::View;
use super::{Findings, Reach};

/// Looks at each capability that leads further than the container.
pub fn examine(view: &View<'_>, findings: &mut Findings) {
    for (name, rule, reach) in powers(view) {
        // In a user namespace of its own a capability counts for what the namespace owns.
        let reach = if view.is_root_of_the_host() { reach } else { Reach::Wall };
        let counts = view.is_root_of_the_host() || matches!(name, "SYS_ADMIN" | "NET_ADMIN");
        if let Some(set) = view.capability(name).filter(|_| counts) {
            findings.add(rule, reach, format!("process.capabilities.{set}"), format!("CAP_{name}"));
        }
    }
    let Some(sets) = view.process().and_then(|process| process.capabilities().as_ref()) else { return };
    let lists = [
        (sets.ambient(), rules::AMBIENT, "process.capabilities.ambient"),
        (sets.inheritable(), rules::INHERITABLE, "process.capabilities.inheritable"),
    ];
    for (list, rule, at) in lists {
        let mut names: Vec<String> = list.iter().flatten().map(|name| format!("CAP_{name}")).collect();
        names.sort();
        if !names.is_empty() {
            findings.add(rule, Reach::Wall, at, names.join(", "));
        }
    }
}

fn powers(view: &View<'_>) -> [(&'static str, &'static Rule, Reach); 14] {
    let if_shared = |kind| if view.shares(kind) { Reach::Others } else { Reach::Wall };
    let mknod = if super::access::all_devices(view).is_some() { Reach::Host } else { Reach::Wall };
    let ptrace = if view.shares(Kind::Pid) { Reach::Host } else { Reach::Wall };
    [
        ("SYS_ADMIN", rules::CAP_SYS_ADMIN, Reach::Host),
        ("SYS_PTRACE", rules::CAP_SYS_PTRACE, ptrace),
        ("SYS_MODULE", rules::CAP_SYS_MODULE, Reach::Host),
        ("DAC_READ_SEARCH", rules::CAP_DAC_READ_SEARCH, Reach::Host),
        ("SYS_RAWIO", rules::CAP_SYS_RAWIO, Reach::Host),
        ("MKNOD", rules::CAP_MKNOD, mknod),
        ("NET_ADMIN", rules::CAP_NET_ADMIN, if_shared(Kind::Network)),
        ("NET_RAW", rules::CAP_NET_RAW, if_shared(Kind::Network)),
        ("BPF", rules::CAP_BPF, Reach::Host),
        ("PERFMON", rules::CAP_PERFMON, Reach::Others),
        ("SYSLOG", rules::CAP_SYSLOG, Reach::Others),
        ("SYS_TIME", rules::CAP_SYS_TIME, Reach::Others),
        ("SYS_BOOT", rules::CAP_SYS_BOOT, Reach::Host),
        ("SYS_RESOURCE", rules::CAP_SYS_RESOURCE, Reach::Others),
    ]
}
