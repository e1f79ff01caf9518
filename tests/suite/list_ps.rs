//! `list` and `ps`: tables for people, JSON for engines.

use serde_json::json;

use crate::support::*;
use crate::tests;

tests![
    a_missing_state_root_lists_nothing needs [Need::Not("runc", "1.1 fails")],
    list_shows_a_table,
    list_shows_json,
    list_shows_names_alone,
    list_shows_stopped_containers_too,
    an_unknown_format_is_refused,
    ps_shows_the_pids_as_json,
    ps_shows_a_table,
    ps_takes_the_options_of_ps needs [Need::Program("ps")],
    ps_shows_the_processes_of_exec_too needs [Need::Cgroup("pids")],
    ps_of_a_container_in_the_hosts_pid_namespace_shows_its_own_alone needs [Need::Cgroup("pids")],
];

fn a_missing_state_root_lists_nothing() {
    let container = Bundle::nothing().container();
    let output = container.runtime(&["list", "--quiet"]).ok();
    assert_eq!(output.stdout, "");
    container.runtime(&["list"]).ok();
    let json = container.runtime(&["list", "--format=json"]).ok().json();
    assert!(json == json!([]) || json.is_null(), "{json}");
}

fn list_shows_a_table() {
    let container = Bundle::sleeper().start();
    let output = container.runtime(&["list"]).ok();
    let mut lines = output.stdout.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    assert_eq!(lines.next().unwrap(), ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]);
    let line = lines.next().unwrap();
    let pid = container.pid().to_string();
    assert_eq!(line[..4], [container.id(), &pid, "running", container.bundle.folder.to_str().unwrap()]);
}

fn list_shows_json() {
    let container = Bundle::sleeper().start();
    let list = container.runtime(&["list", "-f", "json"]).ok().json();
    assert_eq!(list.as_array().unwrap().len(), 1);
    let state = container.state();
    for field in ["id", "pid", "status", "bundle", "rootfs", "created", "ociVersion"] {
        assert_eq!(list[0][field], state[field], "{field}");
    }
    assert!(list[0]["owner"].is_string());
}

fn list_shows_names_alone() {
    let container = Bundle::sleeper().start();
    for flag in ["-q", "--quiet"] {
        assert_eq!(container.runtime(&["list", flag]).ok().stdout, format!("{}\n", container.id()));
    }
}

fn list_shows_stopped_containers_too() {
    let container = Bundle::sleeper().start();
    container.kill("KILL").ok();
    container.wait_for("stopped");
    let list = container.runtime(&["list", "--format=json"]).ok().json();
    assert_eq!((list[0]["status"].as_str(), list[0]["pid"].as_i64()), (Some("stopped"), Some(0)));
}

fn an_unknown_format_is_refused() {
    let container = Bundle::sleeper().start();
    assert!(container.runtime(&["list", "--format", "yaml"]).code != 0);
    assert!(container.runtime(&["ps", "--format", "yaml", container.id()]).code != 0);
}

fn pids(container: &Container) -> Vec<i64> {
    let list = container.runtime(&["ps", "--format", "json", container.id()]).ok().json();
    list.as_array().unwrap().iter().map(|pid| pid.as_i64().unwrap()).collect()
}

fn ps_shows_the_pids_as_json() {
    let container = Bundle::new(&["/bin/sleep", "100"]).start();
    assert_eq!(pids(&container), [i64::from(container.pid())]);
}

fn ps_shows_a_table() {
    let hosts = child::run(std::process::Command::new("ps").arg("-ef"));
    if hosts.code != 0 {
        skip(format!("the host's own `ps -ef` fails here: {}", hosts.stderr.trim()));
    }
    let container = Bundle::new(&["/bin/sleep", "100"]).start();
    let output = container.runtime(&["ps", container.id()]).ok();
    let mut lines = output.stdout.lines();
    assert!(lines.next().unwrap().split_whitespace().any(|word| word == "PID"), "{output}");
    let pid = container.pid().to_string();
    assert!(lines.next().unwrap().split_whitespace().any(|word| word == pid), "{output}");
    assert_eq!(lines.next(), None);
}

fn ps_takes_the_options_of_ps() {
    let container = Bundle::new(&["/bin/sleep", "100"]).start();
    let output = container.runtime(&["ps", container.id(), "-eo", "pid,comm"]).ok();
    assert!(output.stdout.contains("sleep") && !output.stdout.contains("UID"), "{output}");
}

fn ps_shows_the_processes_of_exec_too() {
    let container = Bundle::new(&["/bin/sleep", "100"]).start();
    container.exec_with(&["--detach"], &["/bin/sleep", "99"]).ok();
    assert_eq!(pids(&container).len(), 2);
}

fn ps_of_a_container_in_the_hosts_pid_namespace_shows_its_own_alone() {
    let bundle = Bundle::new(&["/bin/sleep", "100"]).config(config::share_pid_namespace);
    let container = bundle.start();
    assert_eq!(pids(&container), [i64::from(container.pid())]);
}
