//! Tenants that take all they can get of what the kernel counts by user: others, and the host's root, must have theirs.

use std::fs::File;
use std::process::Stdio;

use crate::support::estate::Estate;
use crate::support::*;
use crate::tests;

tests![
    inotify_instances_of_a_tenant_have_a_bound_that_can_be_set needs [Need::Isolate, Need::UserNamespaces],
    an_init_cannot_raise_its_own_bounds needs [Need::Isolate, Need::UserNamespaces],
    a_bound_takes_no_namespaces_away needs [Need::Isolate, Need::UserNamespaces],
    what_a_tenant_holds_is_not_counted_for_the_hosts_root needs [Need::Isolate, Need::Root, Need::UserNamespaces],
];

/// Puts the attacker into a tenant that runs.
fn bring_attacker(estate: &Estate, name: &str) {
    let mut exec = estate.command(&["exec", name, "--", "sh", "-c", "cat > /attacker; chmod 755 /attacker"]);
    let binary = File::open(std::env::current_exe().unwrap()).unwrap();
    Run::start_with(&mut exec, Stdio::from(binary)).finish().ok();
}

/// A storm in a tenant: it goes on until that is stopped.
fn storm(estate: &Estate, name: &str, what: &str) -> Run {
    let run = Run::start(&mut estate.command(&["exec", name, "--", attacker::PATH, "storm", what]));
    child::eventually("the storm has all", || run.stdout_so_far().contains("ready"));
    run
}

fn count(run: &Run) -> usize {
    run.stdout_so_far().split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn inotify_instances_of_a_tenant_have_a_bound_that_can_be_set() {
    let estate = Estate::with_running(&[]);
    bring_attacker(&estate, "web");
    let run = storm(&estate, "web", "inotify");
    assert!(deeds::can_watch(), "its owner has no inotify instance left");
    assert_eq!(count(&run), 64, "{}", run.stdout_so_far());
    estate.t(&["stop", "web", "--kill"]).ok();
    run.finish();
    let changed = estate.t(&["set", "--json", "web", "inotify=7"]).ok();
    assert!(changed.stdout.contains("\"saved\""), "{changed}");
    estate.t(&["start", "web"]).ok();
    assert_eq!(count(&storm(&estate, "web", "inotify")), 7);
}

fn an_init_cannot_raise_its_own_bounds() {
    let estate = Estate::with_running(&[]);
    let seen = estate.sh(
        "echo 9999 2>/dev/null > /proc/sys/user/max_inotify_instances; cat /proc/sys/user/max_inotify_instances; \
         mount -t proc proc /mnt 2>/dev/null && echo 9999 2>/dev/null > /mnt/sys/user/max_inotify_instances; \
         cat /proc/sys/user/max_inotify_instances",
    );
    assert_eq!(seen, "64\n64");
}

fn a_bound_takes_no_namespaces_away() {
    let estate = Estate::with_running(&[]);
    assert_eq!(estate.sh("unshare -U true && echo made"), "made");
}

fn what_a_tenant_holds_is_not_counted_for_the_hosts_root() {
    let estate = Estate::with_running(&[]);
    bring_attacker(&estate, "web");
    let run = storm(&estate, "web", "pending");
    assert!(count(&run) > 100, "{}", run.stdout_so_far());
    assert!(deeds::can_set_timers(), "the host's root gets no timer any more");
    // Another tenant has its own count, too.
    estate.t(&["create", "other", "--template", "busybox"]).ok();
    estate.t(&["start", "other"]).ok();
    bring_attacker(&estate, "other");
    let second = storm(&estate, "other", "pending");
    assert_eq!(count(&second), count(&run));
    estate.t(&["stop", "--kill", "web", "other"]).ok();
    run.finish();
    second.finish();
}
