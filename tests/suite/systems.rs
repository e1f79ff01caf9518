//! Five different systems, side by side: a Debian with systemd, a Debian with a web server and nothing else, a busybox with
//! its init, the host's own programs, and an image out of a registry. The trees of the first two are made of Debian's packages
//! by `tests/systems/prepare`, whose folder is in `ISOLATE_TEST_SYSTEMS` (`tests/run systems` does both).

use std::path::PathBuf;

use crate::support::child::eventually;
use crate::support::estate::Estate;
use crate::support::registry::{Registry, archive, needs_a_policy};
use crate::support::*;
use crate::tests;

tests![
    five_different_systems_run_side_by_side needs [
        Need::Root, Need::Isolate, Need::UserNamespaces, Need::Program("skopeo"), Need::Program("docker-registry"),
    ],
    a_debian_of_its_own_packages_reaches_its_target needs [Need::Root, Need::Isolate, Need::UserNamespaces],
    a_web_server_answers_inside needs [Need::Root, Need::Isolate, Need::UserNamespaces],
];

/// The tar file of a system, as `template import` takes it.
fn tree(name: &str) -> String {
    let Some(folder) = std::env::var_os("ISOLATE_TEST_SYSTEMS").map(PathBuf::from) else {
        skip("ISOLATE_TEST_SYSTEMS names no folder with trees made by tests/systems/prepare");
    };
    format!("tar:{}", folder.join(format!("{name}.tar.zst")).display())
}

const NGINX: [&str; 4] = ["--", "nginx", "-g", "daemon off;"];

/// Makes a tenant of a template of its name, and starts it.
fn run(estate: &Estate, name: &str, source: &str, options: &[&str]) {
    estate.t(&["template", "import", "--as", name, source]).ok();
    start(estate, name, options);
}

fn start(estate: &Estate, name: &str, options: &[&str]) {
    estate.t(&[&["create", name, "--template", name], options].concat()).ok();
    estate.t(&["start", "--ready-timeout", "300", name]).ok();
}

fn sh(estate: &Estate, name: &str, script: &str) -> String {
    estate.t(&["exec", name, "--", "sh", "-c", script]).ok().text().trim().to_owned()
}

/// The test page, asked for by Debian's ApacheBench, which is in the tree beside nginx.
fn has_a_page(estate: &Estate, name: &str) {
    eventually("the web server answers", || {
        let asked = estate.t(&["exec", name, "--", "ab", "-q", "-n", "20", "-c", "2", "http://127.0.0.1/"]);
        asked.stdout.contains("Complete requests:      20")
            && asked.stdout.contains("Failed requests:        0")
    });
}

fn five_different_systems_run_side_by_side() {
    needs_a_policy();
    let estate = Estate::new();
    run(&estate, "systemd", &tree("systemd"), &["--ram", "256M"]);
    run(&estate, "nginx", &tree("nginx"), &NGINX);
    run(&estate, "busybox", "busybox", &["--ram", "32M", "--tasks", "50"]);
    run(&estate, "host", "host", &["--", "sleep", "100000"]);
    let registry = Registry::start(&estate);
    let image = registry.push(&archive(&estate));
    estate.t(&["template", "pull", "--as", "image", "--insecure", &image]).ok();
    start(&estate, "image", &[]);

    let shown = estate.t(&["list", "--json"]).ok().json();
    let states: Vec<_> = shown["tenants"]
        .as_array()
        .unwrap()
        .iter()
        .map(|each| format!("{} {}", each["name"].as_str().unwrap(), each["state"].as_str().unwrap()))
        .collect();
    let expected = ["busybox running", "host running", "image running", "nginx running", "systemd running"];
    assert_eq!(states, expected);
    assert_eq!(sh(&estate, "systemd", "systemctl is-system-running --wait"), "running");
    has_a_page(&estate, "nginx");
    assert_eq!(sh(&estate, "busybox", "busybox | head -c 7; cat /proc/1/comm"), "BusyBoxinit");
    assert_eq!(sh(&estate, "host", "cat /proc/1/comm; hostname"), "sleep\nhost");
    eventually("the image's command has run", || sh(&estate, "image", "cat /mark || true") == "from image");
    // Each is a system of its own: nobody sees another's processes, and none shares its ids with another.
    let mut owners: Vec<_> = ["busybox", "host", "image", "nginx", "systemd"]
        .map(|name| {
            let map = std::fs::read_to_string(format!("/proc/{}/uid_map", estate.pid(name))).unwrap();
            map.split_whitespace().nth(1).unwrap().to_owned()
        })
        .into();
    owners.sort();
    owners.dedup();
    assert_eq!(owners.len(), 5, "{owners:?}");
    let names = sh(&estate, "image", "cat /proc/[0-9]*/comm");
    assert!(names.contains("sleep") && !names.contains("nginx") && !names.contains("systemd"), "{names}");

    let stopped =
        estate.t(&["stop", "--parallel", "3", "--timeout", "120", "busybox", "nginx", "systemd"]).ok();
    assert!(!stopped.stderr.contains("was killed"), "{stopped:?}");
    // A sleep that is the first process heeds no SIGTERM.
    estate.t(&["stop", "--kill", "host", "image"]).ok();
    let shown = estate.t(&["list", "--json"]).ok().json();
    assert!(shown["tenants"].as_array().unwrap().iter().all(|each| each["state"] == "stopped"), "{shown}");
}

fn a_debian_of_its_own_packages_reaches_its_target() {
    let estate = Estate::new();
    run(&estate, "systemd", &tree("systemd"), &["--hostname", "sys1"]);
    assert_eq!(sh(&estate, "systemd", "systemctl is-system-running --wait"), "running");
    assert_eq!(sh(&estate, "systemd", "systemctl --failed --no-legend --plain; hostname"), "sys1");
    // What an administrator does there: a service of his own, under a limit of his own.
    let ran = sh(
        &estate,
        "systemd",
        "systemd-run --wait --pipe -q -p TasksMax=20 sh -c 'echo from a service; id -u'",
    );
    assert_eq!(ran, "from a service\n0");
}

fn a_web_server_answers_inside() {
    let estate = Estate::new();
    run(&estate, "nginx", &tree("nginx"), &NGINX);
    has_a_page(&estate, "nginx");
    // Its workers are the template's www-data, who is nobody on the host.
    assert!(sh(&estate, "nginx", "ps -o user= -C nginx").lines().any(|user| user == "www-data"));
    estate.t(&["stop", "nginx"]).ok();
    assert_eq!(estate.state("nginx"), "stopped");
}
