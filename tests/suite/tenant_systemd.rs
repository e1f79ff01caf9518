//! Tenants that run systemd, made of the host's own programs where it has one; and what tells when an init is ready.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::support::child::eventually;
use crate::support::estate::Estate;
use crate::support::*;
use crate::tests;

tests![
    a_systemd_reaches_its_target needs [Need::Isolate, Need::UserNamespaces],
    a_systemd_restarts_itself_and_powers_itself_off needs [Need::Isolate, Need::UserNamespaces],
    a_systemd_ends_when_it_is_asked_to needs [Need::Isolate, Need::UserNamespaces],
    a_systemd_makes_cgroups_and_not_above_its_own needs [Need::Isolate, Need::UserNamespaces],
    without_a_cgroup_of_its_own_systemd_is_refused needs [Need::Isolate, Need::OrdinaryUser, Need::NoCgroup],
    an_init_that_ends_before_it_is_ready_is_told_with_its_last_words needs [Need::Isolate, Need::UserNamespaces],
    an_init_that_is_not_ready_in_time_goes_on_running needs [Need::Isolate, Need::UserNamespaces],
    start_tells_what_it_has_started needs [Need::Isolate, Need::UserNamespaces],
    an_init_and_a_command_exclude_each_other needs [Need::Isolate],
    where_the_host_keeps_a_root_is_not_seen_inside needs [Need::Isolate, Need::UserNamespaces],
];

/// systemd wants a cgroup v2, which an ordinary user has where it is delegated.
fn needs_a_cgroup_for_systemd() {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    let Some(own) = own.lines().find_map(|line| line.strip_prefix("0::")) else {
        skip("this kernel has no cgroup v2 hierarchy");
    };
    let mounted = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(PathBuf::from);
    let Some(top) = mounted.iter().find(|path| path.join("cgroup.controllers").exists()) else {
        skip("no cgroup v2 hierarchy is mounted");
    };
    let own = top.join(own.trim_start_matches('/'));
    let above = if own == *top { own.clone() } else { own.parent().unwrap().to_owned() };
    let writable = nix::unistd::access(&above.join("cgroup.procs"), nix::unistd::AccessFlags::W_OK).is_ok();
    if !nix::unistd::geteuid().is_root() && !writable {
        skip("no cgroup v2 is delegated to the caller");
    }
}

/// The tenant `web` of the host's own programs, systemd among them; not started.
fn systemd() -> Estate {
    needs_a_cgroup_for_systemd();
    for path in ["/sbin/init", "/lib/systemd/systemd", "/usr/bin/dbus-daemon", "/usr/bin/systemctl"] {
        if !Path::new(path).exists() {
            skip(format!("this host has no {path}: systemd and dbus are not installed"));
        }
    }
    if !fs::canonicalize("/sbin/init").is_ok_and(|path| path.ends_with("systemd/systemd")) {
        skip("/sbin/init of this host is not systemd");
    }
    let estate = Estate::new();
    estate.t(&["template", "import", "--as", "other", "host"]).ok();
    estate.t(&["create", "web", "--template", "other"]).ok();
    assert_eq!(estate.info("web")["settings"]["boot"]["mode"], "systemd");
    estate
}

/// A template whose init is this shell script, and looks like systemd.
fn scripted(script: &str) -> Estate {
    needs_a_cgroup_for_systemd();
    let estate = Estate::new();
    let root = estate.folder.join("tree");
    for folder in ["bin", "sbin", "lib/systemd", "etc", "proc", "sys", "dev", "run", "tmp"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
    fs::copy(busybox.unwrap(), root.join("bin/busybox")).unwrap();
    for name in ["sh", "sleep", "echo", "printf"] {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(name)).unwrap();
    }
    for path in ["sbin/init", "lib/systemd/systemd"] {
        fs::write(root.join(path), format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(root.join(path), fs::Permissions::from_mode(0o755)).unwrap();
    }
    estate.t(&["template", "import", "--as", "other", &format!("dir:{}", root.display())]).ok();
    estate.t(&["create", "web", "--template", "other"]).ok();
    estate
}

fn is_running(estate: &Estate) -> String {
    let output = estate.t(&["exec", "web", "--", "systemctl", "is-system-running"]);
    let failed = estate.t(&["exec", "web", "--", "systemctl", "--failed", "--no-legend", "--plain"]);
    format!("{} {}", output.stdout.trim(), failed.stdout.trim()).trim().to_owned()
}

fn a_systemd_reaches_its_target() {
    let estate = systemd();
    let said = estate.t(&["start", "--ready-timeout", "300", "web"]).ok();
    assert!(said.text().starts_with("web  running in "), "{said:?}");
    assert_eq!(is_running(&estate), "running");
    assert_eq!(estate.sh("cat /proc/1/comm; hostname; cat /etc/machine-id | wc -c"), "systemd\nweb\n33");
    let log = fs::read_to_string(estate.tenant("web").join("log")).unwrap();
    assert!(log.contains("Multi-User System"), "{log}");
}

fn a_systemd_restarts_itself_and_powers_itself_off() {
    let estate = systemd();
    estate.t(&["start", "--ready-timeout", "300", "web"]).ok();
    let first = estate.pid("web");
    // The program may be ended by what it asks for.
    estate.t(&["exec", "web", "--", "systemctl", "reboot"]);
    eventually("another init runs", || ![0, first].contains(&estate.pid("web")));
    let asked = || estate.t(&["exec", "web", "--", "systemctl", "is-system-running", "--wait"]);
    eventually("it answers again", || !asked().stdout.trim().is_empty());
    assert_eq!(is_running(&estate), "running");
    estate.t(&["exec", "web", "--", "systemctl", "poweroff"]);
    eventually("it has stopped", || estate.state("web") == "stopped" && !estate.has_keeper("web"));
}

fn a_systemd_ends_when_it_is_asked_to() {
    let estate = systemd();
    estate.t(&["start", "--ready-timeout", "300", "web"]).ok();
    let stopped = estate.t(&["stop", "web"]).ok();
    assert!(!stopped.stderr.contains("was killed"), "{stopped:?}");
    let log = fs::read_to_string(estate.tenant("web").join("log")).unwrap();
    assert!(log.contains("Stopped target"), "{log}");
}

fn a_systemd_makes_cgroups_and_not_above_its_own() {
    let estate = systemd();
    estate.t(&["start", "--ready-timeout", "300", "web"]).ok();
    let seen =
        estate.sh("cd /sys/fs/cgroup && ls -d init.scope system.slice && cat /proc/1/cgroup | grep ^0::");
    assert_eq!(seen, "init.scope\nsystem.slice\n0::/init.scope");
    // The limits of its own cgroup, where the kernel has some, are the maker's.
    let tried = estate.sh("cd /sys/fs/cgroup; for file in pids.max memory.max cgroup.max.depth; do
        [ ! -e $file ] || { echo 5 > $file; } 2>/dev/null && [ -e $file ] && echo changed $file; done; echo done");
    assert_eq!(tried, "done");
}

fn without_a_cgroup_of_its_own_systemd_is_refused() {
    let estate = Estate::with_busybox();
    estate.t(&["create", "web", "--template", "busybox"]).ok();
    let path = estate.tenant("web").join("tenant.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("mode = \"init\"", "mode = \"systemd\"")).unwrap();
    estate.t(&["start", "web"]).fails(1, &["systemd needs a cgroup v2 of its own", "hint: let root run it"]);
    assert_eq!(estate.state("web"), "stopped");
}

fn an_init_that_ends_before_it_is_ready_is_told_with_its_last_words() {
    let estate = scripted(r"printf 'no \033[31mdisk\033[0m\n'; exit 3");
    let words =
        ["cannot start tenant 'web': it ended before it was ready", "its console ends with", "    no disk"];
    let said = estate.t(&["start", "web"]).fails(1, &words);
    assert!(!said.stderr.contains('\u{1b}'), "{said:?}");
    assert_eq!(estate.state("web"), "stopped");
}

fn an_init_that_is_not_ready_in_time_goes_on_running() {
    let estate = scripted("echo waiting; exec sleep 1000");
    // What the init says first is waited for, however slow the machine.
    let seconds = child::patience().to_string();
    estate.t(&["start", "--ready-timeout", &seconds, "web"]).fails(
        124,
        &[
            &format!("it runs, and is not ready after {seconds} seconds"),
            "    waiting",
            "hint: look into it with 'isolate tenant enter web'",
        ],
    );
    assert_eq!(estate.state("web"), "running");
    estate.t(&["stop", "--kill", "web"]).ok();
    let said = estate.t(&["start", "--no-wait", "web"]).ok();
    assert!(said.text().starts_with("web  started in "), "{said:?}");
    estate.t(&["start", "--ready-timeout", "0", "web"]).fails(20, &["0 is not in 1..=86400"]);
}

fn start_tells_what_it_has_started() {
    let estate = Estate::with_busybox();
    for name in ["one", "two"] {
        estate.t(&["create", name, "--template", "busybox", "--tags", "t"]).ok();
    }
    let said = estate.t(&["start", "--json", "@t"]).ok().json();
    let line = |index: usize| (&said["started"][index]["name"], &said["started"][index]["ready"]);
    assert_eq!(
        (&said["version"], line(0), line(1)),
        (&1.into(), (&"one".into(), &true.into()), (&"two".into(), &true.into()))
    );
    assert!(said["started"][0]["seconds"].as_f64().unwrap() > 0.0);
    let said = estate.t(&["restart", "--kill", "one"]).ok();
    assert!(said.text().starts_with("one  running in "), "{said:?}");
}

fn an_init_and_a_command_exclude_each_other() {
    let estate = Estate::with_busybox();
    estate
        .t(&["create", "web", "--template", "busybox", "--init", "--", "ls"])
        .fails(21, &["an init and a command exclude each other"]);
    estate.t(&["create", "web", "--template", "busybox", "--init"]).ok();
    assert_eq!(estate.info("web")["settings"]["boot"]["mode"], "init");
}

fn where_the_host_keeps_a_root_is_not_seen_inside() {
    let estate = Estate::with_running(&[]);
    let mounts = estate.sh("cat /proc/mounts");
    let folder = estate.folder.file_name().unwrap().to_str().unwrap();
    assert!(mounts.contains("lowerdir=lower,upperdir=disk/upper") && !mounts.contains(folder), "{mounts}");
}
