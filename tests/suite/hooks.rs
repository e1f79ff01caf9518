//! Hooks: the six kinds, when and where each runs, what it is told, and what its failure means.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::*;
use crate::tests;

tests![
    hooks_run_in_the_order_of_the_specification needs [Need::Not("runc", "1.1 runs poststart before the start")],
    each_hook_reads_the_state needs [Need::Not("runc", "1.1 runs poststart before the start")],
    hooks_of_one_kind_run_in_the_order_of_the_list,
    prestart_and_create_runtime_run_on_the_host,
    create_container_runs_in_the_namespaces_of_the_container,
    start_container_runs_inside_the_root,
    a_hook_has_the_environment_of_its_entry_alone,
    a_hook_gets_its_arguments,
    a_failing_hook_before_start_fails_create,
    a_failing_hook_names_its_kind_and_number needs [Need::Not("runc", "1.1 words it differently")],
    a_failing_start_container_hook_fails_the_start,
    a_failing_poststart_hook_ends_the_container needs [Need::Not("runc", "1.1 runs poststart before the start")],
    a_failing_poststop_hook_is_a_warning needs [Need::Not("runc", "1.1 runs no further hook")],
    a_hook_that_takes_too_long_is_killed,
    a_hook_that_does_not_exist_fails_create,
    a_relative_path_of_a_hook_is_refused needs [Need::Not("runc", "1.1 takes it")],
    poststop_runs_when_the_container_is_deleted,
    poststop_runs_after_a_failed_create needs [Need::Not("runc", "1.1 runs none")],
    what_a_hook_prints_is_told_when_it_fails,
    the_network_exists_when_the_hooks_run,
    what_all_hooks_say_is_appended_to_the_files_of_the_annotations needs [Need::Isolate],
    a_failing_hook_says_why_in_the_file_of_the_annotation needs [Need::Isolate],
    a_file_for_hooks_that_cannot_be_opened_fails_create needs [Need::Isolate],
];

const KINDS: [&str; 6] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// A hook that runs a shell script.
fn hook(script: &str) -> Value {
    json!({"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]})
}

/// Adds a hook of the kind whose script gets the folder `/tmp` of the container's root as `$T`.
fn with_hook(bundle: Bundle, kind: &str, script: &str) -> Bundle {
    let folder = match kind {
        "startContainer" => "/tmp".to_owned(),
        _ => bundle.rootfs().join("tmp").display().to_string(),
    };
    let entry = hook(&format!("T={folder}; {script}"));
    bundle.config(|json| {
        let hooks = json.as_object_mut().unwrap().entry("hooks").or_insert_with(|| json!({}));
        let list = hooks.as_object_mut().unwrap().entry(kind).or_insert_with(|| json!([]));
        list.as_array_mut().unwrap().push(entry);
    })
}

fn all_kinds(script: &str) -> Bundle {
    let bundle = Bundle::shell("echo program >> /tmp/order; sleep 100");
    // Hooks in the container may run as another user than the test.
    fs::write(bundle.rootfs().join("tmp/order"), "").unwrap();
    KINDS.into_iter().fold(bundle, |bundle, kind| with_hook(bundle, kind, &script.replace("KIND", kind)))
}

fn hooks_run_in_the_order_of_the_specification() {
    let container = all_kinds("cat > /dev/null; echo KIND >> $T/order").container();
    container.create(&[]).ok();
    let order = container.read("/tmp/order");
    assert_eq!(order.lines().collect::<Vec<_>>(), KINDS[..3]);
    container.start().ok();
    child::eventually("the program runs", || container.read("/tmp/order").contains("program"));
    let order = container.read("/tmp/order");
    let lines: Vec<_> = order.lines().filter(|line| *line != "program").collect();
    assert_eq!(lines, KINDS[..5]);
    assert!(order.find("startContainer") < order.find("program"), "{order}");
    container.delete_by_force().ok();
    assert!(container.read("/tmp/order").ends_with("poststop\n"));
}

fn each_hook_reads_the_state() {
    let container =
        all_kinds("cat > $T/KIND.json").set("/annotations", json!({"org.test": "value"})).container();
    container.create(&[]).ok();
    let pid = container.pid();
    container.start().ok();
    container.delete_by_force().ok();
    let wanted = ["creating", "creating", "creating", "created", "running", "stopped"];
    for (kind, status) in KINDS.iter().zip(wanted) {
        let state: Value = serde_json::from_str(&container.read(&format!("/tmp/{kind}.json"))).unwrap();
        assert_eq!(state["status"], status, "{kind}: {state}");
        assert_eq!(state["id"], container.id(), "{kind}: {state}");
        assert_eq!(state["bundle"], json!(container.bundle.folder), "{kind}: {state}");
        assert_eq!(state["annotations"]["org.test"], "value", "{kind}: {state}");
        assert!(
            state["ociVersion"].as_str().is_some_and(|version| version.starts_with("1.")),
            "{kind}: {state}"
        );
        if ["prestart", "createRuntime", "poststart"].contains(kind) {
            assert_eq!(state["pid"], pid, "{kind}: {state}");
        }
    }
}

fn hooks_of_one_kind_run_in_the_order_of_the_list() {
    let bundle = (1..=5).fold(Bundle::nothing(), |bundle, number| {
        with_hook(bundle, "createRuntime", &format!("echo {number} >> $T/order"))
    });
    let container = bundle.container();
    container.run(&[]).ok();
    assert_eq!(container.read("/tmp/order"), "1\n2\n3\n4\n5\n");
}

fn prestart_and_create_runtime_run_on_the_host() {
    for kind in ["prestart", "createRuntime"] {
        let script = "readlink /proc/self/ns/mnt /proc/self/ns/pid /proc/self/ns/net > $T/seen";
        let container = with_hook(Bundle::nothing(), kind, script).container();
        container.run(&[]).ok();
        let wanted = ["mnt", "pid", "net"].map(process::own_namespace);
        assert_eq!(container.read("/tmp/seen").lines().collect::<Vec<_>>(), wanted);
    }
}

fn create_container_runs_in_the_namespaces_of_the_container() {
    let bundle =
        Bundle::shell("readlink /proc/self/ns/mnt; readlink /proc/self/ns/net; readlink /proc/self/ns/uts");
    let script = "readlink /proc/self/ns/mnt /proc/self/ns/net /proc/self/ns/uts > $T/seen";
    let container = with_hook(bundle, "createContainer", script).container();
    let inside = container.run(&[]).ok();
    let seen = container.read("/tmp/seen");
    assert_eq!(seen.trim(), inside.text());
    assert!(!seen.contains(&process::own_namespace("mnt")), "{seen}");
}

fn start_container_runs_inside_the_root() {
    let bundle = Bundle::shell("cat /tmp/seen").file("/etc/inside", "inside\n");
    assert_eq!(with_hook(bundle, "startContainer", "cat /etc/inside > $T/seen").output(), "inside");
}

fn a_hook_has_the_environment_of_its_entry_alone() {
    // CVE-2025-23266: a library of the image, preloaded into a program of the host.
    for kind in ["prestart", "createRuntime", "createContainer", "poststop"] {
        let bundle =
            Bundle::nothing().set("/process/env", json!(["PATH=/bin", "LD_PRELOAD=/evil.so", "SECRET=1"]));
        let container = with_hook(bundle, kind, "tr '\\0' '\\n' < /proc/self/environ > $T/seen").container();
        let mut command = container.bundle_command("run", &[]);
        child::run(command.env("OF_THE_CALLER", "1")).ok();
        assert_eq!(container.read("/tmp/seen").trim(), "PATH=/usr/bin:/bin", "{kind}");
    }
}

fn a_hook_gets_its_arguments() {
    let bundle = Bundle::nothing();
    let file = bundle.rootfs().join("tmp/seen");
    let entry = json!({"path": "/bin/sh", "args": ["name", "-c", "echo $0 $1 $2 > $3", "zero", "one", "two words", file]});
    let container = bundle.set("/hooks", json!({"createRuntime": [entry]})).container();
    container.run(&[]).ok();
    assert_eq!(container.read("/tmp/seen").trim(), "zero one two words");
}

fn a_failing_hook_before_start_fails_create() {
    for kind in ["prestart", "createRuntime", "createContainer"] {
        let bundle = with_hook(Bundle::sleeper(), kind, "exit 3");
        bundle.refused(&["hook", "exit status"]);
    }
}

fn a_failing_hook_names_its_kind_and_number() {
    let bundle =
        with_hook(with_hook(Bundle::sleeper(), "createRuntime", "exit 0"), "createRuntime", "exit 3");
    bundle.refused(&["error running createRuntime hook #2:"]);
}

fn a_failing_start_container_hook_fails_the_start() {
    let container = with_hook(Bundle::shell("touch /tmp/ran"), "startContainer", "exit 3").container();
    let output = container.run(&[]);
    assert!(output.code != 0 && !container.bundle.rootfs().join("tmp/ran").exists(), "{output}");
    container.leaves_nothing();
}

fn a_failing_poststart_hook_ends_the_container() {
    let container = with_hook(Bundle::sleeper(), "poststart", "exit 3").create();
    let pid = container.pid();
    container.start().fails(1, &["poststart"]);
    child::eventually("the program is gone", || !process::is_alive(pid));
    container.leaves_nothing();
}

fn a_failing_poststop_hook_is_a_warning() {
    let bundle = with_hook(Bundle::sleeper(), "poststop", "exit 3");
    let container = with_hook(bundle, "poststop", "touch $T/second").start();
    container.delete_by_force().ok();
    container.leaves_nothing();
    assert!(container.bundle.rootfs().join("tmp/second").exists(), "the next hook ran");
}

fn a_hook_that_takes_too_long_is_killed() {
    let mut entry = hook("exec sleep 60");
    entry["timeout"] = json!(1);
    let start = Instant::now();
    Bundle::sleeper().set("/hooks", json!({"createRuntime": [entry]})).refused(&["hook"]);
    assert!(start.elapsed() < Duration::from_secs(10) * child::patience());
}

fn a_hook_that_does_not_exist_fails_create() {
    let output = Bundle::sleeper()
        .set("/hooks", json!({"createRuntime": [{"path": "/nonesuch/hook"}]}))
        .refused(&["hook"]);
    if session().is_isolate() {
        // podman would tell its user that the program of the container is missing.
        assert!(!output.stderr.contains("no such file or directory"), "{output}");
    }
}

fn a_relative_path_of_a_hook_is_refused() {
    let hooks = json!({"createRuntime": [{"path": "bin/true"}]});
    Bundle::sleeper().set("/hooks", hooks).refused(&["hooks.createRuntime[0].path"]);
}

fn poststop_runs_when_the_container_is_deleted() {
    let container = with_hook(Bundle::sleeper(), "poststop", "touch $T/ran").start();
    let ran = container.bundle.rootfs().join("tmp/ran");
    container.kill("KILL").ok();
    container.wait_for("stopped");
    assert!(!ran.exists());
    container.delete().ok();
    assert!(ran.exists());
}

fn poststop_runs_after_a_failed_create() {
    let bundle = with_hook(Bundle::new(&["/nonesuch"]), "poststop", "touch $T/ran");
    let container = bundle.container();
    container.create(&[]).fails(1, &[]);
    assert!(container.bundle.rootfs().join("tmp/ran").exists());
}

fn what_a_hook_prints_is_told_when_it_fails() {
    let bundle = with_hook(Bundle::sleeper(), "createRuntime", "echo the reason is here >&2; exit 1");
    bundle.refused(&["the reason is here"]);
}

fn the_network_exists_when_the_hooks_run() {
    let script = "pid=$(sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/'); readlink /proc/$pid/ns/net > $T/seen";
    let container = with_hook(Bundle::sleeper(), "prestart", script).create();
    assert_eq!(
        Some(container.read("/tmp/seen").trim().to_owned()),
        process::namespace(container.pid(), "net")
    );
}

/// crun's annotations. A hook of the container writes there too, though the file is out of its sight.
fn what_all_hooks_say_is_appended_to_the_files_of_the_annotations() {
    let bundle = all_kinds("echo out KIND; echo err KIND >&2");
    let [out, err] = ["out", "err"].map(|name| bundle.folder.join(name));
    fs::write(&out, "before\n").unwrap();
    let annotations = json!({"run.oci.hooks.stdout": out, "run.oci.hooks.stderr": err});
    let container = bundle.set("/annotations", annotations).start();
    let descriptors = container.sh("ls -l /proc/1/fd");
    let files = [&out, &err].map(|file| file.display().to_string());
    assert!(!files.iter().any(|file| descriptors.contains(file)), "{descriptors}");
    container.delete_by_force().ok();
    let said = |word: &str| KINDS.map(|kind| format!("{word} {kind}\n")).concat();
    assert_eq!(fs::read_to_string(&out).unwrap(), format!("before\n{}", said("out")));
    assert_eq!(fs::read_to_string(&err).unwrap(), said("err"));
}

fn a_failing_hook_says_why_in_the_file_of_the_annotation() {
    let bundle = with_hook(Bundle::sleeper(), "createRuntime", "echo shown; echo the reason >&2; exit 3");
    let file = bundle.folder.join("err");
    let container = bundle.set("/annotations", json!({"run.oci.hooks.stderr": file})).container();
    container.create(&[]).fails(1, &["exit status 3, output: \"shown\""]);
    container.leaves_nothing();
    assert_eq!(fs::read_to_string(&file).unwrap(), "the reason\n");
}

fn a_file_for_hooks_that_cannot_be_opened_fails_create() {
    for (file, words) in
        [("here", "\"here\" is not an absolute path"), ("/nonesuch/file", "O_APPEND): ENOENT")]
    {
        let bundle = with_hook(Bundle::sleeper(), "createRuntime", "exit 0");
        bundle
            .set("/annotations", json!({"run.oci.hooks.stdout": file}))
            .refused(&["annotations[\"run.oci.hooks.stdout\"]", words]);
    }
    // A pipe that nobody reads would keep us for ever.
    let bundle = with_hook(Bundle::sleeper(), "createRuntime", "exit 0");
    let pipe = bundle.folder.join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    bundle.set("/annotations", json!({"run.oci.hooks.stderr": pipe})).refused(&["hooks.stderr", "ENXIO"]);
}
