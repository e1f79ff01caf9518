//! What operators do with tenants besides starting and stopping them: names, consoles, scripts, accounts, many at a time.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Stdio;

use crate::support::child::{self, Run, eventually};
use crate::support::estate::Estate;
use crate::support::*;
use crate::tests;

tests![
    a_renamed_tenant_keeps_its_data_and_knows_its_name needs [Need::Isolate, Need::UserNamespaces],
    a_name_is_not_taken_from_another needs [Need::Isolate, Need::UserNamespaces],
    the_console_is_the_terminal_of_the_init needs [Need::Isolate, Need::UserNamespaces],
    the_console_ends_with_the_tenant needs [Need::Isolate, Need::UserNamespaces],
    the_log_of_the_console_has_no_control_characters needs [Need::Isolate, Need::UserNamespaces],
    a_command_has_no_console needs [Need::Isolate, Need::UserNamespaces],
    many_are_started_and_stopped_at_the_same_time needs [Need::Isolate, Need::UserNamespaces],
    a_failure_among_many_is_told_and_the_others_go_on needs [Need::Isolate, Need::UserNamespaces],
    a_verb_waits_for_another_as_long_as_it_is_told needs [Need::Isolate, Need::UserNamespaces],
    a_script_runs_by_its_first_line_with_its_arguments needs [Need::Isolate, Need::UserNamespaces],
    a_script_is_not_written_into_the_tenant needs [Need::Isolate, Need::UserNamespaces],
    an_account_with_keys_and_a_password_is_there_before_the_start needs [Need::Isolate, Need::UserNamespaces],
    provisioning_follows_no_link_out_of_the_root needs [Need::Isolate, Need::UserNamespaces],
    secrets_are_in_no_log_and_no_settings needs [Need::Isolate, Need::UserNamespaces],
    what_makes_no_sense_is_not_provisioned needs [Need::Isolate, Need::UserNamespaces],
    a_run_once_script_runs_until_it_has_succeeded_once needs [Need::Isolate, Need::UserNamespaces],
];

const HASH: &str = "$6$abcdefgh$0123456789abcdefghijklmnopqrstuvwxyz";
const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMJ0 me@here";

fn a_renamed_tenant_keeps_its_data_and_knows_its_name() {
    let estate = Estate::with_running(&[]);
    estate.sh("echo mine > /etc/mark");
    estate.t(&["rename", "web", "shop"]).fails(32, &["cannot rename tenant 'web' to 'shop': it is running"]);
    estate.t(&["stop", "--kill", "web"]).ok();
    let uuid = estate.info("web")["settings"]["uuid"].clone();
    estate.t(&["rename", "web", "shop"]).ok();
    estate.t(&["info", "web"]).fails(14, &["there is no tenant 'web'"]);
    assert_eq!(estate.info("shop")["settings"]["uuid"], uuid);
    estate.t(&["start", "shop"]).ok();
    let seen = estate.t(&["exec", "shop", "--", "sh", "-c", "cat /etc/mark /etc/hostname; hostname"]).ok();
    assert_eq!(seen.text(), "mine\nshop\nshop");
}

fn a_name_is_not_taken_from_another() {
    let estate = Estate::with_busybox();
    for name in ["web", "two"] {
        estate.t(&["create", name, "--template", "busybox"]).ok();
    }
    estate.t(&["rename", "web", "two"]).fails(44, &["there is a tenant 'two' already"]);
    estate.t(&["rename", "web", "../x"]).fails(21, &[]);
    estate.t(&["rename", "none", "x"]).fails(14, &["there is no tenant 'none'"]);
    estate.t(&["set", "web", "protect=on"]).ok();
    estate.t(&["rename", "web", "x"]).fails(105, &["it is protected"]);
}

/// A console, and the other end of its input.
fn console(estate: &Estate) -> (Run, std::io::PipeWriter) {
    let (reader, writer) = std::io::pipe().unwrap();
    (Run::start_with(&mut estate.command(&["console", "web"]), Stdio::from(reader)), writer)
}

fn the_console_is_the_terminal_of_the_init() {
    let estate = Estate::with_running(&[]);
    let (mut run, mut keys) = console(&estate);
    keys.write_all(b"echo a$((40+2))b\n").unwrap();
    run.wait_for_output("a42b");
    // A second one looks at the same.
    let (mut second, mut more) = console(&estate);
    more.write_all(b"echo c$((50+2))d\n").unwrap();
    second.wait_for_output("c52d");
    run.wait_for_output("c52d");
    more.write_all(b"\x1d").unwrap();
    second.finish().ok();
    keys.write_all(b"\x1dexit\n").unwrap();
    let output = run.finish().ok();
    assert!(output.stdout.ends_with("the tenant goes on\n"), "{output:?}");
    assert_eq!(estate.state("web"), "running");
}

fn the_console_ends_with_the_tenant() {
    let estate = Estate::with_running(&[]);
    let (mut run, mut keys) = console(&estate);
    keys.write_all(b"echo a$((40+2))b\n").unwrap();
    run.wait_for_output("a42b");
    estate.t(&["stop", "--kill", "web"]).ok();
    assert!(run.finish().ok().stdout.ends_with("the tenant has stopped\n"));
    estate.t(&["console", "web"]).fails(31, &["cannot open the console of tenant 'web': it is not running"]);
}

fn the_log_of_the_console_has_no_control_characters() {
    let estate = Estate::with_running(&[]);
    estate.sh("printf 'one\\n\\033[31mred\\007\\033[0m\\n' > /dev/console");
    eventually("it is written", || estate.t(&["console", "--lines", "1", "web"]).ok().text() == "red");
    estate.t(&["stop", "--kill", "web"]).ok();
    assert!(estate.t(&["console", "--log", "web"]).ok().text().contains("one\nred"));
}

fn a_command_has_no_console() {
    let estate = Estate::with_busybox();
    estate.t(&["create", "job", "--template", "busybox", "--", "sleep", "1000"]).ok();
    estate.t(&["start", "job"]).ok();
    estate.t(&["console", "job"]).fails(1, &["it runs a command, which has no console", "disk/log"]);
}

fn many_are_started_and_stopped_at_the_same_time() {
    let estate = Estate::with_busybox();
    let names = ["a", "b", "c", "d", "e"];
    for name in names {
        estate.t(&["create", name, "--template", "busybox", "--tags", "all"]).ok();
    }
    let said = estate.t(&["start", "--parallel", "3", "@all"]).ok();
    assert_eq!(said.text().lines().filter(|line| line.contains("  running in ")).count(), 5, "{said:?}");
    assert!(names.iter().all(|name| estate.state(name) == "running"));
    estate.t(&["stop", "--kill", "--yes", "--all", "--parallel", "5"]).ok();
    assert!(names.iter().all(|name| estate.state(name) == "stopped"));
    estate.t(&["start", "--parallel", "0", "a"]).fails(20, &["0 is not in 1..=64"]);
    estate.t(&["destroy", "--parallel", "2", "--yes", "@all"]).ok();
    assert_eq!(estate.t(&["list", "--quiet"]).ok().text(), "");
}

fn a_failure_among_many_is_told_and_the_others_go_on() {
    let estate = Estate::with_busybox();
    for name in ["a", "b"] {
        estate.t(&["create", name, "--template", "busybox"]).ok();
    }
    estate
        .t(&["start", "--parallel", "4", "a", "none", "b"])
        .fails(14, &["cannot start tenant 'none': there is no tenant 'none'"]);
    assert_eq!((estate.state("a"), estate.state("b")), ("running".into(), "running".into()));
    estate.t(&["start", "--parallel", "4", "a", "b"]).fails(
        32,
        &["2 of 2 failed:", "cannot start tenant 'a': it is running", "tenant 'b': it is running"],
    );
}

fn a_verb_waits_for_another_as_long_as_it_is_told() {
    use nix::fcntl::{Flock, FlockArg};
    let estate = Estate::with_busybox();
    estate.t(&["create", "web", "--template", "busybox"]).ok();
    let file =
        fs::File::options().write(true).create(true).truncate(false).open(estate.tenant("web").join("lock"));
    let held = Flock::lock(file.unwrap(), FlockArg::LockExclusive).unwrap();
    for verb in [
        &["start", "web"][..],
        &["destroy", "--yes", "web"],
        &["rename", "web", "x"],
        &["set", "web", "owner=x"],
    ] {
        let words = [&verb[..1], &["--lock-timeout", "0"], &verb[1..]].concat();
        estate.t(&words).fails(9, &["it is locked by"]);
    }
    drop(held);
    estate.t(&["start", "--lock-timeout", "0", "web"]).ok();
}

fn a_script_runs_by_its_first_line_with_its_arguments() {
    let estate = Estate::with_running(&[]);
    let path = estate.folder.join("script");
    // Nobody but its owner may read it, and the tenant's root is somebody else.
    let write = |text: &str| {
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    };
    let run =
        |arguments: &[&str]| estate.t(&[&["run-script", "web", path.to_str().unwrap()], arguments].concat());
    write("echo \"$# $2\"; hostname; exit 7\n");
    let seen = run(&["a", "--b c"]);
    assert_eq!((seen.code, seen.text()), (7, "2 --b c\nweb"));
    write("#!/bin/busybox awk -f\nBEGIN { print 6 * 7 }\n");
    assert_ne!(run(&[]).code, 0, "as with the kernel, all words after the program are one");
    write("#!/bin/cat\ntext\n");
    assert_eq!(run(&[]).ok().text(), "#!/bin/cat\ntext");
    write("");
    run(&[]).fails(21, &["cannot run a script in tenant 'web'", "the script is empty"]);
    estate.t(&["run-script", "web", "/nonesuch"]).fails(1, &["open(\"/nonesuch\"): ENOENT"]);
}

fn a_script_is_not_written_into_the_tenant() {
    let estate = Estate::with_running(&[]);
    let path = estate.folder.join("script");
    fs::write(&path, "echo secret-marker >/dev/null\n").unwrap();
    estate.t(&["run-script", "web", path.to_str().unwrap(), "more-secret"]).ok();
    let found =
        child::run(std::process::Command::new("grep").args(["-r", "secret-marker"]).arg(estate.data()));
    assert_eq!(found.stdout, "");
    let log = fs::read_to_string(estate.data().join("audit.jsonl")).unwrap();
    assert!(log.contains("run-script") && !log.contains("more-secret"), "{log}");
}

fn files(estate: &Estate) -> (String, String) {
    let write = |name: &str, text: &str| {
        let path = estate.folder.join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    (write("key.pub", &format!("{KEY}\n")), write("hash", &format!("{HASH}\n")))
}

fn an_account_with_keys_and_a_password_is_there_before_the_start() {
    let estate = Estate::with_busybox();
    let (key, hash) = files(&estate);
    estate
        .t(&[
            "create",
            "web",
            "--template",
            "busybox",
            "--account",
            "ops",
            "--ssh-key",
            &key,
            "--password-hash",
            &hash,
        ])
        .ok();
    estate.t(&["start", "web"]).ok();
    let line = estate.sh("grep ^ops: /etc/passwd");
    let id = line.split(':').nth(2).unwrap().to_owned();
    assert!(line.ends_with(":/home/ops:/bin/sh") && id.parse::<u32>().unwrap() >= 1000, "{line}");
    assert_eq!(
        estate.sh("cat /home/ops/.ssh/authorized_keys; grep -c ^ops: /etc/shadow"),
        format!("{KEY}\n1")
    );
    assert!(estate.sh("cat /etc/shadow").contains(&format!("ops:{HASH}:")));
    if nix::unistd::geteuid().is_root() {
        let seen =
            estate.sh("stat -c '%u %a' /home/ops /home/ops/.ssh /home/ops/.ssh/authorized_keys /etc/shadow");
        assert_eq!(seen, format!("{id} 750\n{id} 700\n{id} 600\n0 640"));
        assert_eq!(estate.t(&["exec", "--user", "ops", "web", "--", "id", "-un"]).ok().text(), "ops");
    }
    estate.t(&["provision", "--ssh-key", &key, "web"]).fails(32, &["it is running"]);
    estate.t(&["stop", "--kill", "web"]).ok();
    // A second time changes nothing; without an account it is root's.
    estate.t(&["provision", "--account", "ops", "--ssh-key", &key, "web"]).ok();
    estate.t(&["provision", "--ssh-key", &key, "web"]).ok();
    estate.t(&["start", "web"]).ok();
    let keys = estate.sh("cat /home/ops/.ssh/authorized_keys /root/.ssh/authorized_keys");
    assert_eq!(keys, format!("{KEY}\n{KEY}"));
    assert!(estate.sh("cat /etc/shadow").contains(&format!("ops:{HASH}:")));
}

fn provisioning_follows_no_link_out_of_the_root() {
    let estate = Estate::with_running(&[]);
    let (key, _) = files(&estate);
    let outside = estate.folder.join("outside");
    fs::create_dir(&outside).unwrap();
    fs::set_permissions(&outside, fs::Permissions::from_mode(0o777)).unwrap();
    let place = outside.display();
    estate.sh(&format!(
        "rm -rf /root; ln -s {place} /root; rm -f /etc/shadow; ln -s {place}/shadow /etc/shadow"
    ));
    estate.t(&["stop", "--kill", "web"]).ok();
    estate.t(&["provision", "--ssh-key", &key, "web"]);
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

fn secrets_are_in_no_log_and_no_settings() {
    let estate = Estate::with_busybox();
    let mut command = estate.command(&["create", "web", "--template", "busybox", "--password-hash", "-"]);
    child::run_with_input(&mut command, HASH.as_bytes()).ok();
    for path in [estate.data().join("audit.jsonl"), estate.tenant("web").join("tenant.toml")] {
        assert!(!fs::read_to_string(&path).unwrap().contains("0123456789abcdef"), "{path:?}");
    }
    estate.t(&["start", "web"]).ok();
    assert!(estate.sh("cat /etc/shadow").contains(&format!("root:{HASH}:")));
}

fn what_makes_no_sense_is_not_provisioned() {
    let estate = Estate::with_busybox();
    let (key, hash) = files(&estate);
    let private = estate.folder.join("private");
    fs::write(&private, "-----BEGIN OPENSSH PRIVATE KEY-----\n").unwrap();
    let private = private.to_str().unwrap();
    for (options, words) in [
        (["--account", "a:b"], "is no name of an account"),
        (["--ssh-key", private], "it is a private key"),
        (["--ssh-key", hash.as_str()], "line 1 is no public ssh key"),
        (["--password-hash", key.as_str()], "not hashed as crypt(5) has it"),
        (["--timezone", "../../etc/passwd"], "is no time zone"),
        (["--timezone", "Nowhere/Land"], "its root has no time zone \"Nowhere/Land\""),
    ] {
        let words = ["cannot create tenant 'web'", words];
        estate.t(&[&["create", "web", "--template", "busybox"], &options[..]].concat()).fails(21, &words);
    }
    assert_eq!(
        fs::read_dir(estate.data().join("tenants"))
            .unwrap()
            .filter(|e| e.as_ref().unwrap().path().is_dir())
            .count(),
        0
    );
    estate.t(&["create", "web", "--template", "busybox"]).ok();
    estate.t(&["provision", "web"]).fails(21, &["nothing is asked for"]);
}

fn a_run_once_script_runs_until_it_has_succeeded_once() {
    let estate = Estate::with_busybox();
    let path = estate.folder.join("once");
    fs::write(&path, "#!/bin/sh\necho ran >> /etc/mark\n[ -e /etc/ready ]\n").unwrap();
    estate.t(&["create", "web", "--template", "busybox", "--run-once", path.to_str().unwrap()]).ok();
    let kept = estate.tenant("web").join("run-once");
    assert_eq!(fs::metadata(&kept).unwrap().mode() & 0o777, 0o600);
    estate
        .t(&["start", "web"])
        .fails(1, &["its run-once script failed with exit code 1", "runs again at the next start"]);
    estate.sh("touch /etc/ready");
    estate.t(&["restart", "--kill", "web"]).ok();
    assert!(!kept.exists());
    estate.t(&["restart", "--kill", "web"]).ok();
    assert_eq!(estate.sh("cat /etc/mark"), "ran\nran");
}
