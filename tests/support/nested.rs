//! A container in a container: what the outer one needs, and a script that it runs, which makes inner ones with the
//! runtime under test and says how far it came. Used by tests of isolate, podman and LXC as the outer one.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::bundle::{Bundle, make_rootfs};
use super::config;
use super::session::{session, unique};

/// Where the outer container sees [`Inner::folder`].
pub const FOLDER: &str = "/inner";
/// Where it sees the runtime under test.
pub const RUNTIME: &str = "/isolate";

/// What the script says when everything went well.
pub const SAID: &str = "inner pid 1 of box\nexec in two\nkilled\nnothing left\n";

/// Run, create, start, exec, kill, delete: each says a line.
const SCRIPT: &str = r#"
isolate="/isolate --root /tmp/inner-state OPTIONS"
$isolate run --bundle /inner/once one || exit 1
$isolate create --bundle /inner/stays two || exit 1
$isolate start two || exit 1
$isolate exec two /bin/sh -c 'echo exec in $1' sh two || exit 1
$isolate kill two KILL && echo killed
while [ "$($isolate state two | sed -n 's/.*"status": *"\([a-z]*\)".*/\1/p')" != stopped ]; do sleep 0.1; done
$isolate delete two || exit 1
[ -z "$($isolate list --quiet)" ] && echo nothing left
"#;

/// Capabilities of a container that makes others.
pub const CAPABILITIES: [&str; 20] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
    "CAP_SYS_ADMIN",
    "CAP_NET_ADMIN",
    "CAP_SYS_PTRACE",
    "CAP_MKNOD",
    "CAP_SYS_NICE",
    "CAP_AUDIT_WRITE",
    "CAP_NET_RAW",
    "CAP_BPF",
    "CAP_PERFMON",
];

/// What the inner containers are made of: a folder of the host that the outer container sees.
pub struct Inner {
    /// On the host.
    pub folder: PathBuf,
}

impl Inner {
    /// With what `change` makes of the inner config, and further options of the runtime.
    pub fn new(options: &str, change: impl Fn(&mut Value)) -> Inner {
        let folder = session().folder.join(unique("inner"));
        let root = folder.join("rootfs");
        make_rootfs(&root);
        let once = "echo inner pid $$ of $(hostname)";
        for (name, script) in [("once", once), ("stays", "while :; do sleep 100; done")] {
            let mut json = inner_config(script);
            change(&mut json);
            fs::create_dir_all(folder.join(name)).unwrap();
            fs::write(folder.join(name).join("config.json"), json.to_string()).unwrap();
        }
        fs::write(folder.join("script"), SCRIPT.replace("OPTIONS", options)).unwrap();
        Inner { folder }
    }

    /// Puts it, the runtime, and room for its state into the outer container.
    pub fn bind_into(&self, outer: Bundle) -> Bundle {
        let outer = outer.bind(&self.folder, FOLDER, &[]).bind(&session().runtime, RUNTIME, &["ro"]);
        outer.mount(json!({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs",
            "options": ["mode=1777"]}))
    }
}

/// A config of the least: no user namespace, no limits, the root that the outer container sees.
fn inner_config(script: &str) -> Value {
    let mut json = config::default(&["/bin/sh", "-c", script], "");
    json["root"]["path"] = json!(format!("{FOLDER}/rootfs"));
    let linux = json["linux"].as_object_mut().unwrap();
    for name in ["cgroupsPath", "resources", "uidMappings", "gidMappings"] {
        linux.remove(name);
    }
    config::remove_namespace(&mut json, "user");
    // The outer one may have no group 5.
    let devpts = config::mount_at(&mut json, "/dev/pts");
    devpts["options"].as_array_mut().unwrap().retain(|option| option != "gid=5");
    json
}

/// The same in a user namespace of its own, for an outer process without privilege whose id is `id`.
pub fn in_user_namespace(json: &mut Value, id: u32) {
    let map = json!([{"containerID": 0, "hostID": id, "size": 1}]);
    config::add_namespace(json, json!({"type": "user"}));
    json["linux"]["uidMappings"] = map.clone();
    json["linux"]["gidMappings"] = map;
}

/// An outer container as engines make privileged ones: all of procfs, cgroups to write.
pub fn privileged(outer: Bundle) -> Bundle {
    let cgroup = json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
        "options": ["nosuid", "noexec", "nodev"]});
    outer.mount(cgroup).config(|json| {
        json["linux"]["maskedPaths"] = json!([]);
        json["linux"]["readonlyPaths"] = json!([]);
        config::add_namespace(json, json!({"type": "cgroup"}));
        config::set_capabilities(json, &CAPABILITIES);
        if json["linux"].get("resources").is_some() {
            json["linux"]["resources"]["devices"] = json!([{"allow": true, "access": "rwm"}]);
        }
    })
}
