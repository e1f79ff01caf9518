//! What is weak in a config: what an attacker in the container gains by it, and what to write instead. Pure: no system
//! call, no file; what has to be looked up on the host comes in as [`Facts`].
//!
//! The rules are those of [`RULES`]. What the runtime refuses anyway (`linux.sysctl` of the host, for instance) is no
//! finding: such a config makes no container. Each rule has a test in `tests/suite/lint_*.rs` that runs a container
//! with the weakness, and one without, and shows that the gain is real.

mod access;
mod calls;
mod capabilities;
mod files;
mod namespaces;
mod rules;
mod view;

use std::path::PathBuf;

use serde::Serialize;

use crate::error::Result;
use crate::oci::read::Config;
pub use rules::{RULES, Rule};
use view::View;

/// How far an attacker gets. In this order, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Reach {
    /// To the host: its kernel, any file, or a program as its root.
    Host,
    /// To others: it reads, hinders or harms the host's processes, or other containers.
    Others,
    /// No further by itself, but a wall is missing that would hold when another one falls.
    Wall,
}

/// One weakness of a config.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The rule's name.
    pub rule: &'static str,
    /// How far it leads in this config.
    pub reach: Reach,
    /// Where: a JSON path of the config; of what is missing, the place where it belongs.
    pub at: String,
    /// What is wrong there.
    pub what: String,
    /// What an attacker in the container gains.
    pub gain: &'static str,
    /// What to write instead.
    pub instead: &'static str,
}

/// What the config alone does not tell.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// The host's groups, as name and number.
    pub groups: Vec<(String, u32)>,
    /// Namespace paths of the config that lead to the caller's own namespaces.
    pub own_namespaces: Vec<PathBuf>,
    /// Programs of hooks that someone else than root and the caller may replace.
    pub loose_hooks: Vec<PathBuf>,
    /// The folder of the bundle, absolute.
    pub bundle: PathBuf,
    /// Whether AppArmor is enabled.
    pub apparmor: bool,
    /// Whether SELinux is enabled.
    pub selinux: bool,
}

/// All weaknesses of a checked config, the worst first.
///
/// # Errors
/// When its seccomp filter cannot be compiled.
pub fn examine(config: &Config, facts: &Facts) -> Result<Vec<Finding>> {
    let view = View::new(config, facts);
    let mut findings = Findings::default();
    namespaces::examine(&view, &mut findings);
    capabilities::examine(&view, &mut findings);
    access::examine(&view, &mut findings);
    calls::examine(&view, &mut findings)?;
    files::examine(&view, &mut findings);
    let mut found = findings.0;
    found.sort_by_key(|finding| finding.reach);
    Ok(found)
}

/// What has been found so far.
#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, rule: &'static Rule, reach: Reach, at: impl Into<String>, what: impl Into<String>) {
        let Rule { name, gain, instead, .. } = rule;
        self.0.push(Finding { rule: name, reach, at: at.into(), what: what.into(), gain, instead });
    }
}

#[cfg(test)]
mod tests;
