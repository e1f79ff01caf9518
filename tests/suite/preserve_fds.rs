//! `--preserve-fds` and LISTEN_FDS: which descriptors of the caller a container keeps.

use std::process::Command;

use crate::support::*;
use crate::tests;

tests![
    preserved_descriptors_arrive_and_no_others,
    a_preserved_descriptor_can_be_read,
    a_preserved_descriptor_that_is_closed_is_refused needs [Need::Not("runc", "1.1 passes one of its own")],
    exec_preserves_descriptors_too,
    passed_sockets_arrive_with_their_environment,
    passed_sockets_meant_for_another_process_stay_out,
    passed_sockets_come_before_preserved_descriptors,
];

/// Runs `inner` from a shell that first opens `redirections`.
fn with_descriptors(inner: &Command, redirections: &str, before: &str) -> Output {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{before} exec \"$0\" \"$@\" {redirections}")]);
    child::run(command.arg(inner.get_program()).args(inner.get_args()))
}

fn numbers(output: &Output) -> Vec<&str> {
    output.text().split_whitespace().collect()
}

fn preserved_descriptors_arrive_and_no_others() {
    let container = Bundle::new(&["/bin/ls", "/proc/self/fd"]).container();
    let inner = container.bundle_command("run", &["--preserve-fds", "2"]);
    let output = with_descriptors(&inner, "3</etc/passwd 4</etc/group 5</etc/hosts 9</", "").ok();
    // `ls` itself opens the folder as the next one.
    assert_eq!(numbers(&output), ["0", "1", "2", "3", "4", "5"]);
}

fn a_preserved_descriptor_can_be_read() {
    let bundle = Bundle::shell("cat <&3; cat <&4");
    let folder = bundle.host_folder("host");
    std::fs::write(folder.join("a"), "first ").unwrap();
    std::fs::write(folder.join("b"), "second").unwrap();
    let container = bundle.container();
    let inner = container.bundle_command("run", &["--preserve-fds=2"]);
    let files = format!("3<{0}/a 4<{0}/b", folder.display());
    assert_eq!(with_descriptors(&inner, &files, "").ok().text(), "first second");
}

fn a_preserved_descriptor_that_is_closed_is_refused() {
    let container = Bundle::nothing().container();
    let inner = container.bundle_command("run", &["--preserve-fds", "2"]);
    let output = with_descriptors(&inner, "3</etc/passwd 4<&-", "");
    assert_eq!(output.code, 1, "{output}");
    container.leaves_nothing();
}

fn exec_preserves_descriptors_too() {
    let container = Bundle::sleeper().start();
    let inner = container.exec_command(&["--preserve-fds", "1"], &["/bin/ls", "/proc/self/fd"]);
    let output = with_descriptors(&inner, "3</etc/passwd 8</", "").ok();
    assert_eq!(numbers(&output), ["0", "1", "2", "3", "4"]);
}

const LISTENS: &str = "export LISTEN_FDS=1 LISTEN_PID=$$;";

fn passed_sockets_arrive_with_their_environment() {
    let container =
        Bundle::shell("echo $LISTEN_FDS $LISTEN_PID $$; readlink /proc/self/fd/3 > /dev/null && echo three")
            .container();
    let inner = container.bundle_command("run", &[]);
    assert_eq!(with_descriptors(&inner, "3</etc/passwd", LISTENS).ok().text(), "1 1 1\nthree");
}

fn passed_sockets_meant_for_another_process_stay_out() {
    let container = Bundle::shell("echo \"[$LISTEN_FDS]\"; ls /proc/self/fd | wc -l").container();
    let inner = container.bundle_command("run", &[]);
    let output = with_descriptors(&inner, "3</etc/passwd", "export LISTEN_FDS=1 LISTEN_PID=1;").ok();
    assert_eq!(output.text(), "[]\n4");
}

fn passed_sockets_come_before_preserved_descriptors() {
    let bundle = Bundle::shell("cat <&3; cat <&4; echo $LISTEN_FDS");
    let folder = bundle.host_folder("host");
    std::fs::write(folder.join("a"), "passed ").unwrap();
    std::fs::write(folder.join("b"), "preserved ").unwrap();
    let container = bundle.container();
    let inner = container.bundle_command("run", &["--preserve-fds", "1"]);
    let files = format!("3<{0}/a 4<{0}/b", folder.display());
    assert_eq!(with_descriptors(&inner, &files, LISTENS).ok().text(), "passed preserved 1");
}
