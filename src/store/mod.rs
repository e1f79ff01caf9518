//! What lies on disk: one folder a container below the state root, its files, its lock.
//!
//! | file | what |
//! |---|---|
//! | `state.json` | [`Saved`]: who the init is, where its cgroups are; written once, by rename |
//! | `config.json` | the config as it was given, byte for byte: later changes to the bundle have no effect |
//! | `exec.json` | what `exec` needs of the config, and the compiled filter: a shortcut, `config.json` has it all |
//! | `journal` | what has to be undone, one record a line, each written before its deed |
//! | `update` | while limits are being changed: what they were, for the case that the runtime dies on the way |
//! | `start.sock` | the init listens here until it is started |
//! | `notify/` | the socket of NOTIFY_SOCKET, when the engine wants readiness |
//!
//! The folder itself is the lock of the name (mkdir(2) is atomic) and of the commands (flock(2) on it).
//! The runtime process runs this with the caller's privilege; nothing here follows a link.

mod folder;
mod state;

pub(crate) use folder::does_not_exist;
pub use folder::{Folder, Store};
pub use state::{Saved, Undo, VERSION};
