//! Known escapes that need a race: an attacker exchanges folders and links, as fast as it can, while containers are
//! made, entered and removed. A few rounds here; `tests/races` does as many as it is told. `docs/cves.md` has the list.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::flip::Flipper;
use crate::support::*;
use crate::tests;

tests![
    a_volume_that_changes_leads_no_mount_out,
    a_root_that_changes_leads_no_mount_out,
    a_dev_that_changes_leads_no_node_out,
    a_proc_that_changes_is_still_procfs_with_its_masks,
    a_sys_that_changes_is_still_sysfs,
    a_masked_path_that_changes_covers_nothing_of_the_host,
    a_folder_that_changes_leads_no_exec_out,
    a_program_that_changes_is_the_containers_own,
    a_terminal_that_changes_is_never_another_file needs [Need::Root],
];

fn rounds() -> usize {
    std::env::var("ISOLATE_TEST_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(12)
}

/// What came of the rounds, for whoever runs many.
struct Tally {
    what: &'static str,
    made: usize,
    refused: usize,
    flips: u64,
}

impl Drop for Tally {
    fn drop(&mut self) {
        if std::env::var_os("ISOLATE_TEST_ROUNDS").is_some() {
            let Tally { what, made, refused, flips } = self;
            println!(
                "races: {what}: {made} rounds made a container, {refused} were refused, {flips} exchanges"
            );
        }
    }
}

/// When a container that stands is looked at.
#[derive(Clone, Copy, PartialEq)]
enum Look {
    During,
    After,
}

/// `rounds` times create, start, exec, delete on one bundle, with `check` on each container that stands.
#[track_caller]
fn repeat(
    what: &'static str,
    bundle: Bundle,
    mark: &Mark,
    pairs: Vec<(PathBuf, PathBuf)>,
    look: Look,
    check: impl Fn(&Container),
) {
    let container = bundle.container();
    let mut tally = Tally { what, made: 0, refused: 0, flips: 0 };
    for _ in 0..rounds() {
        let mut flipper = Some(Flipper::start(pairs.clone()));
        let made = container.create(&[]);
        if made.code == 0 {
            tally.made += 1;
            container.start();
            if look == Look::After {
                tally.flips += flipper.take().map_or(0, |flipper| flipper.count());
            }
            check(&container);
        } else {
            tally.refused += 1;
            assert_eq!(made.code, 1, "{made}");
        }
        let deleted = container.delete_by_force();
        tally.flips += flipper.take().map_or(0, |flipper| flipper.count());
        deleted.ok();
        mark.is_untouched();
    }
    container.leaves_nothing();
}

/// A folder and a link to the host beside it, to be exchanged.
fn pair(folder: PathBuf, target: &str) -> (PathBuf, PathBuf) {
    let name = format!("{}-other", folder.file_name().unwrap().to_str().unwrap());
    let other = folder.with_file_name(name);
    fs::create_dir_all(&folder).unwrap();
    symlink(target, &other).unwrap();
    (folder, other)
}

fn tmpfs(at: &str) -> Value {
    json!({"destination": at, "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]})
}

fn sleeper() -> Bundle {
    Bundle::new(&["/bin/sleep", "100"])
}

fn a_volume_that_changes_leads_no_mount_out() {
    // CVE-2021-30465, CVE-2015-1335, CVE-2024-45310: mounts below a volume that another container writes to.
    let bundle = sleeper();
    let mark = Mark::new(&bundle);
    let volume = bundle.host_folder("volume");
    let source = bundle.host_folder("source");
    fs::write(source.join("f"), "shared").unwrap();
    let pairs = vec![pair(volume.join("a"), &mark.climb()), pair(volume.join("c"), mark.path())];
    let bundle = bundle
        .bind(&volume, "/vol", &["rw"])
        .mount(tmpfs("/vol/a/made"))
        .mount(tmpfs("/vol/a/made/deeper/still"))
        .bind(&source, "/vol/c/b", &["rw"])
        .bind(&source.join("f"), "/vol/a/file", &["rw"]);
    repeat("volume", bundle, &mark, pairs, Look::During, |container| {
        container.exec(&["/bin/sh", "-c", "touch /vol/a/x /vol/c/b/x"]);
    });
}

fn a_root_that_changes_leads_no_mount_out() {
    // The root itself is written to by another container on it.
    let bundle = sleeper();
    let mark = Mark::new(&bundle);
    let file = bundle.host_folder("source").join("hosts");
    fs::write(&file, "127.0.0.1").unwrap();
    let pairs = vec![
        pair(bundle.rootfs().join("data"), &mark.climb()),
        pair(bundle.rootfs().join("etc"), mark.path()),
    ];
    let bundle = bundle
        .bind(&file, "/etc/hosts", &["ro"])
        .mount(tmpfs("/data/new/folder"))
        .set("/process/cwd", json!("/data/work"));
    repeat("root", bundle, &mark, pairs, Look::During, |_| {});
}

fn a_dev_that_changes_leads_no_node_out() {
    // CVE-2026-41579, CVE-2026-47766 as a race: no mount on /dev, so that nodes and links are made in the root.
    let bundle = sleeper().config(|json| {
        json["mounts"].as_array_mut().unwrap().retain(|mount| {
            !mount["destination"].as_str().is_some_and(|destination| destination.starts_with("/dev"))
        });
    });
    let mark = Mark::new(&bundle);
    let pairs = vec![pair(bundle.rootfs().join("dev"), &mark.climb())];
    repeat("dev", bundle, &mark, pairs, Look::During, |_| {});
}

fn a_proc_that_changes_is_still_procfs_with_its_masks() {
    // CVE-2019-19921, CVE-2023-27561, CVE-2025-52881.
    let bundle = sleeper().set("/linux/sysctl", json!({"kernel.msgmax": "12321"}));
    let mark = Mark::new(&bundle);
    let root = bundle.rootfs();
    fs::create_dir_all(root.join("tmp/fake/sys/kernel")).unwrap();
    fs::write(root.join("tmp/fake/sys/kernel/msgmax"), "").unwrap();
    let pairs = vec![pair(root.join("proc"), "/tmp/fake"), pair(root.join("way"), &mark.climb())];
    let fake = root.join("tmp/fake/sys/kernel/msgmax");
    repeat("proc", bundle, &mark, pairs, Look::After, |container| {
        // The folder that was mounted on may have another name by now.
        let seen = container.sh(
            "for d in /proc /proc-other; do [ $(stat -f -c %T $d/.) = proc ] || continue; cd $d; cat sys/kernel/msgmax; \
             [ ! -e kcore ] || stat -c %t:%T kcore; (echo 1 > sys/kernel/panic) 2>/dev/null || echo refused; done",
        );
        assert!(["12321\n1:3\nrefused", "12321\nrefused"].contains(&seen.as_str()), "{seen}");
        assert_eq!(fs::read_to_string(&fake).unwrap(), "", "a setting went into the image");
    });
}

fn a_sys_that_changes_is_still_sysfs() {
    let bundle = sleeper();
    let mark = Mark::new(&bundle);
    let pairs = vec![pair(bundle.rootfs().join("sys"), &mark.climb())];
    repeat("sys", bundle, &mark, pairs, Look::After, |container| {
        let seen = container
            .sh("for d in /sys /sys-other; do [ $(stat -f -c %T $d/.) = sysfs ] || continue; \
             ls $d/firmware 2>/dev/null; (echo x > $d/kernel/x) 2>/dev/null || echo refused; done");
        assert_eq!(seen, "refused");
    });
}

fn a_masked_path_that_changes_covers_nothing_of_the_host() {
    // CVE-2025-31133, CVE-2023-28642: what is masked or made read-only is exchanged meanwhile.
    let paths = json!(["/data/secret", "/data", "/way/precious"]);
    let bundle = sleeper().set("/linux/maskedPaths", paths.clone()).set("/linux/readonlyPaths", paths);
    let mark = Mark::new(&bundle);
    let pairs = vec![
        pair(bundle.rootfs().join("data"), &mark.climb()),
        pair(bundle.rootfs().join("way"), mark.path()),
    ];
    fs::write(bundle.rootfs().join("data/secret"), "x").unwrap();
    repeat("masks", bundle, &mark, pairs, Look::During, |_| {});
}

fn a_folder_that_changes_leads_no_exec_out() {
    // CVE-2024-21626 as a race: the working folder of exec is exchanged for links that lead out.
    let bundle = sleeper();
    let mark = Mark::new(&bundle);
    let volume = bundle.host_folder("volume");
    let pairs = vec![
        pair(volume.join("a"), "/proc/self/fd/5"),
        pair(volume.join("b"), &mark.climb()),
        pair(volume.join("c"), "/proc/1/root/.."),
    ];
    let bundle = bundle.bind(&volume, "/vol", &["rw"]);
    repeat("exec", bundle, &mark, pairs, Look::During, |container| {
        for folder in ["/vol/a", "/vol/b", "/vol/c"] {
            let output = container.exec_with(
                &["--cwd", folder],
                &["/bin/sh", "-c", "ls ../precious ./precious; touch ./new; pwd -P"],
            );
            assert!(!output.stdout.contains("precious"), "{output}");
            assert!(output.code != 0 || output.text().starts_with('/'), "{output}");
        }
    });
}

fn a_program_that_changes_is_the_containers_own() {
    // CVE-2019-5736's other entry: the program is exchanged for a link to the runtime while it is looked up.
    let bundle = sleeper();
    let mark = Mark::new(&bundle);
    let volume = bundle.host_folder("volume");
    fs::copy(bundle.rootfs().join("bin/busybox"), volume.join("true")).unwrap();
    symlink("/proc/self/exe", volume.join("true-other")).unwrap();
    let before = fs::metadata(&session().runtime).unwrap().modified().unwrap();
    let pairs = vec![(volume.join("true"), volume.join("true-other"))];
    let bundle = bundle.bind(&volume, "/vol", &["rw"]);
    repeat("program", bundle, &mark, pairs, Look::During, |container| {
        container.exec(&["/vol/true"]);
    });
    assert_eq!(fs::metadata(&session().runtime).unwrap().modified().unwrap(), before);
}

fn a_terminal_that_changes_is_never_another_file() {
    // CVE-2025-52565: /dev/console and what lies below /dev/pts is exchanged while the terminal is made.
    let bundle = sleeper().set("/process/terminal", json!(true)).config(|json| {
        json["mounts"].as_array_mut().unwrap().retain(|mount| mount["destination"] != "/dev");
    });
    let mark = Mark::new(&bundle);
    let dev = bundle.rootfs().join("dev");
    fs::create_dir_all(dev.join("pts")).unwrap();
    for name in ["shm", "mqueue"] {
        fs::create_dir_all(dev.join(name)).unwrap();
    }
    fs::write(dev.join("console"), "").unwrap();
    symlink("/proc/sysrq-trigger", dev.join("console-other")).unwrap();
    let pairs = vec![(dev.join("console"), dev.join("console-other"))];
    let socket = console::DescriptorSocket::listen(bundle.folder.join("console.sock"));
    let container = bundle.container();
    let mut tally = Tally { what: "terminal", made: 0, refused: 0, flips: 0 };
    for _ in 0..rounds() {
        let flipper = Flipper::start(pairs.clone());
        let made = container.create(&["--console-socket", socket.path()]);
        if made.code == 0 {
            tally.made += 1;
            drop(socket.receive());
            container.start();
            let seen = container.exec(&["/bin/sh", "-c", "stat -c %t /dev/console"]);
            assert!(
                seen.code != 0 || seen.text().is_empty() || seen.text() == "88" || seen.text() == "0",
                "{seen}"
            );
        } else {
            tally.refused += 1;
        }
        container.delete_by_force().ok();
        tally.flips += flipper.count();
        drop(flipper);
        mark.is_untouched();
    }
}
