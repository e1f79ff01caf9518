//! What `isolate features` tells engines: what this version does, in the form CRI-O, containerd and moby
//! read (runtime-spec, `features.md`). Pure; the mount options come from the parser's own table.

use serde_json::{Value, json};

use crate::host::Host;
use crate::oci::CAPABILITIES;

use super::{annotations, mount_options, placement};

/// What other parts of the program do, as `features` has to tell it.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The program's version.
    pub version: &'a str,
    /// The commit it was built from; empty when unknown.
    pub commit: &'a str,
    /// Whether `linux.resources.rdma` is applied.
    pub rdma: bool,
    /// What the seccomp compiler does.
    pub seccomp: SeccompFacts<'a>,
}

/// What the seccomp compiler does, by the specification's names.
#[derive(Debug, Clone, Copy)]
pub struct SeccompFacts<'a> {
    /// `SCMP_ARCH_…` that a filter can hold.
    pub architectures: &'a [&'a str],
    /// `SCMP_ACT_…` that this kernel has.
    pub actions: &'a [&'a str],
    /// `SECCOMP_FILTER_FLAG_…` that it can load with on this kernel.
    pub flags: &'a [&'a str],
}

const OPERATORS: [&str; 7] = [
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_LE",
    "SCMP_CMP_LT",
    "SCMP_CMP_MASKED_EQ",
    "SCMP_CMP_NE",
];

const KNOWN_FLAGS: [&str; 4] = [
    "SECCOMP_FILTER_FLAG_LOG",
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
    "SECCOMP_FILTER_FLAG_TSYNC",
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
];

/// The document; of the host it tells only which namespaces the kernel has.
pub fn features(host: &Host, facts: &Facts<'_>) -> Value {
    json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": "1.3.0",
        "hooks":
            ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
        "mountOptions": mount_options::names(),
        "linux": {
            "namespaces": namespaces(host),
            "capabilities": &CAPABILITIES[..],
            "cgroup": {
                "v1": true, "v2": true, "systemd": true, "systemdUser": true, "rdma": facts.rdma
            },
            "seccomp": {
                "enabled": true,
                "actions": facts.seccomp.actions,
                "operators": OPERATORS,
                "archs": facts.seccomp.architectures,
                "knownFlags": KNOWN_FLAGS,
                "supportedFlags": facts.seccomp.flags
            },
            "apparmor": {"enabled": true},
            "selinux": {"enabled": true},
            "memoryPolicy": {"modes": placement::mode_names(), "flags": placement::flag_names()},
            "intelRdt": {"enabled": true, "schemata": true, "monitoring": true},
            "mountExtensions": {"idmap": {"enabled": true}},
            "netDevices": {"enabled": true}
        },
        "annotations": {
            "io.isolate.version": facts.version,
            "io.isolate.commit": facts.commit,
            // moby and CRI-O look for this very key to learn whether they may ask for a checkpoint.
            "org.opencontainers.runc.checkpoint.enabled": "false"
        },
        "potentiallyUnsafeConfigAnnotations": annotations::ALL
    })
}

/// The specification's names of what the kernel lists in `/proc/self/ns` by its own.
fn namespaces(host: &Host) -> Vec<&'static str> {
    let names = [
        ("cgroup", "cgroup"),
        ("ipc", "ipc"),
        ("mnt", "mount"),
        ("net", "network"),
        ("pid", "pid"),
        ("time", "time"),
        ("user", "user"),
        ("uts", "uts"),
    ];
    let has = |kernel: &str| host.namespaces.iter().any(|name| name == kernel);
    names.into_iter().filter(|(kernel, _)| has(kernel)).map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told() -> Value {
        let host = Host { namespaces: vec!["mnt".to_owned(), "net".to_owned()], ..super::super::test_host() };
        let actions = ["SCMP_ACT_ALLOW", "SCMP_ACT_NOTIFY"];
        let architectures = ["SCMP_ARCH_X86_64"];
        let seccomp =
            SeccompFacts { architectures: &architectures, actions: &actions, flags: &KNOWN_FLAGS[..3] };
        features(&host, &Facts { version: "0.1.0", commit: "abc", rdma: false, seccomp })
    }

    #[test]
    fn the_document_has_the_form_engines_read() {
        let typed: oci_spec::runtime::Features = serde_json::from_value(told()).unwrap();
        assert_eq!(typed.oci_version_max(), "1.3.0");
        let linux = typed.linux().as_ref().unwrap();
        assert_eq!(linux.seccomp().as_ref().unwrap().actions().as_ref().unwrap().len(), 2);
        assert_eq!(linux.capabilities().as_ref().unwrap().len(), 41);
    }

    #[test]
    fn it_tells_what_the_parser_takes_and_no_more() {
        let told = told();
        let options = told["mountOptions"].as_array().unwrap();
        assert!(options.contains(&json!("rro")));
        assert!(options.contains(&json!("idmap")));
        assert_eq!(told["linux"]["mountExtensions"]["idmap"]["enabled"], true);
        assert_eq!(told["linux"]["namespaces"], json!(["mount", "network"]));
    }
}
