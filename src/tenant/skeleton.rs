//! What a template file says, written into a root: folders, links, small files, copies from the host. The
//! runtime process, with the caller's privilege; it reads the host's `/etc`, and passes over every file that
//! not all users of the host may read, so that no secret gets in.

use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Call, Error, Explain, Result};
use crate::ids::RootPath;
use crate::tenant::rootfs::{Meta, Rootfs};
use crate::tenant::settings::{Net, Settings};
use crate::tenant::source::find_program;
use crate::tenant::template::Template;

/// The largest file that is copied from the host's configuration.
const LARGEST: u64 = 8 << 20;

/// Writes everything the template's file says; host paths to be bound read-only come back.
///
/// # Errors
/// The call that failed.
pub fn build(template: &Template, rootfs: &mut Rootfs) -> Result<Vec<String>> {
    rootfs.directory(&RootPath::new("/"), Meta::root(0o755))?;
    for directory in &template.directory {
        rootfs.directory(&RootPath::new(&directory.path), Meta::root(directory.mode))?;
    }
    let prefixed = template.copy_prefix.iter().flat_map(|prefix| paths_with_prefix(Path::new(prefix)));
    for path in template.copy.iter().map(PathBuf::from).chain(prefixed) {
        copy_host(&path, rootfs)?;
    }
    for link in &template.link {
        rootfs.link(&RootPath::new(&link.path), Path::new(&link.to), Meta::root(0o777))?;
    }
    for file in &template.file {
        rootfs.file(&RootPath::new(&file.path), Meta::root(file.mode), &mut file.text.as_bytes())?;
    }
    let mut binds = template.bind.clone();
    for path in &template.follow {
        binds.extend(follow(path, rootfs)?);
    }
    for path in &binds {
        rootfs.directory(&RootPath::new(path), Meta::root(0o755))?;
    }
    Ok(binds)
}

/// A link of the host becomes a link, a folder a bind.
fn follow(path: &str, rootfs: &mut Rootfs) -> Result<Option<String>> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.is_symlink() => {
            let to = std::fs::read_link(path).call(|| format!("readlink({path:?})"))?;
            rootfs.link(&RootPath::new(path), &to, Meta::root(0o777)).map(|()| None)
        }
        Ok(found) if found.is_dir() => Ok(Some(path.to_owned())),
        _ => Ok(None),
    }
}

fn paths_with_prefix(prefix: &Path) -> Vec<PathBuf> {
    let (Some(folder), Some(start)) = (prefix.parent(), prefix.file_name()) else { return vec![] };
    let names = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let fits = |name: &std::ffi::OsString| name.as_encoded_bytes().starts_with(start.as_encoded_bytes());
    names.filter(fits).map(|name| folder.join(name)).collect()
}

/// Copies a file, link or folder of the host with what is below, as far as everybody may read it.
fn copy_host(path: &Path, rootfs: &mut Rootfs) -> Result<()> {
    let mut paths = vec![path.to_owned()];
    while let Some(path) = paths.pop() {
        let Ok(found) = std::fs::symlink_metadata(&path) else { continue };
        if found.is_symlink() {
            let to = std::fs::read_link(&path).call(|| format!("readlink({path:?})"))?;
            rootfs.link(&RootPath::new(&path), &to, Meta::root(0o777))?;
        } else if is_public(&path, &found) && found.is_dir() {
            rootfs.directory(&RootPath::new(&path), Meta::root(found.mode() & 0o755))?;
            let entries = std::fs::read_dir(&path).into_iter().flatten().flatten();
            paths.extend(entries.map(|entry| entry.path()));
        } else if is_public(&path, &found) && found.is_file() && found.len() <= LARGEST {
            copy_file(&path, &found, rootfs)?;
        }
    }
    Ok(())
}

fn is_public(path: &Path, found: &Metadata) -> bool {
    let needed = if found.is_dir() { 0o005 } else { 0o004 };
    let private = path.file_name().is_some_and(|name| name == "private")
        || path.extension().is_some_and(|e| e == "key");
    found.mode() & needed == needed && !private
}

fn copy_file(path: &Path, found: &Metadata, rootfs: &mut Rootfs) -> Result<()> {
    let Ok(file) = File::open(path) else { return Ok(()) };
    let modified = u64::try_from(found.mtime()).ok();
    let meta = Meta { modified, ..Meta::root(found.permissions().mode() & 0o755) };
    rootfs.file(&RootPath::new(path), meta, &mut file.take(LARGEST)).map(|_| ())
}

/// Puts the host's busybox into `/bin` with a link for each of its commands.
///
/// # Errors
/// No busybox, or one that needs libraries.
pub fn add_busybox(template: &Template, rootfs: &mut Rootfs) -> Result<()> {
    let needs = || format!("install {}", template.needs.package);
    let path = find_program("busybox")
        .ok_or_else(|| Error::new("there is no program busybox on the PATH").hint(needs()))?;
    let mut file = File::open(&path).call(|| format!("open({path:?})"))?;
    let mut bytes = vec![];
    (&mut file).take(64 << 20).read_to_end(&mut bytes).call(|| format!("read({path:?})"))?;
    if !is_static_program(&bytes) {
        return Err(Error::new(format!("{} is not a static program", path.display())).hint(needs()));
    }
    rootfs.file(&RootPath::new("/bin/busybox"), Meta::root(0o755), &mut &bytes[..])?;
    let output = Command::new(&path).arg("--list").output().call(|| format!("spawn({path:?})"))?;
    let list = String::from_utf8_lossy(&output.stdout).into_owned();
    for name in list.lines().filter(|name| !name.is_empty() && !name.contains('/') && *name != "busybox") {
        rootfs.link(&RootPath::new(format!("/bin/{name}")), Path::new("busybox"), Meta::root(0o777))?;
    }
    Ok(())
}

/// Whether an ELF program runs without a loader: it has no PT_INTERP (elf(5)). Other bytes: no.
fn is_static_program(bytes: &[u8]) -> bool {
    const PT_INTERP: u64 = 3;
    // ELFCLASS64, ELFDATA2LSB: what this program itself is.
    if !bytes.starts_with(b"\x7fELF\x02\x01") {
        return false;
    }
    let number = |at: usize, size: usize| {
        let field = bytes.get(at..at.checked_add(size)?)?;
        Some(field.iter().rev().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte)))
    };
    let header =
        || Some((usize::try_from(number(32, 8)?).ok()?, number(54, 2)? as usize, number(56, 2)? as usize));
    let Some((offset, size, count)) = header() else { return false };
    let kind = |index: usize| number(offset.checked_add(index.checked_mul(size)?)?, 4);
    (0..count).all(|index| kind(index).is_some_and(|kind| kind != PT_INTERP))
}

/// What every system has of its own: mount points, name, addresses.
///
/// # Errors
/// The call that failed.
pub fn add_identity(settings: &Settings, hostname: &str, rootfs: &mut Rootfs) -> Result<()> {
    add_mount_points(rootfs)?;
    let hosts =
        format!("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n127.0.1.1 {hostname}\n");
    let resolv = match settings.net {
        Net::Host => std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default(),
        Net::None => "# no network but loopback\n".to_owned(),
    };
    let files =
        [("/etc/hostname", format!("{hostname}\n")), ("/etc/hosts", hosts), ("/etc/resolv.conf", resolv)];
    for (path, text) in files {
        rootfs.file(&RootPath::new(path), Meta::root(0o644), &mut text.as_bytes()).at(|| path)?;
    }
    Ok(())
}

/// The folders every system has things mounted on, and `/etc`.
///
/// # Errors
/// The call that failed.
pub fn add_mount_points(rootfs: &mut Rootfs) -> Result<()> {
    for (path, mode) in [("/proc", 0o555), ("/sys", 0o555), ("/dev", 0o755), ("/etc", 0o755)] {
        rootfs.directory(&RootPath::new(path), Meta::root(mode))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tenant::rootfs::Owners;
    use crate::tenant::template;
    use std::fs;

    #[test]
    fn a_program_with_a_loader_is_not_static() {
        let mut elf = vec![0; 64 + 56];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        (elf[32], elf[54], elf[56], elf[64]) = (64, 56, 1, 1);
        assert!(is_static_program(&elf));
        elf[64] = 3;
        assert!(!is_static_program(&elf));
        assert!(!is_static_program(&elf[..70]) || elf.len() < 70);
        assert!(!is_static_program(b"#!/bin/sh"));
    }

    #[test]
    fn what_not_everybody_may_read_is_passed_over() {
        let (host, root) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::set_permissions(host.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for (name, mode) in [("open", 0o644), ("secret", 0o640), ("host.key", 0o644)] {
            fs::write(host.path().join(name), name).unwrap();
            fs::set_permissions(host.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        fs::create_dir(host.path().join("private")).unwrap();
        fs::write(host.path().join("private/open"), "").unwrap();
        let mut rootfs = Rootfs::open(root.path(), Owners::Caller).unwrap();
        copy_host(host.path(), &mut rootfs).unwrap();
        rootfs.finish().unwrap();
        let copied = root.path().join(host.path().strip_prefix("/").unwrap());
        let names: Vec<_> = fs::read_dir(copied).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["open"]);
    }

    #[test]
    fn the_host_template_makes_its_own_users_and_no_shadow_of_the_host() {
        let root = tempfile::tempdir().unwrap();
        let mut rootfs = Rootfs::open(root.path(), Owners::Caller).unwrap();
        let host = template::embedded().unwrap().swap_remove(0);
        let binds = build(&host, &mut rootfs).unwrap();
        add_identity(&Settings::default(), "x", &mut rootfs).unwrap();
        rootfs.finish().unwrap();
        assert!(binds.contains(&"/usr".to_owned()));
        assert!(fs::read_to_string(root.path().join("etc/passwd")).unwrap().starts_with("root:x:0:0"));
        assert_eq!(fs::metadata(root.path().join("tmp")).unwrap().mode() & 0o7777, 0o1777);
        for secret in ["etc/machine-id", "etc/ssh", "etc/ssl/private"] {
            assert!(!root.path().join(secret).exists(), "{secret}");
        }
    }
}
