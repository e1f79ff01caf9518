//! What an operator thinks in. It only writes an OCI Spec and drives [`crate::container`].
//!
//! Pure: [`size`], [`settings`], [`template`], [`ids`], [`limits`], [`users`], [`seccomp`], [`spec`], and for lasting
//! tenants [`name`], [`config`], [`allowance`], [`keys`], [`nearest`], [`resources`], [`compile`], [`ranges`], [`accounts`], [`retention`];
//! for both kinds [`capabilities`].
//!
//! Acting, in the runtime process with the caller's privilege. What a root is made of: [`rootfs`] (every path inside a
//! root that is being built), [`skeleton`], [`archive`], [`unpack`], [`image`], [`tree`], [`source`]. Disposable systems:
//! [`workspace`], [`remove`], [`interrupt`], and [`prepare`], which is the order they run in. Lasting tenants:
//! [`estate`] (where they lie), [`lock`], [`audit`], [`stock`] (imported templates), [`pull`], [`layers`] (the root put together),
//! [`backing`] (the block device behind a folder), [`offline`] (changes to a stopped root), [`identity`], [`provision`], [`birth`] and [`death`],
//! [`launch`] and [`keeper`] with [`console_log`] and [`readiness`], [`adjust`] (`set`), [`pool`], [`doctor`], [`halt`], [`rename`], [`console`], [`look`], [`measure`], [`enter`], [`script`], [`carry`] (`push` and `pull`, with [`inside`]). Their disks: [`disk`] (images), [`duplicate`] and [`watchdog`] (a copy of
//! one moment), [`snapshots`], [`difference`], [`twin`] (clones), [`parcel`] (export and import); [`aside`] is how a child does what takes its process into
//! other namespaces.

pub mod accounts;
pub mod adjust;
pub mod allowance;
pub mod archive;
pub mod aside;
pub mod audit;
pub mod backing;
pub mod birth;
pub mod capabilities;
pub mod carry;
pub mod compile;
pub mod config;
pub mod console;
pub mod console_log;
pub mod death;
pub mod difference;
pub mod disk;
pub mod doctor;
pub mod duplicate;
pub mod enter;
pub mod estate;
pub mod halt;
pub mod identity;
pub mod ids;
pub mod image;
pub mod inside;
pub mod interrupt;
pub mod keeper;
pub mod keys;
pub mod launch;
pub mod layers;
pub mod limits;
pub mod lock;
pub mod look;
pub mod measure;
pub mod name;
pub mod nearest;
pub mod offline;
pub mod parcel;
pub mod pool;
pub mod prepare;
pub mod provision;
pub mod pull;
pub mod ranges;
pub mod readiness;
pub mod remove;
pub mod rename;
pub mod resources;
pub mod retention;
pub mod rootfs;
pub mod script;
pub mod seccomp;
pub mod settings;
pub mod size;
pub mod skeleton;
pub mod snapshots;
pub mod source;
pub mod spec;
pub mod stock;
pub mod template;
pub mod tree;
pub mod twin;
pub mod unpack;
pub mod users;
pub mod watchdog;
pub mod workspace;
