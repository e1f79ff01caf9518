//! The process of a container: its folder, environment, ids, umask, and what it does not inherit.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::support::*;
use crate::tests;

tests![
    the_arguments_arrive_as_they_are,
    the_program_is_searched_in_the_path_of_the_config,
    the_program_is_searched_in_the_root_not_on_the_host,
    the_environment_is_that_of_the_config_alone,
    the_last_of_two_equal_variables_wins,
    a_missing_home_is_taken_from_the_image,
    a_variable_without_a_value_is_refused needs [Need::Not("runc", "1.1 drops it")],
    the_working_folder_is_that_of_the_config,
    a_missing_working_folder_is_made,
    a_working_folder_that_is_a_file_is_refused,
    a_working_folder_outside_the_container_is_refused,
    a_relative_working_folder_is_refused,
    a_working_folder_of_the_user_alone_can_be_entered needs [Need::Root],
    the_user_and_group_are_those_of_the_config needs [Need::Root],
    the_additional_groups_are_exactly_those_of_the_config needs [Need::Root],
    without_additional_groups_there_are_none needs [Need::Root],
    standard_output_may_be_reopened_by_another_user needs [Need::Root],
    the_umask_is_that_of_the_config needs [Need::Not("runc", "1.1 reads no umask of the main process")],
    the_umask_defaults_to_022,
    the_oom_score_is_that_of_the_config needs [Need::Root],
    no_new_privileges_is_off_unless_asked_for,
    no_new_privileges_is_set,
    no_signal_is_ignored_or_blocked,
    signals_ignored_by_the_caller_are_not_ignored_inside,
    no_descriptor_leaks_in,
    the_program_is_no_child_of_a_waiting_runtime,
    the_working_folder_cannot_be_a_leaked_descriptor,
    the_container_is_in_a_session_of_its_own,
    the_container_has_a_session_keyring_of_its_own needs [Need::File("/proc/keys")],
    the_environment_of_the_runtime_does_not_leak_in,
    the_binary_of_the_runtime_cannot_be_overwritten needs [Need::Root],
    twenty_thousand_additional_groups_work_or_are_refused needs [Need::Root],
];

fn the_arguments_arrive_as_they_are() {
    let arguments = ["/bin/printf", "%s|", "a b", "", "$HOME", "*", "ä\u{1f600}", "--", "-n"];
    assert_eq!(Bundle::new(&arguments).output(), "a b||$HOME|*|ä\u{1f600}|--|-n|");
}

fn the_program_is_searched_in_the_path_of_the_config() {
    let bundle = Bundle::new(&["mine"]).program("/opt/tools/mine", "#!/bin/sh\necho found $0\n");
    let bundle = bundle.set("/process/env", json!(["PATH=/nonesuch:/opt/tools:/bin"]));
    assert_eq!(bundle.output(), "found /opt/tools/mine");
}

fn the_program_is_searched_in_the_root_not_on_the_host() {
    Bundle::new(&["runc"]).refused(&["executable file not found in $PATH"]);
}

fn the_environment_is_that_of_the_config_alone() {
    let bundle =
        Bundle::new(&["/bin/env"]).set("/process/env", json!(["PATH=/bin", "HOME=/x", "A=b=c", "E="]));
    assert_eq!(bundle.output().lines().collect::<Vec<_>>(), ["PATH=/bin", "HOME=/x", "A=b=c", "E="]);
}

fn the_last_of_two_equal_variables_wins() {
    let bundle = Bundle::shell("echo $TWICE").set("/process/env", json!(["PATH=/bin", "TWICE=1", "TWICE=2"]));
    assert_eq!(bundle.output(), "2");
}

fn a_missing_home_is_taken_from_the_image() {
    let bundle = Bundle::shell("echo $HOME").set("/process/env", json!(["PATH=/bin"]));
    assert_eq!(bundle.file("/etc/passwd", "root:x:0:0::/somewhere:/bin/sh\n").output(), "/somewhere");
}

fn a_variable_without_a_value_is_refused() {
    Bundle::nothing().set("/process/env", json!(["PATH=/bin", "NOTHING"])).refused(&["process.env"]);
}

fn the_working_folder_is_that_of_the_config() {
    assert_eq!(Bundle::new(&["/bin/pwd"]).set("/process/cwd", json!("/usr/bin")).output(), "/usr/bin");
}

fn a_missing_working_folder_is_made() {
    let bundle = Bundle::shell("pwd; stat -c %a .").set("/process/cwd", json!("/not/there"));
    assert_eq!(bundle.output(), "/not/there\n755");
}

fn a_working_folder_that_is_a_file_is_refused() {
    Bundle::nothing().set("/process/cwd", json!("/etc/passwd")).refused(&[]);
}

fn a_working_folder_outside_the_container_is_refused() {
    // CVE-2024-21626: a descriptor of the runtime that leads to a folder of the host.
    for descriptor in 3..20 {
        let cwd = format!("/proc/self/fd/{descriptor}");
        let output = Bundle::new(&["/bin/ls", "../../.."]).set("/process/cwd", json!(cwd)).run();
        assert!(output.code != 0 && output.stdout.is_empty(), "{cwd}: {output}");
    }
}

fn a_relative_working_folder_is_refused() {
    let output = Bundle::nothing().set("/process/cwd", json!("tmp")).refused(&[]);
    assert!(output.stderr.to_lowercase().contains("cwd"), "{output}");
}

fn a_working_folder_of_the_user_alone_can_be_entered() {
    let bundle = Bundle::new(&["/bin/pwd"]).directory("/home/user").set("/process/cwd", json!("/home/user"));
    let bundle = bundle.config(|json| {
        config::set_capabilities(json, &[]);
        json["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    });
    let folder = bundle.rootfs().join("home/user");
    std::os::unix::fs::chown(&folder, Some(1000), Some(1000)).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(bundle.output(), "/home/user");
}

fn the_user_and_group_are_those_of_the_config() {
    let bundle = Bundle::shell("grep -E '^(Uid|Gid)' /proc/self/status; id -un");
    let seen = bundle.set("/process/user", json!({"uid": 1000, "gid": 1234})).output();
    assert_eq!(seen, "Uid:\t1000\t1000\t1000\t1000\nGid:\t1234\t1234\t1234\t1234\nuser");
}

fn groups(additional: serde_json::Value) -> String {
    let user = json!({"uid": 1000, "gid": 1000, "additionalGids": additional});
    let seen = Bundle::shell("cat /proc/self/status").set("/process/user", user).output();
    process::field_of(&seen, "Groups").unwrap()
}

fn the_additional_groups_are_exactly_those_of_the_config() {
    assert_eq!(groups(json!([5, 77, 100_000])), "5 77 100000");
}

fn without_additional_groups_there_are_none() {
    assert_eq!(groups(json!([])), "");
}

fn standard_output_may_be_reopened_by_another_user() {
    let bundle = Bundle::shell("echo again > /dev/stdout");
    assert_eq!(bundle.set("/process/user", json!({"uid": 1000, "gid": 1000})).output(), "again");
}

fn the_umask_is_that_of_the_config() {
    let bundle =
        Bundle::shell("umask; touch /tmp/f; stat -c %a /tmp/f").set("/process/user/umask", json!(0o077));
    assert_eq!(bundle.output(), "0077\n600");
}

fn the_umask_defaults_to_022() {
    assert_eq!(Bundle::shell("umask").output(), "0022");
}

fn the_oom_score_is_that_of_the_config() {
    let bundle = Bundle::shell("cat /proc/self/oom_score_adj").set("/process/oomScoreAdj", json!(321));
    assert_eq!(bundle.output(), "321");
}

fn status_field(bundle: Bundle, field: &str) -> String {
    let text =
        bundle.config(|json| json["process"]["args"] = json!(["/bin/cat", "/proc/self/status"])).output();
    process::field_of(&text, field).unwrap()
}

fn no_new_privileges_is_off_unless_asked_for() {
    assert_eq!(status_field(Bundle::nothing(), "NoNewPrivs"), "0");
}

fn no_new_privileges_is_set() {
    let bundle = Bundle::nothing().set("/process/noNewPrivileges", json!(true));
    assert_eq!(status_field(bundle, "NoNewPrivs"), "1");
}

/// A set of signals without 32 and 33: the C library keeps those for itself, and ignores them in what it
/// spawns.
fn signals(set: &str) -> u64 {
    u64::from_str_radix(set.trim(), 16).unwrap() & !(0b11 << 31)
}

fn no_signal_is_ignored_or_blocked() {
    for field in ["SigBlk", "SigIgn", "SigCgt"] {
        assert_eq!(signals(&status_field(Bundle::nothing(), field)), 0, "{field}");
    }
}

fn signals_ignored_by_the_caller_are_not_ignored_inside() {
    let container = Bundle::new(&["/bin/grep", "SigIgn", "/proc/self/status"]).container();
    let inner = container.bundle_command("run", &[]);
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "trap '' PIPE HUP USR1 TERM; exec \"$0\" \"$@\""]);
    let output = child::run(command.arg(inner.get_program()).args(inner.get_args())).ok();
    assert_eq!(signals(output.text().trim_start_matches("SigIgn:")), 0, "{output}");
}

fn no_descriptor_leaks_in() {
    let container = Bundle::new(&["/bin/ls", "/proc/self/fd"]).container();
    let inner = container.bundle_command("run", &[]);
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "exec \"$0\" \"$@\" 7</ 9</etc/passwd"]);
    let output = child::run(command.arg(inner.get_program()).args(inner.get_args())).ok();
    // `ls` itself has the folder open.
    assert_eq!(output.text().split_whitespace().collect::<Vec<_>>(), ["0", "1", "2", "3"]);
}

fn the_program_is_no_child_of_a_waiting_runtime() {
    let container = Bundle::sleeper().start();
    assert_eq!(process::parent(container.pid()), Some(std::process::id() as i32));
}

fn the_working_folder_cannot_be_a_leaked_descriptor() {
    let script = "readlink /proc/self/cwd; ls -l /proc/1/fd | grep -c isolate-test";
    let output = Bundle::shell(script).run();
    let lines: Vec<_> = output.text().lines().collect();
    // The two output files are the caller's own.
    assert!(lines[0] == "/" && lines[1].parse::<u32>().unwrap() <= 2, "{output}");
}

fn the_container_is_in_a_session_of_its_own() {
    let container = Bundle::sleeper().start();
    let stat = fs::read_to_string(format!("/proc/{}/stat", container.pid())).unwrap();
    let fields: Vec<_> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    assert_eq!(
        (fields[2], fields[3]),
        (container.pid().to_string().as_str(), container.pid().to_string().as_str())
    );
}

fn the_container_has_a_session_keyring_of_its_own() {
    let container = Bundle::shell("cat /proc/keys; true").unset("/linux/maskedPaths").container();
    let with = container.run(&[]).ok();
    assert!(with.stdout.contains(&format!("_ses.{}:", container.id())), "{with}");
    // The kernel collects the first one later: only another id tells.
    let other = Bundle::shell("cat /proc/keys; true").unset("/linux/maskedPaths").container();
    let without = other.run(&["--no-new-keyring"]).ok();
    assert!(!without.stdout.contains(&format!("_ses.{}:", other.id())), "{without}");
}

fn the_environment_of_the_runtime_does_not_leak_in() {
    let container = Bundle::new(&["/bin/env"]).container();
    let mut command = container.bundle_command("run", &[]);
    let output = child::run(command.env("LEAK", "yes").env("LD_PRELOAD", "")).ok();
    assert!(!output.stdout.contains("LEAK"), "{output}");
}

fn the_binary_of_the_runtime_cannot_be_overwritten() {
    // CVE-2019-5736: the image's program is a link to the runtime itself.
    let before = fs::read(&session().runtime).unwrap();
    let script = "#!/proc/self/exe\n";
    let bundle = Bundle::new(&["/attack"]).program("/attack", script);
    let _ = bundle.run();
    let looper = Bundle::shell(
        "i=0; while [ $i -lt 400 ]; do for p in /proc/[0-9]*; do \
         [ $p = /proc/1 ] || (echo overwritten > $p/exe) 2>/dev/null; done; i=$((i+1)); done",
    )
    .start();
    for _ in 0..5 {
        looper.exec(&["/proc/self/exe", "--help"]);
    }
    assert!(fs::read(&session().runtime).unwrap() == before, "the runtime's binary has changed");
}

fn twenty_thousand_additional_groups_work_or_are_refused() {
    let groups: Vec<u32> = (1..=20_000).collect();
    let bundle = Bundle::shell("grep Groups /proc/self/status | wc -w; readlink /proc/self/ns/net");
    let output = bundle.set("/process/user/additionalGids", json!(groups)).run();
    let lines: Vec<_> = output.text().lines().collect();
    let right = lines.len() == 2 && lines[0] == "20001" && lines[1] != process::own_namespace("net");
    assert!(output.code == 1 || right, "{output}");
}
