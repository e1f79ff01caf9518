//! Bytes of a `config.json` in, a checked [`Config`] out, or one error with every fault. Pure.
//!
//! A document without fault is read once with types ([`fast`]). Only another one is read again as a tree
//! and compared with the schema, so that all faults, of form and of sense, come in one error.

use oci_spec::runtime::{Process, Spec};
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

use super::fault::{Faults, quoted};
use super::fits::{CAPABILITIES, fits, pids_limit};
use super::json::{DEPTH, Json, too_deep};
use super::schema;
use super::shape::{Findings, Shape, inspect};
use super::validate;

/// The largest config (and process file) that is read, in bytes; a reader refuses a larger file unread.
pub const LARGEST: u64 = 16 << 20;

/// What errors call the two documents.
const DOCUMENT: &str = "config.json";
const PROCESS_DOCUMENT: &str = "the process file";

/// A config as it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The typed config. Namespace paths are never empty strings; scheduler flags are the specification's.
    pub spec: Spec,
    /// `linux.resources.pids.limit`, which the typed config cannot tell from its absence: `None` leaves the
    /// number of processes alone, 0 allows none, -1 is no limit.
    pub pids_limit: Option<i64>,
    /// Oddities that the specification wants to be warned of, for the log.
    pub warnings: Vec<String>,
}

/// Reads and checks a `config.json`.
///
/// # Errors
/// One error with every fault: too large, not UTF-8, not JSON (with line and column), nested too deep,
/// values of the wrong form, and everything [`validate::validate`] finds.
pub fn parse(bytes: &[u8]) -> Result<Config> {
    let (config, faults) = examine(bytes)?;
    faults.into_result(DOCUMENT)?;
    Ok(config)
}

/// Like [`parse`], but hands back the faults of form and of sense, so that a caller can add its own. The
/// config is only fit for use when there are none.
///
/// # Errors
/// When `bytes` is not a JSON document at all.
pub fn examine(bytes: &[u8]) -> Result<(Config, Faults)> {
    check_text(bytes).map_err(|error| error.at(DOCUMENT))?;
    if let Some(config) = fast(bytes) {
        let faults = validate::validate(&config);
        return Ok((config, faults));
    }
    let slow = slow::<Spec>(bytes, &schema::SPEC, "process", DOCUMENT)?;
    let Slow { typed, pids_limit, warnings, broken: mut faults } = slow;
    let mut config = Config { spec: typed, pids_limit, warnings };
    tidy(&mut config.spec);
    let sense = validate::validate(&config);
    faults.append(validate::without_echoes(sense, &faults));
    Ok((config, faults))
}

/// Reads and checks a process object (`exec --process`). The names in its faults count from the object.
///
/// # Errors
/// As [`parse`].
pub fn parse_process(bytes: &[u8]) -> Result<(Process, Vec<String>)> {
    check_text(bytes).map_err(|error| error.at(PROCESS_DOCUMENT))?;
    let (process, mut faults, warnings) =
        match from::<Process>(bytes).filter(|_| fits(bytes, &schema::PROCESS)) {
            Some(process) => (process, Faults::default(), Vec::new()),
            None => {
                let slow = slow::<Process>(bytes, &schema::PROCESS, "", PROCESS_DOCUMENT)?;
                (slow.typed, slow.broken, slow.warnings)
            }
        };
    faults.append(validate::without_echoes(validate::process(&process), &faults));
    faults.into_result(PROCESS_DOCUMENT)?;
    Ok((process, warnings))
}

/// The JSON paths of properties that the specification does not know (and demands to be ignored), in the
/// order of the text; none when `bytes` is no JSON. Costs a second pass: for `plan`, not for `create`.
pub fn unknown_properties(bytes: &[u8]) -> Vec<String> {
    let mut findings = Findings::default();
    if let Some(mut tree) = from::<Json>(bytes) {
        inspect(&mut tree, &schema::SPEC, "", &mut findings);
    }
    findings.unknown
}

pub(super) fn check_text(bytes: &[u8]) -> Result<()> {
    if bytes.len() as u64 > LARGEST {
        return Err(too_large(bytes.len() as u64));
    }
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(Error::new("it is empty"));
    }
    if let Err(error) = std::str::from_utf8(bytes) {
        return Err(Error::new(format!("it is not UTF-8: {}", position(bytes, error.valid_up_to()))));
    }
    match too_deep(bytes) {
        Some(offset) => {
            Err(Error::new(format!("it nests deeper than {DEPTH} levels: {}", position(bytes, offset))))
        }
        None => Ok(()),
    }
}

/// The error for a file of `size` bytes, for the reader that refuses it unread.
pub fn too_large(size: u64) -> Error {
    Error::new(format!("it has {size} bytes, more than the {LARGEST} that are read"))
}

fn position(bytes: &[u8], offset: usize) -> String {
    let before = bytes.get(..offset).unwrap_or(bytes);
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
    format!("line {line} column {column}")
}

fn from<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    serde_json::from_slice(bytes).ok()
}

/// The typed path: nothing when anything is odd.
fn fast(bytes: &[u8]) -> Option<Config> {
    let mut spec: Spec = from(bytes).filter(|_| fits(bytes, &schema::SPEC))?;
    tidy(&mut spec);
    let resources = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
    let pids_limit = match resources.and_then(|resources| resources.pids().as_ref()) {
        Some(pids) if pids.limit() == 0 => pids_limit(bytes),
        pids => pids.map(|pids| pids.limit()),
    };
    Some(Config { pids_limit, spec, warnings: Vec::new() })
}

/// As in Go, whose engines write these files: an empty path of a namespace is the same as none. And id maps of the
/// whole document are of `oci-spec`'s making (it calls them deprecated): a property that nobody knows.
fn tidy(spec: &mut Spec) {
    #[allow(deprecated)]
    spec.set_uid_mappings(None).set_gid_mappings(None);
    let Some(linux) = spec.linux_mut() else { return };
    for namespace in linux.namespaces_mut().iter_mut().flatten() {
        if namespace.path().as_ref().is_some_and(|path| path.as_os_str().is_empty()) {
            namespace.set_path(None);
        }
    }
}

struct Slow<T> {
    typed: T,
    pids_limit: Option<i64>,
    warnings: Vec<String>,
    broken: Faults,
}

/// The collecting pass; `process` is the path of the process object.
fn slow<T: DeserializeOwned>(bytes: &[u8], shape: &Shape, process: &str, document: &str) -> Result<Slow<T>> {
    let mut tree: Json = serde_json::from_slice(bytes)
        .map_err(|error| Error::new(format!("it is not JSON: {error}")).at(document))?;
    let mut findings = Findings::default();
    inspect(&mut tree, shape, "", &mut findings);
    let mut warnings = Vec::new();
    let object = if process.is_empty() { Some(&mut tree) } else { tree.get_mut(process) };
    if let Some(object) = object {
        translate(object, process, &mut warnings);
    }
    let value = tree.into_value();
    let pids_limit = value.pointer("/linux/resources/pids/limit").and_then(serde_json::Value::as_i64);
    match serde_path_to_error::deserialize::<_, T>(value) {
        Ok(typed) => Ok(Slow { typed, pids_limit, warnings, broken: findings.faults }),
        // The schema accepts what the type refuses: say that much rather than nothing.
        Err(error) => {
            if findings.faults.is_empty() {
                findings.faults.add(error.path().to_string(), error.inner().to_string());
            }
            Err(findings
                .faults
                .into_result(document)
                .err()
                .unwrap_or_else(|| Error::new("it cannot be read")))
        }
    }
}

/// Turns the specification's words into those `oci-spec` reads, and drops capabilities nobody knows.
fn translate(process: &mut Json, path: &str, warnings: &mut Vec<String>) {
    let place = if path.is_empty() { String::new() } else { format!("{path}.") };
    if let Some(Json::Object(sets)) = process.get_mut("capabilities") {
        for (set, names) in sets {
            drop_unknown_capabilities(names, &format!("{place}capabilities.{set}"), warnings);
        }
    }
    let flags = process.get_mut("scheduler").and_then(|scheduler| scheduler.get_mut("flags"));
    if let Some(Json::List(flags)) = flags {
        flags.iter_mut().for_each(rename_scheduler_flag);
    }
}

fn drop_unknown_capabilities(names: &mut Json, place: &str, warnings: &mut Vec<String>) {
    let Json::List(names) = names else { return };
    names.retain(|name| {
        let Json::Text(name) = name else { return false };
        let known = CAPABILITIES.contains(&name.as_str());
        if !known {
            warnings.push(format!("{place}: unknown capability {} is ignored", quoted(name)));
        }
        known
    });
}

/// `oci-spec` misnames two of the flags.
fn rename_scheduler_flag(flag: &mut Json) {
    let Json::Text(name) = flag else { return };
    match name.as_str() {
        "SCHED_FLAG_RESET_ON_FORK" => *name = "SCHED_RESET_ON_FORK".to_owned(),
        "SCHED_FLAG_DL_OVERRUN" => *name = "SCHED_FLAG_D_L_OVERRUN".to_owned(),
        _ => {}
    }
}

/// Reads any bytes both ways. What the fast way takes, the slow one must take without a fault, and as the same
/// config.
#[cfg(fuzzing)]
pub fn fuzz(bytes: &[u8]) {
    if check_text(bytes).is_err() {
        return;
    }
    // What is missing altogether is found by sense after the fast way, and by form on the slow one.
    let Some(quick) = fast(bytes).filter(|quick| validate::validate(quick).is_empty()) else { return };
    let careful = slow::<Spec>(bytes, &schema::SPEC, "process", DOCUMENT);
    let careful = careful.unwrap_or_else(|error| unreachable!("only the fast way takes it: {error}"));
    assert!(careful.broken.is_empty(), "only the slow way finds {:?}", careful.broken);
    let mut spec = careful.typed;
    tidy(&mut spec);
    assert_eq!(quick.spec, spec, "two meanings of one document");
    assert_eq!(quick.pids_limit, careful.pids_limit, "two limits of one document");
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
