//! crun's annotations, which engines set: `run.oci.…`.

use std::process::Command;

use serde_json::json;

use crate::support::console::DescriptorSocket;
use crate::support::*;
use crate::tests;

tests![
    the_groups_of_the_caller_are_kept_when_asked needs [Need::Isolate, Need::Root, Need::Program("setpriv")],
    kept_groups_and_named_ones_exclude_each_other needs [Need::Isolate],
    a_pidfd_of_the_init_is_sent_where_the_annotation_says needs [Need::Isolate],
    a_receiver_of_the_pidfd_that_is_not_there_is_an_error needs [Need::Isolate],
    an_unknown_kind_of_mount_context_is_refused needs [Need::Isolate],
    a_user_namespace_that_is_not_new_cannot_be_given_away needs [Need::Isolate, Need::Root],
    features_names_every_annotation_that_changes_what_is_done needs [Need::Isolate],
];

fn annotated(bundle: Bundle, key: &str, value: &str) -> Bundle {
    bundle.set("/annotations", json!({ key: value }))
}

fn the_groups_of_the_caller_are_kept_when_asked() {
    let groups = |value: &str| {
        let bundle = annotated(Bundle::shell("id -G"), "run.oci.keep_original_groups", value);
        let container = bundle.container();
        let inner = container.bundle_command("run", &[]);
        let mut command = Command::new("setpriv");
        command.args(["--groups", "0,12,345"]).arg(inner.get_program()).args(inner.get_args());
        child::run(&mut command).ok().text().to_owned()
    };
    assert_eq!(groups("1"), "0 12 345");
    assert_eq!(groups("0"), "0");
}

fn kept_groups_and_named_ones_exclude_each_other() {
    annotated(Bundle::nothing(), "run.oci.keep_original_groups", "1")
        .set("/process/user", json!({"uid": 0, "gid": 0, "additionalGids": [7]}))
        .refused(&["annotations[\"run.oci.keep_original_groups\"]: the caller's groups cannot be kept"]);
}

fn a_pidfd_of_the_init_is_sent_where_the_annotation_says() {
    let bundle = Bundle::sleeper();
    let socket = DescriptorSocket::listen(bundle.folder.join("pidfd.sock"));
    let container = annotated(bundle, "run.oci.pidfd_receiver", socket.path()).create();
    let received = socket.receive();
    let info = std::fs::read_to_string(format!(
        "/proc/self/fdinfo/{}",
        std::os::fd::AsRawFd::as_raw_fd(&received.descriptors[0])
    ));
    let pid = container.pid().to_string();
    assert_eq!(process::field_of(&info.unwrap(), "Pid").as_deref(), Some(pid.as_str()));
}

fn a_receiver_of_the_pidfd_that_is_not_there_is_an_error() {
    annotated(Bundle::nothing(), "run.oci.pidfd_receiver", "/nonesuch").refused(&["/nonesuch", "ENOENT"]);
}

fn an_unknown_kind_of_mount_context_is_refused() {
    annotated(Bundle::nothing(), "run.oci.mount_context_type", "any")
        .refused(&["annotations[\"run.oci.mount_context_type\"]: \"any\" is none of context, fscontext"]);
}

fn a_user_namespace_that_is_not_new_cannot_be_given_away() {
    annotated(Bundle::nothing(), "org.isolate.user-namespace-owner", "root")
        .refused(&["annotations[\"org.isolate.user-namespace-owner\"]: "]);
}

fn features_names_every_annotation_that_changes_what_is_done() {
    let features = bundle::runtime(&["features"]).ok().json();
    let expected = json!([
        "org.isolate.core-scheduling",
        "org.isolate.landlock",
        "org.isolate.user-namespace-owner",
        "org.systemd.property.",
        "run.oci.hooks.stderr",
        "run.oci.hooks.stdout",
        "run.oci.keep_original_groups",
        "run.oci.mount_context_type",
        "run.oci.pidfd_receiver",
        "run.oci.seccomp.receiver"
    ]);
    assert_eq!(features["potentiallyUnsafeConfigAnnotations"], expected);
}
