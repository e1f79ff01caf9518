//! The mark on every cgroup folder that was made for a container. The runtime process. A folder above the
//! container's may outlive its maker: two containers of a pod share it, and the first one leaves first. The mark
//! tells the last one that nobody else's folder is removed with it. It lives exactly as long as the folder,
//! so that there is no record to lose or to keep in step.

use std::path::Path;

/// KERNEL(5.9): cgroup file systems keep attributes of users.
const NAME: &str = "user.isolate.made";

/// Marks a folder just made. Without the attribute (an old kernel) a shared folder may stay, empty, when its
/// maker was not the last to leave: no reason not to make the container.
pub(super) fn set(dir: &Path) {
    let _ = xattr::set(dir, NAME, b"1");
}

/// Whether a folder was made for a container.
pub(super) fn is_set(dir: &Path) -> bool {
    matches!(xattr::get(dir, NAME), Ok(Some(_)))
}
