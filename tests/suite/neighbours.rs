//! Bad neighbours: what takes all that it can get, in a system of `isolate try`, and beside it a container that must not
//! notice, and a host whose numbers stay in bounds. Nothing here measures time; `benches/run neighbours` does.

use std::process::Command;

use crate::support::*;
use crate::tests;

tests![
    a_fork_bomb_ends_at_its_limit needs [Need::Isolate, Need::UserNamespaces, Need::Cgroup("pids")],
    a_memory_hog_is_ended_alone needs [Need::Isolate, Need::UserNamespaces, Need::Cgroup("memory")],
    a_cpu_hog_gets_its_share needs [Need::Isolate, Need::UserNamespaces, Need::Root, Need::Cgroup("cpu")],
    a_filler_of_shared_memory_fills_its_own needs [Need::Isolate, Need::UserNamespaces],
    a_filler_of_its_disk_fills_its_own needs [
        Need::Isolate, Need::Root, Need::UserNamespaces, Need::File("/dev/loop-control"), Need::Program("mkfs.ext4"),
    ],
    inodes_and_descriptors_without_end_have_one needs [Need::Isolate, Need::UserNamespaces, Need::Cgroup("memory")],
    keyrings_are_out_of_reach needs [Need::Isolate, Need::UserNamespaces],
    inotify_without_end_leaves_the_host_some needs [Need::Isolate, Need::UserNamespaces],
    signals_that_wait_without_end_leave_the_hosts_root_its_timers needs [Need::Isolate, Need::Root, Need::UserNamespaces],
    requests_without_end_leave_the_host_some needs [Need::Isolate, Need::UserNamespaces, Need::File("/proc/sys/fs/aio-nr")],
    namespaces_are_out_of_reach_of_every_way needs [Need::Isolate, Need::UserNamespaces],
    a_storm_of_signals_hits_nobody_else needs [Need::Isolate, Need::UserNamespaces],
    a_flood_of_system_calls_hinders_nobody needs [Need::Isolate, Need::UserNamespaces],
];

/// A container beside the bad one, which is asked while that one is at work and after it.
struct Neighbour {
    container: Container,
    pid: i32,
}

impl Neighbour {
    fn new() -> Neighbour {
        let container = Bundle::sleeper().start();
        Neighbour { pid: container.pid(), container }
    }

    /// It can start programs, write memory and files, and is the one it was.
    #[track_caller]
    fn is_well(&self) {
        let script =
            "head -c 100000 /dev/zero > /dev/shm/x && head -c 1000000 /dev/zero | wc -c && rm /dev/shm/x";
        assert_eq!(self.container.sh(script), "1000000");
        assert_eq!((self.container.status().as_str(), self.container.pid()), ("running", self.pid));
    }
}

/// A system of `try` with the attacker in it.
struct Bad {
    container: Container,
    run: Run,
}

impl Bad {
    fn shell(options: &[&str], script: &str) -> Bad {
        Bad::start(options, &["sh", "-c", script])
    }

    /// What `tests/support/deeds.rs` calls a storm: it says `ready` when it has got all that it gets.
    fn storm(options: &[&str], name: &str) -> Bad {
        let bind = format!("{}:{}:ro", std::env::current_exe().unwrap().display(), attacker::PATH);
        let bad = Bad::start(&[&["-v", &bind], options].concat(), &[attacker::PATH, "storm", name]);
        bad.says("ready");
        bad
    }

    fn start(options: &[&str], words: &[&str]) -> Bad {
        let container = Bundle::without_root(&["true"]).container();
        let mut command: Command = container.command(&["try"]);
        let run = Run::start(command.args(options).arg("--").args(words));
        Bad { container, run }
    }

    #[track_caller]
    fn says(&self, word: &str) {
        child::eventually(&format!("it says {word}"), || self.run.stdout_so_far().contains(word));
    }

    /// The first process of it, and all others, on the host.
    fn processes(&self) -> usize {
        process::descendants(self.run.pid()).len()
    }

    /// Ends it as its owner would; what it has said.
    #[track_caller]
    fn end(self) -> String {
        let name = self.container.runtime(&["list", "--quiet"]).ok().text().to_owned();
        self.container.runtime(&["kill", &name, "KILL"]).ok();
        let output = self.run.finish();
        assert_eq!(output.code, 137, "{output}");
        output.stdout
    }
}

fn a_fork_bomb_ends_at_its_limit() {
    let neighbour = Neighbour::new();
    let bomb = "bomb() { bomb | bomb & }; bomb 2>/dev/null; echo ready; while :; do :; done";
    let bad = Bad::shell(&["--pids", "40"], bomb);
    bad.says("ready");
    for _ in 0..5 {
        neighbour.is_well();
        let count = bad.processes();
        assert!(count <= 41, "{count} processes");
    }
    bad.end();
    neighbour.is_well();
}

fn a_memory_hog_is_ended_alone() {
    let neighbour = Neighbour::new();
    let container = Bundle::without_root(&["true"]).container();
    let mut hog =
        container.command(&["try", "--memory", "48M", "--", "sh", "-c", "tail /dev/zero; echo ended $?"]);
    let output = child::run(&mut hog);
    // The kernel ends the greatest, or all.
    assert!(output.code == 137 || output.text() == "ended 137", "{output}");
    neighbour.is_well();
}

fn a_cpu_hog_gets_its_share() {
    let neighbour = Neighbour::new();
    let script = "echo ready; for i in 1 2 3 4; do while :; do :; done & done; wait";
    let bad = Bad::shell(&["--cpus", "0.02"], script);
    bad.says("ready");
    neighbour.is_well();
    let name = bad.container.runtime(&["list", "--quiet"]).ok().text().to_owned();
    let throttled = || {
        let stats = bad.container.runtime(&["events", "--stats", &name]).ok().json();
        stats["data"]["cpu"]["throttling"]["throttledPeriods"].as_u64().unwrap_or(0)
    };
    child::eventually("it is held back", || throttled() > 1);
    neighbour.is_well();
    bad.end();
}

fn a_filler_of_shared_memory_fills_its_own() {
    let neighbour = Neighbour::new();
    let script = "head -c 200M /dev/zero > /dev/shm/x 2>/dev/null || echo full; du -m /dev/shm/x | cut -f1; \
                  echo ready; while :; do sleep 1000; done";
    let bad = Bad::shell(&[], script);
    bad.says("ready");
    neighbour.is_well();
    assert_eq!(bad.end(), "full\n64\nready\n");
}

fn a_filler_of_its_disk_fills_its_own() {
    let neighbour = Neighbour::new();
    // Bytes first, then files without any.
    let script = "head -c 200M /dev/zero > /root/x 2>/dev/null || echo full; rm /root/x; \
                  i=0; while true > /root/$((i = i + 1)); do :; done 2>/dev/null; test $i -lt 100000 && echo full; \
                  df -m --output=size / | tail -n 1; echo ready; while :; do sleep 1000; done";
    let bad = Bad::shell(&["--disk", "40M"], script);
    bad.says("ready");
    neighbour.is_well();
    let said = bad.end();
    let lines: Vec<_> = said.lines().map(str::trim).collect();
    assert_eq!((lines[0], lines[1], lines[3]), ("full", "full", "ready"), "{said}");
    assert!(lines[2].parse::<u32>().unwrap() <= 40, "{said}");
}

fn inodes_and_descriptors_without_end_have_one() {
    let neighbour = Neighbour::new();
    for name in ["inodes", "descriptors"] {
        let container = Bundle::without_root(&["true"]).container();
        let bind = format!("{}:{}:ro", std::env::current_exe().unwrap().display(), attacker::PATH);
        let mut command =
            container.command(&["try", "--memory", "64M", "-v", &bind, "--", attacker::PATH, "storm", name]);
        let mut run = Run::start(&mut command);
        // Its memory ends it, or it is refused more: both are an end.
        child::eventually(name, || run.stdout_so_far().contains("ready") || !run.is_running());
        neighbour.is_well();
        if run.is_running() {
            Bad { container, run }.end();
        } else {
            assert_eq!(run.finish().code, 137);
        }
        // The host has descriptors and inodes still.
        let files: Vec<_> = (0..100).map(|_| tempfile::tempfile().unwrap()).collect();
        drop(files);
    }
}

fn keyrings_are_out_of_reach() {
    let bad = Bad::storm(&[], "keys");
    let said = bad.end();
    assert!(said.contains("ready 0 "), "{said}");
}

fn inotify_without_end_leaves_the_host_some() {
    let bad = Bad::storm(&[], "inotify");
    // The kernel counts those of a user namespace for whoever made it, too: for all of root's containers together.
    assert!(deeds::can_watch(), "the host has no inotify instance left");
    let said = bad.end();
    let count: usize = said.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!((1..=32).contains(&count), "{said}");
}

fn signals_that_wait_without_end_leave_the_hosts_root_its_timers() {
    let bad = Bad::storm(&[], "pending");
    // What a user namespace holds is counted for its owner, too: that was the host's root, who had no timer left.
    let has_timers = deeds::can_set_timers();
    let said = bad.end();
    assert!(has_timers, "the host's root gets no timer any more");
    let count: usize = said.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(count > 100, "{said}");
}

fn requests_without_end_leave_the_host_some() {
    let bad = Bad::storm(&[], "events");
    // The kernel counts asynchronous requests for the whole machine, and has no other limit on them.
    let reserved = std::fs::read_to_string("/proc/sys/fs/aio-nr").unwrap();
    let said = bad.end();
    assert!(said.starts_with("ready 0 "), "{said}, and the host counts {reserved}");
}

fn namespaces_are_out_of_reach_of_every_way() {
    let script = "unshare --user true 2>/dev/null || echo refused; cat /proc/sys/user/max_user_namespaces";
    let container = Bundle::without_root(&["true"]).container();
    let output = child::run(&mut container.command(&["try", "--", "sh", "-c", script])).ok();
    assert_eq!(output.text(), "refused\n0");
}

fn a_storm_of_signals_hits_nobody_else() {
    let neighbour = Neighbour::new();
    let bad = Bad::storm(&[], "signals");
    for _ in 0..3 {
        neighbour.is_well();
    }
    bad.end();
}

fn a_flood_of_system_calls_hinders_nobody() {
    let neighbour = Neighbour::new();
    let bad = Bad::storm(&[], "calls");
    for _ in 0..3 {
        neighbour.is_well();
    }
    bad.end();
}
