//! A database that is written to all the time, in a tenant that is snapshotted, rolled back, cloned, exported and imported:
//! it recovers each time, and the file system is clean.

use std::process::Command;

use crate::support::child::{self, eventually};
use crate::support::estate::Estate;
use crate::support::*;
use crate::tenant_disks::has_program;
use crate::tests;

tests![
    a_database_on_an_image_recovers_from_every_copy needs [Need::Isolate, Need::Root, Need::UserNamespaces],
    a_database_on_xfs_recovers_from_every_copy needs [Need::Isolate, Need::Root, Need::UserNamespaces, Need::File("/proc/fs/xfs")],
    a_database_in_a_folder_recovers_from_every_copy needs [Need::Isolate, Need::UserNamespaces, Need::Cgroup("freezer")],
];

/// Writes one row after the other, each a transaction of its own.
const WRITER: &str = "cd /srv; s() { sqlite3 -cmd '.timeout 9000' db \"$1\"; }
s 'pragma journal_mode=wal; create table if not exists t(n integer primary key, x text, y text)' >/dev/null
trap 'exit 0' TERM
while :; do s \"insert into t(x, y) values(hex(randomblob(3000)), '')\"; done";

/// A tenant `web` of the host's programs with the writer in it.
fn writing(settings: &[&str]) -> Estate {
    for program in ["sqlite3", "tar", "zstd"] {
        if !has_program(program) {
            skip(format!("{program} is not installed"));
        }
    }
    let estate = Estate::new();
    estate.t(&["template", "import", "--as", "other", "host"]).ok();
    let create = [&["create", "web", "--template", "other"], settings, &["--", "sh", "-c", WRITER]].concat();
    estate.t(&create).ok();
    estate.t(&["start", "web"]).ok();
    eventually("rows are written", || rows(&estate, "web", "1") > 20);
    estate
}

/// How many rows there are of which `condition` is true.
fn rows(estate: &Estate, name: &str, condition: &str) -> u64 {
    let sql = format!("select count(*) from t where {condition}");
    let answer = estate.t(&["exec", name, "--", "sqlite3", "-cmd", ".timeout 9000", "/srv/db", &sql]);
    answer.stdout.trim().parse().unwrap_or(0)
}

/// Starts it, and looks at its database: sound, with at least `least` rows, `marked` of them marked; it goes on writing.
fn recovers(estate: &Estate, name: &str, least: u64, marked: u64) {
    estate.t(&["start", name]).ok();
    let look = "pragma integrity_check";
    let answer = estate.t(&["exec", name, "--", "sqlite3", "-cmd", ".timeout 9000", "/srv/db", look]).ok();
    assert_eq!(answer.text(), "ok", "{name}");
    let found = rows(estate, name, "1");
    assert!(found >= least, "{name}: {found} of {least} rows");
    assert_eq!(rows(estate, name, "y = 'after'"), marked, "{name}");
    eventually("it writes again", || rows(estate, name, "1") > found);
    estate.t(&["stop", name]).ok();
    is_clean(estate, name);
}

/// The file system of an image that is not in use has no fault.
fn is_clean(estate: &Estate, name: &str) {
    let settings = estate.info(name)["settings"].clone();
    let image = estate.tenant(name).join("disk.img");
    let mut check = match settings["disk"]["fs"].as_str() {
        Some("ext4") => Command::new("e2fsck"),
        Some("xfs") => Command::new("xfs_repair"),
        _ => return,
    };
    check.arg(if check.get_program() == "e2fsck" { "-fn" } else { "-n" }).arg(&image);
    eventually("its file system is clean", || child::run(&mut check).code == 0);
}

fn every_copy_recovers(settings: &[&str]) {
    let estate = writing(settings);
    let before = rows(&estate, "web", "1");
    estate.t(&["snapshot", "create", "web", "one"]).ok();
    let mark = "insert into t(x, y) values('', 'after')";
    estate.t(&["exec", "web", "--", "sqlite3", "-cmd", ".timeout 9000", "/srv/db", mark]).ok();
    let later = rows(&estate, "web", "1");
    assert!(later > before);
    // Copies of what runs, and of what was.
    estate.t(&["clone", "web", "now"]).ok();
    estate.t(&["clone", "web", "then", "--snapshot", "one"]).ok();
    let file = estate.folder.join("web.tar.zst").display().to_string();
    estate.t(&["export", "web", &file]).ok();
    estate.t(&["verify", &file]).ok();
    estate.t(&["import", &file, "back"]).ok();
    recovers(&estate, "now", later, 1);
    recovers(&estate, "then", before, 0);
    recovers(&estate, "back", later, 1);
    // It falls over, and goes back.
    estate.t(&["stop", "--kill", "web"]).ok();
    recovers(&estate, "web", later, 1);
    estate.t(&["snapshot", "rollback", "web", "one"]).ok();
    recovers(&estate, "web", before, 0);
}

fn a_database_on_an_image_recovers_from_every_copy() {
    every_copy_recovers(&["--disk", "100M"]);
}

fn a_database_on_xfs_recovers_from_every_copy() {
    if !has_program("mkfs.xfs") {
        skip("xfsprogs is not installed");
    }
    every_copy_recovers(&["--disk", "400M"]);
}

fn a_database_in_a_folder_recovers_from_every_copy() {
    every_copy_recovers(&[]);
}
