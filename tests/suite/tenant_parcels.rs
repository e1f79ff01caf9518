//! Tenants in one file: `export`, `verify` and `import`, as root and as an ordinary user.

use std::fs;
use std::path::PathBuf;

use crate::support::estate::Estate;
use crate::support::*;
use crate::tenant_disks::{has_program, with_disk};
use crate::tests;

tests![
    an_exported_tenant_is_the_same_when_it_is_imported needs [Need::Isolate, Need::UserNamespaces],
    a_running_one_is_exported_as_it_is_now needs [Need::Isolate, Need::CgroupV1("freezer")],
    an_image_can_become_a_folder_and_a_folder_an_image needs [Need::Isolate, Need::Root, Need::UserNamespaces],
    a_changed_file_is_found_out needs [Need::Isolate, Need::UserNamespaces],
    files_that_cannot_be_are_refused needs [Need::Isolate, Need::UserNamespaces],
];

fn needs_programs() {
    for name in ["tar", "zstd"] {
        if !has_program(name) {
            skip(format!("{name} is not installed"));
        }
    }
}

fn file(estate: &Estate) -> PathBuf {
    estate.folder.join("web.tar.zst")
}

fn exported(estate: &Estate) -> String {
    let path = file(estate).display().to_string();
    estate.t(&["export", "web", &path]).ok();
    path
}

fn sh(estate: &Estate, name: &str, script: &str) -> String {
    estate.t(&["exec", name, "--", "sh", "-c", script]).ok().text().to_owned()
}

const MARK: &str = "echo mine > /etc/mark; chmod 4711 /etc/mark; ln -s mark /etc/link; ln /etc/mark /etc/twin; rm /etc/profile; rm -r /srv; mkdir /srv";
const LOOK: &str = "cat /etc/mark; stat -c %a-%h /etc/mark; readlink /etc/link; ls /etc/profile 2>/dev/null || echo gone; ls /srv";

fn an_exported_tenant_is_the_same_when_it_is_imported() {
    needs_programs();
    let estate = Estate::with_running(&["--owner", "alice", "--protect", "on"]);
    estate.sh(MARK);
    let seen = estate.sh(LOOK);
    estate.t(&["stop", "--kill", "web"]).ok();
    let path = exported(&estate);
    estate.t(&["verify", &path]).ok();
    let uuid = estate.info("web")["settings"]["uuid"].clone();
    estate.t(&["import", &path]).fails(44, &["there is a tenant 'web' already"]);
    estate.t(&["import", &path, "two", "--owner", "bob"]).ok();
    let two = estate.info("two");
    assert!(two["settings"]["uuid"] != uuid && two["settings"]["admin"]["owner"] == "bob", "{two}");
    estate.t(&["start", "two"]).ok();
    assert_eq!((sh(&estate, "two", LOOK), sh(&estate, "two", "hostname")), (seen.clone(), "two".to_owned()));
    estate.t(&["set", "web", "protect=off"]).ok();
    estate.t(&["destroy", "--yes", "web"]).ok();
    estate.t(&["import", &path]).ok();
    assert_eq!(estate.info("web")["settings"]["uuid"], uuid);
    estate.t(&["start", "web"]).ok();
    assert_eq!(estate.sh(LOOK), seen);
}

fn a_running_one_is_exported_as_it_is_now() {
    needs_programs();
    let estate = Estate::with_running(&[]);
    estate.sh(MARK);
    let path = exported(&estate);
    assert_eq!(estate.state("web"), "running");
    assert!(!estate.tenant("web").join(".export").exists());
    estate.t(&["import", &path, "two"]).ok();
    estate.t(&["start", "two"]).ok();
    assert_eq!(sh(&estate, "two", LOOK), estate.sh(LOOK));
}

fn an_image_can_become_a_folder_and_a_folder_an_image() {
    needs_programs();
    let estate = with_disk("40M");
    estate.sh(MARK);
    let path = exported(&estate);
    estate.t(&["import", &path, "two", "--disk", "60M"]).ok();
    estate.t(&["start", "two"]).ok();
    assert_eq!(sh(&estate, "two", LOOK), estate.sh(LOOK));
    assert_eq!(estate.info("two")["settings"]["disk"]["size"], "60M");
    estate.t(&["import", &path, "three", "--disk", "none"]).ok();
    estate.t(&["start", "three"]).ok();
    assert_eq!(sh(&estate, "three", LOOK), estate.sh(LOOK));
    assert_eq!(estate.info("three")["settings"]["disk"]["kind"], "dir");
    let second = estate.folder.join("three.tar.zst").display().to_string();
    estate.t(&["export", "three", &second]).ok();
    estate.t(&["import", &second, "four", "--disk", "40M"]).ok();
    estate.t(&["start", "four"]).ok();
    assert_eq!(sh(&estate, "four", LOOK), estate.sh(LOOK));
}

fn a_changed_file_is_found_out() {
    needs_programs();
    let estate = Estate::with_busybox();
    estate.t(&["create", "web", "--template", "busybox"]).ok();
    let path = exported(&estate);
    let whole = fs::read(&path).unwrap();
    let mut flipped = whole.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    fs::write(&path, &flipped).unwrap();
    estate.t(&["verify", &path]).fails(1, &["it has changed", ".sha256"]);
    estate.t(&["import", &path, "two"]).fails(1, &["it has changed"]);
    fs::remove_file(format!("{path}.sha256")).unwrap();
    fs::write(&path, &whole[..whole.len() - 20]).unwrap();
    estate.t(&["verify", &path]).fails(1, &["cannot verify"]);
    estate.t(&["import", &path, "two"]).fails(1, &["cannot import"]);
    assert!(!estate.tenant("two").exists());
}

fn files_that_cannot_be_are_refused() {
    needs_programs();
    let estate = Estate::with_busybox();
    estate.t(&["create", "web", "--template", "busybox"]).ok();
    let path = exported(&estate);
    estate.t(&["export", "web", &path]).fails(44, &["is not overwritten"]);
    estate.t(&["export", "nonesuch", "/tmp/x"]).fails(14, &["there is no tenant"]);
    estate.t(&["export", "web", "/nonesuch/x"]).fails(1, &["cannot export tenant 'web'"]);
    estate.t(&["import", "/nonesuch"]).fails(1, &["cannot import"]);
    let rubbish = estate.folder.join("rubbish").display().to_string();
    for content in [&b""[..], b"x", &[0; 4096]] {
        fs::write(&rubbish, content).unwrap();
        estate.t(&["verify", &rubbish]).fails(1, &["cannot verify"]);
        estate.t(&["import", &rubbish, "two"]).fails(1, &["cannot import"]);
    }
    estate.t(&["import", &path, "two", "--tasks", "0"]).fails(21, &["1 to 4194304"]);
    assert!(!estate.tenant("two").exists());
}
