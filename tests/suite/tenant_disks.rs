//! Disks of tenants that are images: their size is a limit, and they grow while they are in use.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::support::child::eventually;
use crate::support::estate::Estate;
use crate::support::*;
use crate::tests;

tests![
    a_disk_has_the_size_that_was_asked_for_and_a_full_one_is_the_tenants_own_trouble needs [Need::Isolate, Need::Root, Need::UserNamespaces],
    what_it_writes_stays_on_its_disk_and_nothing_stays_mounted needs [Need::Isolate, Need::Root, Need::UserNamespaces],
    an_xfs_disk_grows_while_it_is_in_use needs [Need::Isolate, Need::Root, Need::UserNamespaces],
    an_ext4_disk_grows_while_the_tenant_is_stopped needs [Need::Isolate, Need::Root, Need::UserNamespaces],
    a_disk_does_not_shrink_and_a_folder_has_no_size needs [Need::Isolate, Need::Root, Need::UserNamespaces],
    limits_on_io_are_those_of_its_own_device needs [Need::Isolate, Need::Root, Need::CgroupV1("blkio")],
    a_command_writes_its_log_onto_its_own_disk needs [Need::Isolate, Need::Root, Need::UserNamespaces],
    a_disk_with_a_size_is_for_root needs [Need::Isolate, Need::OrdinaryUser, Need::UserNamespaces],
];

/// A running tenant `web` with a disk of this size.
pub fn with_disk(size: &str) -> Estate {
    needs_images();
    Estate::with_running(&["--disk", size])
}

/// Skips where no image can be made or mounted.
pub fn needs_images() {
    if !Path::new("/dev/loop-control").exists() {
        skip("the kernel has no loop devices (/dev/loop-control)");
    }
    if !has_program("mkfs.ext4") {
        skip("mkfs.ext4 is not installed");
    }
}

pub fn has_program(name: &str) -> bool {
    ["/sbin", "/usr/sbin", "/usr/bin", "/bin"].iter().any(|folder| Path::new(folder).join(name).exists())
}

/// KiB of the root as `df` shows them inside.
fn total(estate: &Estate) -> u64 {
    let text = estate.sh("df -k / | tail -n 1");
    text.split_whitespace().find_map(|word| word.parse().ok()).unwrap_or_else(|| panic!("{text}"))
}

/// The loop device of the tenant `web`.
fn device(estate: &Estate) -> Option<String> {
    let image = estate.tenant("web").join("disk.img");
    fs::read_dir("/sys/block").unwrap().flatten().find_map(|entry| {
        let backing = fs::read_to_string(entry.path().join("loop/backing_file")).ok()?;
        // The kernel tells the path below the mount that the file was opened by, which may be the host's /tmp.
        image
            .ends_with(backing.trim().trim_start_matches('/'))
            .then(|| fs::read_to_string(entry.path().join("dev")).unwrap().trim().to_owned())
    })
}

fn a_disk_has_the_size_that_was_asked_for_and_a_full_one_is_the_tenants_own_trouble() {
    let estate = with_disk("40M");
    let size = total(&estate);
    assert!((20 << 10..=40 << 10).contains(&size), "{size}");
    let full = estate.t(&["exec", "web", "--", "dd", "if=/dev/zero", "of=/big", "bs=1M", "count=100"]);
    assert!(full.code != 0 && full.stderr.contains("No space left on device"), "{full}");
    let image = fs::metadata(estate.tenant("web").join("disk.img")).unwrap();
    assert!(image.size() == 40 << 20 && image.blocks() * 512 <= 41 << 20);
    let limits = estate.t(&["limits", "--json", "web"]).ok().json();
    let disk =
        limits["limits"].as_array().unwrap().iter().find(|line| line["resource"] == "disk").unwrap().clone();
    assert!(disk["limit"] == 40 << 20 && disk["used"].as_u64() > Some(30 << 20), "{disk}");
    assert_eq!(estate.sh("rm /big; echo room > /small; cat /small"), "room");
}

fn what_it_writes_stays_on_its_disk_and_nothing_stays_mounted() {
    let estate = with_disk("40M");
    estate.sh("echo mine > /etc/mark; touch /user-s; chown 1000:1000 /user-s");
    assert!(device(&estate).is_some());
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&estate.folder.display().to_string()), "{mounts}");
    estate.t(&["restart", "--timeout", "0", "web"]).ok();
    assert_eq!(estate.sh("cat /etc/mark; stat -c %u:%g /user-s"), "mine\n1000:1000");
    assert_eq!(fs::read_dir(estate.tenant("web").join("disk")).unwrap().count(), 0);
    estate.t(&["stop", "--kill", "web"]).ok();
    eventually("its device goes", || device(&estate).is_none());
    estate.t(&["start", "web"]).ok();
    estate.t(&["destroy", "--yes", "--force", "web"]).ok();
    eventually("its device goes", || device(&estate).is_none());
}

fn an_xfs_disk_grows_while_it_is_in_use() {
    if !has_program("mkfs.xfs") || !has_program("xfs_growfs") {
        skip("xfsprogs are not installed");
    }
    let estate = with_disk("320M");
    assert_eq!(estate.info("web")["settings"]["disk"]["fs"], "xfs");
    let (init, before) = (estate.pid("web"), total(&estate));
    estate.t(&["set", "web", "disk=500M"]).ok();
    let after = total(&estate);
    assert!(after >= before + (170 << 10), "{before} {after}");
    assert_eq!((estate.pid("web"), &estate.info("web")["settings"]["disk"]["size"]), (init, &"500M".into()));
    estate.t(&["restart", "--timeout", "0", "web"]).ok();
    assert_eq!(total(&estate), after);
}

fn an_ext4_disk_grows_while_the_tenant_is_stopped() {
    let estate = with_disk("40M");
    let before = total(&estate);
    estate.sh("echo mine > /etc/mark");
    estate.t(&["stop", "--kill", "web"]).ok();
    eventually("its device goes", || device(&estate).is_none());
    estate.t(&["set", "web", "disk=80M"]).ok();
    estate.t(&["start", "web"]).ok();
    assert!(total(&estate) >= before + (30 << 10), "{before} {}", total(&estate));
    assert_eq!(estate.sh("cat /etc/mark"), "mine");
}

fn a_disk_does_not_shrink_and_a_folder_has_no_size() {
    let estate = with_disk("40M");
    estate.t(&["set", "web", "disk=20M"]).fails(21, &["it has 40M, and can only grow"]);
    estate.t(&["unset", "web", "disk"]).fails(21, &["has a size"]);
    estate.t(&["create", "two", "--template", "busybox"]).ok();
    estate.t(&["set", "two", "disk=20M"]).fails(21, &["a disk that is a folder has no size"]);
    for (size, words) in [("1M", "at least 16M"), ("40", "it needs a unit")] {
        estate.t(&["create", "three", "--template", "busybox", "--disk", size]).fails(21, &[words]);
        assert!(!estate.tenant("three").exists());
    }
}

fn limits_on_io_are_those_of_its_own_device() {
    let estate = with_disk("40M");
    estate.t(&["set", "web", "io-read=1M"]).ok();
    let uuid = estate.info("web")["settings"]["uuid"].as_str().unwrap().to_owned();
    let rule = cgroup::read("blkio", &format!("/isolate-tenants/{uuid}"), "blkio.throttle.read_bps_device");
    assert_eq!(rule.trim(), format!("{} 1048576", device(&estate).unwrap()));
}

fn a_command_writes_its_log_onto_its_own_disk() {
    needs_images();
    let estate = Estate::with_busybox();
    let script = "head -c 60m /dev/zero; echo full >&2; sleep 600";
    estate.t(&["create", "web", "--template", "busybox", "--disk", "40M", "--", "sh", "-c", script]).ok();
    estate.t(&["start", "web"]).ok();
    let used = || fs::metadata(estate.tenant("web").join("disk.img")).unwrap().blocks() * 512;
    eventually("its output fills the disk", || used() > 25 << 20);
    assert!(!estate.tenant("web").join("disk/log").exists());
}

fn a_disk_with_a_size_is_for_root() {
    let estate = Estate::with_busybox();
    estate
        .t(&["create", "web", "--template", "busybox", "--disk", "40M"])
        .fails(21, &["which only root can make"]);
    assert!(!estate.tenant("web").exists());
}
