//! `isolate`: a daemonless OS-level isolation runtime for Linux.
//!
//! The crate is one engine with two faces: an OCI runtime (`isolate create/start/…`) and disposable or
//! lasting private systems (`isolate try`, tenants). `docs/architecture.md` walks through a create from
//! `main` to `exec`; the modules below are listed from the user's side down to the kernel's, and may only
//! use what stands below them (`tests/suite/layering.rs` checks that).

#![deny(unsafe_code)]

pub mod cli;

pub mod tenant;

pub mod container;

pub mod apply;

pub mod store;

pub mod lint;

pub mod plan;

pub mod cgroup;

pub mod host;

pub mod oci;

pub mod sys;

pub mod error;
pub mod ids;
pub mod log;
