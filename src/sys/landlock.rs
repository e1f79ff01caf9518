//! Landlock: a program and all that it starts keep to the files below a folder, whatever descriptors they get hold of, and
//! mount nothing. The child runs this right before the program; no privilege but no-new-privileges or CAP_SYS_ADMIN.
//!
//! KERNEL(5.13); 6.12 for signals and abstract sockets. What the kernel does not know is left out.

use std::os::fd::AsFd;

use landlock::{ABI, Access, AccessFs, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr, Scope};
use nix::sys::stat::{SFlag, fstat};

use crate::error::{Error, Result};

/// The newest kernel whose rights are all named here.
const KNOWN: ABI = ABI::V6;

/// From here on: files below `root`, and the standard streams that are files, may be used as before; all others, mounts,
/// abstract sockets and signals to processes that are not restricted with this one may not.
///
/// # Errors
/// The call's; none where the kernel has no Landlock.
pub fn keep_below(root: &str) -> Result<()> {
    restrict(root).map_err(|error| fault(error.as_ref()))
}

fn restrict(root: &str) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let all = AccessFs::from_all(KNOWN);
    let ruleset = Ruleset::default().handle_access(all)?.scope(Scope::from_all(KNOWN))?;
    let mut ruleset = ruleset.create()?.add_rule(PathBeneath::new(PathFd::new(root)?, all))?;
    let streams = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    for stream in [streams.0.as_fd(), streams.1.as_fd(), streams.2.as_fd()] {
        // `/dev/stderr` opens the file of the host's once more, if it is one.
        let kind = fstat(stream)
            .map_or(SFlag::empty(), |stat| SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT);
        if matches!(kind, SFlag::S_IFREG | SFlag::S_IFCHR) {
            ruleset = ruleset.add_rule(PathBeneath::new(stream, AccessFs::from_file(KNOWN)))?;
        }
    }
    ruleset.no_new_privs(false).restrict_self()?;
    Ok(())
}

/// The errno's name, as everywhere, and not its text.
fn fault(error: &(dyn std::error::Error + 'static)) -> Error {
    let mut cause = Some(error);
    while let Some(inner) = cause {
        if let Some(inner) = inner.downcast_ref::<std::io::Error>() {
            return Error::io("landlock_restrict_self", inner);
        }
        cause = inner.source();
    }
    Error::new("Landlock cannot be used")
}
