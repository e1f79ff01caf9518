//! What an operator thinks in. It only writes an OCI Spec and drives [`crate::container`].
//!
//! Pure: [`size`], [`settings`], [`template`], [`ids`], [`limits`], [`users`], [`seccomp`], [`spec`].
//! Acting, in the runtime process with the caller's privilege: [`rootfs`] (every path inside a root that is
//! being built), [`skeleton`], [`archive`], [`unpack`], [`image`], [`tree`], [`source`], [`workspace`],
//! [`remove`], [`interrupt`], and [`prepare`], which is the order they run in. Lasting tenants build on the
//! same files: a template becomes a root the same way, settings become a Spec the same way.

pub mod archive;
pub mod ids;
pub mod image;
pub mod interrupt;
pub mod limits;
pub mod prepare;
pub mod remove;
pub mod rootfs;
pub mod seccomp;
pub mod settings;
pub mod size;
pub mod skeleton;
pub mod source;
pub mod spec;
pub mod template;
pub mod tree;
pub mod unpack;
pub mod users;
pub mod workspace;
