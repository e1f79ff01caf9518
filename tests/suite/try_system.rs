//! `isolate try`: a disposable private system on the host's own programs.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::support::child;
use crate::support::*;
use crate::tests;

tests![
    it_has_processes_names_users_and_a_network_of_its_own needs [Need::Isolate, Need::UserNamespaces],
    its_programs_are_the_hosts_and_cannot_be_changed needs [Need::Isolate, Need::UserNamespaces],
    what_it_writes_is_private_and_gone_afterwards needs [Need::Isolate, Need::UserNamespaces],
    its_exit_code_is_the_commands needs [Need::Isolate, Need::UserNamespaces],
    its_root_is_nobody_on_the_host needs [Need::Isolate, Need::Root, Need::UserNamespaces],
    limits_bite needs [Need::Isolate, Need::Cgroup("memory")],
    a_program_sees_the_limits_and_cannot_change_them needs [Need::Isolate, Need::Cgroup("memory")],
    a_size_needs_a_unit needs [Need::Isolate],
    an_unknown_template_is_named needs [Need::Isolate],
    templates_are_listed needs [Need::Isolate],
    a_disk_with_a_size_is_gone_with_the_system needs [Need::Isolate, Need::Root, Need::UserNamespaces],
    a_disk_with_a_size_needs_room_for_a_file_system needs [Need::Isolate],
    a_disk_with_a_size_is_roots needs [Need::Isolate, Need::OrdinaryUser, Need::UserNamespaces],
    a_busybox_system_runs needs [Need::Isolate, Need::UserNamespaces],
];

/// `isolate try` with a state root of this test's own.
fn attempt(arguments: &[&str]) -> child::Output {
    let container = Bundle::without_root(&["true"]).container();
    let mut command: Command = container.command(&["try"]);
    child::run(command.args(arguments))
}

fn sh(script: &str) -> String {
    attempt(&["--", "sh", "-c", script]).ok().text().trim().to_owned()
}

fn it_has_processes_names_users_and_a_network_of_its_own() {
    let seen = sh(
        "id -u; hostname; echo $$; ls /sys/class/net; ps -e | grep -c isolate; grep NoNewPrivs /proc/self/status",
    );
    let lines: Vec<_> = seen.lines().collect();
    assert_eq!(lines[0], "0");
    assert!(lines[1].starts_with("try-"), "{seen}");
    assert_eq!(lines[2..5], ["1", "lo", "0"], "{seen}");
    assert!(lines[5].ends_with('1'), "{seen}");
}

fn its_programs_are_the_hosts_and_cannot_be_changed() {
    let seen = sh(
        "cmp /usr/bin/env /bin/env && echo same; touch /usr/bin/new 2>/dev/null || echo refused; awk 'BEGIN { print 6 * 7 }'",
    );
    assert_eq!(seen, "same\nrefused\n42");
}

fn what_it_writes_is_private_and_gone_afterwards() {
    let mark = format!("/tmp/isolate-try-mark-{}", std::process::id());
    let seen = sh(&format!(
        "for f in {mark} /etc/mark /var/mark /home/mark /root/mark; do echo x > $f && cat $f; done"
    ));
    assert_eq!(seen.lines().collect::<Vec<_>>(), ["x"; 5]);
    assert!(!fs::exists(&mark).unwrap() && !fs::exists("/etc/mark").unwrap());
}

fn its_exit_code_is_the_commands() {
    assert_eq!(attempt(&["--", "sh", "-c", "exit 41"]).code, 41);
    assert_eq!(attempt(&["--", "sh", "-c", "sh -c 'kill -9 $$'; exit $?"]).code, 137);
    attempt(&["--", "no-such-program"]).fails(1, &["executable file not found in $PATH"]);
}

fn its_root_is_nobody_on_the_host() {
    let seen = sh("cat /proc/self/uid_map");
    let numbers: Vec<u32> = seen.split_whitespace().map(|word| word.parse().unwrap()).collect();
    assert!(numbers[0] == 0 && numbers[1] > 65_536 && numbers[2] == 65_536, "{seen}");
}

fn limits_bite() {
    let hog = "head -c 300M /dev/zero | tail | wc -c";
    let output = attempt(&["--memory", "32M", "--", "sh", "-c", hog]);
    // The kernel may end the shell as well as the hog.
    assert!([0, 137].contains(&output.code) && output.text() != "314572800", "{output}");
    let forks = "n=0; while [ $n -lt 40 ]; do sleep 5 & n=$((n + 1)); done 2>/dev/null; echo all";
    assert_ne!(attempt(&["--pids", "8", "--", "sh", "-c", forks]).stdout.trim(), "all");
}

fn a_program_sees_the_limits_and_cannot_change_them() {
    let (file, unlimited) = match cgroup::is_v2() {
        true => ("/sys/fs/cgroup/memory.max", "max"),
        false => ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "-1"),
    };
    let script = format!("cat {file}; echo {unlimited} 2>/dev/null >{file} || echo refused");
    assert_eq!(attempt(&["--memory", "64M", "--", "sh", "-c", &script]).ok().text(), "67108864\nrefused");
}

fn a_size_needs_a_unit() {
    attempt(&["--memory", "256", "--", "true"]).fails(1, &["unit"]);
}

fn an_unknown_template_is_named() {
    attempt(&["--template", "nonesuch", "--", "true"]).fails(1, &["nonesuch"]);
}

fn templates_are_listed() {
    let listed: Value = attempt(&["--list", "--json"]).ok().json();
    let text = listed.to_string();
    for name in ["host", "busybox", "debian", "alpine"] {
        assert!(text.contains(name), "{text}");
    }
}

fn a_busybox_system_runs() {
    assert_eq!(
        attempt(&["--template", "busybox", "--", "sh", "-c", "ls -d /usr/share 2>/dev/null; echo $0"])
            .ok()
            .text()
            .trim(),
        "sh"
    );
}

fn has_device() -> bool {
    let entries = fs::read_dir("/sys/block").unwrap().flatten();
    let backing = |entry: fs::DirEntry| fs::read_to_string(entry.path().join("loop/backing_file"));
    entries.filter_map(|entry| backing(entry).ok()).any(|file| file.contains("isolate/try/"))
}

fn a_disk_with_a_size_is_gone_with_the_system() {
    if !std::path::Path::new("/dev/loop-control").exists() {
        skip("the kernel has no loop devices (/dev/loop-control)");
    }
    // Killed, it leaves all to the next one.
    let container = Bundle::without_root(&["true"]).container();
    let mut command = container.command(&["try"]);
    command.args(["--disk", "20M", "--template", "busybox", "--", "sh", "-c", "echo ready; exec sleep 1000"]);
    let mut run = child::Run::start(&mut command);
    run.wait_for_output("ready");
    assert!(has_device());
    run.signal(nix::sys::signal::Signal::SIGKILL);
    run.finish();
    let name = container.runtime(&["list", "--quiet"]).ok().text().to_owned();
    assert!(name.starts_with("try-"), "{name}");
    container.runtime(&["delete", "--force", &name]).ok();
    child::eventually("its disk is no device any more", || !has_device());
    let arguments =
        ["--disk", "20M", "--template", "busybox", "--", "sh", "-c", "echo x > /x; df -m / | tail -n 1"];
    let said = attempt(&arguments).ok().stdout;
    assert!(said.split_whitespace().nth(1).is_some_and(|size| size.starts_with("1")), "{said}");
    child::eventually("that of the next one is gone as well", || !has_device());
    assert!(!std::path::Path::new("/var/lib/isolate/try").join(name).exists());
}

fn a_disk_with_a_size_needs_room_for_a_file_system() {
    attempt(&["--disk", "1M", "--", "true"])
        .fails(1, &["a disk of 1M holds no file system: the least is 8M"]);
    attempt(&["--disk", "40", "--", "true"]).fails(1, &["invalid size \"40\": it needs a unit"]);
}

fn a_disk_with_a_size_is_roots() {
    let words =
        ["--disk: a disk with a size is a loop device, which only root can make", "hint: without --disk"];
    attempt(&["--disk", "40M", "--", "true"]).fails(1, &words);
}
