//! `tenant push` and `pull`: files go into a tenant and out of it, and a hostile tenant gets nothing of the host by it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use nix::sys::signal::Signal;

use crate::support::child::{self, Run, eventually};
use crate::support::estate::Estate;
use crate::support::*;
use crate::tests;

tests![
    what_goes_in_comes_out_as_it_was needs [Need::Isolate, Need::UserNamespaces],
    a_stopped_tenant_gives_and_takes_files needs [Need::Isolate, Need::UserNamespaces],
    what_is_pushed_belongs_to_root_or_to_whom_it_is_said needs [Need::Isolate, Need::UserNamespaces],
    a_file_that_is_replaced_keeps_owner_and_mode_and_a_link_is_not_followed needs [Need::Isolate, Need::UserNamespaces],
    standard_input_and_output_take_the_place_of_a_file needs [Need::Isolate, Need::UserNamespaces],
    set_id_bits_pipes_and_sockets_are_left_behind needs [Need::Isolate, Need::UserNamespaces],
    holes_stay_holes needs [Need::Isolate, Need::UserNamespaces],
    what_is_pulled_is_written_within_the_umask needs [Need::Isolate, Need::UserNamespaces],
    links_of_the_tenants_lead_nowhere_on_the_host needs [Need::Isolate, Need::UserNamespaces],
    a_tenant_that_exchanges_names_gets_nothing_of_the_host needs [Need::Isolate, Need::UserNamespaces],
    no_room_inside_is_told_and_nothing_half_stays needs [Need::Isolate, Need::UserNamespaces],
    an_interrupted_push_leaves_nothing_half needs [Need::Isolate, Need::UserNamespaces],
    what_makes_no_sense_is_not_copied needs [Need::Isolate, Need::UserNamespaces],
];

/// A path as an argument.
fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A folder on the host with a bit of everything.
fn tree(estate: &Estate) -> PathBuf {
    let tree = estate.folder.join("tree");
    fs::create_dir_all(tree.join("deep/er")).unwrap();
    fs::create_dir(tree.join("empty")).unwrap();
    fs::write(tree.join("deep/er/file"), "content\n").unwrap();
    fs::write(tree.join(OsStr::from_bytes(b"odd \xff\n name")), "odd").unwrap();
    fs::write(tree.join("large"), vec![7; 300_000]).unwrap();
    fs::write(tree.join("nothing"), "").unwrap();
    symlink("deep/er/file", tree.join("link")).unwrap();
    symlink("/nowhere", tree.join("dangling")).unwrap();
    fs::set_permissions(tree.join("large"), fs::Permissions::from_mode(0o640)).unwrap();
    fs::set_permissions(tree.join("empty"), fs::Permissions::from_mode(0o711)).unwrap();
    let times =
        fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1234));
    fs::File::open(tree.join("deep/er/file")).unwrap().set_times(times).unwrap();
    tree
}

/// Every path below `root`, with its kind, mode and content.
fn picture(root: &Path) -> Vec<String> {
    let mut lines = vec![];
    let mut left = vec![root.to_owned()];
    while let Some(path) = left.pop() {
        let found = fs::symlink_metadata(&path).unwrap();
        let name = path.strip_prefix(root).unwrap();
        if found.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            lines.push(format!("{name:?} {:o}", found.mode()));
        } else if found.is_symlink() {
            lines.push(format!("{name:?} -> {:?}", fs::read_link(&path).unwrap()));
        } else {
            let content = fs::read(&path).unwrap();
            let sum: u64 = content.iter().map(|byte| u64::from(*byte)).sum();
            lines.push(format!("{name:?} {:o} {} {sum} {}", found.mode(), content.len(), found.mtime()));
        }
    }
    lines.sort();
    lines
}

fn what_goes_in_comes_out_as_it_was() {
    let estate = Estate::with_running(&[]);
    let (tree, back) = (tree(&estate), estate.folder.join("back"));
    let said =
        estate.t(&["push", "web", text(&tree), "/srv/new"]).fails(14, &["there is no folder \"/srv\""]);
    assert!(said.stderr.contains("--parents makes it"), "{said:?}");
    let said = estate.t(&["push", "--parents", "web", text(&tree), "/srv/new"]).ok();
    assert!(said.text().starts_with("4 files  4 folders  2 links  "), "{said:?}");
    assert_eq!(estate.sh("cat /srv/new/link; stat -c %u:%g:%a /srv/new/large"), "content\n0:0:640");
    estate.t(&["pull", "web", "/srv/new", text(&back)]).ok();
    assert_eq!(picture(&back), picture(&tree));
    // Into a folder that is there it goes by its own name, and what is there already stays.
    fs::create_dir(back.join("new")).unwrap();
    fs::write(back.join("new/mine"), "mine").unwrap();
    let said = estate.t(&["pull", "--json", "web", "/srv/new", "/etc/passwd", text(&back)]).ok().json();
    assert_eq!(said["carried"]["files"], 5, "{said}");
    assert!(back.join("passwd").is_file() && back.join("new/deep/er/file").is_file());
    assert_eq!(fs::read_to_string(back.join("new/mine")).unwrap(), "mine");
}

fn a_stopped_tenant_gives_and_takes_files() {
    let estate = Estate::with_busybox();
    estate.t(&["create", "web", "--template", "busybox"]).ok();
    let (tree, back) = (tree(&estate), estate.folder.join("back"));
    estate.t(&["push", "--user", "7:8", "web", text(&tree), "/none/new"]).fails(14, &["no folder \"/none\""]);
    estate.t(&["push", "--parents", "--user", "7:8", "web", text(&tree), "/none/new"]).ok();
    estate.t(&["pull", "web", "/none/new", text(&back)]).ok();
    assert_eq!(picture(&back), picture(&tree));
    estate.t(&["start", "web"]).ok();
    assert_eq!(estate.sh("stat -c %u:%g /none /none/new/large"), "0:0\n7:8");
}

fn what_is_pushed_belongs_to_root_or_to_whom_it_is_said() {
    let estate = Estate::with_running(&[]);
    let tree = tree(&estate);
    estate.sh("echo joe:x:33:44::/home/joe:/bin/sh >> /etc/passwd");
    estate.t(&["push", "--user", "joe", "--mode", "600", "web", text(&tree), "/tmp"]).ok();
    let owners = estate.sh("cd /tmp/tree && stat -c %u:%g . deep/er/file link; stat -c %a deep/er/file");
    assert_eq!(owners, "33:44\n33:44\n33:44\n600");
    estate.t(&["push", "--user", "9:10", "web", text(&tree.join("nothing")), "/tmp/"]).ok();
    estate.t(&["push", "web", text(&tree.join("large")), "/tmp/"]).ok();
    assert_eq!(estate.sh("stat -c %u:%g:%a /tmp/nothing /tmp/large"), "9:10:644\n0:0:640");
    let words = ["cannot push to tenant 'web'", "user \"nobody-here\" is not in the root's /etc/passwd"];
    estate.t(&["push", "--user", "nobody-here", "web", text(&tree), "/tmp"]).fails(21, &words);
}

fn a_file_that_is_replaced_keeps_owner_and_mode_and_a_link_is_not_followed() {
    let estate = Estate::with_running(&[]);
    let new = estate.folder.join("new");
    fs::write(&new, "new").unwrap();
    estate.sh("cd /tmp; echo old > conf; chown 5:6 conf; chmod 604 conf; echo safe > real; ln -s real link");
    for name in ["/tmp/conf", "/tmp/link"] {
        estate.t(&["push", "web", text(&new), name]).ok();
    }
    assert_eq!(estate.sh("cd /tmp; stat -c %u:%g:%a conf; cat conf; cat real link"), "5:6:604\nnewsafe\nnew");
    estate.sh("mkdir /tmp/folder; ln -s folder /tmp/to-folder");
    estate.t(&["push", "web", text(&new), "/tmp/to-folder"]).ok();
    assert_eq!(estate.sh("cat /tmp/folder/new"), "new");
    // On the host the same.
    let (conf, link) = (estate.folder.join("conf"), estate.folder.join("link"));
    fs::write(&conf, "old").unwrap();
    fs::set_permissions(&conf, fs::Permissions::from_mode(0o606)).unwrap();
    symlink("conf", &link).unwrap();
    estate.t(&["pull", "web", "/tmp/real", text(&conf)]).ok();
    assert_eq!(fs::metadata(&conf).unwrap().mode() & 0o7777, 0o606);
    estate.t(&["pull", "web", "/tmp/conf", text(&link)]).ok();
    assert_eq!(fs::read_to_string(&conf).unwrap(), "safe\n");
    assert!(fs::symlink_metadata(&link).unwrap().is_file());
}

fn standard_input_and_output_take_the_place_of_a_file() {
    let estate = Estate::with_running(&[]);
    let mut command = estate.command(&["push", "--mode", "600", "web", "-", "/tmp/dump"]);
    child::run_with_input(&mut command, b"a dump\n").ok();
    assert_eq!(estate.sh("stat -c %a /tmp/dump; cat /tmp/dump"), "600\na dump");
    assert_eq!(estate.t(&["pull", "web", "/tmp/dump", "-"]).ok().stdout, "a dump\n");
    estate.t(&["pull", "web", "/tmp", "-"]).fails(21, &["/tmp is a folder", "- takes one file"]);
}

fn set_id_bits_pipes_and_sockets_are_left_behind() {
    let estate = Estate::with_running(&[]);
    let back = estate.folder.join("back");
    estate.sh("mkdir /tmp/d; cd /tmp/d; echo x > su; chmod 6755 su; mkfifo pipe; chmod 1777 .");
    let said = estate.t(&["pull", "web", "/tmp/d", text(&back)]).ok();
    assert!(said.stderr.contains("left out: 1 that are pipes, sockets or devices, such as"), "{said:?}");
    assert_eq!(fs::metadata(back.join("su")).unwrap().mode() & 0o7777, 0o755);
    assert_eq!(fs::metadata(&back).unwrap().mode() & 0o7000, 0);
    assert!(!back.join("pipe").exists());
    fs::set_permissions(back.join("su"), fs::Permissions::from_mode(0o4755)).unwrap();
    estate.t(&["push", "web", text(&back), "/tmp/e"]).ok();
    assert_eq!(estate.sh("stat -c %a /tmp/e/su"), "755");
    estate
        .t(&["pull", "web", "/dev/zero", text(&back)])
        .fails(1, &["/dev/zero is neither a file nor a folder"]);
    estate
        .t(&["push", "web", "/dev/zero", "/tmp"])
        .fails(1, &["\"/dev/zero\" is neither a file nor a folder"]);
}

fn holes_stay_holes() {
    let estate = Estate::with_running(&[]);
    let (sparse, back) = (estate.folder.join("sparse"), estate.folder.join("back"));
    let file = fs::File::create(&sparse).unwrap();
    std::os::unix::fs::FileExt::write_at(&file, b"middle", 300 << 20).unwrap();
    file.set_len(700 << 20).unwrap();
    estate.t(&["push", "web", text(&sparse), "/tmp/sparse"]).ok();
    estate.t(&["pull", "web", "/tmp/sparse", text(&back)]).ok();
    let found = fs::metadata(&back).unwrap();
    assert_eq!(found.len(), 700 << 20);
    assert!(found.blocks() * 512 < 1 << 20, "{} blocks", found.blocks());
    let mut bytes = [0; 6];
    std::os::unix::fs::FileExt::read_exact_at(&fs::File::open(&back).unwrap(), &mut bytes, 300 << 20)
        .unwrap();
    assert_eq!(&bytes, b"middle");
    assert_eq!(estate.sh("[ $(du -k /tmp/sparse | cut -f1) -lt 1024 ] && echo small"), "small");
}

fn what_is_pulled_is_written_within_the_umask() {
    let estate = Estate::with_running(&[]);
    let back = estate.folder.join("back");
    estate.sh("mkdir /tmp/d; echo x > /tmp/d/open; chmod 777 /tmp/d /tmp/d/open");
    let mut shell = std::process::Command::new("sh");
    let command = estate.command(&["pull", "web", "/tmp/d", text(&back)]);
    shell.args(["-c", "umask 027; exec \"$@\"", "-"]).arg(command.get_program()).args(command.get_args());
    shell.envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))));
    child::run(&mut shell).ok();
    for path in [&back, &back.join("open")] {
        assert_eq!(fs::metadata(path).unwrap().mode() & 0o7777, 0o750);
    }
}

fn links_of_the_tenants_lead_nowhere_on_the_host() {
    let estate = Estate::with_running(&[]);
    let (outside, new) = (estate.folder.join("outside"), estate.folder.join("new"));
    fs::create_dir(&outside).unwrap();
    fs::set_permissions(&outside, fs::Permissions::from_mode(0o777)).unwrap();
    fs::write(outside.join("secret"), "of the host").unwrap();
    fs::write(&new, "new").unwrap();
    let up = format!("../../../../../../../../../..{}", text(&outside));
    estate.sh(&format!(
        "cd /tmp; ln -s {} a; ln -s {up} b; ln -s /proc/1/root c; ln -s /proc/1/cwd d",
        text(&outside)
    ));
    let (to, from) = (["/tmp/a/", "/tmp/b/", "/tmp/c/tmp/", "/tmp/d/"], estate.folder.join("from"));
    for to in to {
        assert_ne!(estate.t(&["push", "web", text(&new), to]).code, 0, "{to}");
        let secret = format!("{to}secret");
        assert_ne!(estate.t(&["pull", "web", &secret, text(&from)]).code, 0, "{to}");
    }
    // With --parents the folders are made inside, as the links name them there.
    estate.t(&["push", "--parents", "web", text(&new), "/tmp/a/"]);
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    assert!(!from.exists());
    // Links in a folder come as links: nothing of what they name.
    estate.t(&["pull", "web", "/tmp", text(&from)]).ok();
    assert!(fs::symlink_metadata(from.join("a")).unwrap().is_symlink());
    // A folder on the host that has become a link since is not entered.
    fs::remove_file(from.join("a")).unwrap();
    symlink(&outside, from.join("tmp")).unwrap();
    estate
        .t(&["pull", "web", "/tmp", text(&from)])
        .fails(1, &["something that is no folder is there already"]);
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
}

fn a_tenant_that_exchanges_names_gets_nothing_of_the_host() {
    let estate = Estate::with_running(&[]);
    let (outside, tree) = (estate.folder.join("outside"), tree(&estate));
    fs::create_dir(&outside).unwrap();
    fs::set_permissions(&outside, fs::Permissions::from_mode(0o777)).unwrap();
    fs::write(outside.join("secret"), "of the host").unwrap();
    let script = format!(
        "mkdir -p /t/tree/deep /t/x; while [ ! -e /t/end ]; do
           mv /t/tree /t/x/tree; ln -s {0} /t/tree; rm /t/tree; mv /t/x/tree /t/tree
           mv /t/tree/deep /t/x/deep; ln -s {0} /t/tree/deep; rm -rf /t/tree/deep; mv /t/x/deep /t/tree/deep
         done",
        text(&outside)
    );
    let flipper = Run::start(&mut estate.command(&["exec", "web", "--", "sh", "-c", &script]));
    eventually("it has begun", || estate.t(&["exec", "web", "--", "test", "-e", "/t/x"]).code == 0);
    for round in 0..15 {
        // They may fail, as any copy of what changes.
        estate.t(&["push", "web", text(&tree), "/t"]);
        estate.t(&["push", "web", text(&tree.join("nothing")), "/t/tree/"]);
        let back = estate.folder.join(format!("back{round}"));
        estate.t(&["pull", "web", "/t", text(&back)]);
        for line in if back.exists() { picture(&back) } else { vec![] } {
            assert!(!line.contains("secret"), "{line}");
        }
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    }
    estate.sh("touch /t/end");
    flipper.finish();
}

fn no_room_inside_is_told_and_nothing_half_stays() {
    let estate = Estate::with_running(&[]);
    let large = estate.folder.join("large");
    fs::write(&large, vec![1; 3 << 20]).unwrap();
    estate.sh("mkdir /tmp/m; mount -t tmpfs -o size=1m none /tmp/m; echo old > /tmp/m/large");
    estate.t(&["push", "web", text(&large), "/tmp/m"]).fails(46, &["cannot push to tenant 'web'", "ENOSPC"]);
    assert_eq!(estate.sh("ls -A /tmp/m; cat /tmp/m/large"), "large\nold");
}

fn an_interrupted_push_leaves_nothing_half() {
    let estate = Estate::with_running(&[]);
    let (reader, writer) = std::io::pipe().unwrap();
    let mut command = estate.command(&["push", "web", "-", "/tmp/dump"]);
    let run = Run::start_with(&mut command, Stdio::from(reader));
    let mut feed = &writer;
    std::io::Write::write_all(&mut feed, &[1; 100_000]).unwrap();
    eventually("it is being written", || estate.sh("ls -A /tmp").contains(".isolate-"));
    run.signal(Signal::SIGINT);
    run.finish().fails(130, &["cannot push to tenant 'web': interrupted by SIGINT"]);
    assert_eq!(estate.sh("ls -A /tmp"), "");
}

fn what_makes_no_sense_is_not_copied() {
    let estate = Estate::with_running(&[]);
    let file = estate.folder.join("file");
    fs::write(&file, "x").unwrap();
    let file = text(&file);
    estate.t(&["push", "none", file, "/tmp"]).fails(14, &["there is no tenant 'none'"]);
    estate.t(&["push", "web", "/none/such", "/tmp"]).fails(1, &["stat(\"/none/such\"): ENOENT"]);
    estate.t(&["push", "web", file, "-", "/tmp"]).fails(21, &["- goes alone"]);
    for folder in ["/tmp/", "/tmp", "/none/"] {
        estate
            .t(&["push", "--parents", "web", "-", folder])
            .fails(21, &["standard input has no name", "name a file as DEST"]);
    }
    assert_eq!(estate.sh("ls -A /tmp; ls -d /none 2>&1 || true"), "ls: /none: No such file or directory");
    estate.t(&["push", "web", "/", "/tmp"]).fails(21, &["\"/\" has no name of its own"]);
    estate.t(&["push", "--mode", "4755", "web", file, "/tmp"]).fails(20, &["no octal number up to 777"]);
    estate.t(&["push", "web", "", "/tmp"]).fails(21, &["an empty path"]);
    estate.t(&["push", "web", file, file, "/none"]).fails(14, &["there is no folder \"/none\""]);
    estate.t(&["push", "web", file, "/etc/passwd/x"]).fails(14, &["there is no folder \"/etc/passwd\""]);
    estate.t(&["pull", "web", "/none", "."]).fails(14, &["there is no /none in the tenant"]);
    estate.t(&["pull", "web", "/", "."]).fails(21, &["has no name of its own"]);
    estate.t(&["pull", "web", "/etc/passwd", "/etc/group", "-"]).fails(21, &["- takes one file"]);
    estate
        .t(&["pull", "web", "/etc/passwd", "/none/such/x"])
        .fails(14, &["there is no folder \"/none/such\""]);
    estate.sh("mkdir -p /tmp/file /tmp/deep/er/file");
    estate.t(&["push", "web", file, "/tmp"]).fails(1, &["\"file\": a folder is there already"]);
    let deep = estate.folder.join("deep");
    fs::create_dir_all(deep.join("er")).unwrap();
    fs::write(deep.join("er/file"), "x").unwrap();
    estate
        .t(&["push", "web", text(&deep), "/tmp"])
        .fails(1, &["\"deep/er/file\": a folder is there already"]);
}
