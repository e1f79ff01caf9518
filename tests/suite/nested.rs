//! The runtime inside a container: of its own, and of LXC. The outer one may be root's or an ordinary user's. (podman as
//! the outer one: `tests/podman/nested.rs`.)

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::support::nested::{self, Inner, SAID};
use crate::support::vanish::suite_summary;
use crate::support::*;
use crate::tests;

tests![
    a_container_of_isolate_makes_containers needs [Need::Isolate],
    limits_of_the_inner_container_hold_below_those_of_the_outer_one needs [Need::Isolate, Need::Root, Need::Cgroup("pids")],
    a_user_in_a_container_makes_containers needs [Need::Isolate, Need::UserNamespaces],
    parts_of_this_suite_pass_in_a_container needs [Need::Isolate, Need::Root],
    cgroups_that_cannot_be_written_are_told_with_a_way_out needs [Need::Isolate, Need::Root, Need::Cgroup("devices")],
    a_covered_procfs_is_told_with_a_way_out needs [Need::Isolate, Need::UserNamespaces],
    a_container_of_lxc_makes_containers needs [Need::Isolate, Need::Root, Need::Program("lxc-execute")],
    a_container_of_lxc_with_a_user_namespace_makes_containers
        needs [Need::Isolate, Need::Program("lxc-execute"), Need::SubordinateIds(65536)],
];

/// The outer container, which runs the script of `inner`.
fn outer(inner: &Inner) -> Bundle {
    nested::privileged(inner.bind_into(Bundle::new(&["/bin/sh", "/inner/script"])))
}

fn a_container_of_isolate_makes_containers() {
    let inner = Inner::new("", |_| {});
    assert_eq!(outer(&inner).run().ok().stdout, SAID);
}

fn limits_of_the_inner_container_hold_below_those_of_the_outer_one() {
    let inner = Inner::new("", |json| {
        json["linux"]["resources"] = json!({"pids": {"limit": 30}});
        json["process"]["args"] =
            json!(["/bin/sh", "-c", "cat /proc/self/cgroup; while :; do sleep 100; done"]);
    });
    let script = "set -- --root /tmp/s; /isolate $@ create --bundle /inner/stays x >/tmp/out && /isolate $@ start x \
                  && cat /tmp/out && find /sys/fs/cgroup/ -name pids.max -path '*isolate*' | xargs cat; \
                  /isolate $@ delete --force x; find /sys/fs/cgroup/ -name 'isolate*x'";
    let bundle = inner.bind_into(Bundle::shell(script));
    let output = nested::privileged(bundle).limit("pids", json!({"limit": 500})).run().ok();
    assert!(output.stdout.lines().any(|line| line == "30"), "{output}");
    assert!(!output.stdout.contains("/sys/fs/cgroup/"), "a cgroup is left: {output}");
}

/// The outer container as nobody in particular: an ordinary user of it, without a capability.
fn outer_of_user() -> Bundle {
    let inner = Inner::new("", |json| nested::in_user_namespace(json, 1000));
    let bundle = outer(&inner).config(|json| {
        config::set_capabilities(json, &[]);
        json["process"]["user"] = json!({"uid": 1000, "gid": 1000});
        config::mount_at(json, "/sys/fs/cgroup")["options"] = json!(["ro"]);
    });
    if bundle.json["linux"]["uidMappings"].as_array().is_some_and(|maps| maps.len() == 1) {
        skip("the caller has no subordinate ids, and so no second user in a container");
    }
    bundle
}

fn a_user_in_a_container_makes_containers() {
    assert_eq!(outer_of_user().run().ok().stdout, SAID);
}

fn parts_of_this_suite_pass_in_a_container() {
    let inner = Inner::new("", |_| {});
    let suite = std::env::current_exe().unwrap();
    let run = |part: &str| {
        let bundle = inner.bind_into(Bundle::new(&["/suite", part]));
        let bundle = nested::privileged(bundle.bind(&suite, "/suite", &["ro"]));
        let env = ["PATH=/bin", "ISOLATE_TEST_RUNTIME=/isolate", "ISOLATE_TEST_SHARED_HOST=1", "TMPDIR=/tmp"];
        suite_summary(&bundle.set("/process/env", json!(env)).run())
    };
    for part in ["lifecycle::", "rootfs::", "exec::exec_gives", "masked::", "capabilities::"] {
        run(part);
    }
}

fn cgroups_that_cannot_be_written_are_told_with_a_way_out() {
    let read_only = |options: &str| {
        let inner = Inner::new(options, |_| {});
        outer(&inner).config(|json| config::mount_at(json, "/sys/fs/cgroup")["options"] = json!(["ro"]))
    };
    let output = read_only("").run();
    output.fails(1, &["EROFS", "--cgroup-manager disabled"]);
    assert_eq!(read_only("--cgroup-manager disabled").run().ok().stdout, SAID);
}

fn a_covered_procfs_is_told_with_a_way_out() {
    let output = outer_of_user().set("/linux/maskedPaths", json!(["/proc/meminfo"])).run();
    output.fails(1, &["/proc", "EPERM", "procfs of the caller is covered in places", "unmask=ALL"]);
}

/// `lxc-execute` of the script in a root of busybox, with further lines of its config.
fn lxc(inner: &Inner, lines: &str) -> Output {
    let bundle = Bundle::nothing();
    let (folder, root) = (bundle.folder.display(), bundle.rootfs());
    for name in ["inner", "tmp"] {
        fs::create_dir_all(root.join(name)).unwrap();
    }
    fs::write(root.join("isolate"), "").unwrap();
    let name = format!("{}-{}", session().mark, bundle.id);
    let config = format!(
        "lxc.uts.name = outer\nlxc.rootfs.path = dir:{}\nlxc.net.0.type = empty\nlxc.autodev = 1\nlxc.tty.max = 0\n\
         lxc.cgroup.dir = {name}\nlxc.apparmor.profile = unconfined\nlxc.cap.drop =\n\
         lxc.mount.entry = {} inner none bind 0 0\nlxc.mount.entry = {} isolate none bind,ro 0 0\n\
         lxc.mount.entry = tmpfs tmp tmpfs defaults 0 0\n{lines}\n",
        root.display(),
        inner.folder.display(),
        session().runtime.display(),
    );
    let file = bundle.folder.join("lxc.conf");
    fs::write(&file, config).unwrap();
    let mut command = Command::new("lxc-execute");
    command.args(["--name", &name, "--lxcpath", &folder.to_string(), "--rcfile"]).arg(&file);
    command.arg("--logfile").arg(bundle.folder.join("log")).args(["--", "/bin/sh", "/inner/script"]);
    let output = child::run(&mut command);
    remove_cgroups(&name);
    match output.stdout == SAID {
        true => output,
        false => panic!("{output}\n{}", fs::read_to_string(bundle.folder.join("log")).unwrap_or_default()),
    }
}

/// LXC leaves the folder that its config names, below the cgroup that it began in, with one in it.
fn remove_cgroups(name: &str) {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    let begun = own.lines().filter_map(|line| line.splitn(3, ':').nth(2)).chain(["/"]);
    let begun: Vec<&str> = begun.map(|path| path.trim_start_matches('/')).collect();
    for (point, _) in cgroup::hierarchies() {
        for folder in begun.iter().map(|path| point.join(path).join(name)).filter(|folder| folder.exists()) {
            let goes = |path: &Path| fs::remove_dir(path).is_ok() || !path.exists();
            child::eventually("what LXC leaves is removed", || {
                goes(&folder.join("lxc.pivot")) && goes(&folder)
            });
        }
    }
}

fn a_container_of_lxc_makes_containers() {
    lxc(&Inner::new("", |_| {}), "lxc.mount.auto = proc:rw sys:ro cgroup:rw:force");
}

fn a_container_of_lxc_with_a_user_namespace_makes_containers() {
    // Files of the inner root belong to the caller; what matters is that they can be read.
    let map = |kind: &str, own: u32, file: &str| {
        let (first, _) = need::subordinate_ids(file).unwrap();
        match own {
            0 => format!("lxc.idmap = {kind} 0 {first} 65536\n"),
            _ => format!("lxc.idmap = {kind} 0 {own} 1\nlxc.idmap = {kind} 1 {first} 65535\n"),
        }
    };
    let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    let maps = map("u", uid, "/etc/subuid") + &map("g", gid, "/etc/subgid");
    lxc(&Inner::new("", |_| {}), &format!("lxc.mount.auto = proc:rw sys:ro\n{maps}"));
}
