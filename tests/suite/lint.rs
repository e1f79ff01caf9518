//! `isolate lint`: the command, and what namespaces that are missing give an attacker. `lint_process` and `lint_files`
//! have the other rules; every rule is shown by a container that has the weakness, beside one that does not.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::weakness::{run, shows};
use crate::support::*;
use crate::tests;

tests![
    a_finding_says_where_what_is_gained_and_what_to_write needs [Need::Isolate],
    the_exit_code_tells_whether_something_was_found needs [Need::Isolate],
    a_config_that_makes_no_container_is_an_error needs [Need::Isolate],
    every_rule_is_shown_by_an_attack needs [Need::Isolate],
    without_a_user_namespace_what_it_leaves_is_roots needs [Need::Isolate, Need::Root, Need::UserNamespaces],
    without_a_pid_namespace_it_kills_a_process_of_the_host needs [Need::Isolate, Need::Root],
    without_a_network_namespace_it_reaches_local_services needs [Need::Isolate, Need::Root],
    without_an_ipc_namespace_it_reads_shared_memory needs [Need::Isolate, Need::Root],
    without_a_uts_namespace_it_renames_the_host needs [Need::Isolate, Need::Root],
    without_a_cgroup_namespace_it_sees_the_hosts_paths
        needs [Need::Isolate, Need::Root, Need::File("/proc/self/ns/cgroup")],
    without_a_mount_namespace_it_leaves_its_root needs [Need::Isolate, Need::Root],
];

fn lint(container: &Container, options: &[&str]) -> Output {
    let mut command = container.command(&["lint", "--bundle"]);
    child::run(command.arg(&container.bundle.folder).args(options))
}

fn a_finding_says_where_what_is_gained_and_what_to_write() {
    let container = Bundle::nothing().set("/process/noNewPrivileges", json!(false)).container();
    let text = lint(&container, &[]).stdout;
    let words = "wall: process.noNewPrivileges: it is not set [new-privileges]\n  \
        gain: an ordinary user inside becomes root by a set-user-id program of the image\n  \
        instead: set process.noNewPrivileges to true\n";
    assert!(text.contains(words), "{text}");
    let findings: Value = lint(&container, &["--format", "json"]).json();
    let finding = findings.as_array().unwrap().iter().find(|finding| finding["rule"] == "new-privileges");
    let finding = finding.unwrap();
    assert_eq!((&finding["reach"], &finding["at"]), (&json!("wall"), &json!("process.noNewPrivileges")));
    assert!(finding["gain"].is_string() && finding["instead"].is_string() && finding["what"].is_string());
}

fn the_exit_code_tells_whether_something_was_found() {
    let root = json!({"path": "rootfs", "readonly": true});
    let container = Bundle::nothing().user_namespace().set("/root", root).container();
    assert_eq!(lint(&container, &[]).code, 3);
    let none = lint(&container, &["--reach", "host"]);
    assert_eq!(
        (none.code, none.text()),
        (0, "0 found: 0 to the host, 0 to others, 0 walls missing"),
        "{none}"
    );
    lint(&container, &["--reach", "far"]).fails(1, &["--reach"]);
}

fn a_config_that_makes_no_container_is_an_error() {
    let container = Bundle::nothing().set("/process/cwd", json!("here")).container();
    lint(&container, &[]).fails(1, &["process.cwd"]);
    fs::remove_file(container.bundle.folder.join("config.json")).unwrap();
    lint(&container, &[]).fails(1, &["config.json", "ENOENT"]);
}

fn every_rule_is_shown_by_an_attack() {
    let files = ["lint.rs", "lint_files.rs", "lint_process.rs"];
    let shown: String =
        files.map(|file| fs::read_to_string(repository("tests/suite").join(file)).unwrap()).concat();
    let rules = bundle::runtime(&["lint", "--list", "--json"]).ok().json();
    let names: Vec<&str> =
        rules.as_array().unwrap().iter().map(|rule| rule["name"].as_str().unwrap()).collect();
    assert!(names.len() > 40, "{names:?}");
    let missing: Vec<_> = names.iter().filter(|name| !shown.contains(&format!("\"{name}\""))).collect();
    assert!(missing.is_empty(), "no attack shows {missing:?}");
}

fn without(kind: &'static str) -> impl Fn(Bundle) -> Bundle {
    move |bundle| bundle.config(|json| config::remove_namespace(json, kind))
}

fn without_a_user_namespace_what_it_leaves_is_roots() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let sound = || {
        let bundle = Bundle::shell("cp /bin/busybox /out/shell && chmod 4755 /out/shell").user_namespace();
        let folder = bundle.host_folder("out");
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
        bundle.directory("/out").bind(&folder, "/out", &["rw"])
    };
    let weaken = |bundle: Bundle| {
        let bundle = bundle.unset("/linux/uidMappings").unset("/linux/gidMappings");
        without("user")(bundle)
    };
    shows("user-namespace", "linux.namespaces", sound, weaken, |container| {
        let output = container.run(&[]).ok();
        let file = fs::metadata(container.bundle.folder.join("out/shell")).unwrap();
        let is_roots = file.uid() == 0 && file.mode() & 0o4000 != 0;
        format!("{} {output}", if is_roots { "gained" } else { "not root's" })
    });
}

fn without_a_pid_namespace_it_kills_a_process_of_the_host() {
    let victim = Run::start(Command::new("sleep").arg("1000"));
    let script = format!("kill -KILL {} && echo gained", victim.pid());
    let weaken = |bundle: Bundle| bundle.config(config::share_pid_namespace);
    shows("pid-namespace", "linux.namespaces", || Bundle::shell(&script), weaken, run);
    assert_eq!(victim.finish().code, 137);
}

fn without_a_network_namespace_it_reaches_local_services() {
    let service = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    service.set_nonblocking(true).unwrap();
    let script = format!("timeout 2 nc 127.0.0.1 {} </dev/null; true", service.local_addr().unwrap().port());
    shows(
        "network-namespace",
        "linux.namespaces",
        || Bundle::shell(&script),
        without("network"),
        |container| {
            let output = container.run(&[]);
            format!("{} {output}", if service.accept().is_ok() { "gained" } else { "nobody came" })
        },
    );
}

fn without_an_ipc_namespace_it_reads_shared_memory() {
    let memory = deeds::SharedMemory::new();
    let sound =
        || attacker::bring(Bundle::new(&[attacker::PATH, "read-shared-memory", &memory.0.to_string()]));
    shows("ipc-namespace", "linux.namespaces", sound, without("ipc"), run);
}

/// Runs the container where what belongs to the host is a namespace of this test's own, and then `after` there.
fn run_beside(container: &Container, kind: &str, after: &str) -> String {
    let run = container.bundle_command("run", &[]);
    let arguments = run.get_args().map(|part| format!("'{}'", part.to_str().unwrap()));
    let line = format!("{:?} {}; {after}", run.get_program(), arguments.collect::<Vec<_>>().join(" "));
    child::run(Command::new("unshare").args([kind, "sh", "-c", &line])).to_string()
}

fn without_a_uts_namespace_it_renames_the_host() {
    let sound = || {
        let bundle = Bundle::shell("hostname taken").unset("/hostname");
        bundle.config(|json| config::add_capabilities(json, &["CAP_SYS_ADMIN"]))
    };
    shows("uts-namespace", "linux.namespaces", sound, without("uts"), |container| {
        run_beside(container, "--uts", "[ $(uname -n) != taken ] || printf ga'%s' ined")
    });
}

pub fn with_net_admin_it_changes_the_hosts_network() {
    let sound =
        || Bundle::shell("ip link set lo up").config(|json| config::remove_namespace(json, "network"));
    let weaken = |bundle: Bundle| bundle.config(|json| config::add_capabilities(json, &["CAP_NET_ADMIN"]));
    shows("cap-net-admin", "process.capabilities.permitted", sound, weaken, |container| {
        run_beside(container, "--net", "ip link show lo | grep -q LOOPBACK,UP && printf ga'%s' ined")
    });
}

fn without_a_cgroup_namespace_it_sees_the_hosts_paths() {
    let sound = || {
        Bundle::shell("cat /proc/self/cgroup")
            .config(|json| config::add_namespace(json, json!({"type": "cgroup"})))
    };
    shows("cgroup-namespace", "linux.namespaces", sound, without("cgroup"), |container| {
        let seen = container.run(&[]).ok().stdout;
        let path = container.bundle.cgroups_path();
        if seen.contains(&path) { format!("gained: {path}") } else { seen }
    });
}

fn without_a_mount_namespace_it_leaves_its_root() {
    let sound = || {
        let bundle = Bundle::new(&[]);
        let secret = bundle.host_folder("host").join("secret");
        fs::write(&secret, "").unwrap();
        let program = bundle.rootfs().join("attacker");
        child::while_nothing_is_spawned(|| fs::copy(std::env::current_exe().unwrap(), program)).unwrap();
        let bundle =
            bundle.set("/mounts", json!([])).unset("/linux/maskedPaths").unset("/linux/readonlyPaths");
        bundle.set("/process/args", json!([attacker::PATH, "leave-root", secret]))
    };
    shows("mount-namespace", "linux.namespaces", sound, without("mount"), run);
}
