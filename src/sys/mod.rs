//! The kernel, thin: one file a noun. All `unsafe` code and every raw system call of the crate live here.
//!
//! Nothing in here decides anything. Descriptors are `OwnedFd`/`BorrowedFd` and close on exec; an error
//! is the errno, or an [`crate::error::Error`] that shows the call as made.

pub mod cgroup;
pub mod time;
