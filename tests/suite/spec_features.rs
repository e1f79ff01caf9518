//! `spec`, `features` and `--version`: what a new user starts from, and what engines ask first.

use serde_json::{Value, json};

use crate::support::*;
use crate::tests;

tests![
    spec_writes_a_config_that_runs needs [Need::Root],
    spec_refuses_to_overwrite,
    spec_for_an_ordinary_user_has_a_user_namespace_and_no_network,
    features_tells_what_engines_look_for,
    features_names_every_hook_and_namespace,
    features_says_that_there_is_no_checkpoint needs [Need::Isolate],
    features_lists_only_mount_options_that_work needs [Need::Isolate, Need::Root],
    version_has_the_lines_that_engines_read,
];

fn spec(options: &[&str]) -> (Container, Value) {
    let container = Bundle::nothing().container();
    std::fs::remove_file(container.bundle.folder.join("config.json")).unwrap();
    let mut command = container.command(&["spec", "--bundle"]);
    child::run(command.arg(&container.bundle.folder).args(options)).ok();
    let text = std::fs::read_to_string(container.bundle.folder.join("config.json")).unwrap();
    (container, serde_json::from_str(&text).unwrap())
}

fn spec_writes_a_config_that_runs() {
    let (mut container, mut config) = spec(&[]);
    assert_eq!(
        (config["process"]["args"][0].as_str(), config["process"]["terminal"].as_bool()),
        (Some("sh"), Some(true))
    );
    config["process"]["terminal"] = Value::Bool(false);
    config["process"]["args"] = json!(["echo", "hello"]);
    config["linux"]["cgroupsPath"] = container.bundle.cgroups_path().into();
    container.bundle.json = config;
    container.bundle.write();
    assert_eq!(container.run(&[]).ok().text(), "hello");
}

fn spec_refuses_to_overwrite() {
    let (container, config) = spec(&[]);
    let mut command = container.command(&["spec", "--bundle"]);
    child::run(command.arg(&container.bundle.folder)).fails(1, &["exist"]);
    let text = std::fs::read_to_string(container.bundle.folder.join("config.json")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), config);
}

fn spec_for_an_ordinary_user_has_a_user_namespace_and_no_network() {
    let (_container, config) = spec(&["--rootless"]);
    let kinds: Vec<_> = config["linux"]["namespaces"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["type"].as_str())
        .collect();
    assert!(kinds.contains(&Some("user")) && !kinds.contains(&Some("network")), "{kinds:?}");
    assert_eq!(config["linux"]["uidMappings"][0]["size"], 1);
    assert!(config["linux"].get("resources").is_none());
}

fn features() -> Value {
    bundle::runtime(&["features"]).ok().json()
}

fn has(list: &Value, word: &str) -> bool {
    list.as_array().is_some_and(|list| list.iter().any(|entry| entry == word))
}

fn features_tells_what_engines_look_for() {
    let features = features();
    for pointer in [
        "/ociVersionMin",
        "/ociVersionMax",
        "/hooks",
        "/mountOptions",
        "/linux/namespaces",
        "/linux/capabilities",
        "/linux/cgroup/v1",
        "/linux/cgroup/v2",
        "/linux/cgroup/systemd",
        "/linux/seccomp/enabled",
        "/linux/seccomp/actions",
        "/linux/seccomp/operators",
        "/linux/seccomp/archs",
        "/linux/apparmor/enabled",
        "/linux/selinux/enabled",
    ] {
        assert!(features.pointer(pointer).is_some_and(|value| !value.is_null()), "{pointer}: {features}");
    }
    assert!(has(&features["mountOptions"], "rro"), "{features}");
    assert!(has(&features["linux"]["capabilities"], "CAP_SYS_ADMIN"), "{features}");
}

fn features_names_every_hook_and_namespace() {
    let features = features();
    for hook in ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"] {
        assert!(has(&features["hooks"], hook), "{hook}: {features}");
    }
    for kind in ["pid", "network", "mount", "ipc", "uts", "user", "cgroup"] {
        assert!(has(&features["linux"]["namespaces"], kind), "{kind}: {features}");
    }
}

fn features_says_that_there_is_no_checkpoint() {
    assert_eq!(features()["annotations"]["org.opencontainers.runc.checkpoint.enabled"], "false");
}

fn features_lists_only_mount_options_that_work() {
    let features = features();
    let options = features["mountOptions"].as_array().unwrap().iter().filter_map(Value::as_str);
    let mut bundle = Bundle::shell("grep -c ' /here/' /proc/self/mountinfo");
    let source = bundle.host_folder("source");
    let mut count = 0;
    // A remount needs a mount to change; maps need their arrays.
    for option in options.filter(|option| !["remount", "idmap", "ridmap"].contains(option)) {
        let destination = format!("/here/{count}-{option}");
        count += 1;
        bundle = bundle.mount(match option {
            "tmpcopyup" => json!({"destination": destination, "type": "tmpfs", "source": "tmpfs", "options": [option]}),
            _ => json!({"destination": destination, "type": "bind", "source": source, "options": ["bind", option]}),
        });
    }
    assert_eq!(bundle.output(), count.to_string());
}

fn version_has_the_lines_that_engines_read() {
    for flag in ["--version", "-v"] {
        let output = bundle::runtime(&[flag]).ok();
        let lines: Vec<_> = output.stdout.lines().collect();
        assert!(
            lines[0].contains(" version ") && lines.iter().any(|line| line.starts_with("spec: 1.")),
            "{output}"
        );
    }
}
