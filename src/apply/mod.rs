//! Carries a plan out. Two processes, each one straight line: the runtime's in [`runtime`], the child's in
//! [`child`]. Nothing here decides; what a step means is in its own short function beside the `match`.
//!
//! | file | process | what |
//! |---|---|---|
//! | `runtime` | the runtime | host and beside: cgroups, clone, id maps, hooks, waiting |
//! | `resctrl` | the runtime | shares of cache and memory bandwidth |
//! | `idmaps` | the runtime | id maps of user namespaces and of mounts |
//! | `join` | both | into the namespaces of a container that stands |
//! | `child` | the child | setup, inside, last: the walk over the steps |
//! | `mounts` | the child | mounts, masks, read-only paths, pivot |
//! | `views` | the child | where masks are looked for below `/proc` and `/sys` |
//! | `copy_up` | the child | filling a tmpfs from the image |
//! | `devices` | the child | nodes, links, the terminal |
//! | `process` | the child | identity, capabilities, labels, the program |
//! | `hooks` | both | running hooks |
//! | `channel` | both | the words between them |
//! | `undo` | the runtime | what a failure or `delete` takes back |

mod channel;
mod child;
mod copy_up;
mod devices;
pub mod hooks;
pub mod idmaps;
mod join;
mod links;
mod listener;
mod mounts;
mod net_devices;
mod old_flags;
mod placement;
mod process;
pub mod resctrl;
mod runtime;
pub mod undo;
mod views;

pub use join::Joined;
pub use runtime::{Deed, Made, Work, carry_out};
