//! Mounts beyond the plain ones: attributes of all mounts below, owners through an id map, changes of what is
//! mounted, and links at either end.

use std::os::unix::fs::symlink;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::*;
use crate::tests;

const MAPPED: [Need; 4] =
    [Need::Root, Need::UserNamespaces, Need::Kernel(5, 12), Need::Not("runc", "1.1 has no idmapped mounts")];

tests![
    every_recursive_attribute_reaches_the_mounts_below needs [Need::Root, Need::Kernel(5, 12)],
    recursive_attributes_are_taken_away_again needs [Need::Root, Need::Kernel(5, 12)],
    every_kind_of_propagation_is_set needs [Need::Root],
    a_remount_changes_what_is_mounted_there needs [Need::Isolate],
    a_remount_with_options_of_the_file_system_reaches_it needs [Need::Isolate],
    a_remount_of_nothing_is_an_error needs [Need::Isolate],
    maps_of_a_mount_need_no_user_namespace needs [MAPPED[0], MAPPED[1], MAPPED[2], MAPPED[3]],
    idmap_takes_the_maps_of_the_container needs [MAPPED[0], MAPPED[1], MAPPED[2], MAPPED[3]],
    ridmap_maps_the_mounts_below_too needs [MAPPED[0], MAPPED[1], MAPPED[2], MAPPED[3]],
    maps_in_the_option_are_those_of_crun needs [Need::Isolate, MAPPED[0], MAPPED[1], MAPPED[2]],
    idmap_without_any_map_is_refused needs [Need::Isolate, Need::Root],
    a_map_of_users_alone_is_refused needs [Need::Isolate],
    a_mapped_mount_that_is_no_bind_is_refused needs [Need::Isolate],
    a_file_system_that_cannot_be_mapped_is_an_error needs [Need::Isolate, MAPPED[0], MAPPED[1], MAPPED[2]],
    an_ordinary_user_gets_no_mapped_mount needs [Need::Isolate, Need::OrdinaryUser],
    a_link_is_bound_itself_when_asked needs [Need::Isolate],
    a_link_is_covered_itself_when_asked needs [Need::Isolate],
    a_link_is_copied_when_asked needs [Need::Isolate],
    a_file_is_bound_where_a_link_would_be_copied needs [Need::Isolate],
    a_copied_link_does_not_replace_what_is_there needs [Need::Isolate],
    words_of_binds_on_other_mounts_are_refused needs [Need::Isolate],
    options_of_a_file_system_on_a_bind_are_refused,
];

fn options_at(text: &str, point: &str) -> Vec<String> {
    let line = text.lines().rfind(|line| line.split(' ').nth(4) == Some(point));
    let line = line.unwrap_or_else(|| panic!("{point} is not mounted:\n{text}"));
    line.split(' ').nth(5).unwrap().split(',').map(str::to_owned).collect()
}

/// A folder of the host with a tmpfs mounted below it, for as long as it lives.
struct Tree(std::path::PathBuf);

impl Tree {
    fn in_folder(folder: std::path::PathBuf) -> Tree {
        let below = folder.join("below");
        std::fs::create_dir_all(&below).unwrap();
        child::run(Command::new("mount").args(["-t", "tmpfs", "-o", "mode=755", "tmpfs"]).arg(&below)).ok();
        Tree(folder)
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.join("below")).status();
    }
}

/// What mountinfo of a container says of `/here` and `/here/below` after a bind with these options.
fn below(options: &[&str]) -> (Vec<String>, Vec<String>) {
    let bundle = Bundle::new(&["/bin/cat", "/proc/self/mountinfo"]);
    let tree = Tree::in_folder(bundle.host_folder("tree"));
    let text = bundle.bind(&tree.0, "/here", options).output();
    (options_at(&text, "/here"), options_at(&text, "/here/below"))
}

fn every_recursive_attribute_reaches_the_mounts_below() {
    for (option, shown) in [
        ("rro", "ro"),
        ("rnosuid", "nosuid"),
        ("rnodev", "nodev"),
        ("rnoexec", "noexec"),
        ("rnoatime", "noatime"),
        ("rnodiratime", "nodiratime"),
        ("rrelatime", "relatime"),
    ] {
        let (top, under) = below(&[option]);
        assert!(top.iter().any(|word| word == shown), "{option}: {top:?}");
        assert!(under.iter().any(|word| word == shown), "{option}: {under:?}");
    }
    let (_, under) = below(&["rstrictatime"]);
    assert!(!under.iter().any(|word| word.contains("atime")), "{under:?}");
    if need::kernel() >= (5, 14) {
        let (_, under) = below(&["rnosymfollow"]);
        assert!(under.iter().any(|word| word == "nosymfollow"), "{under:?}");
    }
}

fn recursive_attributes_are_taken_away_again() {
    for (set, clear, shown) in [
        ("rro", "rrw", "ro"),
        ("rnosuid", "rsuid", "nosuid"),
        ("rnodev", "rdev", "nodev"),
        ("rnoexec", "rexec", "noexec"),
        ("rnoatime", "ratime", "noatime"),
        ("rnodiratime", "rdiratime", "nodiratime"),
    ] {
        let (_, under) = below(&[set, clear]);
        assert!(!under.iter().any(|word| word == shown), "{clear}: {under:?}");
    }
    // Of the mount itself and of those below it separately.
    let (top, under) = below(&["rro", "rw"]);
    assert!(top.contains(&"rw".to_owned()) && under.contains(&"ro".to_owned()), "{top:?} {under:?}");
}

fn every_kind_of_propagation_is_set() {
    let tags = |option: &str| {
        let bundle = Bundle::new(&["/bin/cat", "/proc/self/mountinfo"]);
        let source = bundle.host_folder("source");
        let text = bundle.bind(&source, "/here", &[option]).output();
        let line = text.lines().rfind(|line| line.split(' ').nth(4) == Some("/here")).unwrap().to_owned();
        line.split(" - ").next().unwrap().split(' ').skip(6).collect::<Vec<_>>().join(" ")
    };
    for (option, tag) in [
        ("shared", "shared:"),
        ("rshared", "shared:"),
        ("unbindable", "unbindable"),
        ("runbindable", "unbindable"),
    ] {
        assert!(tags(option).contains(tag), "{option}: {}", tags(option));
    }
    for option in ["private", "rprivate"] {
        assert_eq!(tags(option), "", "{option}");
    }
    for option in ["slave", "rslave"] {
        assert!(!tags(option).contains("shared:"), "{option}: {}", tags(option));
    }
}

fn remounted(options: &[&str]) -> Value {
    json!({"destination": "/here", "type": "tmpfs", "source": "tmpfs", "options": options})
}

fn a_remount_changes_what_is_mounted_there() {
    let bundle = Bundle::new(&["/bin/cat", "/proc/self/mountinfo"]);
    let source = bundle.host_folder("source");
    let text =
        bundle.bind(&source, "/here", &[]).mount(remounted(&["remount", "bind", "ro", "noexec"])).output();
    let options = options_at(&text, "/here");
    assert!(options.contains(&"ro".to_owned()) && options.contains(&"noexec".to_owned()), "{options:?}");
    assert_eq!(text.lines().filter(|line| line.split(' ').nth(4) == Some("/here")).count(), 1, "{text}");
}

fn a_remount_with_options_of_the_file_system_reaches_it() {
    let bundle = Bundle::new(&["/bin/cat", "/proc/self/mountinfo"]);
    let text =
        bundle.mount(remounted(&["size=64k"])).mount(remounted(&["remount", "size=128k", "nosuid"])).output();
    let line = text.lines().find(|line| line.contains(" /here ")).unwrap();
    assert!(line.contains("size=128k"), "{line}");
}

fn a_remount_of_nothing_is_an_error() {
    let mount =
        json!({"destination": "/nonesuch", "type": "none", "source": "none", "options": ["remount", "ro"]});
    Bundle::nothing().mount(mount).refused(&["/nonesuch"]);
}

/// A file of user 5 of group 6 on the host, bound with these options and fields of its mount.
fn owner(options: &[&str], more: &Value, change: impl FnOnce(Bundle) -> Bundle) -> Bundle {
    let bundle = Bundle::shell("stat -c %u:%g /here/file").directory("/here");
    let source = bundle.host_folder("source");
    let file = source.join("file");
    std::fs::write(&file, "").unwrap();
    std::os::unix::fs::chown(&file, Some(5), Some(6)).unwrap();
    let mut mount = json!({"destination": "/here", "type": "bind", "source": source, "options": options});
    mount.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    change(bundle.mount(mount))
}

fn map(inside: u32, outside: u32, size: u32) -> Value {
    json!([{"containerID": inside, "hostID": outside, "size": size}])
}

fn maps_of_a_mount_need_no_user_namespace() {
    let maps = json!({"uidMappings": map(0, 1000, 100), "gidMappings": map(0, 2000, 100)});
    assert_eq!(owner(&["bind"], &maps, |bundle| bundle).output(), "1005:2006");
    assert_eq!(owner(&["bind", "idmap"], &maps, |bundle| bundle).output(), "1005:2006");
}

fn idmap_takes_the_maps_of_the_container() {
    // Ids on disk are those inside: without the map they would be nobody's.
    let seen = owner(&["bind", "idmap"], &json!({}), Bundle::user_namespace).output();
    assert_eq!(seen, "5:6");
    assert_eq!(owner(&["bind"], &json!({}), Bundle::user_namespace).output(), "65534:65534");
}

fn ridmap_maps_the_mounts_below_too() {
    for (option, expected) in [("ridmap", "1007"), ("idmap", "7")] {
        let bundle = Bundle::shell("stat -c %u /here/below/file");
        let tree = Tree::in_folder(bundle.host_folder("tree"));
        let file = tree.0.join("below/file");
        std::fs::write(&file, "").unwrap();
        std::os::unix::fs::chown(&file, Some(7), Some(7)).unwrap();
        let mount = json!({"destination": "/here", "type": "bind", "source": tree.0, "options": ["rbind", option],
            "uidMappings": map(0, 1000, 100), "gidMappings": map(0, 1000, 100)});
        assert_eq!(bundle.mount(mount).output(), expected, "{option}");
    }
}

fn maps_in_the_option_are_those_of_crun() {
    let none = json!({});
    let seen = |option: &str, change: fn(Bundle) -> Bundle| owner(&["bind", option], &none, change).output();
    assert_eq!(seen("idmap=uids=0-100-3#3-200-10;gids=0-300-10", |bundle| bundle), "202:306");
    // Relative to the container's user namespace: the ids are those that the container sees.
    assert_eq!(seen("idmap=uids=@0-40-10;gids=@0-50-10", Bundle::user_namespace), "45:56");
    owner(&["bind", "idmap=uids=0-1"], &none, |bundle| bundle)
        .refused(&["mounts[6].options: option \"idmap=uids=0-1\": \"0-1\" is not like 0-1000-10"]);
    owner(&["bind", "idmap=uids=@0-0-1;gids=@0-0-1"], &none, |bundle| bundle)
        .refused(&["mounts[6] /here: 0 is not mapped in the container's user namespace"]);
}

fn idmap_without_any_map_is_refused() {
    owner(&["bind", "idmap"], &json!({}), |bundle| bundle)
        .refused(&["mounts[6] /here: there is no map for it"]);
}

fn bind_of_tmp(more: Value) -> Value {
    let mut mount = json!({"destination": "/here", "type": "bind", "source": "/tmp", "options": ["bind"]});
    mount.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    mount
}

fn a_map_of_users_alone_is_refused() {
    let mount = bind_of_tmp(json!({"uidMappings": map(0, 0, 1)}));
    Bundle::nothing()
        .mount(mount)
        .refused(&["mounts[6].uidMappings: an id-mapped mount needs both uidMappings and gidMappings"]);
}

fn a_mapped_mount_that_is_no_bind_is_refused() {
    let mount = json!({"destination": "/here", "type": "tmpfs", "source": "tmpfs", "options": ["idmap"]});
    Bundle::nothing().mount(mount).refused(&["mounts[6].type: only bind mounts can be id-mapped"]);
}

fn a_file_system_that_cannot_be_mapped_is_an_error() {
    // procfs is none of those that can show other owners (mount_setattr(2)).
    let mount = json!({"destination": "/here", "type": "bind", "source": "/proc/sys", "options": ["bind"],
        "uidMappings": map(0, 1000, 1), "gidMappings": map(0, 1000, 1)});
    Bundle::nothing().mount(mount).refused(&["mounts[6]", "EINVAL"]);
}

fn an_ordinary_user_gets_no_mapped_mount() {
    let mount = bind_of_tmp(json!({"uidMappings": map(0, 0, 1), "gidMappings": map(0, 0, 1)}));
    Bundle::nothing()
        .mount(mount)
        .refused(&["mounts[6] /here: only the host's root can make id-mapped mounts"]);
}

/// A link on the host that leads to a file of the host.
fn linked(bundle: &Bundle) -> std::path::PathBuf {
    let folder = bundle.host_folder("source");
    std::fs::write(folder.join("file"), "of the file").unwrap();
    symlink("file", folder.join("link")).unwrap();
    folder.join("link")
}

fn bind(source: &std::path::Path, destination: &str, option: &str) -> Value {
    json!({"destination": destination, "type": "bind", "source": source, "options": ["bind", option]})
}

fn a_link_is_bound_itself_when_asked() {
    let bundle = Bundle::shell("readlink /here && grep -c ' /here ' /proc/self/mountinfo");
    let link = linked(&bundle);
    assert_eq!(bundle.mount(bind(&link, "/here", "src-nofollow")).output(), "file\n1");
}

fn a_link_is_covered_itself_when_asked() {
    let covered = |option: &str| {
        let bundle = Bundle::shell("cat /etc/link /etc/real")
            .file("/etc/real", "of the image;")
            .link("real", "/etc/link");
        let source = linked(&bundle).with_file_name("file");
        bundle.mount(bind(&source, "/etc/link", option)).output()
    };
    assert_eq!(covered("dest-nofollow"), "of the fileof the image;");
    assert_eq!(covered("rw"), "of the fileof the file");
}

fn a_link_is_copied_when_asked() {
    let bundle = Bundle::shell("readlink /sub/here; grep -c ' /sub/here ' /proc/self/mountinfo; exit 0");
    let link = linked(&bundle);
    let bundle = bundle.mount(bind(&link, "/sub/here", "copy-symlink"));
    let container = bundle.container();
    assert_eq!(container.run(&[]).ok().text(), "file\n0");
    assert!(std::fs::symlink_metadata(container.bundle.rootfs().join("sub/here")).unwrap().is_symlink());
    // The same once more finds an equal link there.
    assert_eq!(container.run(&[]).ok().text(), "file\n0");
}

fn a_file_is_bound_where_a_link_would_be_copied() {
    let bundle = Bundle::shell("cat /here; grep -c ' /here ' /proc/self/mountinfo");
    let file = linked(&bundle).with_file_name("file");
    assert_eq!(bundle.mount(bind(&file, "/here", "copy-symlink")).output(), "of the file1");
}

fn a_copied_link_does_not_replace_what_is_there() {
    let bundle = Bundle::nothing().file("/here", "of the image");
    let link = linked(&bundle);
    bundle.mount(bind(&link, "/here", "copy-symlink")).refused(&["mounts[6] /here", "EEXIST"]);
}

fn words_of_binds_on_other_mounts_are_refused() {
    for word in ["src-nofollow", "dest-nofollow", "copy-symlink", "idmap=uids=0-0-1;gids=0-0-1"] {
        let why = format!("mounts[6].options: option {word:?} is for bind mounts");
        Bundle::nothing().mount(remounted(&[word])).refused(&[&why]);
    }
}

fn options_of_a_file_system_on_a_bind_are_refused() {
    let mount =
        json!({"destination": "/here", "type": "bind", "source": "/tmp", "options": ["bind", "size=1k"]});
    Bundle::nothing()
        .mount(mount)
        .refused(&["bind mounts cannot have any filesystem-specific options applied"]);
}
