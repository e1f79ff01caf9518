//! What `oci-spec` lacks: reading with limits, and validation that reports every fault at once.
//!
//! Pure: the runtime process calls this with bytes it has read, whatever its privilege; nothing here opens
//! a file, looks at the host or makes a system call. The input is hostile: no function here panics on it.

pub mod default_spec;
pub mod fault;
mod fits;
mod json;
pub mod number_list;
pub mod read;
pub mod resources;
mod schema;
mod shape;
pub mod validate;

pub use fits::CAPABILITIES;
