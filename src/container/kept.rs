//! What `exec` needs of the config, kept beside it at create: the sections that a second program is compiled from, and
//! the filter as the init has it. Reading that takes a fraction of the time that the whole config takes, most of which
//! are names of system calls.
//!
//! The runtime process runs this, with the caller's privilege. The file is a shortcut: where it is missing (an older
//! version made the container, or the filter has a listener), the kept config is read instead.

use std::collections::HashMap;

use oci_spec::runtime::{LinuxIdMapping, LinuxIntelRdt, LinuxMemoryPolicy, LinuxPersonality, Process, Spec};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::oci::read::parse;
use crate::plan::seccomp::Filter;
use crate::plan::{Plan, Step};
use crate::store::Folder;
use crate::sys::bpf::Instruction;

/// The file's name in the container's folder.
const NAME: &str = "exec.json";

/// The version this binary writes; one that it does not know is not read.
const VERSION: u32 = 1;

/// A config as `exec` reads it.
#[derive(Debug)]
pub(super) struct Kept {
    /// The config, or its sections that matter to a program.
    pub spec: Spec,
    /// The filter, where it need not be compiled from the config.
    pub filter: Option<Filter>,
}

/// The file, as it is written.
#[derive(Serialize)]
struct Written<'a> {
    version: u32,
    spec: Sections<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    filter: Option<SavedFilter>,
}

/// The file, as it is read.
#[derive(Deserialize)]
struct Read {
    version: u32,
    spec: Spec,
    filter: Option<SavedFilter>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Sections<'a> {
    oci_version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<&'a Process>,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<&'a HashMap<String, String>>,
    linux: LinuxSections<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LinuxSections<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    gid_mappings: Option<&'a Vec<LinuxIdMapping>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    personality: Option<&'a LinuxPersonality>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_policy: Option<&'a LinuxMemoryPolicy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    intel_rdt: Option<&'a LinuxIntelRdt>,
}

/// A filter with its program in hexadecimal digits, sixteen an instruction: the fields as the kernel has them.
#[derive(Serialize, Deserialize)]
struct SavedFilter {
    program: String,
    flags: u32,
    warnings: Vec<String>,
}

/// Writes the file for a container that is being made by `plan`. Nothing is written when the filter has a listener: who
/// listens is found out anew each time.
///
/// # Errors
/// When the folder cannot be written.
pub(super) fn write(folder: &Folder, spec: &Spec, plan: &Plan) -> Result<()> {
    let mut steps = plan.steps.iter().map(|planned| &planned.step);
    if steps.clone().any(|step| matches!(step, Step::SeccompNotify { .. })) {
        return Ok(());
    }
    let filter = steps.find_map(|step| if let Step::Seccomp(filter) = step { Some(filter) } else { None });
    let linux = spec.linux().as_ref();
    let written = Written {
        version: VERSION,
        spec: Sections {
            oci_version: spec.version(),
            process: spec.process().as_ref(),
            annotations: spec.annotations().as_ref(),
            linux: LinuxSections {
                gid_mappings: linux.and_then(|linux| linux.gid_mappings().as_ref()),
                personality: linux.and_then(|linux| linux.personality().as_ref()),
                memory_policy: linux.and_then(|linux| linux.memory_policy().as_ref()),
                intel_rdt: linux.and_then(|linux| linux.intel_rdt().as_ref()),
            },
        },
        filter: filter.map(SavedFilter::of),
    };
    let content = serde_json::to_vec(&written).map_err(|error| Error::new(error.to_string()))?;
    folder.write_new(NAME, &content)
}

/// Reads the file, or the kept config where there is none that this version can read.
///
/// # Errors
/// When the kept config is missing or damaged.
pub(super) fn read(folder: &Folder) -> Result<Kept> {
    let shortcut = folder.read(NAME)?.and_then(|content| from_bytes(&content));
    shortcut.map_or_else(|| Ok(Kept { spec: kept_spec(folder)?, filter: None }), Ok)
}

fn from_bytes(content: &[u8]) -> Option<Kept> {
    let read: Read = serde_json::from_slice(content).ok()?;
    let is_known = read.version == VERSION;
    let filter = read.filter.map(|saved| saved.restore());
    match filter {
        // A filter that cannot be read is none that may be left out.
        Some(None) => None,
        Some(filter) if is_known => Some(Kept { spec: read.spec, filter }),
        None if is_known => Some(Kept { spec: read.spec, filter: None }),
        _ => None,
    }
}

/// The config as it was at create.
pub(super) fn kept_spec(folder: &Folder) -> Result<Spec> {
    let config = folder.read("config.json")?;
    let config = config.ok_or_else(|| Error::new("the kept config is missing from the state folder"))?;
    Ok(parse(&config)?.spec)
}

impl SavedFilter {
    fn of(filter: &Filter) -> SavedFilter {
        let mut program = String::with_capacity(filter.program.len() * 16);
        for instruction in &filter.program {
            let digits = instruction.to_bits();
            program.extend((0..16).rev().map(|place| HEX[(digits >> (place * 4)) as usize & 15]));
        }
        SavedFilter { program, flags: filter.flags, warnings: filter.warnings.clone() }
    }

    /// `None` when the digits are not those of a program.
    fn restore(self) -> Option<Filter> {
        let instruction = |digits: &[u8]| {
            // A sign is a number's to Rust.
            let digits = std::str::from_utf8(digits).ok().filter(|text| !text.starts_with('+'))?;
            Some(Instruction::from_bits(u64::from_str_radix(digits, 16).ok()?))
        };
        let (digits, rest) = self.program.as_bytes().as_chunks::<16>();
        let program = digits.iter().map(|digits| instruction(digits)).collect::<Option<Vec<_>>>()?;
        let is_whole = rest.is_empty() && !program.is_empty();
        is_whole.then_some(Filter { program, flags: self.flags, warnings: self.warnings })
    }
}

const HEX: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];

#[cfg(test)]
mod tests {
    use super::*;

    fn filter() -> Filter {
        let program = vec![Instruction { code: 0x20, jt: 0, jf: 255, k: 4 }, Instruction::end(0x7fff_0000)];
        Filter { program, flags: 4, warnings: vec!["x".into()] }
    }

    #[test]
    fn a_filter_comes_back_as_it_was() {
        assert_eq!(SavedFilter::of(&filter()).restore(), Some(filter()));
    }

    #[test]
    fn a_damaged_filter_is_none() {
        for program in ["", "0", "00000000000000zz", "+000000000000001", "20000000000000040"] {
            let saved = SavedFilter { program: program.into(), flags: 0, warnings: Vec::new() };
            assert_eq!(saved.restore(), None, "{program}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_not_taken_for_a_config_without_a_filter() {
        let text = |version: u32, filter: &str| {
            format!(r#"{{"version":{version},"spec":{{"ociVersion":"1.0.2"}}{filter}}}"#)
        };
        assert!(from_bytes(text(1, "").as_bytes()).is_some());
        for damaged in [
            text(2, ""),
            text(1, r#","filter":{"program":"0","flags":0,"warnings":[]}"#),
            text(1, r#","filter":{"flags":0}"#),
            text(1, "").trim_end_matches('}').to_owned(),
        ] {
            assert!(from_bytes(damaged.as_bytes()).is_none(), "{damaged}");
        }
    }
}
