//! A plan: what will be done to make a container, step by step, as plain data.

pub mod seccomp;

use serde::Serialize;

/// A list of steps.
#[derive(Debug, Clone, PartialEq, Serialize, Default)]
pub struct Plan {
    /// Placeholder until the engine lands.
    pub warnings: Vec<String>,
}
