//! `podman build`: each RUN step is a container of the runtime under test.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::engine::*;
use crate::support::child::{self, Output};
use crate::support::session::{session, unique};
use crate::tests;

tests![
    a_run_step_changes_the_image,
    a_run_step_is_run_by_the_runtime_under_test,
    a_failing_run_step_fails_the_build,
    run_steps_have_user_workdir_and_environment,
    commit_keeps_what_a_container_wrote,
];

fn build_with(runtime: &std::path::Path, tag: &str, file: &str) -> Output {
    let context = folder().join(unique("context-"));
    fs::create_dir_all(&context).unwrap();
    fs::write(context.join("Containerfile"), file).unwrap();
    fs::write(context.join("added"), "from the context\n").unwrap();
    let mut build = command_with(runtime);
    build
        .args(["build", "--isolation", "oci", "--network", "none", "--pull=never", "--tag", tag])
        .arg(&context);
    child::run(&mut build)
}

fn build(file: &str) -> (String, Output) {
    let tag = format!("localhost/{}", unique("isolate-test-built-"));
    let output = build_with(&session().runtime, &tag, &format!("FROM {IMAGE}\n{file}"));
    (tag, output)
}

fn contents(tag: &str, script: &str) -> String {
    podman(&["run", "--rm", "--network", "none", tag, "sh", "-c", script]).ok().text().to_owned()
}

fn a_run_step_changes_the_image() {
    let (tag, output) = build("COPY added /added\nRUN cat /added > /made && echo $$ >> /made\n");
    output.ok();
    let made = contents(&tag, "cat /made");
    assert!(made.starts_with("from the context\n"), "{made}");
}

/// A program under the runtime's name that writes down what it was called with.
fn a_run_step_is_run_by_the_runtime_under_test() {
    let place = folder().join(unique("logged-"));
    fs::create_dir_all(&place).unwrap();
    let (wrapper, log): (PathBuf, _) = (place.join(session().flavour()), place.join("log"));
    let script =
        format!("#!/bin/sh\necho \"$@\" >> {}\nexec {} \"$@\"\n", log.display(), session().runtime.display());
    fs::write(&wrapper, script).unwrap();
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
    let tag = format!("localhost/{}", unique("isolate-test-built-"));
    build_with(&wrapper, &tag, &format!("FROM {IMAGE}\nRUN true\n")).ok();
    let log = fs::read_to_string(log).unwrap();
    for verb in ["create", "start", "delete"] {
        assert!(log.lines().any(|line| line.split(' ').any(|word| word == verb)), "no {verb}: {log}");
    }
}

fn a_failing_run_step_fails_the_build() {
    let (_, output) = build("RUN echo before; exit 23\n");
    assert!(output.code != 0 && output.stderr.contains("23"), "{output}");
    assert!(output.stdout.contains("before"), "{output}");
}

fn run_steps_have_user_workdir_and_environment() {
    let file =
        "ENV GREETING=hello\nWORKDIR /tmp\nUSER 12:34\nRUN echo $(id -u):$(id -g) $(pwd) $GREETING > made\n";
    let (tag, output) = build(file);
    output.ok();
    assert_eq!(contents(&tag, "cat /tmp/made"), "12:34 /tmp hello");
}

fn commit_keeps_what_a_container_wrote() {
    let container = Container::start(&[], &["sh", "-c", "echo written > /made"]);
    container.podman(&["wait"]).ok();
    let tag = format!("localhost/{}", unique("isolate-test-committed-"));
    podman(&["commit", "--quiet", &container.name, &tag]).ok();
    assert_eq!(contents(&tag, "cat /made"), "written");
}
