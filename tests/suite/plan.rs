//! `isolate plan`: what it prints for known bundles is kept in `tests/golden`, one file a bundle, host
//! layout and user. `ISOLATE_TEST_BLESS=1` writes the files anew: look at the difference before keeping it.

use std::fs;

use serde_json::{Value, json};

use crate::support::*;
use crate::tests;

tests![
    the_plan_of_podmans_config needs [Need::Isolate],
    the_plan_of_a_user_namespace needs [Need::Isolate, Need::UserNamespaces],
    the_plan_of_a_terminal needs [Need::Isolate],
    the_plan_of_limits needs [Need::Isolate, Need::Root, Need::Cgroup("memory")],
    the_plan_of_mounts needs [Need::Isolate],
    the_plan_of_a_locked_down_process needs [Need::Isolate],
    the_plan_of_hooks_and_devices needs [Need::Isolate],
    the_plan_of_joined_namespaces needs [Need::Isolate],
    every_step_says_what_asked_for_it needs [Need::Isolate],
    the_plan_as_json_has_the_same_steps needs [Need::Isolate],
    a_plan_does_nothing needs [Need::Isolate],
    a_plan_tells_the_properties_it_ignores needs [Need::Isolate],
    a_plan_of_a_bad_config_tells_every_fault needs [Need::Isolate],
];

fn plan(container: &Container, options: &[&str]) -> Output {
    let mut command = container.command(&["plan", "--bundle"]);
    command.arg(&container.bundle.folder).args(options).arg(container.id());
    child::run(&mut command)
}

/// Which of several golden files applies: plans differ by what the host has.
fn variant() -> String {
    let hierarchies = cgroup::hierarchies();
    let v1 = hierarchies.iter().any(|(_, options)| options.contains("memory"));
    let v2 = hierarchies.iter().any(|(_, options)| options.is_empty());
    let layout = match (v1, v2) {
        (true, true) => "hybrid",
        (true, false) => "v1",
        _ => "v2",
    };
    let user = if nix::unistd::geteuid().is_root() { "root" } else { "user" };
    format!("{layout}-{user}")
}

/// What differs from run to run gets a name.
fn normal(text: &str, container: &Container) -> String {
    let named = text
        .replace(container.bundle.folder.to_str().unwrap(), "BUNDLE")
        .replace(&cgroup::path_of(""), "/MARK/")
        .replace(&session().mark, "MARK")
        .replace(container.id(), "ID");
    named.lines().map(|line| unaligned(line) + "\n").collect()
}

/// The column of reasons moves with the length of names: here it always starts after two spaces.
fn unaligned(line: &str) -> String {
    match line.rsplit_once("  [") {
        Some((step, why)) => format!("{}  [{why}", step.trim_end()),
        None => line.to_owned(),
    }
}

#[track_caller]
fn golden(name: &str, bundle: Bundle) {
    let container = bundle.container();
    let text = normal(&plan(&container, &[]).ok().stdout, &container);
    let file = repository(&format!("tests/golden/{name}.{}.txt", variant()));
    if std::env::var_os("ISOLATE_TEST_BLESS").is_some() {
        fs::write(&file, &text).unwrap();
    }
    let Ok(kept) = fs::read_to_string(&file) else {
        skip(format!("no golden plan for hosts of the kind {}; ISOLATE_TEST_BLESS=1 writes one", variant()));
    };
    let difference = kept.lines().zip(text.lines()).find(|(kept, now)| kept != now);
    assert!(kept == text, "{} has changed: first difference {difference:?}\nnow:\n{text}", file.display());
}

fn the_plan_of_podmans_config() {
    golden("podman", Bundle::sleeper());
}

fn the_plan_of_a_user_namespace() {
    golden("user-namespace", Bundle::nothing().user_namespace());
}

fn the_plan_of_a_terminal() {
    golden(
        "terminal",
        Bundle::nothing().set("/process/terminal", json!(true)).set("/root/readonly", json!(true)),
    );
}

fn the_plan_of_limits() {
    let bundle = Bundle::nothing()
        .limit("memory", json!({"limit": 67_108_864, "swap": 134_217_728, "reservation": 33_554_432}))
        .limit("cpu", json!({"quota": 20_000, "period": 50_000, "shares": 512, "cpus": "0"}))
        .limit("pids", json!({"limit": 64}));
    golden("limits", bundle);
}

fn the_plan_of_mounts() {
    let bundle = Bundle::nothing()
        .bind(std::path::Path::new("/etc"), "/host/etc", &["ro", "nosuid", "rslave"])
        .mount(json!({"destination": "/scratch", "type": "tmpfs", "source": "tmpfs", "options": ["size=64k", "noexec"]}));
    golden("mounts", bundle);
}

fn the_plan_of_a_locked_down_process() {
    let bundle = Bundle::nothing()
        .set("/process/user", json!({"uid": 0, "gid": 0, "umask": 0o077}))
        .set("/process/noNewPrivileges", json!(true))
        .set("/process/oomScoreAdj", json!(500))
        .set("/linux/sysctl", json!({"net.ipv4.ip_unprivileged_port_start": "80"}))
        .config(|json| config::set_capabilities(json, &[]));
    golden("locked-down", bundle);
}

fn the_plan_of_hooks_and_devices() {
    let hook = |name: &str| json!([{"path": format!("/opt/{name}"), "args": [name, "now"], "timeout": 5}]);
    let bundle = Bundle::nothing()
        .set(
            "/hooks",
            json!({"createRuntime": hook("cni"), "startContainer": hook("last"), "poststop": hook("clean")}),
        )
        .set(
            "/linux/devices",
            json!([{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o666}]),
        );
    golden("hooks-devices", bundle);
}

fn the_plan_of_joined_namespaces() {
    let bundle = Bundle::nothing().config(|json| {
        config::join_namespace(json, "network", "/proc/self/ns/net");
        config::remove_namespace(json, "ipc");
    });
    golden("joined", bundle);
}

fn every_step_says_what_asked_for_it() {
    let container = Bundle::sleeper().container();
    let text = plan(&container, &[]).ok().stdout;
    for line in text.lines().filter(|line| line.starts_with("  ")) {
        assert!(line.ends_with(']') && line.contains('['), "{line}");
    }
    for path in [
        "mounts[0]",
        "linux.maskedPaths[",
        "linux.readonlyPaths[",
        "process.args",
        "linux.namespaces",
        "hostname",
    ] {
        assert!(text.contains(path), "{path}: {text}");
    }
}

fn the_plan_as_json_has_the_same_steps() {
    let container = Bundle::sleeper().container();
    let text = plan(&container, &[]).ok().stdout;
    let steps = |value: &Value| value["steps"].as_array().map(Vec::len);
    let json = plan(&container, &["--format", "json"]).ok().json();
    // Deeper lines are the single limits of a step.
    let is_step = |line: &&str| line.starts_with("  ") && !line.starts_with("    ");
    assert_eq!(steps(&json), Some(text.lines().filter(is_step).count()));
    assert_eq!(plan(&container, &["--json"]).ok().json(), json);
}

fn a_plan_does_nothing() {
    let container = Bundle::sleeper().container();
    plan(&container, &[]).ok();
    assert!(!container.bundle.root.exists());
    container.leaves_nothing();
}

fn a_plan_tells_the_properties_it_ignores() {
    let container = Bundle::nothing().set("/linux/somethingNew", json!(1)).container();
    let output = plan(&container, &[]).ok();
    assert!(output.stdout.contains("linux.somethingNew"), "{output}");
}

fn a_plan_of_a_bad_config_tells_every_fault() {
    let bundle = Bundle::nothing().set("/process/cwd", json!("x")).set("/mounts/0/destination", json!("y"));
    plan(&bundle.container(), &[]).fails(1, &["process.cwd", "mounts[0].destination"]);
}
