//! Bad input: one clear error that names the field, exit code 1, and nothing left behind.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::*;
use crate::tests;

tests![
    a_config_that_is_missing_is_refused,
    a_config_that_is_a_folder_is_refused,
    a_config_that_is_a_fifo_is_refused_without_waiting needs [Need::Isolate],
    a_bundle_that_is_missing_is_refused,
    a_config_that_is_no_json_is_refused needs [Need::Not("runc", "1.1 panics at null")],
    an_empty_config_is_refused,
    a_config_that_is_no_utf8_is_refused needs [Need::Isolate],
    a_config_above_16_mib_is_refused_unread needs [Need::Isolate],
    a_config_nested_ten_thousand_deep_is_refused,
    a_config_cut_at_any_byte_is_refused,
    a_config_of_another_version_is_refused needs [Need::Isolate],
    a_newer_minor_version_is_accepted,
    a_missing_field_is_named needs [Need::Isolate],
    a_duplicate_field_is_refused needs [Need::Isolate],
    a_field_of_the_wrong_type_is_named needs [Need::Isolate],
    an_unknown_namespace_is_refused,
    a_relative_mount_destination_is_refused needs [Need::Isolate],
    a_nul_in_a_string_is_refused needs [Need::Isolate],
    an_id_out_of_range_is_refused needs [Need::Isolate],
    a_map_that_overflows_is_refused needs [Need::Isolate],
    a_root_that_is_a_file_is_refused,
    a_root_that_is_absent_is_refused,
    a_root_that_cannot_be_entered_is_refused needs [Need::Root, Need::UserNamespaces],
    a_root_that_is_the_hosts_is_refused_or_harmless needs [Need::Isolate],
    a_container_id_that_is_no_name_is_refused,
    a_container_id_of_1024_bytes_is_handled,
    every_fault_is_told_at_once needs [Need::Isolate],
    unknown_properties_are_ignored,
    sections_of_other_platforms_are_ignored,
    unknown_values_are_refused needs [Need::Isolate],
    a_seventy_thousand_byte_path_is_refused,
    empty_arguments_are_refused,
    a_state_root_of_another_user_is_refused needs [Need::Root, Need::Isolate],
    a_damaged_state_is_told_and_deleted_by_force needs [Need::Isolate],
];

/// A bundle whose config is these bytes.
fn raw(bytes: &[u8]) -> Container {
    let container = Bundle::nothing().container();
    fs::write(container.bundle.folder.join("config.json"), bytes).unwrap();
    container
}

#[track_caller]
fn raw_refused(bytes: &[u8], words: &[&str]) -> Output {
    let container = raw(bytes);
    let output = container.create(&[]).fails(1, words);
    container.leaves_nothing();
    assert!(!output.stderr.contains("panicked"), "{output}");
    output
}

fn good() -> Vec<u8> {
    let mut bundle = Bundle::nothing();
    let config = serde_json::to_vec(&bundle.json).unwrap();
    bundle.json = Value::Null;
    let _ = fs::remove_dir_all(&bundle.folder);
    config
}

fn a_config_that_is_missing_is_refused() {
    let container = Bundle::nothing().container();
    fs::remove_file(container.bundle.folder.join("config.json")).unwrap();
    let output = container.create(&[]).fails(1, &["config.json"]);
    container.leaves_nothing();
    if session().is_isolate() {
        // podman would tell its user that the program is missing.
        assert!(!output.stderr.to_lowercase().contains("no such file or directory"), "{output}");
    }
}

fn a_config_that_is_a_folder_is_refused() {
    let container = Bundle::nothing().container();
    fs::remove_file(container.bundle.folder.join("config.json")).unwrap();
    fs::create_dir(container.bundle.folder.join("config.json")).unwrap();
    container.create(&[]).fails(1, &["config.json"]);
    container.leaves_nothing();
}

fn a_config_that_is_a_fifo_is_refused_without_waiting() {
    let container = Bundle::nothing().container();
    let file = container.bundle.folder.join("config.json");
    fs::remove_file(&file).unwrap();
    nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRWXU).unwrap();
    container.create(&[]).fails(1, &["config.json"]);
}

fn a_bundle_that_is_missing_is_refused() {
    let container = Bundle::nothing().container();
    let output = container
        .runtime(&["create", "--bundle", "/nonesuch/bundle", container.id()])
        .fails(1, &["/nonesuch/bundle"]);
    assert!(!session().is_isolate() || !output.stderr.contains("no such file or directory"), "{output}");
    container.leaves_nothing();
}

fn a_config_that_is_no_json_is_refused() {
    for text in ["not json", "{", "[]", "null", "\"text\"", "{\"ociVersion\": \"1.0.2\",}", "{} trailing"] {
        raw_refused(text.as_bytes(), &[]);
    }
}

fn an_empty_config_is_refused() {
    raw_refused(b"", &[]);
}

fn a_config_that_is_no_utf8_is_refused() {
    let mut bytes = good();
    let place = bytes.windows(3).position(|part| part == b"box").unwrap();
    bytes[place] = 0xff;
    raw_refused(&bytes, &["config.json"]);
}

fn a_config_above_16_mib_is_refused_unread() {
    let container = Bundle::nothing().container();
    let file = fs::File::create(container.bundle.folder.join("config.json")).unwrap();
    // Sparse: reading it would take far longer than the time limit, and more memory than there is.
    file.set_len(1 << 40).unwrap();
    let start = Instant::now();
    container.create(&[]).fails(1, &["config.json", "16"]);
    assert!(start.elapsed() < Duration::from_secs(2) * child::patience());
    container.leaves_nothing();
}

fn a_config_nested_ten_thousand_deep_is_refused() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let inner = if open == "[" { "" } else { "1" };
        let text = format!(
            "{{\"ociVersion\":\"1.0.2\",\"x\":{}{inner}{}}}",
            open.repeat(10_000),
            close.repeat(10_000)
        );
        raw_refused(text.as_bytes(), &[]);
    }
}

fn a_config_cut_at_any_byte_is_refused() {
    let whole = good();
    for length in (1..whole.len()).step_by(whole.len() / 12) {
        raw_refused(&whole[..length], &[]);
    }
}

fn a_config_of_another_version_is_refused() {
    for version in ["2.0.0", "0.9.0", "banana", "", "1", "1.0.2.3", "-1.0.0"] {
        Bundle::nothing().set("/ociVersion", json!(version)).refused(&["ociVersion"]);
    }
}

fn a_newer_minor_version_is_accepted() {
    for version in ["1.0.0", "1.0.2-dev", "1.1.0", "1.2.0", "1.0.0-rc5"] {
        Bundle::nothing().set("/ociVersion", json!(version)).run().ok();
    }
}

fn a_missing_field_is_named() {
    let cases = [
        ("/ociVersion", "ociVersion"),
        ("/root", "root"),
        ("/root/path", "root.path"),
        ("/process/cwd", "process.cwd"),
        ("/process/args", "process.args"),
        ("/mounts/1/destination", "mounts[1].destination"),
    ];
    for (pointer, name) in cases {
        // The last word is enough where a reader of JSON names the parent differently.
        let last = name.rsplit('.').next().unwrap();
        Bundle::nothing().unset(pointer).refused(&[last]);
    }
}

fn a_duplicate_field_is_refused() {
    let text = String::from_utf8(good()).unwrap();
    let twice = text.replacen("\"hostname\":\"box\"", "\"hostname\":\"box\",\"hostname\":\"other\"", 1);
    assert_ne!(twice, text);
    raw_refused(twice.as_bytes(), &["hostname"]);
}

fn a_field_of_the_wrong_type_is_named() {
    let cases = [
        ("/process/args", json!("sleep"), "process.args"),
        ("/process/args", json!([1]), "process.args"),
        ("/process/terminal", json!("yes"), "process.terminal"),
        ("/process/user/uid", json!("root"), "process.user.uid"),
        ("/mounts", json!({}), "mounts"),
        ("/mounts/2", json!("tmpfs"), "mounts[2]"),
        ("/linux/namespaces", json!("all"), "linux.namespaces"),
        ("/linux/resources", json!([1]), "linux.resources"),
        ("/root/readonly", json!(1), "root.readonly"),
        ("/hostname", json!(7), "hostname"),
        ("/annotations", json!([]), "annotations"),
    ];
    for (pointer, value, name) in cases {
        Bundle::nothing().set(pointer, value).refused(&[name]);
    }
}

fn an_unknown_namespace_is_refused() {
    let bundle = Bundle::nothing().config(|json| config::add_namespace(json, json!({"type": "nonesuch"})));
    bundle.refused(&["nonesuch"]);
}

fn a_relative_mount_destination_is_refused() {
    let mount = json!({"destination": "not/absolute", "type": "tmpfs", "source": "tmpfs"});
    Bundle::nothing().mount(mount).refused(&["mounts[6].destination", "not/absolute"]);
}

fn a_nul_in_a_string_is_refused() {
    let cases = [
        ("/mounts/1/destination", json!("/dev\u{0}x"), "mounts[1].destination"),
        ("/mounts/1/source", json!("tmp\u{0}fs"), "mounts[1].source"),
        ("/mounts/1/type", json!("tmp\u{0}fs"), "mounts[1].type"),
        ("/mounts/1/options", json!(["mode=\u{0}"]), "mounts[1].options"),
        ("/root/path", json!("root\u{0}fs"), "root.path"),
        ("/process/cwd", json!("/\u{0}"), "process.cwd"),
        ("/process/args", json!(["/bin/true", "a\u{0}b"]), "process.args"),
        ("/process/env", json!(["A=\u{0}"]), "process.env"),
        ("/hostname", json!("bo\u{0}x"), "hostname"),
        ("/linux/maskedPaths", json!(["/proc/\u{0}"]), "linux.maskedPaths"),
        ("/linux/readonlyPaths", json!(["/proc/\u{0}"]), "linux.readonlyPaths"),
        ("/linux/cgroupsPath", json!("/a\u{0}b"), "linux.cgroupsPath"),
    ];
    for (pointer, value, name) in cases {
        Bundle::nothing().set(pointer, value).refused(&[name]);
    }
}

fn an_id_out_of_range_is_refused() {
    for value in [json!(-1), json!(4_294_967_295_u64), json!(4_294_967_296_u64), json!(1.5), json!(1e30)] {
        Bundle::nothing().set("/process/user/uid", value.clone()).refused(&["process.user.uid"]);
        Bundle::nothing().set("/process/user/gid", value.clone()).refused(&["process.user.gid"]);
        let groups = json!([0, value]);
        Bundle::nothing()
            .set("/process/user/additionalGids", groups)
            .refused(&["process.user.additionalGids"]);
    }
}

fn a_map_that_overflows_is_refused() {
    for map in [
        json!([{"containerID": 0, "hostID": 4_294_967_000_u64, "size": 1000}]),
        json!([{"containerID": 4_294_967_000_u64, "hostID": 0, "size": 1000}]),
        json!([{"containerID": 0, "hostID": 100_000, "size": 0}]),
    ] {
        Bundle::nothing().user_namespace().set("/linux/uidMappings", map).refused(&["linux.uidMappings"]);
    }
}

fn a_root_that_is_a_file_is_refused() {
    let bundle = Bundle::nothing();
    fs::write(bundle.folder.join("file"), "").unwrap();
    let output = bundle.set("/root/path", json!("file")).refused(&[]);
    assert!(!session().is_isolate() || output.stderr.contains("root.path"), "{output}");
}

fn a_root_that_is_absent_is_refused() {
    let output = Bundle::nothing().set("/root/path", json!("nonesuch")).refused(&["nonesuch"]);
    if session().is_isolate() {
        assert!(output.stderr.contains("root.path") && !output.stderr.contains("no such file"), "{output}");
    }
}

fn a_root_that_cannot_be_entered_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let bundle = Bundle::nothing().user_namespace();
    let root = bundle.rootfs();
    fs::set_permissions(&root, fs::Permissions::from_mode(0o600)).unwrap();
    let container = bundle.container();
    let output = container.create(&[]);
    fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).unwrap();
    output.fails(1, &[]);
    container.leaves_nothing();
}

fn a_root_that_is_the_hosts_is_refused_or_harmless() {
    let before = fs::read_to_string("/proc/self/mountinfo").unwrap();
    Bundle::nothing().set("/root/path", json!("/")).set("/root/readonly", json!(true)).run();
    let after = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let ours = |text: &str| text.lines().filter(|line| line.contains(&session().mark)).count();
    assert_eq!(ours(&before), ours(&after));
    let root = after.lines().rev().find(|line| line.split(' ').nth(4) == Some("/")).unwrap();
    assert!(root.split(' ').nth(5).unwrap().starts_with("rw"), "the host's root is still writable: {root}");
}

fn a_container_id_that_is_no_name_is_refused() {
    let container = Bundle::nothing().container();
    let folder = container.bundle.folder.to_str().unwrap().to_owned();
    for id in ["..", ".", "a/b", "../x", "a b", "a\tb", "ä", "a:b", "a@b", ""] {
        let output = container.runtime(&["create", "--bundle", &folder, "--", id]);
        assert_eq!(output.code, 1, "{id:?}: {output}");
        for command in ["state", "start", "delete", "kill"] {
            let output = container.runtime(&[command, "--", id]);
            assert!(output.code != 0, "{id:?}: {output}");
        }
    }
    assert!(container.bundle.folder.join("config.json").exists());
}

fn a_container_id_of_1024_bytes_is_handled() {
    // A file name holds 255 bytes: longer ids are well-formed, and must fail cleanly.
    let container = Bundle::nothing().container();
    let folder = container.bundle.folder.to_str().unwrap().to_owned();
    for length in [200, 256, 1024, 1025] {
        let id = "a".repeat(length);
        let output = container.runtime(&["run", "--bundle", &folder, &id]);
        assert_eq!(output.code, i32::from(length > 200), "{length}: {output}");
        container.runtime(&["delete", "--force", &id]);
    }
}

fn every_fault_is_told_at_once() {
    Bundle::nothing()
        .set("/process/cwd", json!("relative"))
        .set("/mounts/1/destination", json!("relative"))
        .set("/process/rlimits", json!([{"type": "RLIMIT_NONESUCH", "soft": 1, "hard": 1}]))
        .config(|json| config::add_namespace(json, json!({"type": "pid"})))
        .refused(&["process.cwd", "mounts[1].destination", "process.rlimits[0]", "linux.namespaces["]);
}

fn unknown_properties_are_ignored() {
    Bundle::nothing()
        .set("/somethingNew", json!({"a": [1, {"b": null}]}))
        .set("/process/somethingNew", json!(true))
        .set("/linux/somethingNew", json!("x"))
        .set("/mounts/0/somethingNew", json!(1.5))
        .run()
        .ok();
}

fn sections_of_other_platforms_are_ignored() {
    Bundle::nothing()
        .set("/windows", json!({"layerFolders": ["C:\\x"]}))
        .set("/solaris", json!({"milestone": "x"}))
        .set("/vm", json!({"kernel": {"path": "/x"}}))
        .set("/zos", json!({}))
        .run()
        .ok();
}

fn unknown_values_are_refused() {
    let cases = [
        ("/linux/rootfsPropagation", json!("sideways"), "linux.rootfsPropagation"),
        ("/linux/personality", json!({"domain": "BSD"}), "linux.personality"),
        ("/linux/devices", json!([{"path": "/dev/x", "type": "z"}]), "linux.devices[0]"),
        ("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_MAYBE"}), "linux.seccomp.defaultAction"),
        ("/process/rlimits", json!([{"type": "RLIMIT_X", "soft": 1, "hard": 1}]), "process.rlimits[0]"),
        (
            "/linux/resources/devices",
            json!([{"allow": true, "type": "q", "access": "rwm"}]),
            "linux.resources.devices[0]",
        ),
        ("/linux/resources/devices", json!([{"allow": true, "access": "xyz"}]), "linux.resources.devices[0]"),
    ];
    for (pointer, value, name) in cases {
        Bundle::nothing().set(pointer, value).refused(&[name]);
    }
}

fn a_seventy_thousand_byte_path_is_refused() {
    // CVE-2021-43784: a 16 bit length wrapped, and the rest was read as other settings.
    let long = format!("/{}", "x".repeat(70_000));
    Bundle::nothing().mount(json!({"destination": long, "type": "tmpfs", "source": "tmpfs"})).refused(&[]);
    let output = Bundle::nothing().set("/linux/maskedPaths", json!([long])).run();
    assert!(output.code <= 1, "{output}");
}

fn empty_arguments_are_refused() {
    let output = Bundle::nothing().set("/process/args", json!([])).refused(&["args"]);
    assert!(!session().is_isolate() || output.stderr.contains("process.args"), "{output}");
    Bundle::nothing().set("/process/args", json!([""])).refused(&[]);
}

fn a_state_root_of_another_user_is_refused() {
    // CVE-2015-1331.
    let container = Bundle::nothing().container();
    fs::create_dir(&container.bundle.root).unwrap();
    std::os::unix::fs::chown(&container.bundle.root, Some(1000), Some(1000)).unwrap();
    container.create(&[]).fails(1, &["state"]);
}

fn a_damaged_state_is_told_and_deleted_by_force() {
    let container = Bundle::sleeper().start();
    let pid = container.pid();
    let folder = container.bundle.root.join(container.id());
    let files = fs::read_dir(&folder)
        .unwrap()
        .flatten()
        .filter(|entry| entry.path().extension().is_some_and(|e| e == "json"));
    for entry in files {
        if entry.file_name().to_string_lossy().contains("state") {
            fs::write(entry.path(), "{\"version\": ").unwrap();
        }
    }
    let output = container.runtime(&["state", container.id()]);
    assert!(output.code == 1 && output.stdout.is_empty(), "{output}");
    container.runtime(&["list"]).ok();
    container.delete_by_force().ok();
    container.leaves_nothing();
    child::eventually("nothing runs any more", || !process::is_alive(pid));
}
