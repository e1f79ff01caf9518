//! What `isolate lint` looks at: a bundle's config, and the facts of the host that its weaknesses hang on. The runtime
//! process, with the caller's privilege; changes nothing.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;

use super::create::read_config;
use crate::error::{Call, Explain, Result};
use crate::host::probe;
use crate::lint::{self, Facts, Finding};
use crate::{oci, plan};

/// The most that is read of `/etc/group`.
const GROUPS: u64 = 1 << 20;

/// The weaknesses of the config of `bundle` (or of `config`, a file), the worst first.
///
/// # Errors
/// When it cannot be read, or has faults for which no container would be made.
pub fn lint(bundle: &Path, config: Option<&Path>) -> Result<Vec<Finding>> {
    let doing = || format!("cannot lint {}", bundle.display());
    let bundle = std::path::absolute(bundle).call(|| format!("{bundle:?}"))?;
    let bytes = read_config(config, &bundle).doing(doing)?;
    // What this host lacks is no weakness: a config may be looked at elsewhere than where it will run.
    let config = oci::read::parse(&bytes).doing(doing)?;
    plan::config::check_mount_options(&config.spec).into_result("config.json").doing(doing)?;
    lint::examine(&config, &facts(&config.spec, bundle)?).doing(doing)
}

fn facts(spec: &Spec, bundle: PathBuf) -> Result<Facts> {
    let host = probe::probe_caller()?;
    Ok(Facts {
        groups: groups(),
        own_namespaces: own_namespaces(spec),
        loose_hooks: hooks(spec).into_iter().filter(|path| may_be_replaced(path, host.uid)).collect(),
        bundle,
        apparmor: host.apparmor,
        selinux: host.selinux,
    })
}

/// Without the file there are no names to know by.
fn groups() -> Vec<(String, u32)> {
    let Ok(file) = std::fs::File::open("/etc/group") else { return Vec::new() };
    let bytes = crate::sys::file::read_up_to(&file, GROUPS, 4096).unwrap_or_default();
    let read = |line: &str| {
        let mut words = line.split(':');
        let name = words.next()?.to_owned();
        Some((name, words.nth(1)?.parse().ok()?))
    };
    String::from_utf8_lossy(&bytes).lines().filter_map(read).collect()
}

fn own_namespaces(spec: &Spec) -> Vec<PathBuf> {
    let listed = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref()).into_iter().flatten();
    let is_own = |path: &PathBuf, kind: &str| {
        let found = std::fs::metadata(path);
        let own = std::fs::metadata(format!("/proc/self/ns/{kind}"));
        found.is_ok_and(|found| own.is_ok_and(|own| (found.dev(), found.ino()) == (own.dev(), own.ino())))
    };
    let with_path = listed.filter_map(|entry| {
        let kind = plan::Namespace::from(entry.typ()).proc_name();
        entry.path().as_ref().filter(|path| is_own(path, kind))
    });
    with_path.cloned().collect()
}

fn hooks(spec: &Spec) -> Vec<PathBuf> {
    let Some(hooks) = spec.hooks() else { return Vec::new() };
    #[allow(deprecated)]
    let lists = [
        hooks.prestart(),
        hooks.create_runtime(),
        hooks.create_container(),
        hooks.poststart(),
        hooks.poststop(),
    ];
    lists.into_iter().flatten().flatten().map(|hook| hook.path().clone()).collect()
}

/// Whether someone else than root and `caller` may write the file, or put another into one of the folders above it.
fn may_be_replaced(path: &Path, caller: u32) -> bool {
    path.ancestors().any(|part| {
        let Ok(found) = std::fs::metadata(part) else { return false };
        let is_trusted = found.uid() == 0 || found.uid() == caller;
        let is_sticky = found.is_dir() && found.mode() & 0o1000 != 0;
        !is_trusted || found.mode() & 0o002 != 0 && !is_sticky
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_in_a_folder_of_everybodys_may_be_replaced() {
        let caller = nix::unistd::geteuid().as_raw();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("hook");
        std::fs::write(&file, "").unwrap();
        assert!(!may_be_replaced(&file, caller));
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o777)).unwrap();
        assert!(may_be_replaced(&file, caller));
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o1777)).unwrap();
        assert!(!may_be_replaced(&file, caller));
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o646)).unwrap();
        assert!(may_be_replaced(&file, caller));
    }
}
