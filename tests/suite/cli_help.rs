//! The command line as callers type it: help, spellings of options, and mistakes.

use crate::support::*;
use crate::tests;

tests![
    help_lists_every_command,
    every_command_explains_itself,
    an_unknown_command_is_refused,
    an_unknown_option_is_refused,
    an_option_takes_its_value_with_or_without_an_equals_sign,
    a_long_option_may_have_one_dash needs [Need::Not("runc", "tested with an option that 1.1 lacks")],
    the_options_of_every_engine_are_accepted needs [Need::Isolate],
    checkpoint_is_not_there_yet needs [Need::Isolate],
    crun_is_a_name_it_goes_by needs [Need::Isolate],
    nothing_at_all_shows_the_help,
    standard_output_that_is_closed_is_no_crash,
];

const COMMANDS: [&str; 12] =
    ["create", "start", "state", "kill", "delete", "run", "exec", "list", "ps", "pause", "resume", "spec"];

fn help_lists_every_command() {
    for flag in ["--help", "-h", "help"] {
        let output = bundle::runtime(&[flag]).ok();
        for command in COMMANDS {
            assert!(output.stdout.contains(command), "{flag} {command}: {output}");
        }
    }
}

fn every_command_explains_itself() {
    for command in COMMANDS {
        let output = bundle::runtime(&[command, "--help"]).ok();
        assert!(output.stdout.to_lowercase().contains("usage") && output.stderr.is_empty(), "{output}");
    }
}

fn an_unknown_command_is_refused() {
    let output = bundle::runtime(&["nonesuch"]);
    assert!(output.code != 0 && (output.stderr + &output.stdout).contains("No help topic for 'nonesuch'"));
}

fn an_unknown_option_is_refused() {
    for arguments in
        [vec!["--nonesuch", "list"], vec!["list", "--nonesuch"], vec!["delete", "--nonesuch", "x"]]
    {
        let output = bundle::runtime(&arguments);
        assert!(
            output.code != 0 && (output.stderr.clone() + &output.stdout).contains("nonesuch"),
            "{output}"
        );
    }
}

fn an_option_takes_its_value_with_or_without_an_equals_sign() {
    let container = Bundle::nothing().container();
    let folder = container.bundle.folder.to_str().unwrap().to_owned();
    let pid_file = container.bundle.folder.join("p").display().to_string();
    let with = [format!("--bundle={folder}"), format!("--pid-file={pid_file}")];
    container.runtime(&["run", &with[0], &with[1], container.id()]).ok();
    container.runtime(&["run", "--bundle", &folder, "--pid-file", &pid_file, container.id()]).ok();
    container.runtime(&["run", "-b", &folder, container.id()]).ok();
}

fn a_long_option_may_have_one_dash() {
    let container = Bundle::nothing().container();
    let folder = container.bundle.folder.to_str().unwrap().to_owned();
    container.runtime(&["run", "-no-subreaper", "-bundle", &folder, container.id()]).ok();
}

fn the_options_of_every_engine_are_accepted() {
    for options in [
        vec!["--log-level", "error"],
        vec!["--log-level=debug"],
        vec!["--rootless", "auto"],
        vec!["--rootless=true"],
        vec!["--cgroup-manager", "cgroupfs"],
        vec!["--cgroup-manager=disabled"],
        vec!["--debug"],
        vec!["--log-format=json"],
    ] {
        let arguments: Vec<_> = options.iter().copied().chain(["list", "-q"]).collect();
        bundle::runtime(&arguments).ok();
    }
}

fn checkpoint_is_not_there_yet() {
    // podman takes exit code 0 for "can checkpoint".
    assert!(bundle::runtime(&["checkpoint", "--help"]).code != 0);
    assert!(bundle::runtime(&["restore", "--help"]).code != 0);
}

fn crun_is_a_name_it_goes_by() {
    // podman chooses its behaviour by the name of the binary.
    let container = Bundle::new(&["/bin/echo", "hello"]).container();
    let link = container.bundle.folder.join("crun");
    std::os::unix::fs::symlink(&session().runtime, &link).unwrap();
    let mut command = std::process::Command::new(&link);
    command.arg("--root").arg(&container.bundle.root).args(["run", "--bundle"]);
    assert_eq!(child::run(command.arg(&container.bundle.folder).arg(container.id())).ok().text(), "hello");
}

fn nothing_at_all_shows_the_help() {
    let output = child::run(&mut std::process::Command::new(&session().runtime));
    assert!((output.stdout + &output.stderr).contains("create"));
}

fn standard_output_that_is_closed_is_no_crash() {
    let runtime = session().runtime.display().to_string();
    for arguments in ["--help", "list", "features", "--version"] {
        let script = format!("{runtime} --root /nonesuch {arguments} >&-; test $? -lt 128 || echo crashed");
        let output = child::run(std::process::Command::new("sh").args(["-c", &script]));
        assert!(
            !output.stdout.contains("crashed") && !output.stderr.contains("panicked"),
            "{arguments}: {output}"
        );
    }
}
