//! `isolate features`: what this version does, as the JSON that engines ask for (runtime-spec `features.md`).
//! The runtime process, no privilege needed; looks at the host, changes nothing.

use clap::{ArgMatches, Command};

use super::{json, print};
use crate::container::Runtime;
use crate::error::Result;
use crate::host;
use crate::plan::features::{Facts, SeccompFacts, features};
use crate::sys::seccomp;

/// Architectures whose system calls have numbers of their own on this kernel; the others' names are known,
/// and never occur.
const ARCHITECTURES: [&str; 3] = ["SCMP_ARCH_X86", "SCMP_ARCH_X86_64", "SCMP_ARCH_X32"];

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
    let actions = seccomp::supported_actions();
    let facts = Facts {
        version: env!("CARGO_PKG_VERSION"),
        commit: option_env!("ISOLATE_COMMIT").unwrap_or_default(),
        rdma: true,
        seccomp: SeccompFacts { architectures: &ARCHITECTURES, actions: &actions, flags: &flags },
    };
    print(json(&features(&host::probe::probe()?, &facts), 4)?)
}
