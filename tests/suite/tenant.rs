//! `isolate tenant`: private systems that last, from the template to the end, as root and as an ordinary user.

use std::fs;

use serde_json::Value;

use crate::support::child::eventually;
use crate::support::estate::Estate;
use crate::support::*;
use crate::tests;

tests![
    a_template_is_imported_listed_verified_and_removed needs [Need::Isolate],
    a_template_that_changed_is_found_out needs [Need::Isolate],
    an_interrupted_import_leaves_nothing needs [Need::Isolate],
    a_system_starts_runs_programs_and_stops needs [Need::Isolate, Need::UserNamespaces],
    what_it_writes_stays_and_is_its_own needs [Need::Isolate, Need::UserNamespaces],
    on_disk_ids_begin_at_zero needs [Need::Isolate, Need::Root, Need::UserNamespaces],
    tenants_have_ranges_of_ids_of_their_own needs [Need::Isolate, Need::Root, Need::UserNamespaces],
    a_set_user_id_program_works_inside needs [Need::Isolate, Need::UserNamespaces],
    an_ordinary_user_inside_has_no_capabilities needs [Need::Isolate, Need::UserNamespaces],
    a_command_runs_and_no_process_of_ours_stays needs [Need::Isolate, Need::UserNamespaces],
    a_command_that_is_not_there_is_told needs [Need::Isolate, Need::UserNamespaces],
    reboot_inside_starts_it_again needs [Need::Isolate, Need::UserNamespaces],
    poweroff_inside_stops_it_for_good needs [Need::Isolate, Need::UserNamespaces],
    a_killed_keeper_costs_the_console_and_nothing_else needs [Need::Isolate, Need::UserNamespaces],
    limits_of_create_bite needs [Need::Isolate, Need::Cgroup("memory"), Need::Cgroup("cpu"), Need::Cgroup("pids")],
    limits_nobody_can_hold_are_refused needs [Need::Isolate, Need::OrdinaryUser, Need::NoCgroup],
    paused_processes_stand_still needs [Need::Isolate, Need::Cgroup("freezer")],
    a_failed_create_leaves_nothing needs [Need::Isolate],
    what_a_killed_create_left_is_no_obstacle needs [Need::Isolate, Need::UserNamespaces],
    exit_codes_tell_failures_apart needs [Need::Isolate, Need::UserNamespaces],
    destroy_needs_a_yes_and_no_protection needs [Need::Isolate, Need::UserNamespaces],
    a_tag_names_all_that_have_it needs [Need::Isolate, Need::UserNamespaces],
    a_wrong_key_is_told_with_its_line_and_the_nearest needs [Need::Isolate, Need::UserNamespaces],
    hostile_names_are_refused needs [Need::Isolate],
    the_audit_log_keeps_no_arguments_of_programs needs [Need::Isolate, Need::UserNamespaces],
    each_act_is_a_line_of_the_audit_log needs [Need::Isolate, Need::UserNamespaces],
    bare_tenant_explains_itself needs [Need::Isolate],
];

fn a_template_is_imported_listed_verified_and_removed() {
    let estate = Estate::with_busybox();
    let listed = estate.t(&["template", "ls", "--json"]).ok().json();
    assert_eq!((&listed["version"], &listed["templates"][0]["name"]), (&1.into(), &"busybox".into()));
    assert_eq!(listed["templates"][0]["init"]["mode"], "init");
    estate.t(&["template", "verify", "busybox"]).ok();
    estate
        .t(&["template", "import", "--as", "busybox", "busybox"])
        .fails(43, &["there is a template 'busybox' already"]);
    estate.t(&["template", "rm", "busybox"]).fails(21, &["--yes"]);
    estate.t(&["template", "rm", "--yes", "busybox"]).ok();
    estate
        .t(&["template", "show", "busybox"])
        .fails(91, &["no template is called 'busybox'; none is imported"]);
    assert_eq!(fs::read_dir(estate.data().join("templates")).unwrap().count(), 0);
}

fn a_template_that_changed_is_found_out() {
    let estate = Estate::with_busybox();
    fs::write(estate.data().join("templates/busybox/root/etc/passwd"), "root::0:0::/:/bin/sh\n").unwrap();
    estate
        .t(&["template", "verify", "busybox"])
        .fails(1, &["cannot verify template 'busybox': it has changed"]);
}

fn an_interrupted_import_leaves_nothing() {
    let estate = Estate::new();
    estate
        .t(&["template", "import", "--as", "other", "dir:/nonesuch"])
        .fails(1, &["cannot import template 'other'"]);
    let rubbish = estate.folder.join("rubbish.tar");
    fs::write(&rubbish, [b'x'; 2048]).unwrap();
    estate
        .t(&["template", "import", "--as", "other", &format!("tar:{}", rubbish.display())])
        .fails(1, &["rubbish.tar"]);
    // As a killed one leaves it.
    fs::create_dir(estate.data().join("templates/.import-1")).unwrap();
    estate.t(&["template", "import", "--as", "busybox", "busybox"]).ok();
    let names: Vec<_> =
        fs::read_dir(estate.data().join("templates")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["busybox"]);
}

fn a_system_starts_runs_programs_and_stops() {
    let estate = Estate::with_running(&[]);
    assert_eq!(estate.state("web"), "running");
    assert_eq!(estate.sh("cat /proc/1/comm; hostname; id -u; ls /sys/class/net"), "init\nweb\n0\nlo");
    assert_eq!(estate.t(&["exec", "web", "--", "sh", "-c", "exit 7"]).code, 7);
    let listed: Value = estate.t(&["list", "--json"]).ok().json();
    assert_eq!(
        (&listed["tenants"][0]["name"], &listed["tenants"][0]["state"]),
        (&"web".into(), &"running".into())
    );
    assert!(estate.has_keeper("web"));
    estate.t(&["stop", "--kill", "web"]).ok();
    assert_eq!(estate.state("web"), "stopped");
    eventually("the keeper ends with it", || !estate.has_keeper("web"));
}

fn what_it_writes_stays_and_is_its_own() {
    let estate = Estate::with_running(&[]);
    estate.t(&["create", "two", "--template", "busybox"]).ok();
    estate.sh("echo mine > /etc/mark; rm /etc/profile; mkdir /srv");
    estate.t(&["restart", "--timeout", "0", "web"]).ok();
    assert_eq!(
        estate.sh("cat /etc/mark; ls -d /srv; ls /etc/profile 2>/dev/null || echo gone"),
        "mine\n/srv\ngone"
    );
    estate.t(&["start", "two"]).ok();
    let seen = estate.t(&["exec", "two", "--", "sh", "-c", "ls /etc/mark /etc/profile 2>&1; hostname"]).ok();
    assert_eq!(seen.text().lines().skip(1).collect::<Vec<_>>(), ["/etc/profile", "two"]);
    estate.t(&["template", "verify", "busybox"]).ok();
}

fn on_disk_ids_begin_at_zero() {
    use std::os::unix::fs::MetadataExt;
    let estate = Estate::with_running(&[]);
    estate.sh("touch /root-s; touch /user-s; chown 1000:1000 /user-s");
    let upper = estate.tenant("web").join("disk/upper");
    let ids = |name: &str| fs::metadata(upper.join(name)).map(|found| (found.uid(), found.gid())).unwrap();
    assert_eq!((ids("root-s"), ids("user-s")), ((0, 0), (1000, 1000)));
    let first: u32 = process::status(estate.pid("web") as i32, "Uid")
        .unwrap()
        .split_whitespace()
        .next()
        .unwrap()
        .parse()
        .unwrap();
    assert!(first >= 524_288, "{first}");
}

fn tenants_have_ranges_of_ids_of_their_own() {
    let estate = Estate::with_busybox();
    let first = |name: &str| {
        estate.t(&["create", name, "--template", "busybox"]).ok();
        estate.info(name)["settings"]["first-id"].as_u64().unwrap()
    };
    let (one, two) = (first("one"), first("two"));
    assert!(one.abs_diff(two) >= 65_536, "{one} {two}");
    estate.t(&["destroy", "--yes", "one"]).ok();
    assert_eq!(first("three"), one);
}

/// Root gives a tenant whatever ids; an ordinary user's has others than root's only with ranges of its own.
fn needs_more_ids_than_one() {
    if !nix::unistd::geteuid().is_root()
        && need::subordinate_ids("/etc/subuid").is_none_or(|(_, count)| count < 2000)
    {
        skip("/etc/subuid gives the caller fewer than 2000 subordinate ids");
    }
}

fn a_set_user_id_program_works_inside() {
    needs_more_ids_than_one();
    let estate = Estate::with_running(&[]);
    estate.sh("mkdir -p /opt; cp /bin/busybox /opt/ping");
    let ping = |mode: &str| {
        estate.sh(&format!("chmod {mode} /opt/ping"));
        // busybox gives such a privilege up for most of its commands, and keeps it for this one.
        estate.t(&["exec", "--user", "user", "web", "--", "/opt/ping", "-c1", "-W5", "127.0.0.1"])
    };
    assert_eq!(ping("755").code, 1);
    ping("4755").ok();
}

fn an_ordinary_user_inside_has_no_capabilities() {
    needs_more_ids_than_one();
    let estate = Estate::with_running(&[]);
    let seen = estate.t(&["exec", "--user", "1000", "web", "--", "grep", "Cap", "/proc/self/status"]).ok();
    let field = |name: &str| process::field_of(&seen.stdout, name).unwrap();
    assert_eq!(
        (field("CapEff"), field("CapPrm"), field("CapAmb")),
        ("0".repeat(16), "0".repeat(16), "0".repeat(16))
    );
    assert_ne!(field("CapBnd"), "0".repeat(16));
}

fn a_command_runs_and_no_process_of_ours_stays() {
    let estate = Estate::with_busybox();
    let script = "echo started; trap 'echo ended; exit 0' TERM; while :; do sleep 0.1; done";
    estate.t(&["create", "job", "--template", "busybox", "--env", "A=b", "--", "sh", "-c", script]).ok();
    estate.t(&["start", "job"]).ok();
    assert!(!estate.has_keeper("job"));
    let log = estate.tenant("job").join("disk/log");
    eventually("it says so", || fs::read_to_string(&log).is_ok_and(|text| text == "started\n"));
    estate.t(&["stop", "job"]).ok();
    assert_eq!(fs::read_to_string(&log).unwrap(), "started\nended\n");
    assert_eq!(estate.state("job"), "stopped");
}

fn a_command_that_is_not_there_is_told() {
    let estate = Estate::with_busybox();
    estate.t(&["create", "job", "--template", "busybox", "--", "nonesuch"]).ok();
    estate
        .t(&["start", "job"])
        .fails(1, &["cannot start tenant 'job'", "executable file not found in $PATH"]);
    assert_eq!(estate.state("job"), "stopped");
}

fn reboot_inside_starts_it_again() {
    let estate = Estate::with_running(&[]);
    let before = estate.pid("web");
    estate.t(&["exec", "web", "--", "reboot", "-f"]);
    eventually("another init runs", || !matches!(estate.pid("web"), pid if pid == 0 || pid == before));
    eventually("programs run again", || estate.t(&["exec", "web", "--", "true"]).code == 0);
}

fn poweroff_inside_stops_it_for_good() {
    let estate = Estate::with_running(&[]);
    estate.t(&["exec", "web", "--", "poweroff", "-f"]);
    eventually("it is stopped", || estate.state("web") == "stopped" && !estate.has_keeper("web"));
    estate.t(&["exec", "web", "--", "true"]).fails(31, &["it is not running"]);
    estate.t(&["start", "web"]).ok();
}

fn a_killed_keeper_costs_the_console_and_nothing_else() {
    let estate = Estate::with_running(&[]);
    let keeper = estate.keeper("web").unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(keeper), nix::sys::signal::Signal::SIGKILL).unwrap();
    eventually("it is gone", || !process::is_alive(keeper));
    assert_eq!(estate.sh("hostname"), "web");
    estate.t(&["stop", "--kill", "web"]).ok();
    estate.t(&["start", "web"]).ok();
    assert_eq!(estate.sh("hostname"), "web");
}

fn limits_of_create_bite() {
    let estate = Estate::with_running(&["--ram", "32M", "--cpus", "0.5", "--tasks", "20"]);
    let hog = estate.t(&["exec", "web", "--", "sh", "-c", "head -c 300m /dev/zero | tail -c 290m | wc -c"]);
    assert_ne!(hog.text(), "304087040");
    let bomb = "n=0; while [ $n -lt 40 ]; do sleep 5 & n=$((n + 1)); done 2>/dev/null; echo all";
    assert_ne!(estate.t(&["exec", "web", "--", "sh", "-c", bomb]).text(), "all");
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let uuid = estate.info("web")["settings"]["uuid"].as_str().unwrap().to_owned();
    let read =
        |controller: &str, file: &str| cgroup::read(controller, &format!("/isolate-tenants/{uuid}"), file);
    let (memory, cpu) = match cgroup::is_v2() {
        true => (("memory.max", "33554432"), ("cpu.max", "50000 100000")),
        false => (("memory.limit_in_bytes", "33554432"), ("cpu.cfs_quota_us", "50000")),
    };
    assert_eq!(read("memory", memory.0), memory.1);
    assert_eq!(read("cpu", cpu.0), cpu.1);
}

fn limits_nobody_can_hold_are_refused() {
    let estate = Estate::with_busybox();
    estate
        .t(&["create", "web", "--template", "busybox", "--ram", "64M"])
        .fails(21, &["ram cannot be limited"]);
    assert!(!estate.tenant("web").exists());
}

fn paused_processes_stand_still() {
    let estate = Estate::with_running(&[]);
    estate.t(&["pause", "web"]).ok();
    assert_eq!(estate.state("web"), "paused");
    estate.t(&["exec", "web", "--", "true"]).fails(31, &["it is paused"]);
    estate.t(&["unpause", "web"]).ok();
    assert_eq!(estate.sh("hostname"), "web");
    estate.t(&["pause", "web"]).ok();
    estate.t(&["destroy", "--yes", "--force", "web"]).ok();
    assert!(!estate.tenant("web").exists());
}

fn a_failed_create_leaves_nothing() {
    let estate = Estate::with_busybox();
    for (settings, code, words) in [
        (vec!["--ram", "64"], 21, "it needs a unit"),
        (vec!["--cpus", "many"], 21, "it is not a number"),
        (vec!["--tasks", "0"], 21, "1 to 4194304"),
        (vec!["--hostname", "a b"], 21, "invalid host name"),
        (vec!["--net", "bridge"], 21, "invalid network"),
        (vec!["--template", "nonesuch"], 91, "no template is called 'nonesuch'; there are busybox"),
        (vec!["--rams", "64M"], 20, "did you mean --ram?"),
    ] {
        let words = [words];
        estate.t(&[&["create", "web", "--template", "busybox"], &settings[..]].concat()).fails(code, &words);
        assert!(!estate.tenant("web").exists(), "{settings:?}");
    }
}

fn what_a_killed_create_left_is_no_obstacle() {
    let estate = Estate::with_busybox();
    for verb in ["create", "destroy"] {
        fs::create_dir_all(estate.tenant("web").join("disk/upper/etc")).unwrap();
        let listed: Value = estate.t(&["list", "--json"]).ok().json();
        assert_eq!(listed["tenants"][0]["state"], "incomplete");
        estate
            .t(&["start", "web"])
            .fails(14, &["tenant 'web' is incomplete", "isolate tenant destroy --yes web"]);
        match verb {
            "create" => estate.t(&["create", "web", "--template", "busybox"]).ok(),
            _ => estate.t(&["destroy", "--yes", "web"]).ok(),
        };
        let _ = estate.t(&["destroy", "--yes", "web"]);
        assert!(!estate.tenant("web").exists());
    }
}

fn exit_codes_tell_failures_apart() {
    let estate = Estate::with_running(&[]);
    estate.t(&["start", "web"]).fails(32, &["cannot start tenant 'web': it is running"]);
    estate.t(&["create", "web", "--template", "busybox"]).fails(44, &["there is a tenant 'web' already"]);
    estate.t(&["destroy", "--yes", "web"]).fails(32, &["it is running", "--force"]);
    estate.t(&["stop", "--kill", "web"]).ok();
    estate.t(&["stop", "web"]).fails(31, &["it is not running"]);
    for verb in ["start", "stop", "info", "pause", "restart"] {
        estate.t(&[verb, "nonesuch"]).fails(14, &["there is no tenant 'nonesuch'"]);
    }
    estate.t(&["stop"]).fails(21, &["no tenant is named"]);
    estate.t(&["strat", "web"]).fails(20, &["did you mean 'isolate tenant start'?"]);
    estate.t(&["template", "rm", "--yes", "busybox"]).fails(1, &["tenants use it: web"]);
}

fn destroy_needs_a_yes_and_no_protection() {
    let estate = Estate::with_busybox();
    estate.t(&["create", "web", "--template", "busybox", "--protect", "on"]).ok();
    estate.t(&["destroy", "web"]).fails(21, &["Remove web with all data?", "--yes"]);
    estate.t(&["destroy", "--yes", "web"]).fails(105, &["it is protected"]);
    assert!(estate.tenant("web").exists());
}

fn a_tag_names_all_that_have_it() {
    let estate = Estate::with_busybox();
    for name in ["one", "two", "three"] {
        let tag = if name == "three" { "other" } else { "both" };
        estate.t(&["create", name, "--template", "busybox", "--tags", tag]).ok();
    }
    estate.t(&["start", "@both"]).ok();
    assert_eq!(["one", "two", "three"].map(|name| estate.state(name)), ["running", "running", "stopped"]);
    estate.t(&["stop", "--kill", "one", "nonesuch", "two"]).fails(14, &["cannot stop tenant 'nonesuch'"]);
    assert_eq!(estate.state("two"), "stopped");
    estate.t(&["start", "@none"]).fails(21, &["no tenant has the tag"]);
    estate.t(&["stop", "--all"]).fails(21, &["Stop all 3 tenants?", "--yes"]);
}

fn a_wrong_key_is_told_with_its_line_and_the_nearest() {
    let estate = Estate::with_busybox();
    estate.t(&["create", "web", "--template", "busybox"]).ok();
    let path = estate.tenant("web").join("tenant.toml");
    let text = fs::read_to_string(&path).unwrap().replace("hostname", "x").replace("net = ", "nte = ");
    let line = text.lines().position(|line| line.starts_with("nte")).unwrap() + 1;
    fs::write(&path, &text).unwrap();
    let words = format!("tenant.toml line {line}: unknown field `nte`");
    estate.t(&["start", "web"]).fails(14, &[&words, "did you mean \"net\"?"]);
    let listed: Value = estate.t(&["list", "--json"]).ok().json();
    assert_eq!(listed["tenants"][0]["state"], "broken");
    fs::write(&path, text.replace("nte = ", "net = ")).unwrap();
    estate.t(&["start", "web"]).ok();
}

fn hostile_names_are_refused() {
    let estate = Estate::with_busybox();
    for name in ["..", "a/b", "A", "a b", "", "\u{1b}[31m", &"a".repeat(64)] {
        estate.t(&["create", "--template", "busybox", "--", name]);
        estate.t(&["create", name, "--template", "busybox"]).fails(21, &["invalid name"]);
        estate.t(&["destroy", "--yes", name]).fails(21, &["invalid name"]);
        estate.t(&["template", "import", "--as", name, "busybox"]).fails(21, &["invalid name"]);
    }
    assert_eq!(
        fs::read_dir(estate.data().join("tenants"))
            .unwrap()
            .filter(|e| e.as_ref().unwrap().path().is_dir())
            .count(),
        0
    );
}

fn each_act_is_a_line_of_the_audit_log() {
    let estate = Estate::with_busybox();
    estate.t(&["create", "web", "--template", "busybox", "-e", "KEY=secret", "--", "sleep", "99"]).ok();
    estate.t(&["list"]).ok();
    estate.t(&["stop", "web"]).fails(31, &[]);
    let log = fs::read_to_string(estate.data().join("audit.jsonl")).unwrap();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let verbs: Vec<_> =
        lines.iter().map(|line| (line["verb"].as_str().unwrap(), line["code"].as_i64().unwrap())).collect();
    assert_eq!(verbs, [("tenant template import", 0), ("tenant create", 0), ("tenant stop", 31)]);
    assert!(!log.contains("secret") && lines[1]["uid"] == nix::unistd::getuid().as_raw());
}

fn the_audit_log_keeps_no_arguments_of_programs() {
    let estate = Estate::with_running(&[]);
    estate.t(&["exec", "--user", "0", "web", "--", "echo", "-psecret"]).ok();
    estate.t(&["create", "job", "--template", "busybox", "--", "echo", "-psecret"]).ok();
    let log = fs::read_to_string(estate.data().join("audit.jsonl")).unwrap();
    assert!(log.contains(r#""arguments":["--user=0","web","echo"]"#) && !log.contains("secret"), "{log}");
}

fn bare_tenant_explains_itself() {
    let estate = Estate::new();
    let bare = estate.t(&[]).ok();
    for word in ["create", "template", "Examples:", "Exit codes"] {
        assert!(bare.stdout.contains(word), "{word}: {bare}");
    }
    for verb in
        ["create", "start", "stop", "destroy", "list", "info", "exec", "enter", "restart", "pause", "unpause"]
    {
        let help = estate.t(&[verb, "--help"]).ok();
        assert!(help.stdout.contains(&format!("isolate tenant {verb}")), "{help}");
    }
    assert!(bundle::runtime(&["t", "template", "--help"]).ok().stdout.contains("import"));
}
