//! Pods: containers that share namespaces through an infra container.

use crate::engine::*;
use crate::support::need::find_program;
use crate::support::session::unique;
use crate::support::skip;
use crate::tests;

tests![
    containers_of_a_pod_share_network_ipc_and_uts,
    a_pod_can_share_its_pid_namespace,
    a_pod_starts_stops_and_goes_whole,
    run_can_make_a_pod_on_the_way,
];

/// A pod of one test, removed with its containers.
struct Pod(String);

impl Pod {
    #[track_caller]
    fn create(options: &[&str]) -> Pod {
        needs_catatonit();
        let pod = Pod(unique("isolate-test-pod-"));
        podman(&[&["pod", "create", "--name", &pod.0, "--network", "none"], options].concat()).ok();
        pod
    }

    fn option(&self) -> String {
        format!("--pod={}", self.0)
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        clean_up(&["pod", "rm", "--force", &self.0]);
    }
}

fn needs_catatonit() {
    let places = ["/usr/libexec/podman/catatonit", "/usr/libexec/catatonit/catatonit", "/usr/bin/catatonit"];
    if find_program("catatonit").is_none() && !places.iter().any(|place| std::path::Path::new(place).exists())
    {
        skip("no catatonit, of which podman makes the image of a pod's first container");
    }
}

fn containers_of_a_pod_share_network_ipc_and_uts() {
    let pod = Pod::create(&[]);
    let first = Container::sleeper(&[&pod.option()]);
    let second = Container::sleeper(&[&pod.option()]);
    for (name, shared) in [("net", true), ("ipc", true), ("uts", true), ("pid", false), ("mnt", false)] {
        let script = format!("readlink /proc/self/ns/{name}");
        assert_eq!(first.sh(&script) == second.sh(&script), shared, "{name}");
    }
    assert_eq!(first.sh("hostname"), pod.0);
}

fn a_pod_can_share_its_pid_namespace() {
    let pod = Pod::create(&["--share", "pid,net,ipc,uts"]);
    let first = Container::sleeper(&[&pod.option()]);
    let second = Container::start(&[&pod.option()], &["sleep", "4545"]);
    crate::support::child::eventually("the first sees the second", || {
        first.sh("ps -o args").contains("sleep 4545")
    });
    second.podman(&["kill"]).ok();
    assert_eq!(second.podman(&["wait"]).ok().text(), "137");
    assert_eq!(first.status(), "running");
}

fn a_pod_starts_stops_and_goes_whole() {
    let pod = Pod::create(&[]);
    let container = Container::sleeper(&[&pod.option()]);
    podman(&["pod", "stop", "--time", "5", &pod.0]).ok();
    assert_eq!(container.status(), "exited");
    podman(&["pod", "start", &pod.0]).ok();
    assert_eq!(container.status(), "running");
    if !is_rootless() {
        podman(&["pod", "pause", &pod.0]).ok();
        assert_eq!(container.status(), "paused");
        podman(&["pod", "unpause", &pod.0]).ok();
    }
    podman(&["pod", "kill", &pod.0]).ok();
    podman(&["pod", "rm", "--force", &pod.0]).ok();
    podman(&["pod", "exists", &pod.0]).fails(1, &[]);
    podman(&["container", "exists", &container.name]).fails(1, &[]);
}

fn run_can_make_a_pod_on_the_way() {
    needs_catatonit();
    let pod = Pod(unique("isolate-test-pod-"));
    let output = run(&[&format!("--pod=new:{}", pod.0), "--net=host"], &["hostname"]);
    // podman 4.3 takes the network of a new pod from these options only where it can share it.
    if output.code == 125 && output.stderr.contains("network") {
        skip(format!("this podman makes no pod without a bridge: {}", output.stderr.trim()));
    }
    output.ok();
    podman(&["pod", "exists", &pod.0]).ok();
}
