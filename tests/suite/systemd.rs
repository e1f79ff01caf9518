//! The systemd driver (`--systemd-cgroup`): a unit for each container, root's with the machine's service manager, an
//! ordinary user's with his own.

use std::fs;
use std::process::Command;

use serde_json::json;

use crate::support::*;
use crate::tests;

tests![
    the_container_is_in_a_scope_of_its_slice needs [Need::Systemd],
    the_scope_is_gone_with_the_container needs [Need::Systemd],
    a_container_that_ended_leaves_no_scope needs [Need::Systemd],
    without_a_path_there_is_a_scope_all_the_same needs [Need::Systemd],
    limits_are_properties_and_files needs [Need::Systemd],
    annotations_set_properties needs [Need::Systemd],
    an_annotation_that_is_no_value_is_refused needs [Need::Systemd, Need::Isolate],
    a_property_that_systemd_does_not_know_is_told needs [Need::Systemd],
    a_path_of_the_other_form_is_refused needs [Need::Systemd],
    an_active_unit_of_that_name_is_refused needs [Need::Systemd],
    a_failed_create_leaves_no_unit needs [Need::Systemd],
    limits_outlive_a_daemon_reload needs [Need::Systemd],
    device_rules_outlive_a_daemon_reload needs [Need::Systemd, Need::Root, Need::CgroupV2, Need::File("/dev/fuse")],
    exec_is_in_the_scope_too needs [Need::Systemd],
    a_container_can_be_paused needs [Need::Systemd],
    kill_all_reaches_every_process_of_the_scope needs [Need::Systemd],
    a_cgroup_namespace_shows_the_scope_as_its_top needs [Need::Systemd],
    cgroups_made_inside_are_removed needs [Need::Systemd, Need::CgroupV2],
    without_a_bus_the_error_says_what_to_do needs [Need::Isolate],
    the_plan_names_the_unit needs [Need::Systemd, Need::Isolate],
];

/// A bundle in the unit `isolate-test-PID-ID.scope`.
struct Managed {
    container: Container,
    unit: String,
}

/// The slice in which a caller's units are.
fn slice() -> &'static str {
    if nix::unistd::geteuid().is_root() { "system.slice" } else { "user.slice" }
}

fn managed(bundle: Bundle) -> Managed {
    let prefix = &session().mark;
    let unit = format!("{prefix}-{}.scope", bundle.id);
    let path = format!("{}:{prefix}:{}", slice(), bundle.id);
    Managed { container: bundle.set("/linux/cgroupsPath", json!(path)).container(), unit }
}

impl Managed {
    fn create(&self) -> Output {
        let mut command = self.container.command(&["--systemd-cgroup", "create", "--bundle"]);
        child::run(command.arg(&self.container.bundle.folder).arg(self.container.id()))
    }

    #[track_caller]
    fn start(self) -> Managed {
        self.create().ok();
        self.container.start().ok();
        self
    }

    /// A property as `systemctl show` tells it.
    #[track_caller]
    fn property(&self, name: &str) -> String {
        let output = systemctl(&["show", "--value", "-p", name, &self.unit]);
        output.ok().text().to_owned()
    }

    /// The unit's folder, where `controller` is used.
    #[track_caller]
    fn folder(&self, controller: &str) -> std::path::PathBuf {
        let path = cgroup::of_process(self.container.pid(), controller);
        cgroup::hierarchy_of(controller).unwrap().join(path.trim_start_matches('/'))
    }
}

#[track_caller]
fn systemctl(arguments: &[&str]) -> Output {
    let mut command = Command::new("systemctl");
    if !nix::unistd::geteuid().is_root() {
        command.arg("--user");
    }
    child::run(command.args(arguments))
}

fn the_container_is_in_a_scope_of_its_slice() {
    let managed = managed(Bundle::sleeper()).start();
    let path = cgroup::of_process(managed.container.pid(), "memory");
    assert!(path.ends_with(&format!("/{}/{}", slice(), managed.unit)), "{path}");
    assert_eq!(managed.property("ActiveState"), "active");
    assert_eq!(managed.property("Slice"), slice());
    assert_eq!(managed.property("Delegate"), "yes");
    assert_eq!(managed.property("ControlGroup"), path);
}

fn the_scope_is_gone_with_the_container() {
    let managed = managed(Bundle::sleeper()).start();
    managed.container.delete_by_force().ok();
    assert_eq!(managed.property("LoadState"), "not-found");
    // The same name can be taken at once.
    managed.create().ok();
    managed.container.delete_by_force().ok();
    managed.container.leaves_nothing();
}

fn a_container_that_ended_leaves_no_scope() {
    let managed = managed(Bundle::nothing());
    let mut command = managed.container.command(&["--systemd-cgroup", "run", "--bundle"]);
    child::run(command.arg(&managed.container.bundle.folder).arg(managed.container.id())).ok();
    assert_eq!(managed.property("LoadState"), "not-found");
    managed.container.leaves_nothing();
}

fn without_a_path_there_is_a_scope_all_the_same() {
    let container = Bundle::sleeper()
        .config(|json| drop(json["linux"].as_object_mut().unwrap().remove("cgroupsPath")))
        .container();
    let mut command = container.command(&["--systemd-cgroup", "create", "--bundle"]);
    child::run(command.arg(&container.bundle.folder).arg(container.id())).ok();
    let path = cgroup::of_process(container.pid(), "memory");
    assert!(path.ends_with(&format!("-{}.scope", container.id())), "{path}");
}

fn limits_are_properties_and_files() {
    let bundle =
        Bundle::sleeper().limit("memory", json!({"limit": 67_108_864})).limit("pids", json!({"limit": 50}));
    let managed = managed(bundle).start();
    let version = if cgroup::is_v2() { "MemoryMax" } else { "MemoryLimit" };
    assert_eq!(managed.property(version), "67108864");
    assert_eq!(managed.property("TasksMax"), "50");
    let file = if cgroup::is_v2() { "memory.max" } else { "memory.limit_in_bytes" };
    assert_eq!(fs::read_to_string(managed.folder("memory").join(file)).unwrap(), "67108864\n");
    assert_eq!(fs::read_to_string(managed.folder("pids").join("pids.max")).unwrap(), "50\n");
}

fn annotations_set_properties() {
    let annotations = json!({
        "org.systemd.property.TimeoutStopSec": "3", "org.systemd.property.Documentation": "['man:a(1)', 'man:b(1)']"
    });
    let managed = managed(Bundle::sleeper().config(|json| json["annotations"] = annotations)).start();
    assert_eq!(managed.property("TimeoutStopUSec"), "3s");
    assert_eq!(managed.property("Documentation").replace('"', ""), "man:a(1) man:b(1)");
}

fn an_annotation_that_is_no_value_is_refused() {
    let bundle =
        Bundle::nothing().config(|json| json["annotations"] = json!({"org.systemd.property.X": "[nonsense"}));
    let managed = managed(bundle);
    managed.create().fails(1, &["org.systemd.property.X", "[nonsense"]);
    managed.container.leaves_nothing();
}

fn a_property_that_systemd_does_not_know_is_told() {
    let bundle = Bundle::nothing()
        .config(|json| json["annotations"] = json!({"org.systemd.property.Nonesuch": "true"}));
    let managed = managed(bundle);
    managed.create().fails(1, &["Nonesuch"]);
    managed.container.leaves_nothing();
}

fn a_path_of_the_other_form_is_refused() {
    let container = Bundle::nothing().set("/linux/cgroupsPath", json!("/some/where")).container();
    let mut command = container.command(&["--systemd-cgroup", "create", "--bundle"]);
    let output = child::run(command.arg(&container.bundle.folder).arg(container.id()));
    output.fails(1, &["slice:prefix:name"]);
    container.leaves_nothing();
}

fn an_active_unit_of_that_name_is_refused() {
    let first = managed(Bundle::sleeper()).start();
    let path = first.container.bundle.cgroups_path();
    let second = Bundle::nothing().set("/linux/cgroupsPath", json!(path)).container();
    let mut command = second.command(&["--systemd-cgroup", "create", "--bundle"]);
    let output = child::run(command.arg(&second.bundle.folder).arg(second.id()));
    assert_eq!(output.code, 1, "{output}");
    assert_eq!(first.container.status(), "running");
    assert_eq!(first.property("ActiveState"), "active");
}

fn a_failed_create_leaves_no_unit() {
    let managed = managed(Bundle::new(&["/nonesuch"]));
    managed.create().fails(1, &["nonesuch"]);
    assert_eq!(managed.property("LoadState"), "not-found");
    managed.container.leaves_nothing();
}

fn limits_outlive_a_daemon_reload() {
    let managed = managed(Bundle::sleeper().limit("pids", json!({"limit": 50}))).start();
    systemctl(&["daemon-reload"]).ok();
    assert_eq!(fs::read_to_string(managed.folder("pids").join("pids.max")).unwrap(), "50\n");
    assert_eq!(managed.container.sh("echo alive"), "alive");
}

fn device_rules_outlive_a_daemon_reload() {
    let bundle = Bundle::sleeper().config(|json| config::add_capabilities(json, &["CAP_MKNOD"]));
    let managed = managed(bundle).start();
    let script = "rm -f /tmp/k; mknod /tmp/k c 10 229; (: < /tmp/k) 2>/dev/null || echo refused; echo x > /dev/null && echo null";
    assert_eq!(managed.container.sh(script), "refused\nnull");
    systemctl(&["daemon-reload"]).ok();
    assert_eq!(managed.container.sh(script), "refused\nnull");
    systemctl(&["set-property", "--runtime", &managed.unit, "TasksMax=77"]).ok();
    assert_eq!(managed.container.sh(script), "refused\nnull");
}

fn exec_is_in_the_scope_too() {
    let managed = managed(Bundle::sleeper()).start();
    let pid = managed.container.bundle.folder.join("exec.pid");
    let options = ["--detach", "--pid-file", pid.to_str().unwrap()];
    managed.container.exec_with(&options, &["/bin/sleep", "100"]).ok();
    let pid: i32 = fs::read_to_string(&pid).unwrap().parse().unwrap();
    let own = cgroup::of_process(managed.container.pid(), "memory");
    assert_eq!(cgroup::of_process(pid, "memory"), own);
}

fn a_container_can_be_paused() {
    let managed = managed(Bundle::sleeper()).start();
    let container = &managed.container;
    container.runtime(&["pause", container.id()]).ok();
    assert_eq!(container.status(), "paused");
    container.runtime(&["resume", container.id()]).ok();
    assert_eq!(container.sh("echo alive"), "alive");
    container.runtime(&["pause", container.id()]).ok();
    container.delete_by_force().ok();
    assert_eq!(managed.property("LoadState"), "not-found");
}

fn kill_all_reaches_every_process_of_the_scope() {
    let managed = managed(Bundle::sleeper()).start();
    let container = &managed.container;
    container.exec_with(&["--detach"], &["/bin/sleep", "100"]).ok();
    container.runtime(&["kill", "--all", container.id(), "KILL"]).ok();
    container.wait_for("stopped");
    container.delete().ok();
    assert_eq!(managed.property("LoadState"), "not-found");
}

fn a_cgroup_namespace_shows_the_scope_as_its_top() {
    let bundle = Bundle::sleeper().config(|json| config::add_namespace(json, json!({"type": "cgroup"})));
    let managed = managed(bundle).start();
    let inside = managed.container.sh("cat /proc/1/cgroup");
    let of_memory = |line: &&str| line.contains(if cgroup::is_v2() { "0::" } else { ":memory:" });
    assert!(inside.lines().find(of_memory).unwrap().ends_with(":/"), "{inside}");
}

fn cgroups_made_inside_are_removed() {
    let managed = managed(Bundle::sleeper()).start();
    let folder = managed.folder("memory");
    fs::create_dir_all(folder.join("below/deeper")).unwrap();
    managed.container.delete_by_force().ok();
    assert!(!folder.exists());
    assert_eq!(managed.property("LoadState"), "not-found");
}

fn without_a_bus_the_error_says_what_to_do() {
    let container = Bundle::nothing()
        .unset("/linux/resources")
        .set("/linux/cgroupsPath", json!("a.slice:b:c"))
        .container();
    let mut command = container.command(&["--systemd-cgroup", "create", "--bundle"]);
    command.arg(&container.bundle.folder).arg(container.id());
    if nix::unistd::geteuid().is_root() {
        if std::path::Path::new("/run/systemd/private").exists() {
            skip("systemd's own socket is there");
        }
        command.env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonesuch");
    } else {
        command.env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonesuch");
    }
    child::run(&mut command).fails(1, &["connect(\"/nonesuch\")", "hint"]);
    container.leaves_nothing();
}

fn the_plan_names_the_unit() {
    let managed = managed(Bundle::nothing().limit("memory", json!({"limit": 67_108_864})));
    let mut command = managed.container.command(&["--systemd-cgroup", "plan", "--bundle"]);
    let output = child::run(command.arg(&managed.container.bundle.folder).arg(managed.container.id())).ok();
    assert!(output.stdout.contains(&managed.unit), "{output}");
    assert!(output.stdout.contains("=67108864"), "{output}");
    assert_eq!(managed.property("LoadState"), "not-found");
}
