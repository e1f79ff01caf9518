//! `isolate mounts`: mounts of a container that runs. The runtime process, with the caller's privilege.

use std::io::Read;

use clap::{Arg, ArgMatches, Command, value_parser};

use super::arg;
use crate::container::{self, Runtime};
use crate::error::{Call, Error, Explain, Result};
use crate::oci::read::LARGEST;

/// The parser of `mounts`.
pub fn command() -> Command {
    let action = Arg::new("action").value_name("add|remove").required(true).value_parser(["add", "remove"]);
    let file =
        Arg::new("file").value_name("FILE").required(true).value_parser(value_parser!(std::ffi::OsString));
    Command::new("mounts")
        .about("Add mounts to a running container, or remove some")
        .arg(action.help("What is done"))
        .arg(arg::id())
        .arg(file.help("JSON of what stands under 'mounts' in a config; - is standard input"))
        .after_help(EXAMPLES)
}

const EXAMPLES: &str = "Examples:
  A folder of the host, read-only (all mounts of the list are added, or none):
    echo '[{\"destination\": \"/data\", \"source\": \"/srv/data\", \"type\": \"bind\", \"options\": [\"rbind\", \"ro\"]}]' > data.json
    isolate mounts add web1 data.json
  And away again (only the destination counts):
    isolate mounts remove web1 data.json";

/// Does it.
///
/// # Errors
/// As [`container::add_mounts`] and [`container::remove_mounts`]; or the file cannot be read.
pub fn run(matches: &ArgMatches, runtime: &Runtime) -> Result<i32> {
    let id = arg::container_id(matches)?;
    let list = read(matches)?;
    match arg::text(matches, "action").as_deref() {
        Some("add") => container::add_mounts(runtime, &id, &list)?,
        _ => container::remove_mounts(runtime, &id, &list)?,
    }
    Ok(0)
}

fn read(matches: &ArgMatches) -> Result<Vec<u8>> {
    match arg::os_text(matches, "file") {
        None => Err(Error::new("the name of the file is empty")),
        Some(path) if path == "-" => read_all(std::io::stdin()),
        Some(path) => std::fs::File::open(path)
            .call(|| format!("open({path:?})"))
            .and_then(read_all)
            .at(|| path.to_string_lossy()),
    }
}

fn read_all(from: impl Read) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(LARGEST + 1).read_to_end(&mut bytes).call(|| "read(list of mounts)")?;
    if bytes.len() as u64 > LARGEST {
        return Err(crate::oci::read::too_large(bytes.len() as u64));
    }
    Ok(bytes)
}
