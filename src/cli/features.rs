//! `isolate features`: what this version does, as the JSON that engines ask for (runtime-spec `features.md`).
//! The runtime process, no privilege needed; looks at the host, changes nothing.

use clap::{ArgMatches, Command};

use super::{json, print};
use crate::container::Runtime;
use crate::error::Result;
use crate::host;
use crate::plan::features::{Facts, SeccompFacts, features};
use crate::sys::seccomp;

/// The parser of `features`.
pub fn command() -> Command {
    Command::new("features").about("Print what this runtime supports, as JSON").after_help(EXAMPLES)
}

const EXAMPLES: &str = "Examples:
  Everything:
    isolate features
  Whether containers can be checkpointed:
    isolate features | jq '.annotations[\"org.opencontainers.runc.checkpoint.enabled\"]'";

/// Prints it.
///
/// # Errors
/// When the host cannot be looked at.
pub fn run(_matches: &ArgMatches, _runtime: &Runtime) -> Result<i32> {
    let flags = seccomp::supported_flags();
    let facts = Facts {
        version: env!("CARGO_PKG_VERSION"),
        commit: option_env!("ISOLATE_COMMIT").unwrap_or_default(),
        rdma: true,
        seccomp: SeccompFacts { architectures: &seccomp::ARCHITECTURES, flags: &flags },
    };
    print(json(&features(&host::probe()?, &facts), 4)?)
}
