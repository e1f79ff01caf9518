//! Trees that are given or built, brought into a root: a folder, a tar file, an OCI image layout,
//! mmdebstrap's output. The runtime process, with the caller's privilege; only mmdebstrap is executed.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::error::{Call, Error, Explain, Result};
use crate::tenant::archive::decompress;
use crate::tenant::image::{Defaults, Layout};
use crate::tenant::rootfs::Rootfs;
use crate::tenant::template::{RootKind, Source, Template};
use crate::tenant::tree;
use crate::tenant::unpack::{self, Layer, LeftOut, Space, Watch};

/// Where a program lies: on the PATH, or where system programs usually are.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from);
    let folders = std::env::split_paths(&path).filter(|folder| folder.is_absolute()).chain(usual);
    let is_program = |path: &PathBuf| {
        std::fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    folders.map(|folder| folder.join(name)).find(is_program)
}

/// What this host lacks for the template without a given tree; `None`: it is ready.
pub fn missing(template: &Template, has_program: impl Fn(&str) -> bool) -> Option<String> {
    if template.root == RootKind::Source {
        return Some(format!("give it as {}:PATH: {}", template.name, template.needs.source));
    }
    let lacking = template.needs.programs.iter().find(|program| !has_program(program))?;
    Some(format!("program {lacking} is missing: install {}", template.needs.package))
}

/// Brings `source` into `rootfs`.
///
/// # Errors
/// No such thing there, one of an unknown kind, or what unpacking says; the error names the path.
pub fn bring(
    source: &Source,
    rootfs: &mut Rootfs,
    space: &mut Space,
    watch: &mut Watch<'_>,
) -> Result<(Defaults, LeftOut)> {
    let place = || source.path().display().to_string();
    let plain = |left_out| (Defaults::default(), left_out);
    match identify(source)? {
        Source::Oci(path, tag) => Layout::open(&path)?.unpack(tag.as_deref(), rootfs, space, watch).at(place),
        Source::Directory(path) => tree::copy(&path, rootfs, space, watch).map(plain).at(place),
        Source::Tar(path) | Source::Any(path) => tar_file(&path, rootfs, space, watch).map(plain).at(place),
    }
}

/// Looks what [`Source::Any`] is, and that the others are what they are called.
fn identify(source: &Source) -> Result<Source> {
    let path = source.path();
    let found = std::fs::metadata(path).call(|| format!("stat({path:?})"))?;
    let fault = |why: &str| Err(Error::new(format!("{} is {why}", path.display())));
    match source {
        Source::Any(_) if path.join("oci-layout").exists() => Ok(Source::Oci(path.to_owned(), None)),
        Source::Any(_) if found.is_dir() => Ok(Source::Directory(path.to_owned())),
        Source::Any(_) | Source::Tar(_) if found.is_file() => Ok(Source::Tar(path.to_owned())),
        Source::Any(_) => fault("neither a folder nor a file"),
        Source::Tar(_) => fault("not a regular file"),
        Source::Directory(_) | Source::Oci(..) if !found.is_dir() => fault("not a folder"),
        known => Ok(known.clone()),
    }
}

fn tar_file(path: &Path, rootfs: &mut Rootfs, space: &mut Space, watch: &mut Watch<'_>) -> Result<LeftOut> {
    let file = File::open(path).call(|| format!("open({path:?})"))?;
    unpack::unpack(decompress(file)?, Layer::Plain, rootfs, space, watch)
}

/// Builds the template's tree with mmdebstrap, which writes a tar stream.
///
/// # Errors
/// No mmdebstrap, or its failure; its own messages go to standard error.
pub fn bootstrap(
    template: &Template,
    rootfs: &mut Rootfs,
    space: &mut Space,
    watch: &mut Watch<'_>,
) -> Result<LeftOut> {
    let way_out = || {
        let needs = &template.needs;
        format!("install {}; or give one as {}:PATH, {}", needs.package, template.name, needs.source)
    };
    let Some(bootstrap) = &template.bootstrap else {
        return Err(Error::new("the template has no [bootstrap] table"));
    };
    let lacking = || Error::new("there is no program mmdebstrap on the PATH").hint(way_out());
    let program = find_program("mmdebstrap").ok_or_else(lacking)?;
    let child = Command::new(&program)
        .arg(format!("--variant={}", bootstrap.variant))
        .args(["--quiet", "--format=tar", &bootstrap.suite, "-"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn();
    let mut child = Ended(child.call(|| format!("spawn({program:?})"))?);
    let mut stream = child.0.stdout.take().ok_or_else(|| Error::new("mmdebstrap has no output"))?;
    let unpacked = unpack::unpack(&mut stream, Layer::Plain, rootfs, space, watch);
    if unpacked.is_ok() {
        // Tar streams are padded; a writer whose reader goes away early would report a failure.
        std::io::copy(&mut stream.by_ref(), &mut std::io::sink()).call(|| "read")?;
        let status = child.0.wait().call(|| "wait4")?;
        if !status.success() {
            return Err(Error::new(format!("mmdebstrap failed ({status})")).hint(way_out()));
        }
    }
    unpacked
}

/// A child that does not outlive its use.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended already: both calls then do nothing.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tenant::template::embedded;

    #[test]
    fn a_template_says_what_it_lacks() {
        let [host, busybox, debian, alpine] = embedded().unwrap().try_into().unwrap();
        assert_eq!(missing(&host, |_| false), None);
        assert!(missing(&busybox, |_| false).unwrap().contains("busybox-static"));
        assert_eq!(missing(&busybox, |_| true), None);
        assert!(missing(&debian, |_| false).unwrap().contains("mmdebstrap"));
        assert!(missing(&alpine, |_| true).unwrap().contains("alpine:PATH"));
    }

    #[test]
    fn a_source_is_told_by_what_lies_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        assert_eq!(identify(&Source::Any(path.clone())).unwrap(), Source::Directory(path.clone()));
        std::fs::write(path.join("oci-layout"), "{}").unwrap();
        assert_eq!(identify(&Source::Any(path.clone())).unwrap(), Source::Oci(path.clone(), None));
        let file = path.join("oci-layout");
        assert_eq!(identify(&Source::Any(file.clone())).unwrap(), Source::Tar(file.clone()));
        assert!(identify(&Source::Directory(file)).is_err());
        assert!(identify(&Source::Tar(path.clone())).is_err());
        assert!(identify(&Source::Any(path.join("nothing"))).is_err());
    }
}
