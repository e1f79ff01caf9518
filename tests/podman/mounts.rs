//! -v, --mount, --tmpfs, --read-only, --device: what the container sees in its tree.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::engine::*;
use crate::support::session::unique;
use crate::support::{Need, child, skip};
use crate::tests;

tests![
    a_volume_is_read_and_written_on_the_host,
    a_read_only_volume_cannot_be_written,
    a_file_can_be_a_volume,
    a_volume_takes_mount_options,
    a_named_volume_outlives_its_container,
    an_overlay_volume_keeps_the_host_s_folder_as_it_was needs [Need::Root],
    tmpfs_is_empty_sized_and_gone_afterwards,
    shm_has_the_size_asked_for,
    a_read_only_root_can_be_written_only_where_tmpfs_is,
    a_read_only_root_without_tmpfs_can_be_written_nowhere,
    proc_and_sys_are_masked_and_read_only,
    a_masked_path_can_be_unmasked,
    devices_are_the_usual_ones,
    an_added_device_is_there_under_its_name,
    a_device_that_was_not_added_is_refused needs [Need::Root],
    a_privileged_container_sees_the_host_s_devices needs [Need::Root],
    propagation_of_a_volume_is_as_asked_for needs [Need::Root],
    a_root_folder_of_the_host_can_be_the_root,
    cp_reaches_into_and_out_of_a_running_container,
];

fn host_folder() -> PathBuf {
    let path = folder().join(unique("volume-"));
    fs::create_dir_all(&path).unwrap();
    fs::write(path.join("file"), "from the host\n").unwrap();
    path
}

fn a_volume_is_read_and_written_on_the_host() {
    let path = host_folder();
    let volume = format!("{}:/data", path.display());
    assert_eq!(sh(&["-v", &volume], "cat /data/file; echo inside > /data/new"), "from the host");
    assert_eq!(fs::read_to_string(path.join("new")).unwrap(), "inside\n");
}

fn a_read_only_volume_cannot_be_written() {
    let path = host_folder();
    let volume = format!("{}:/data:ro", path.display());
    run(&["-v", &volume], &["sh", "-c", "cat /data/file && echo x > /data/new"])
        .fails(1, &["Read-only file system"]);
    assert!(!path.join("new").exists());
}

fn a_file_can_be_a_volume() {
    let file = host_folder().join("file");
    let volume = format!("{}:/deep/below/name:ro", file.display());
    assert_eq!(sh(&["-v", &volume], "cat /deep/below/name"), "from the host");
}

fn a_volume_takes_mount_options() {
    let volume = format!("{}:/data:noexec,nosuid,nodev", host_folder().display());
    let options = sh(&["-v", &volume], "grep ' /data ' /proc/self/mounts | cut -d' ' -f4");
    for name in ["noexec", "nosuid", "nodev"] {
        assert!(options.split(',').any(|option| option == name), "{options}");
    }
}

fn a_named_volume_outlives_its_container() {
    let volume = unique("isolate-test-volume-");
    let option = format!("{volume}:/data");
    sh(&["-v", &option], "echo kept > /data/file");
    assert_eq!(sh(&["-v", &option], "cat /data/file"), "kept");
    podman(&["volume", "rm", &volume]).ok();
}

fn an_overlay_volume_keeps_the_host_s_folder_as_it_was() {
    let path = host_folder();
    let volume = format!("{}:/data:O", path.display());
    assert_eq!(sh(&["-v", &volume], "echo changed > /data/file; cat /data/file"), "changed");
    assert_eq!(fs::read_to_string(path.join("file")).unwrap(), "from the host\n");
}

fn tmpfs_is_empty_sized_and_gone_afterwards() {
    let container = Container::sleeper(&["--tmpfs", "/scratch:rw,size=1m,mode=1700"]);
    assert_eq!(container.sh("ls -A /scratch; stat -c %a /scratch; stat -f -c %T /scratch"), "1700\ntmpfs");
    let fill = container.exec(&[], &["dd", "if=/dev/zero", "of=/scratch/big", "bs=64k", "count=32"]);
    fill.fails(1, &["No space left on device"]);
}

fn shm_has_the_size_asked_for() {
    assert_eq!(sh(&["--shm-size", "2m"], "df -k /dev/shm | tail -1 | tr -s ' ' | cut -d' ' -f2"), "2048");
}

fn a_read_only_root_can_be_written_only_where_tmpfs_is() {
    let output =
        run(&["--read-only"], &["sh", "-c", "echo x > /tmp/x && echo x > /run/x && echo ok; echo x > /x"]);
    let output = output.fails(1, &["Read-only file system"]);
    assert_eq!(output.text(), "ok");
}

fn a_read_only_root_without_tmpfs_can_be_written_nowhere() {
    let options = ["--read-only", "--read-only-tmpfs=false"];
    for path in ["/x", "/tmp/x", "/etc/x"] {
        run(&options, &["sh", "-c", &format!("echo x > {path}")]).fails(1, &["Read-only file system"]);
    }
}

fn proc_and_sys_are_masked_and_read_only() {
    assert_eq!(
        sh(
            &[],
            "cat /proc/kcore /proc/keys /proc/timer_list 2> /dev/null | wc -c; ls -A /sys/firmware | wc -l"
        ),
        "0\n0"
    );
    let write = run(&[], &["sh", "-c", "echo 1 > /proc/sys/kernel/panic"]);
    assert!(write.code != 0 && write.stderr.contains("Read-only file system"), "{write}");
    let write = run(&[], &["sh", "-c", "echo 1 > /sys/kernel/mm/ksm/run || mkdir /sys/x"]);
    assert!(write.code != 0, "{write}");
}

fn a_masked_path_can_be_unmasked() {
    let masked = sh(&["--security-opt", "mask=/home:/etc/group"], "ls -A /home | wc -l; wc -c < /etc/group");
    assert_eq!(masked, "0\n0");
    let unmasked = sh(&["--security-opt", "unmask=ALL"], "mount | grep -c -E ' /proc/(kcore|keys) ' || true");
    assert_eq!(unmasked, "0");
}

fn devices_are_the_usual_ones() {
    let script = "for d in null zero full random urandom tty; do test -c /dev/$d || echo no $d; done; \
                  ls -d /dev/pts /dev/shm /dev/mqueue; for l in fd stdin ptmx; do readlink /dev/$l; done; head -c 4 /dev/zero | wc -c";
    let expected = "/dev/mqueue\n/dev/pts\n/dev/shm\n/proc/self/fd\n/proc/self/fd/0\npts/ptmx\n4";
    assert_eq!(sh(&[], script), expected);
}

fn an_added_device_is_there_under_its_name() {
    let device = ["--device", "/dev/zero:/dev/added:r"];
    assert_eq!(sh(&device, "head -c 3 /dev/added | wc -c"), "3");
}

fn a_device_that_was_not_added_is_refused() {
    // With the right to make a device node, only the cgroup's list of devices still refuses to open it.
    let script = "mknod /tmp/kmsg c 1 11 && cat /tmp/kmsg";
    needs_cgroups();
    run(&["--cap-add", "mknod"], &["sh", "-c", script]).fails(1, &["Operation not permitted"]);
    let rule = ["--cap-add", "mknod", "--device-cgroup-rule", "c 1:11 rwm"];
    sh(&rule, "mknod /tmp/kmsg c 1 11 && head -c 1 /tmp/kmsg | wc -c");
}

fn a_privileged_container_sees_the_host_s_devices() {
    let script = "test -c /dev/kmsg && head -c 1 /dev/kmsg | wc -c";
    if !PathBuf::from("/dev/kmsg").exists() {
        skip("the machine shows no /dev/kmsg");
    }
    assert_eq!(sh(&["--privileged"], script), "1");
}

/// A folder that is a shared mount of its own for as long as this lives.
struct SharedMount(PathBuf);

impl SharedMount {
    fn make() -> SharedMount {
        let path = host_folder();
        child::run(Command::new("mount").arg("--bind").args([&path, &path])).ok();
        let mount = SharedMount(path);
        child::run(Command::new("mount").arg("--make-shared").arg(&mount.0)).ok();
        mount
    }
}

impl Drop for SharedMount {
    fn drop(&mut self) {
        let _ = std::panic::catch_unwind(|| child::run(Command::new("umount").arg(&self.0)));
    }
}

fn propagation_of_a_volume_is_as_asked_for() {
    let shared = SharedMount::make();
    let field = |option: &str| {
        let volume = format!("{}:/data:{option}", shared.0.display());
        sh(&["-v", &volume], "grep ' /data ' /proc/self/mountinfo | sed 's/ - .*//'")
    };
    let (private, slave, both) = (field("rprivate"), field("rslave"), field("rshared"));
    assert!(!private.contains("master:") && !private.contains("shared:"), "{private}");
    assert!(slave.contains("master:") && !slave.contains("shared:"), "{slave}");
    assert!(both.contains("shared:"), "{both}");
}

fn a_root_folder_of_the_host_can_be_the_root() {
    let root = folder().join("image");
    let mut command = command();
    command.args(["run", "--rm", "--network", "none", "--read-only", "--rootfs"]).arg(root);
    let output = child::run(command.args(["sh", "-c", "echo $$ at $(pwd)"])).ok();
    assert_eq!(output.text(), "1 at /");
}

fn cp_reaches_into_and_out_of_a_running_container() {
    let container = Container::sleeper(&[]);
    let (from, to) = (host_folder().join("file"), folder().join(unique("copied-")));
    podman(&["cp", from.to_str().unwrap(), &format!("{}:/tmp/in", container.name)]).ok();
    assert_eq!(container.sh("cat /tmp/in; echo back > /tmp/out"), "from the host");
    podman(&["cp", &format!("{}:/tmp/out", container.name), to.to_str().unwrap()]).ok();
    assert_eq!(fs::read_to_string(to).unwrap(), "back\n");
}
