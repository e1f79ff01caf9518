//! Annotations that change what is done: systemd's properties, and crun's, which engines set (`podman --group-add keep-groups`). Pure.
//! Each of them is a power of whoever writes the config, so `features` names them as unsafe to pass on.

use std::path::PathBuf;

use oci_spec::runtime::Spec;

use super::Stream;
use crate::error::{Error, Result};

/// A file of the host to which the standard output of hooks is appended.
pub const HOOKS_STDOUT: &str = "run.oci.hooks.stdout";
/// The same for their standard error.
pub const HOOKS_STDERR: &str = "run.oci.hooks.stderr";
/// `1`: the program keeps the further groups of whoever calls the runtime.
pub const KEEP_GROUPS: &str = "run.oci.keep_original_groups";
/// How `linux.mountLabel` is given to a filesystem: `context` (the default), `fscontext`, `defcontext` or
/// `rootcontext`.
pub const MOUNT_CONTEXT: &str = "run.oci.mount_context_type";
/// A socket that gets a pidfd of the init, as with `--pidfd-socket`.
pub const PIDFD_RECEIVER: &str = "run.oci.pidfd_receiver";
/// The same as `linux.seccomp.listenerPath`.
pub const SECCOMP_RECEIVER: &str = "run.oci.seccomp.receiver";

/// `root`: the init and what it starts keep to the files below the root, by Landlock. Programs of `exec` do not: they
/// could not signal those of the init.
pub const LANDLOCK: &str = "org.isolate.landlock";
/// `own`: a core-scheduling cookie of the container's own.
pub const CORE_SCHEDULING: &str = "org.isolate.core-scheduling";

/// `root`: the new user namespace belongs to the id behind the container's root, so that the kernel counts against that id,
/// and not against the host's root, what the container has of what is counted by user (`/proc/sys/user`, pending signals, timers,
/// message queues).
pub const USER_NAMESPACE_OWNER: &str = "org.isolate.user-namespace-owner";

/// How the names of those begin that become properties of a systemd unit.
pub const SYSTEMD_PROPERTY: &str = "org.systemd.property.";

/// All of them, sorted.
pub const ALL: [&str; 10] = [
    CORE_SCHEDULING,
    LANDLOCK,
    USER_NAMESPACE_OWNER,
    SYSTEMD_PROPERTY,
    HOOKS_STDERR,
    HOOKS_STDOUT,
    KEEP_GROUPS,
    MOUNT_CONTEXT,
    PIDFD_RECEIVER,
    SECCOMP_RECEIVER,
];

/// The value of one of them; an empty one is none.
pub fn value<'a>(spec: &'a Spec, key: &str) -> Option<&'a str> {
    let all = spec.annotations().as_ref()?;
    all.get(key).map(String::as_str).filter(|value| !value.is_empty())
}

/// Whether the caller's further groups are kept.
///
/// # Errors
/// When the config names further groups as well.
pub fn keeps_groups(spec: &Spec, named: &[u32]) -> Result<bool> {
    let keeps = value(spec, KEEP_GROUPS).is_some_and(|value| value != "0");
    if keeps && !named.is_empty() {
        return Err(Error::new(
            "the caller's groups cannot be kept when process.user.additionalGids names others",
        )
        .at(format!("annotations[{KEEP_GROUPS:?}]")));
    }
    Ok(keeps)
}

/// Whether an annotation that knows one word only has it.
///
/// # Errors
/// When it has another.
pub fn says(spec: &Spec, key: &str, word: &str) -> Result<bool> {
    match value(spec, key) {
        None => Ok(false),
        Some(value) if value == word => Ok(true),
        Some(other) => {
            Err(Error::new(format!("{other:?} is not {word:?}")).at(format!("annotations[{key:?}]")))
        }
    }
}

/// Where hooks write, by `lookup` of annotations: what, the annotation, and the file.
///
/// # Errors
/// When it is not an absolute path: hooks run in more than one folder.
pub fn hook_output<'a>(
    lookup: impl Fn(&'static str) -> Option<&'a str>,
) -> Result<Vec<(Stream, String, PathBuf)>> {
    let streams = [(Stream::Stdout, HOOKS_STDOUT), (Stream::Stderr, HOOKS_STDERR)];
    let given = streams.into_iter().filter_map(|(stream, key)| Some((stream, key, lookup(key)?)));
    given
        .filter(|(.., path)| !path.is_empty())
        .map(|(stream, key, path)| {
            let place = format!("annotations[{key:?}]");
            match path.starts_with('/') {
                true => Ok((stream, place, PathBuf::from(path))),
                false => Err(Error::new(format!("{path:?} is not an absolute path")).at(place)),
            }
        })
        .collect()
}

/// The option by which a filesystem gets its label.
///
/// # Errors
/// When it is none of the four.
pub fn mount_context(spec: &Spec) -> Result<&str> {
    match value(spec, MOUNT_CONTEXT) {
        None => Ok("context"),
        Some(kind @ ("context" | "fscontext" | "defcontext" | "rootcontext")) => Ok(kind),
        Some(other) => {
            Err(Error::new(format!("{other:?} is none of context, fscontext, defcontext, rootcontext"))
                .at(format!("annotations[{MOUNT_CONTEXT:?}]")))
        }
    }
}
