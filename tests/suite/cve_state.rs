//! Known ways through what lies on disk and what is named by callers: state roots, names, pids, cgroups, annotations,
//! helpers with privileges. `docs/cves.md` has the list.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;

use serde_json::{Value, json};

use crate::support::*;
use crate::tests;

tests![
    a_state_root_of_somebody_else_is_refused needs [Need::Root, Need::Isolate],
    a_state_root_that_is_a_link_is_refused needs [Need::Isolate],
    a_link_in_the_state_root_is_no_container,
    a_name_leads_nowhere,
    a_cgroup_path_leads_nowhere_else needs [Need::Isolate],
    exec_is_not_led_out_of_the_containers_cgroup needs [Need::Root, Need::CgroupV1("memory")],
    a_signal_never_hits_a_process_that_has_got_the_pid needs [Need::Isolate],
    a_state_file_that_was_edited_kills_no_stranger needs [Need::Isolate],
    annotations_that_features_does_not_name_change_nothing needs [Need::Isolate],
    no_file_of_the_runtime_has_privileges_of_its_own,
    there_is_no_command_that_takes_host_paths_from_an_image needs [Need::Isolate],
    the_hosts_cgroups_cannot_be_written_from_inside,
    release_agent_is_out_of_reach needs [Need::CgroupV1("memory")],
    a_state_folder_is_the_callers_alone needs [Need::Isolate],
];

fn a_state_root_of_somebody_else_is_refused() {
    // CVE-2015-1331: laid out beforehand by another user, who then owns what is in it.
    let container = Bundle::nothing().container();
    let root = &container.bundle.root;
    fs::create_dir(root).unwrap();
    fs::set_permissions(root, fs::Permissions::from_mode(0o777)).unwrap();
    chown(root, Some(12_345), Some(12_345)).unwrap();
    container.create(&[]).fails(1, &["belongs to user 12345"]);
    assert_eq!(fs::read_dir(root).unwrap().count(), 0);
}

fn a_state_root_that_is_a_link_is_refused() {
    let bundle = Bundle::nothing();
    let elsewhere = bundle.host_folder("elsewhere");
    symlink(&elsewhere, &bundle.root).unwrap();
    let container = bundle.container();
    container.create(&[]).fails(1, &["real folder"]);
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
    fs::remove_file(&container.bundle.root).unwrap();
}

fn a_link_in_the_state_root_is_no_container() {
    let bundle = Bundle::nothing();
    let mark = Mark::new(&bundle);
    fs::create_dir(&bundle.root).unwrap();
    symlink(mark.path(), bundle.root.join("way")).unwrap();
    let container = bundle.container();
    for words in [
        &["state", "way"][..],
        &["delete", "way"],
        &["kill", "way", "KILL"],
        &["start", "way"],
        &["exec", "way", "true"],
    ] {
        assert_ne!(container.runtime(words).code, 0, "{words:?}");
    }
    container.runtime(&["delete", "--force", "way"]);
    mark.is_untouched();
    let _ = fs::remove_file(container.bundle.root.join("way"));
}

fn a_name_leads_nowhere() {
    // crun before 1.28: a name was used as a path.
    let bundle = Bundle::nothing();
    let mark = Mark::new(&bundle);
    let container = bundle.container();
    let folder = container.bundle.folder.to_str().unwrap();
    for id in ["..", ".", "a/../b", "../mark", "/etc", "a/b", "", "a b", "a\nb", "é", "../../../etc/passwd"]
    {
        assert_ne!(container.runtime(&["create", "--bundle", folder, id]).code, 0, "{id:?}");
        for verb in ["state", "start", "delete", "pause"] {
            assert_ne!(container.runtime(&[verb, id]).code, 0, "{verb} {id:?}");
        }
        container.runtime(&["delete", "--force", id]);
        mark.is_untouched();
    }
}

fn a_cgroup_path_leads_nowhere_else() {
    for path in ["/../../x", "a/../../b", "..", "/", "/.", ""] {
        let bundle = Bundle::nothing().set("/linux/cgroupsPath", json!(path));
        match path {
            // As in every runtime: no path, no wish.
            "" => drop(bundle.run().ok()),
            _ => drop(bundle.refused(&["linux.cgroupsPath"])),
        }
    }
}

fn exec_is_not_led_out_of_the_containers_cgroup() {
    let container = Bundle::sleeper().start();
    for path in ["..", "../..", "x/../../..", "memory:..", "memory:../../", "../../../../../"] {
        container.exec_with(&["--cgroup", path], &["true"]).fails(255, &["cgroup"]);
    }
}

/// Edits a field of the state file.
fn edit(container: &Container, change: impl Fn(&mut Value)) {
    let file = container.bundle.root.join(container.id()).join("state.json");
    let mut state: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    change(&mut state);
    fs::write(&file, state.to_string()).unwrap();
}

fn a_signal_never_hits_a_process_that_has_got_the_pid() {
    // crun issue 1200: the pid of a container that has ended is another process' by now.
    let container = Bundle::sleeper().start();
    let mut stranger = child::Run::start(std::process::Command::new("sleep").arg("1000"));
    let right = container.state()["pid"].clone();
    edit(&container, |state| state["pid"] = json!(stranger.pid()));
    assert_eq!(container.status(), "stopped");
    assert_ne!(container.kill("KILL").code, 0);
    assert_ne!(container.exec(&["true"]).code, 0);
    assert!(stranger.is_running(), "the stranger was killed");
    edit(&container, |state| state["pid"] = right.clone());
    assert_eq!(container.status(), "running");
    container.delete_by_force().ok();
    assert!(stranger.is_running(), "the stranger was killed");
}

fn a_state_file_that_was_edited_kills_no_stranger() {
    let container = Bundle::sleeper().start();
    let mut stranger = child::Run::start(std::process::Command::new("sleep").arg("1000"));
    let journal = container.bundle.root.join(container.id()).join("journal");
    let record = json!({"undo": "process", "pid": stranger.pid(), "start_time": 1});
    let all = fs::read_to_string(&journal).unwrap()
        + &record.to_string()
        + "\n"
        + &json!({"undo": "process", "pid": -1, "start_time": 0}).to_string()
        + "\n";
    fs::write(&journal, all).unwrap();
    edit(&container, |state| state["start_time"] = json!(state["start_time"].as_u64().unwrap() + 1));
    assert_eq!(container.status(), "stopped");
    container.delete_by_force().ok();
    assert!(stranger.is_running(), "the stranger was killed");
    container.leaves_nothing();
}

fn annotations_that_features_does_not_name_change_nothing() {
    // CVE-2024-3154, CVE-2026-53492: whoever may set annotations of a pod sets nothing of the host by them, as long as
    // the engine keeps back what `features` calls unsafe.
    let mut container = Bundle::nothing().container();
    let mut plan = |annotations: Value| {
        container.bundle.json["annotations"] = annotations;
        container.bundle.write();
        let mut command = container.command(&["plan", "--format", "json", "--bundle"]);
        child::run(command.arg(&container.bundle.folder)).ok().stdout
    };
    let hostile = json!({"cdi.k8s.io/x": "vendor.com/class=all", "org.systemd.propertyExecStopPost": "['/bin/touch','/mark']",
        "run.oci.delegate-cgroup": "../x", "run.oci.handler": "wasm",
        "run.oci.systemd.subgroup": "../x", "run.oci.systemd.force_cgroup_v1": "/", "run.oci.mount_context": "x"});
    let unsafe_ones =
        bundle::runtime(&["features"]).ok().json()["potentiallyUnsafeConfigAnnotations"].clone();
    let is_named = |key: &String| {
        unsafe_ones.as_array().unwrap().iter().any(|name| key.starts_with(name.as_str().unwrap()))
    };
    assert!(!hostile.as_object().unwrap().keys().any(is_named), "{unsafe_ones}");
    assert_eq!(plan(hostile), plan(json!({"harmless": "x"})));
}

fn no_file_of_the_runtime_has_privileges_of_its_own() {
    // CVE-2017-5985, CVE-2018-6556, CVE-2022-47952, CVE-2026-39402: there is no helper that runs as root for an
    // ordinary user. Ids are mapped by newuidmap, which is the distribution's.
    let data = fs::metadata(&session().runtime).unwrap();
    assert_eq!(data.mode() & 0o6000, 0, "the binary has set-user-id or set-group-id");
    let mut name = [0u8; 64];
    let path = std::ffi::CString::new(session().runtime.to_str().unwrap()).unwrap();
    #[allow(unsafe_code)]
    // SAFETY: both strings end with NUL, and the buffer is as long as it says.
    let length = unsafe {
        libc::getxattr(path.as_ptr(), c"security.capability".as_ptr(), name.as_mut_ptr().cast(), 64)
    };
    assert!(length < 0, "the binary has file capabilities");
}

fn there_is_no_command_that_takes_host_paths_from_an_image() {
    // CVE-2018-15664 (copying), CVE-2026-53489 (restoring): what is not there cannot be led astray. Who adds one of
    // them has to replace this by the attack.
    let help = bundle::runtime(&["help"]).ok().stdout;
    for command in ["cp", "checkpoint", "restore", "export", "mount"] {
        bundle::runtime(&[command]).fails(1, &[]);
        assert!(
            !help.lines().any(|line| line.trim_start().starts_with(&format!("{command} "))),
            "{command}: {help}"
        );
    }
}

fn the_hosts_cgroups_cannot_be_written_from_inside() {
    // CVE-2023-25809: without a cgroup namespace, with /sys mounted, every cgroup of the host is in sight.
    let mount = json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
                       "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]});
    let script = "for d in $(find /sys/fs/cgroup -type d 2>/dev/null | head -n 200); do \
                  mkdir $d/isolate-mark 2>/dev/null && echo made in $d; \
                  (echo 0 > $d/cgroup.procs) 2>/dev/null && echo joined $d; done; echo end";
    for bundle in [Bundle::shell(script), Bundle::shell(script).mount(mount)] {
        let seen = bundle.output();
        assert_eq!(seen, "end");
    }
}

fn release_agent_is_out_of_reach() {
    // CVE-2022-0492: a user namespace of the container's own making, and a cgroup v1 mount in it.
    let script = "for c in memory rdma pids cpu misc; do \
                  unshare -UrmC sh -c \"mkdir -p /tmp/g && mount -t cgroup -o $c cgroup /tmp/g 2>/dev/null && echo '|/tmp/evil' > /tmp/g/release_agent\" 2>/dev/null && echo reached $c; done; \
                  find /sys/fs/cgroup -name release_agent 2>/dev/null | while read f; do (echo /tmp/evil > $f) 2>/dev/null && echo wrote $f; done; echo end";
    for bundle in [Bundle::shell(script), Bundle::shell(script).user_namespace()] {
        assert_eq!(bundle.output(), "end");
    }
}

fn a_state_folder_is_the_callers_alone() {
    let container = Bundle::sleeper().create();
    for path in [container.bundle.root.clone(), container.bundle.root.join(container.id())] {
        let mode = fs::metadata(&path).unwrap().mode();
        assert_eq!(mode & 0o077, 0, "{}: {mode:o}", path.display());
    }
    let socket = container.bundle.root.join(container.id()).join("start.sock");
    assert!(Path::new(&socket).exists());
}
