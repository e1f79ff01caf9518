//! `isolate tenant pool`. The runtime process, with the caller's privilege; changes nothing that lasts.

use clap::{ArgMatches, Command};

use super::table;
use crate::cli::print;
use crate::error::{Explain, Result};
use crate::tenant::estate::Estate;
use crate::tenant::pool::{self, Pool};

const EXAMPLES: &str = "Examples:
    isolate tenant pool
    isolate tenant pool --json | jq .pool.free
  Another place, for all commands:
    ISOLATE_DATA=/srv/tenants isolate tenant pool";

/// The parser of `pool`.
pub fn command() -> Command {
    Command::new("pool")
        .about("Say where tenants' files lie, and what that place can do")
        .arg(table::json_flag())
        .after_help(EXAMPLES)
}

/// Says it.
///
/// # Errors
/// As [`pool::look`].
pub fn run(matches: &ArgMatches, estate: &Estate) -> Result<i32> {
    let found = pool::look(estate).doing(|| "cannot look at the place of tenants".to_owned())?;
    match matches.get_flag("json") {
        true => print(table::versioned("pool", &found)?),
        false => print(words(&found).join("\n")),
    }
}

fn words(pool: &Pool) -> Vec<String> {
    let bytes = indicatif::HumanBytes;
    let copies = match pool.shares_blocks {
        true => "copies share blocks: snapshots and clones of images take no time and no room at first",
        false => "copies share no blocks: snapshots and clones copy what a disk holds (XFS and btrfs share)",
    };
    let images = match pool.images {
        true => "disks with a size: yes, as images (create --disk SIZE)",
        false => "disks with a size: no, they are loop devices, which only root can make",
    };
    let ids = match pool.id_maps {
        true => "ids on disk begin at 0 for every tenant",
        false => "ids cannot be mapped here: files belong to the caller and the caller's ranges of ids",
    };
    vec![
        format!("{} on {}: {} free of {}", pool.path.display(), pool.fs, bytes(pool.free), bytes(pool.size)),
        format!("{} tenants, {} templates", pool.tenants, pool.templates),
        copies.to_owned(),
        images.to_owned(),
        "folders as disks: yes, without a limit of their own".to_owned(),
        ids.to_owned(),
    ]
}
