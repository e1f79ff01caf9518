//! The config that `isolate spec` writes: runc's, key for key, with our hostname. Pure.

use crate::error::Result;

use super::read;

/// Whose container the config is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rootless {
    /// Root's: limits apply, no user namespace.
    No,
    /// That of an ordinary user, who becomes root inside; ids as seen by the caller.
    Yes {
        /// The caller's effective user id.
        uid: u32,
        /// The caller's effective group id.
        gid: u32,
    },
}

/// Whether the container gets a cgroup namespace: runc adds one where cgroup v2 is the only version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupNamespace {
    /// It stays in the runtime's.
    Shared,
    /// It gets its own.
    New,
}

/// The config as a value.
///
/// # Errors
/// None in practice: the text below is read as any other (and a test does so).
pub fn default_spec(rootless: Rootless, cgroup: CgroupNamespace) -> Result<oci_spec::runtime::Spec> {
    read::parse(default_spec_text(rootless, cgroup).as_bytes()).map(|config| config.spec)
}

/// The config as `isolate spec` writes it: indented with tabs, keys in runc's order, a newline at the end.
pub fn default_spec_text(rootless: Rootless, cgroup: CgroupNamespace) -> String {
    let (pts_group, sys, linux) = match rootless {
        Rootless::No => (",\n\t\t\t\t\"gid=5\"", SYSFS, RESOURCES.to_owned()),
        Rootless::Yes { uid, gid } => ("", BOUND_SYS, maps(uid, gid)),
    };
    TEXT.replace("@PTS_GROUP@", pts_group)
        .replace("@SYS@", sys)
        .replace("@LINUX@", &linux)
        .replace("@NAMESPACES@", &namespaces(rootless, cgroup))
}

fn namespaces(rootless: Rootless, cgroup: CgroupNamespace) -> String {
    let user = rootless != Rootless::No;
    let kinds = [
        ("pid", true),
        ("network", !user),
        ("ipc", true),
        ("uts", true),
        ("mount", true),
        ("user", user),
        ("cgroup", cgroup == CgroupNamespace::New),
    ];
    let entry = |(kind, _): (&str, bool)| format!("\t\t\t{{\n\t\t\t\t\"type\": \"{kind}\"\n\t\t\t}}");
    kinds.into_iter().filter(|(_, wanted)| *wanted).map(entry).collect::<Vec<_>>().join(",\n")
}

fn maps(uid: u32, gid: u32) -> String {
    let map = |name: &str, id: u32| {
        format!(
            "\t\t\"{name}\": [\n\t\t\t{{\n\t\t\t\t\"containerID\": 0,\n\t\t\t\t\"hostID\": {id},\n\t\t\t\t\"size\": 1\n\t\t\t}}\n\t\t],"
        )
    };
    format!("{}\n{}", map("uidMappings", uid), map("gidMappings", gid))
}

const SYSFS: &str = r#"			"type": "sysfs",
			"source": "sysfs",
			"options": [
				"nosuid","#;

const BOUND_SYS: &str = r#"			"type": "none",
			"source": "/sys",
			"options": [
				"rbind",
				"nosuid","#;

const RESOURCES: &str = r#"		"resources": {
			"devices": [
				{
					"allow": false,
					"access": "rwm"
				}
			]
		},"#;

/// With the places of what differs between root and an ordinary user.
const TEXT: &str = r#"{
	"ociVersion": "1.3.0",
	"process": {
		"terminal": true,
		"user": {
			"uid": 0,
			"gid": 0
		},
		"args": [
			"sh"
		],
		"env": [
			"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
			"TERM=xterm"
		],
		"cwd": "/",
		"capabilities": {
			"bounding": [
				"CAP_AUDIT_WRITE",
				"CAP_KILL",
				"CAP_NET_BIND_SERVICE"
			],
			"effective": [
				"CAP_AUDIT_WRITE",
				"CAP_KILL",
				"CAP_NET_BIND_SERVICE"
			],
			"permitted": [
				"CAP_AUDIT_WRITE",
				"CAP_KILL",
				"CAP_NET_BIND_SERVICE"
			]
		},
		"rlimits": [
			{
				"type": "RLIMIT_NOFILE",
				"hard": 1024,
				"soft": 1024
			}
		],
		"noNewPrivileges": true
	},
	"root": {
		"path": "rootfs",
		"readonly": true
	},
	"hostname": "isolate",
	"mounts": [
		{
			"destination": "/proc",
			"type": "proc",
			"source": "proc"
		},
		{
			"destination": "/dev",
			"type": "tmpfs",
			"source": "tmpfs",
			"options": [
				"nosuid",
				"strictatime",
				"mode=755",
				"size=65536k"
			]
		},
		{
			"destination": "/dev/pts",
			"type": "devpts",
			"source": "devpts",
			"options": [
				"nosuid",
				"noexec",
				"newinstance",
				"ptmxmode=0666",
				"mode=0620"@PTS_GROUP@
			]
		},
		{
			"destination": "/dev/shm",
			"type": "tmpfs",
			"source": "shm",
			"options": [
				"nosuid",
				"noexec",
				"nodev",
				"mode=1777",
				"size=65536k"
			]
		},
		{
			"destination": "/dev/mqueue",
			"type": "mqueue",
			"source": "mqueue",
			"options": [
				"nosuid",
				"noexec",
				"nodev"
			]
		},
		{
			"destination": "/sys",
@SYS@
				"noexec",
				"nodev",
				"ro"
			]
		},
		{
			"destination": "/sys/fs/cgroup",
			"type": "cgroup",
			"source": "cgroup",
			"options": [
				"nosuid",
				"noexec",
				"nodev",
				"relatime",
				"ro"
			]
		}
	],
	"linux": {
@LINUX@
		"namespaces": [
@NAMESPACES@
		],
		"maskedPaths": [
			"/proc/acpi",
			"/proc/asound",
			"/proc/kcore",
			"/proc/keys",
			"/proc/latency_stats",
			"/proc/timer_list",
			"/proc/timer_stats",
			"/proc/sched_debug",
			"/sys/firmware",
			"/proc/scsi"
		],
		"readonlyPaths": [
			"/proc/bus",
			"/proc/fs",
			"/proc/irq",
			"/proc/sys",
			"/proc/sysrq-trigger"
		]
	}
}
"#;

#[cfg(test)]
mod tests {
    use oci_spec::runtime::LinuxNamespaceType;

    use super::*;

    fn kinds(spec: &oci_spec::runtime::Spec) -> Vec<LinuxNamespaceType> {
        let namespaces = spec.linux().as_ref().unwrap().namespaces().as_ref().unwrap();
        namespaces.iter().map(|namespace| namespace.typ()).collect()
    }

    #[test]
    fn the_default_config_is_valid_and_of_the_current_version() {
        let spec = default_spec(Rootless::No, CgroupNamespace::New).unwrap();
        assert_eq!(spec.version(), "1.3.0");
        assert_eq!(spec.hostname().as_deref(), Some("isolate"));
        assert!(spec.linux().as_ref().unwrap().resources().is_some());
        assert_eq!(kinds(&spec).last(), Some(&LinuxNamespaceType::Cgroup));
    }

    #[test]
    fn the_rootless_config_maps_the_caller_and_asks_for_nothing_it_may_not_have() {
        let spec = default_spec(Rootless::Yes { uid: 1000, gid: 1001 }, CgroupNamespace::Shared).unwrap();
        let linux = spec.linux().as_ref().unwrap();
        assert_eq!(linux.uid_mappings().as_ref().unwrap()[0].host_id(), 1000);
        assert_eq!(linux.gid_mappings().as_ref().unwrap()[0].host_id(), 1001);
        assert!(linux.resources().is_none());
        assert!(!kinds(&spec).contains(&LinuxNamespaceType::Network));
        let text = default_spec_text(Rootless::Yes { uid: 0, gid: 0 }, CgroupNamespace::Shared);
        assert!(!text.contains("gid=5") && !text.contains('@'), "{text}");
    }

    #[test]
    fn the_text_has_no_property_the_specification_does_not_know() {
        let text = default_spec_text(Rootless::No, CgroupNamespace::New);
        assert_eq!(read::unknown_properties(text.as_bytes()), Vec::<String>::new());
        assert!(text.starts_with("{\n\t\"ociVersion\"") && text.ends_with("}\n"));
    }
}
