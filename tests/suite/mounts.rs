//! Mounts: each type, each option as the kernel shows it in mountinfo, and targets that try to escape.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::support::*;
use crate::tests;

tests![
    flags_are_shown_by_the_kernel,
    the_option_defaults_means_none needs [Need::Not("runc", "1.1 hands it to the file system")],
    options_of_the_file_system_are_passed_on,
    flags_of_a_bind_are_applied,
    a_bind_takes_times_of_access_of_its_own needs [Need::Root],
    a_bind_is_writable_unless_it_says_otherwise,
    a_bind_of_a_file_makes_the_target_a_file,
    a_bind_of_a_folder_makes_the_target_folder,
    a_bind_of_a_socket_works,
    a_bind_of_a_fifo_works,
    a_bind_source_may_be_relative_to_the_bundle,
    a_bind_shows_what_the_host_writes_later,
    rbind_takes_the_mounts_below_with_it needs [Need::Root],
    bind_leaves_the_mounts_below_out needs [Need::Root],
    recursive_read_only_reaches_the_mounts_below needs [Need::Root, Need::Kernel(5, 12)],
    plain_read_only_leaves_the_mounts_below_writable needs [Need::Root],
    propagation_is_what_the_config_asks_for,
    rslave_gets_what_the_host_mounts_later needs [Need::Root],
    rprivate_does_not_get_what_the_host_mounts_later needs [Need::Root],
    rootfs_propagation_is_applied_to_the_root needs [Need::Not("runc", "1.1 applies it before the pivot")],
    mounts_are_made_in_the_order_of_the_list,
    a_missing_target_is_created,
    a_target_through_an_absolute_link_stays_inside,
    a_target_through_a_link_that_climbs_stays_inside,
    a_dangling_link_as_target_stays_inside,
    a_missing_source_is_refused_by_name,
    an_unknown_file_system_is_refused,
    an_unknown_option_of_tmpfs_is_refused,
    a_proc_that_is_a_link_is_refused,
    a_sys_that_is_a_link_is_refused,
    a_mount_over_a_file_of_proc_is_refused needs [Need::Not("runc", "1.1 looks at binds alone")],
    a_file_of_lxcfs_may_be_bound_over_proc,
    a_tmpfs_over_proc_itself_is_refused,
    a_tmpfs_takes_the_mode_of_the_folder_below,
    tmpcopyup_fills_the_tmpfs_with_what_was_there,
    a_read_only_tmpfs_refuses_writes,
    noexec_refuses_execution,
    nosymfollow_refuses_links needs [Need::Kernel(5, 10), Need::Not("runc", "1.1 knows no nosymfollow")],
    a_cgroup_mount_shows_the_containers_controllers needs [Need::Cgroup("memory")],
    sysfs_is_read_only_as_asked,
    the_host_sees_none_of_the_mounts,
    a_bind_of_slash_does_not_escape_read_only needs [Need::Root],
    a_bind_in_a_user_namespace_keeps_locked_flags
        needs [Need::Root, Need::UserNamespaces, Need::Not("runc", "1.1 tries without them")],
    a_mapped_bind_shows_the_mapped_owner
        needs [Need::Root, Need::UserNamespaces, Need::Kernel(5, 12), Need::Not("runc", "1.1 has no idmapped mounts")],
    two_hundred_mounts_work,
];

/// A line of the container's mountinfo: options of the mount, propagation tags, type, options of the
/// file system.
#[derive(Debug)]
struct Line {
    options: Vec<String>,
    tags: String,
    kind: String,
    data: String,
}

#[track_caller]
fn mounted(bundle: Bundle, point: &str) -> Line {
    let text =
        bundle.config(|json| json["process"]["args"] = json!(["/bin/cat", "/proc/self/mountinfo"])).output();
    line_of(&text, point)
}

#[track_caller]
fn line_of(mountinfo: &str, point: &str) -> Line {
    let line = mountinfo.lines().rfind(|line| line.split(' ').nth(4) == Some(point));
    let line = line.unwrap_or_else(|| panic!("{point} is not mounted:\n{mountinfo}"));
    let (left, right) = line.split_once(" - ").unwrap();
    let left: Vec<_> = left.split(' ').collect();
    let right: Vec<_> = right.split(' ').collect();
    Line {
        options: left[5].split(',').map(str::to_owned).collect(),
        tags: left[6..].join(" "),
        kind: right[0].to_owned(),
        data: right[2].to_owned(),
    }
}

fn tmpfs(options: &[&str]) -> Value {
    json!({"destination": "/here", "type": "tmpfs", "source": "tmpfs", "options": options})
}

fn flags_are_shown_by_the_kernel() {
    let cases: [(&[&str], &[&str], &[&str]); 7] = [
        (&["nosuid", "nodev", "noexec"], &["rw", "nosuid", "nodev", "noexec", "relatime"], &["ro"]),
        (&["ro"], &["ro"], &["rw", "nosuid"]),
        (&["noatime"], &["noatime"], &["relatime"]),
        (&["strictatime"], &["rw"], &["relatime", "noatime"]),
        (&["nodiratime"], &["nodiratime"], &[]),
        (&["nosuid", "suid"], &["rw"], &["nosuid"]),
        (&["ro", "rw"], &["rw"], &["ro"]),
    ];
    for (asked, present, absent) in cases {
        let line = mounted(Bundle::nothing().mount(tmpfs(asked)), "/here");
        for option in present {
            assert!(line.options.iter().any(|seen| seen == option), "{asked:?}: {line:?}");
        }
        for option in absent {
            assert!(!line.options.iter().any(|seen| seen == option), "{asked:?}: {line:?}");
        }
    }
}

fn the_option_defaults_means_none() {
    let line = mounted(Bundle::nothing().mount(tmpfs(&["defaults"])), "/here");
    assert_eq!(line.options, ["rw", "relatime"]);
}

fn options_of_the_file_system_are_passed_on() {
    let line = mounted(Bundle::nothing().mount(tmpfs(&["size=64k", "mode=0710", "nr_inodes=77"])), "/here");
    assert_eq!(line.kind, "tmpfs");
    for word in ["size=64k", "mode=710", "nr_inodes=77"] {
        assert!(line.data.split(',').any(|option| option == word), "{line:?}");
    }
}

fn flags_of_a_bind_are_applied() {
    let bundle = Bundle::nothing();
    let source = bundle.host_folder("source");
    let line = mounted(bundle.bind(&source, "/here", &["ro", "nosuid", "nodev", "noexec"]), "/here");
    for option in ["ro", "nosuid", "nodev", "noexec"] {
        assert!(line.options.iter().any(|seen| seen == option), "{option}: {line:?}");
    }
}

fn a_bind_takes_times_of_access_of_its_own() {
    // In a user namespace of its own these flags are locked as the host has them.
    let bundle = Bundle::nothing();
    let source = bundle.host_folder("source");
    let line = mounted(bundle.bind(&source, "/here", &["noatime"]), "/here");
    assert!(line.options.iter().any(|seen| seen == "noatime"), "{line:?}");
}

fn a_bind_is_writable_unless_it_says_otherwise() {
    let bundle = Bundle::shell("echo from inside > /w/f; echo x > /r/f || echo refused");
    let (write, read) = (bundle.host_folder("write"), bundle.host_folder("read"));
    let container = bundle.bind(&write, "/w", &["rw"]).bind(&read, "/r", &["ro"]).container();
    assert_eq!(container.run(&[]).ok().text(), "refused");
    assert_eq!(fs::read_to_string(write.join("f")).unwrap(), "from inside\n");
    assert!(!read.join("f").exists());
}

fn a_bind_of_a_file_makes_the_target_a_file() {
    let bundle = Bundle::shell("cat /etc/deep/er/file; test -f /etc/deep/er/file && echo regular");
    let source = bundle.host_folder("host").join("source");
    fs::write(&source, "content\n").unwrap();
    assert_eq!(bundle.bind(&source, "/etc/deep/er/file", &["ro"]).output(), "content\nregular");
}

fn a_bind_of_a_folder_makes_the_target_folder() {
    let bundle = Bundle::shell("ls /a/b/c");
    let source = bundle.host_folder("source");
    fs::write(source.join("seen"), "").unwrap();
    assert_eq!(bundle.bind(&source, "/a/b/c", &[]).output(), "seen");
}

fn a_bind_of_a_socket_works() {
    let bundle = Bundle::shell("test -S /run/some.sock && echo socket");
    let path = bundle.host_folder("host").join("s");
    let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    assert_eq!(bundle.bind(&path, "/run/some.sock", &[]).output(), "socket");
}

fn a_bind_of_a_fifo_works() {
    // Opening the source for reading would wait for a writer for ever.
    let bundle = Bundle::shell("test -p /run/fifo && echo fifo");
    let path = bundle.host_folder("host").join("fifo");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert_eq!(bundle.bind(&path, "/run/fifo", &[]).output(), "fifo");
}

fn a_bind_source_may_be_relative_to_the_bundle() {
    let bundle = Bundle::shell("cat /here/f");
    fs::write(bundle.host_folder("beside").join("f"), "relative").unwrap();
    let mount = json!({"destination": "/here", "type": "bind", "source": "beside", "options": ["bind"]});
    assert_eq!(bundle.mount(mount).output(), "relative");
}

fn a_bind_shows_what_the_host_writes_later() {
    let bundle = Bundle::sleeper();
    let source = bundle.host_folder("source");
    let container = bundle.bind(&source, "/here", &["ro"]).start();
    fs::write(source.join("late"), "news").unwrap();
    assert_eq!(container.sh("cat /here/late"), "news");
}

/// A tmpfs on the host in `FOLDER/sub`, with a file in it; unmounted on drop.
struct HostMount(std::path::PathBuf);

impl HostMount {
    fn new(folder: &std::path::Path) -> HostMount {
        let point = folder.join("sub");
        fs::create_dir_all(&point).unwrap();
        let mount =
            child::run(std::process::Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(&point));
        mount.ok();
        fs::write(point.join("f"), "below").unwrap();
        HostMount(point)
    }
}

impl Drop for HostMount {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(&self.0, nix::mount::MntFlags::MNT_DETACH);
    }
}

fn with_host_mount(script: &str, kind: &str, options: &[&str]) -> (HostMount, Bundle) {
    let bundle = Bundle::shell(script);
    let source = bundle.host_folder("source");
    let mount = HostMount::new(&source);
    let options: Vec<_> = [kind].iter().chain(options).copied().collect();
    let entry = json!({"destination": "/here", "type": "bind", "source": source, "options": options});
    (mount, bundle.mount(entry))
}

fn rbind_takes_the_mounts_below_with_it() {
    let (_mount, bundle) = with_host_mount("cat /here/sub/f", "rbind", &[]);
    assert_eq!(bundle.output(), "below");
}

fn bind_leaves_the_mounts_below_out() {
    let (_mount, bundle) = with_host_mount("ls -A /here/sub | wc -l", "bind", &[]);
    assert_eq!(bundle.output(), "0");
}

fn recursive_read_only_reaches_the_mounts_below() {
    let (_mount, bundle) = with_host_mount("echo x > /here/sub/f || echo refused", "rbind", &["rro"]);
    assert_eq!(bundle.output(), "refused");
}

fn plain_read_only_leaves_the_mounts_below_writable() {
    let script = "echo x > /here/f || echo refused; echo y > /here/sub/f && echo written";
    let (_mount, bundle) = with_host_mount(script, "rbind", &["ro"]);
    assert_eq!(bundle.output(), "refused\nwritten");
}

fn propagation_is_what_the_config_asks_for() {
    for (option, tag) in
        [("rprivate", ""), ("rshared", "shared:"), ("unbindable", "unbindable"), ("private", "")]
    {
        let bundle = Bundle::nothing();
        let source = bundle.host_folder("source");
        let line = mounted(bundle.bind(&source, "/here", &[option]), "/here");
        let seen = line.tags.as_str();
        let right = if tag.is_empty() { seen.is_empty() } else { seen.starts_with(tag) };
        assert!(right, "{option}: {line:?}");
    }
}

/// A container that watches a bind of a shared host folder into which the host mounts something later.
fn sees_a_later_mount(option: &str) -> bool {
    let bundle = Bundle::sleeper();
    let shared = bundle.host_folder("shared");
    let bind = ["--bind", shared.to_str().unwrap(), shared.to_str().unwrap()];
    child::run(std::process::Command::new("mount").args(bind)).ok();
    let _shared = HostMount(shared.clone());
    child::run(std::process::Command::new("mount").args(["--make-shared", bind[1]])).ok();
    let container = bundle.bind(&shared, "/here", &[option]).start();
    let late = HostMount::new(&shared);
    let seen = container.sh("cat /here/sub/f 2>/dev/null || echo nothing") == "below";
    drop(late);
    seen
}

fn rslave_gets_what_the_host_mounts_later() {
    assert!(sees_a_later_mount("rslave"));
}

fn rprivate_does_not_get_what_the_host_mounts_later() {
    assert!(!sees_a_later_mount("rprivate"));
}

fn rootfs_propagation_is_applied_to_the_root() {
    for (value, tag) in [("shared", "shared:"), ("private", ""), ("unbindable", "unbindable")] {
        let line = mounted(Bundle::nothing().set("/linux/rootfsPropagation", json!(value)), "/");
        assert!(
            if tag.is_empty() { line.tags.is_empty() } else { line.tags.contains(tag) },
            "{value}: {line:?}"
        );
    }
}

fn mounts_are_made_in_the_order_of_the_list() {
    let mount = |size: &str| json!({"destination": "/o", "type": "tmpfs", "source": "t", "options": [size]});
    let script = "grep -c ' /o ' /proc/self/mountinfo; df -k /o | tail -n 1 | awk '{print $2}'";
    assert_eq!(Bundle::shell(script).mount(mount("size=64k")).mount(mount("size=128k")).output(), "2\n128");
}

fn a_missing_target_is_created() {
    let mount = json!({"destination": "/not/there/yet", "type": "tmpfs", "source": "tmpfs"});
    let container =
        Bundle::shell("stat -c %a /not/there; stat -f -c %T /not/there/yet").mount(mount).container();
    assert_eq!(container.run(&[]).ok().text(), "755\ntmpfs");
}

/// A folder of the host that no container may touch; the target in the root is a link at it.
fn escape(target_of: impl Fn(&str) -> String) {
    let bundle = Bundle::shell("grep -c escape- /proc/self/mountinfo");
    let outside = bundle.host_folder("outside");
    let link = target_of(outside.to_str().unwrap());
    let mount = json!({"destination": "/link/sub", "type": "tmpfs", "source": "escape-"});
    let container = bundle.link(&link, "/link").mount(mount).container();
    let output = container.run(&[]);
    let entries = fs::read_dir(&outside).unwrap().count();
    assert_eq!(entries, 0, "something was made in the folder of the host");
    assert!(output.code != 0 || output.text() == "1", "{output}");
}

fn a_target_through_an_absolute_link_stays_inside() {
    escape(str::to_owned);
}

fn a_target_through_a_link_that_climbs_stays_inside() {
    escape(|path| format!("../../../../../../../../..{path}"));
}

fn a_dangling_link_as_target_stays_inside() {
    escape(|path| format!("{path}/deeper"));
}

fn a_missing_source_is_refused_by_name() {
    let mount =
        json!({"destination": "/here", "type": "bind", "source": "/nonesuch-source", "options": ["bind"]});
    let output = Bundle::nothing().mount(mount).refused(&["/nonesuch-source"]);
    if session().is_isolate() {
        // podman would tell its user that the runtime itself is missing.
        assert!(!output.stderr.contains("no such file or directory"), "{output}");
        assert!(output.stderr.contains("mounts[6]") && output.stderr.contains("ENOENT"), "{output}");
    }
}

fn an_unknown_file_system_is_refused() {
    let mount = json!({"destination": "/here", "type": "nonesuchfs", "source": "none"});
    Bundle::nothing().mount(mount).refused(&["/here"]);
}

fn an_unknown_option_of_tmpfs_is_refused() {
    Bundle::nothing().mount(tmpfs(&["nonesuch=1"])).refused(&["/here"]);
}

fn a_special_folder_as_link(name: &str) {
    let bundle = Bundle::nothing();
    fs::remove_dir(bundle.rootfs().join(name)).unwrap();
    let bundle = bundle.directory("/elsewhere").link("elsewhere", name);
    bundle.refused(&["must be mounted on ordinary directory"]);
}

fn a_proc_that_is_a_link_is_refused() {
    a_special_folder_as_link("proc");
}

fn a_sys_that_is_a_link_is_refused() {
    a_special_folder_as_link("sys");
}

fn a_mount_over_a_file_of_proc_is_refused() {
    for destination in ["/proc/sys", "/proc/self/attr", "/proc/1"] {
        let mount = json!({"destination": destination, "type": "tmpfs", "source": "tmpfs"});
        Bundle::nothing().mount(mount).refused(&["/proc"]);
    }
}

fn a_file_of_lxcfs_may_be_bound_over_proc() {
    let bundle = Bundle::shell("cat /proc/uptime");
    let file = bundle.host_folder("host").join("uptime");
    fs::write(&file, "12345.00 1.00\n").unwrap();
    assert_eq!(bundle.bind(&file, "/proc/uptime", &["ro"]).output(), "12345.00 1.00");
}

fn a_tmpfs_over_proc_itself_is_refused() {
    let bundle = Bundle::nothing().config(|json| {
        *config::mount_at(json, "/proc") =
            json!({"destination": "/proc", "type": "tmpfs", "source": "tmpfs"});
    });
    bundle.refused(&["/proc"]);
}

fn a_tmpfs_takes_the_mode_of_the_folder_below() {
    let bundle = Bundle::shell("stat -c %a /m").directory("/m");
    fs::set_permissions(bundle.rootfs().join("m"), fs::Permissions::from_mode(0o1751)).unwrap();
    let mount = json!({"destination": "/m", "type": "tmpfs", "source": "tmpfs"});
    assert_eq!(bundle.mount(mount).output(), "1751");
}

fn tmpcopyup_fills_the_tmpfs_with_what_was_there() {
    let bundle = Bundle::shell("cat /data/a/b; readlink /data/l; echo changed > /data/a/b");
    let bundle = bundle.file("/data/a/b", "kept\n").link("a/b", "data/l");
    let mount = json!({"destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]});
    let container = bundle.mount(mount).container();
    assert_eq!(container.run(&[]).ok().text(), "kept\na/b");
    assert_eq!(container.read("/data/a/b"), "kept\n");
}

fn a_read_only_tmpfs_refuses_writes() {
    assert_eq!(Bundle::shell("echo x > /here/f || echo refused").mount(tmpfs(&["ro"])).output(), "refused");
}

fn noexec_refuses_execution() {
    let script = "cp /bin/busybox /here/true && { /here/true; echo $?; }";
    assert_eq!(Bundle::shell(script).mount(tmpfs(&["noexec"])).output(), "126");
}

fn nosymfollow_refuses_links() {
    let script = "echo text > /here/f; ln -s f /here/l; cat /here/l || echo refused";
    assert_eq!(Bundle::shell(script).mount(tmpfs(&["nosymfollow"])).output(), "refused");
}

fn a_cgroup_mount_shows_the_containers_controllers() {
    let options = ["nosuid", "noexec", "nodev", "relatime", "ro"];
    let mount =
        json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": options});
    let (folder, file) = match cgroup::is_v2() {
        true => ("/sys/fs/cgroup", "memory.max"),
        false => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
    };
    let script = format!("cat {folder}/{file}; mkdir {folder}/x || echo refused");
    let bundle = Bundle::shell(&script)
        .mount(mount)
        .config(|json| config::add_namespace(json, json!({"type": "cgroup"})))
        .limit("memory", json!({"limit": 33_554_432}));
    assert_eq!(bundle.output(), "33554432\nrefused");
}

fn sysfs_is_read_only_as_asked() {
    let line = mounted(Bundle::nothing(), "/sys");
    assert_eq!(line.kind, "sysfs");
    assert!(line.options.iter().any(|option| option == "ro"), "{line:?}");
}

fn the_host_sees_none_of_the_mounts() {
    let container = Bundle::sleeper().mount(tmpfs(&[])).start();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&format!("{}/", container.bundle.folder.display())), "{mounts}");
}

fn a_bind_of_slash_does_not_escape_read_only() {
    let script = "echo x > /here/isolate-test-file || echo refused";
    let bundle = Bundle::shell(script).bind(std::path::Path::new("/"), "/here", &["ro", "rprivate"]);
    assert_eq!(bundle.output(), "refused");
}

fn a_bind_in_a_user_namespace_keeps_locked_flags() {
    let bundle = Bundle::nothing().user_namespace().directory("/here");
    let source = bundle.host_folder("source");
    let mount = HostMount::new(&source);
    let remount = ["-o", "remount,nosuid,nodev,noexec"];
    child::run(std::process::Command::new("mount").args(remount).arg(&mount.0)).ok();
    let line = mounted(bundle.bind(&mount.0, "/here", &["ro"]), "/here");
    for option in ["ro", "nosuid", "nodev", "noexec"] {
        assert!(line.options.iter().any(|seen| seen == option), "{option}: {line:?}");
    }
}

fn a_mapped_bind_shows_the_mapped_owner() {
    let features = bundle::runtime(&["features"]).ok().json();
    if features["linux"]["mountExtensions"]["idmap"]["enabled"] != true {
        skip("the runtime's `features` say that it has no id-mapped mounts");
    }
    let bundle = Bundle::shell("stat -c %u:%g /here/f").user_namespace().directory("/here");
    let source = bundle.host_folder("source");
    fs::write(source.join("f"), "").unwrap();
    std::os::unix::fs::chown(source.join("f"), Some(7), Some(8)).unwrap();
    let map = json!([{"containerID": 0, "hostID": 400_000, "size": 65536}]);
    let mount = json!({
        "destination": "/here", "type": "bind", "source": source, "options": ["bind", "idmap"],
        "uidMappings": map, "gidMappings": map
    });
    assert_eq!(bundle.mount(mount).output(), "7:8");
}

fn two_hundred_mounts_work() {
    let mut bundle = Bundle::shell("grep -c /many/ /proc/self/mountinfo");
    for number in 0..200 {
        let destination = format!("/many/{number}");
        bundle = bundle.mount(json!({"destination": destination, "type": "tmpfs", "source": "tmpfs"}));
    }
    assert_eq!(bundle.output(), "200");
}
