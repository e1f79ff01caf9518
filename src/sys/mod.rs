//! The kernel, thin: one file a noun. All `unsafe` code and every raw system call of the crate live here.
//!
//! Nothing in here decides anything. Descriptors are `OwnedFd`/`BorrowedFd` and close on exec; an error
//! is the errno, or an [`crate::error::Error`] that shows the call as made.

pub mod attributes;
pub mod bpf;
pub mod capabilities;
pub mod cgroup;
pub mod channel;
pub mod clone;
pub mod ebpf;
pub mod entry;
pub mod executable;
pub mod file;
pub mod landlock;
pub mod lock;
pub mod loop_device;
pub mod mount;
pub mod namespace;
pub mod netlink;
pub mod owner;
pub mod path;
pub mod pidfd;
pub mod placement;
pub mod process;
pub mod pty;
pub mod seccomp;
pub mod signal;
pub mod socket;
pub mod starter;
pub mod syscalls;
pub mod time;
pub mod users;
