//! Long work of a verb: it shows its progress and can be interrupted. The runtime process, no privilege.

use crate::cli::progress::Progress;
use crate::error::Result;
use crate::tenant::interrupt::Interrupt;
use crate::tenant::unpack::Watch;

/// Does `work`, which is told of signals by what it says to the watch, and by the [`Interrupt`] itself.
///
/// # Errors
/// Those of `work`; the exit code tells of the signal, if one has come.
pub fn watched<T>(
    doing: &'static str,
    work: impl FnOnce(&mut Watch<'_>, &Interrupt) -> Result<T>,
) -> Result<T> {
    let interrupt = Interrupt::hold()?;
    let mut progress = Progress::new(doing);
    let mut watch = |what: &str, bytes| {
        progress.show(what, bytes);
        interrupt.check()
    };
    let result = work(&mut watch, &interrupt);
    progress.clear();
    match interrupt.exit_code().and_then(|code| u8::try_from(code).ok()) {
        Some(code) => result.map_err(|error| error.code(code)),
        None => result,
    }
}
