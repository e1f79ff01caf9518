//! A plan: what will be done to make a container, step by step, as plain data.

use serde::Serialize;

/// A list of steps.
#[derive(Debug, Clone, PartialEq, Serialize, Default)]
pub struct Plan {
    /// Placeholder until the engine lands.
    pub warnings: Vec<String>,
}

impl std::fmt::Display for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.warnings.iter().try_for_each(|warning| writeln!(f, "{warning}"))
    }
}
