//! What podman makes of the runtime's refusals: 127 for a missing program, 126 for one that cannot be executed,
//! 125 for its own; and its text, which is chosen by the words of the runtime's one error record.

use std::fs;

use crate::engine::*;
use crate::support::Need;
use crate::support::session::unique;
use crate::tests;

tests![
    a_missing_command_exits_127,
    a_missing_path_exits_127,
    a_missing_interpreter_fails_and_names_the_program,
    a_file_that_is_not_executable_exits_126,
    a_folder_as_command_exits_126,
    a_file_of_no_known_format_fails_and_says_so,
    a_user_who_may_not_execute_gets_126,
    an_unknown_option_exits_125,
    an_unknown_image_exits_125,
    an_unknown_user_exits_125_or_126,
    a_missing_volume_exits_125,
    a_missing_workdir_is_named,
    a_container_that_failed_can_be_removed_and_leaves_nothing,
    the_error_is_one_line,
    a_fault_that_is_not_the_programs_is_no_missing_command needs [
        Need::Not("runc", "its words for a failed mount are those of a missing command"),
        Need::Not("crun", "its words for a failed mount are those of a missing command"),
    ],
];

const NOT_FOUND: &str = "OCI runtime attempted to invoke a command that was not found";
const DENIED: &str = "OCI permission denied";

fn a_missing_command_exits_127() {
    run(&[], &["no-such-program"])
        .fails(127, &["no-such-program", "executable file not found in $PATH", NOT_FOUND]);
}

fn a_missing_path_exits_127() {
    run(&[], &["/no/such/program"]).fails(127, &["/no/such/program", NOT_FOUND]);
    run(&[], &["./program"]).fails(127, &["./program", NOT_FOUND]);
}

/// A volume with one program of ours.
fn program(text: &str, mode: u32) -> String {
    use std::os::unix::fs::PermissionsExt;
    let file = folder().join(unique("program-"));
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
    format!("{}:/program", file.display())
}

fn a_missing_interpreter_fails_and_names_the_program() {
    // The runtimes find out when the program starts, after create has told podman that all is well.
    let output = run(&["-v", &program("#!/no/such/shell\n", 0o755)], &["/program"]);
    assert!(output.code != 0 && output.stderr.contains("/program"), "{output}");
}

fn a_file_that_is_not_executable_exits_126() {
    run(&[], &["/etc/passwd"]).fails(126, &["/etc/passwd", DENIED]);
    run(&["-v", &program("#!/bin/sh\n", 0o644)], &["/program"]).fails(126, &["/program", DENIED]);
}

fn a_folder_as_command_exits_126() {
    run(&[], &["/etc"]).fails(126, &["/etc"]);
}

fn a_file_of_no_known_format_fails_and_says_so() {
    let output = run(&["-v", &program("no program\n", 0o755)], &["/program"]);
    assert!(output.code != 0, "{output}");
    assert!(output.stderr.to_lowercase().contains("format"), "{output}");
}

fn a_user_who_may_not_execute_gets_126() {
    let volume = program("#!/bin/sh\n", 0o700);
    let output = run(&["--user", "4711", "-v", &volume], &["/program"]);
    output.fails(126, &["/program", DENIED]);
}

fn an_unknown_option_exits_125() {
    run(&["--no-such-option"], &["true"]).fails(125, &["no-such-option"]);
}

fn an_unknown_image_exits_125() {
    podman(&["run", "--rm", "--pull=never", "localhost/no-such-image", "true"])
        .fails(125, &["no-such-image"]);
}

fn an_unknown_user_exits_125_or_126() {
    let output = run(&["--user", "nobody-of-this-name"], &["true"]);
    assert!(output.code == 125 || output.code == 126, "{output}");
    assert!(output.stderr.contains("nobody-of-this-name"), "{output}");
}

fn a_missing_volume_exits_125() {
    run(&["-v", "/no/such/folder:/data"], &["true"]).fails(125, &["/no/such/folder"]);
}

fn a_missing_workdir_is_named() {
    let output = run(&["--workdir", "/no/such/folder"], &["true"]);
    assert!(output.code != 0 && output.stderr.contains("/no/such/folder"), "{output}");
}

fn a_container_that_failed_can_be_removed_and_leaves_nothing() {
    let container = Container::create(&[], &["no-such-program"]);
    container.podman(&["start"]).fails(125, &[NOT_FOUND]);
    assert_eq!(container.status(), "created");
    let id = container.inspect(".ID");
    container.podman(&["rm"]).ok();
    let folders = crate::support::cgroup::all_folders();
    assert!(!folders.iter().any(|path| path.to_string_lossy().contains(&id)), "{folders:?}");
}

fn the_error_is_one_line() {
    let output = run(&[], &["no-such-program"]);
    assert_eq!(output.stderr.trim().lines().count(), 1, "{output}");
    assert!(!output.stderr.contains("\"level\"") && !output.stderr.contains("time="), "{output}");
}

fn a_fault_that_is_not_the_programs_is_no_missing_command() {
    let output = run(&["--mount", "type=tmpfs,destination=/data,tmpfs-size=-1"], &["true"]);
    assert!(output.code == 125 || output.code == 126, "{output}");
    assert!(!output.stderr.contains(NOT_FOUND), "{output}");
}
