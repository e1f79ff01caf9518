//! Finds the cgroup hierarchies of the host and the caller's place in them. The runtime process runs
//! this before it compiles anything, with any privilege; it only reads.
//!
//! `/proc/self/cgroup` names the hierarchies. Where they are mounted is guessed by convention and the
//! guess is checked by the file system's magic number; only what is not found so costs a parse of
//! `/proc/self/mountinfo`, which is long on a host with many containers.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::sys::statfs::{CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, FsType, statfs};
use nix::unistd::{AccessFlags, faccessat};

use super::layout::{Hierarchy, Layout, Version};
use crate::error::{Call, Result};
use crate::sys::file;

/// Reads the layout. A host without cgroups, or without any cgroup mount, has an empty one.
///
/// # Errors
/// When `/proc/self/cgroup` exists and cannot be read.
pub fn probe() -> Result<Layout> {
    let own = match file::read("/proc/self/cgroup") {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Layout::default()),
        Err(error) => return Err(error).call(|| "read(\"/proc/self/cgroup\")"),
    };
    let mut mounts = Mounts { parsed: None };
    let hierarchies = parse_own(&own).into_iter().filter_map(|entry| hierarchy(entry, &mut mounts));
    Ok(Layout { hierarchies: hierarchies.collect() })
}

/// Finds what is delegated to a caller without root's privilege ([`Hierarchy::delegated`]).
pub fn find_delegation(layout: &mut Layout) {
    for hierarchy in layout.hierarchies.iter_mut().filter(|hierarchy| hierarchy.version == Version::V2) {
        let above = hierarchy.own.parent().unwrap_or(Path::new("/"));
        let folder = hierarchy.mount_point.join(below_root(above));
        // cgroup-v2.rst, "Delegation Containment": the right to move processes is that to write this file.
        let may = |path: &Path| faccessat(AT_FDCWD, path, AccessFlags::W_OK, AtFlags::AT_EACCESS).is_ok();
        if may(&folder) && may(&folder.join("cgroup.procs")) {
            hierarchy.delegated = words(&folder.join("cgroup.controllers"));
        }
    }
}

/// One line of `/proc/self/cgroup`; no controllers: v2.
#[derive(Debug, PartialEq)]
struct Own {
    controllers: Vec<String>,
    path: PathBuf,
}

/// Parses `ID:CONTROLLERS:PATH` lines; what does not look like one is left out. v2 comes last in the
/// kernel's order as well.
fn parse_own(text: &[u8]) -> Vec<Own> {
    text.split(|byte| *byte == b'\n').filter_map(parse_own_line).collect()
}

fn parse_own_line(line: &[u8]) -> Option<Own> {
    let mut parts = line.splitn(3, |byte| *byte == b':');
    let _id = parts.next()?;
    let controllers = std::str::from_utf8(parts.next()?).ok()?;
    let path = parts.next()?;
    let controllers = controllers.split(',').filter(|c| !c.is_empty()).map(str::to_owned).collect();
    Some(Own { controllers, path: PathBuf::from(OsString::from_vec(path.to_vec())) })
}

fn hierarchy(own: Own, mounts: &mut Mounts) -> Option<Hierarchy> {
    let version = if own.controllers.is_empty() { Version::V2 } else { Version::V1 };
    let (mount_point, path) = place(version, &own, mounts)?;
    let controllers = match version {
        Version::V1 => own.controllers,
        Version::V2 => words(&mount_point.join("cgroup.controllers")),
    };
    Some(Hierarchy { version, controllers, mount_point, own: path, delegated: vec![] })
}

fn words(path: &Path) -> Vec<String> {
    let text = file::read(path).unwrap_or_default();
    String::from_utf8_lossy(&text).split_ascii_whitespace().map(str::to_owned).collect()
}

/// Mount point and own path. The own path is the mount's top when it cannot be seen there: outside of
/// the cgroup namespace (`/../..`), outside of the bind-mounted part, removed, or no text.
fn place(version: Version, own: &Own, mounts: &mut Mounts) -> Option<(PathBuf, PathBuf)> {
    let guess = convention(version, &own.controllers);
    if let Some(mount_point) = &guess
        && (own.path == Path::new("/") || visible(mount_point, &own.path))
    {
        return Some((mount_point.clone(), own.path.clone()));
    }
    let top = PathBuf::from("/");
    match mounts.find(version, &own.controllers) {
        Some(mount) => {
            let below = own.path.strip_prefix(&mount.root).map(|rest| top.join(rest)).unwrap_or(top.clone());
            let path = if visible(&mount.mount_point, &below) { below } else { top };
            Some((mount.mount_point.clone(), path))
        }
        None => guess.map(|mount_point| (mount_point, top)),
    }
}

fn visible(mount_point: &Path, path: &Path) -> bool {
    let plain = path.components().all(|c| matches!(c, Component::RootDir | Component::Normal(_)));
    plain && path.to_str().is_some() && mount_point.join(below_root(path)).is_dir()
}

fn below_root(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

fn convention(version: Version, controllers: &[String]) -> Option<PathBuf> {
    let base = Path::new("/sys/fs/cgroup");
    let (candidates, magic) = match version {
        Version::V2 => (vec![base.to_owned(), base.join("unified")], CGROUP2_SUPER_MAGIC),
        Version::V1 => (vec![base.join(folder(controllers))], CGROUP_SUPER_MAGIC),
    };
    candidates.into_iter().find(|dir| is_type(dir, magic))
}

fn folder(controllers: &[String]) -> String {
    match controllers {
        [named] if named.starts_with("name=") => named.trim_start_matches("name=").to_owned(),
        _ => controllers.join(","),
    }
}

fn is_type(dir: &Path, magic: FsType) -> bool {
    statfs(dir).is_ok_and(|fs| fs.filesystem_type() == magic)
}

/// A cgroup mount as `/proc/self/mountinfo` has it.
#[derive(Debug, PartialEq)]
struct Mount {
    version: Version,
    options: Vec<String>,
    root: PathBuf,
    mount_point: PathBuf,
}

/// The cgroup mounts, parsed when first asked for.
struct Mounts {
    parsed: Option<Vec<Mount>>,
}

impl Mounts {
    fn find(&mut self, version: Version, controllers: &[String]) -> Option<&Mount> {
        let parse = || parse_mountinfo(&file::read("/proc/self/mountinfo").unwrap_or_default());
        self.parsed.get_or_insert_with(parse).iter().find(|mount| {
            let all = controllers.iter().all(|c| mount.options.contains(c));
            mount.version == version && all
        })
    }
}

/// The cgroup lines of a mountinfo (proc(5)); what does not look like one is left out.
fn parse_mountinfo(text: &[u8]) -> Vec<Mount> {
    text.split(|byte| *byte == b'\n').filter_map(parse_mount).collect()
}

fn parse_mount(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ').skip(3);
    let root = path(fields.next()?)?;
    let mount_point = path(fields.next()?)?;
    let mut after = fields.skip_while(|field| *field != b"-").skip(1);
    let version = match after.next()? {
        b"cgroup" => Version::V1,
        b"cgroup2" => Version::V2,
        _ => return None,
    };
    let options = String::from_utf8_lossy(after.nth(1)?).split(',').map(str::to_owned).collect();
    Some(Mount { version, options, root, mount_point })
}

/// An absolute path with `\040`-like escapes undone; nothing for one that is no text, because plans
/// and state files are JSON.
fn path(field: &[u8]) -> Option<PathBuf> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        let escape = if *first == b'\\' { octal(tail) } else { None };
        bytes.push(escape.unwrap_or(*first));
        rest = if escape.is_some() { tail.get(3..).unwrap_or_default() } else { tail };
    }
    let path = PathBuf::from(OsString::from_vec(bytes));
    (path.is_absolute() && std::str::from_utf8(path.as_os_str().as_bytes()).is_ok()).then_some(path)
}

fn octal(digits: &[u8]) -> Option<u8> {
    let text = std::str::from_utf8(digits.get(..3)?).ok()?;
    u8::from_str_radix(text, 8).ok()
}

/// Gives any bytes to the parsers of `/proc/self/cgroup` and `/proc/self/mountinfo`: how many lines were taken.
#[cfg(fuzzing)]
pub fn fuzz(text: &[u8]) -> usize {
    parse_own(text).len() + parse_mountinfo(text).len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_cgroups_are_read_whatever_stands_in_the_path() {
        let text = b"12:cpu,cpuacct:/a:b\n1:name=systemd:/\nrubbish\n\n0::/x y\n";
        let own = parse_own(text);
        assert_eq!(own.len(), 3);
        assert_eq!(own[0].controllers, ["cpu", "cpuacct"]);
        assert_eq!(own[0].path, Path::new("/a:b"));
        assert_eq!(folder(&own[1].controllers), "systemd");
        assert_eq!((own[2].controllers.len(), own[2].path.as_path()), (0, Path::new("/x y")));
    }

    #[test]
    fn mounts_are_found_with_their_escapes_undone() {
        let text = b"31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
            35 31 0:32 /docker/a\\040b /mnt/my\\040cg\\134x rw,relatime shared:9 - cgroup cgroup rw,memory\n\
            41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate\n";
        let mounts = parse_mountinfo(text);
        assert_eq!(mounts.len(), 2);
        assert_eq!(mounts[0].root, Path::new("/docker/a b"));
        assert_eq!(mounts[0].mount_point, Path::new("/mnt/my cg\\x"));
        assert!(mounts[0].options.contains(&"memory".to_owned()));
        assert_eq!(mounts[1].version, Version::V2);
    }

    #[test]
    fn a_broken_mountinfo_yields_nothing_and_does_not_panic() {
        for text in [
            "",
            " ",
            "a b c d e f g",
            "1 2 3 / /x rw -",
            "1 2 3 / /x rw - cgroup",
            "\\",
            "1 2 3 \\ \\9 - cgroup a b",
        ] {
            assert!(parse_mountinfo(text.as_bytes()).is_empty(), "{text:?}");
        }
        let noise: Vec<u8> = (0..60_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        assert!(parse_mountinfo(&noise).is_empty());
        parse_own(&noise);
    }

    #[test]
    fn escapes_that_are_none_stay_as_they_are() {
        assert_eq!(path(b"/a\\04").unwrap(), Path::new("/a\\04"));
        assert_eq!(path(b"/a\\999").unwrap(), Path::new("/a\\999"));
        assert_eq!(path(b"/\\303\\244").unwrap(), Path::new("/ä"));
        assert_eq!(path(b"/\\377"), None);
        assert_eq!(path(b"a"), None);
    }

    #[test]
    fn the_place_outside_of_the_namespace_is_not_visible() {
        assert!(!visible(Path::new("/"), Path::new("/../..")));
        assert!(visible(Path::new("/"), Path::new("/proc")));
    }

    #[test]
    fn this_host_is_probed() {
        let layout = probe().unwrap();
        for hierarchy in &layout.hierarchies {
            assert!(hierarchy.mount_point.join(below_root(&hierarchy.own)).is_dir(), "{hierarchy:?}");
        }
    }
}
