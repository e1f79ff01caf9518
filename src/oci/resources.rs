//! `linux.resources` as a document of its own: what `update` is given, and what a container has after it.
//! Pure.

use oci_spec::runtime::LinuxResources;
use serde_json::{Map, Value};

use super::json::Json;
use super::read::check_text;
use super::schema;
use super::shape::{Findings, inspect};
use super::validate;
use crate::error::{Error, Explain, Result};

/// What errors call the document, and where its JSON paths begin.
const DOCUMENT: &str = "the resources";
const AT: &str = "linux.resources";

/// Reads the JSON of an OCI `resources` object. What says nothing (`null`, a limit of 0 that means "unset",
/// `pids` without a limit) is left out, and so is what the specification does not know.
///
/// # Errors
/// It is no JSON, or every fault of form, with its JSON path.
pub fn read(bytes: &[u8]) -> Result<Value> {
    check_text(bytes).at(|| DOCUMENT)?;
    let mut tree: Json = serde_json::from_slice(bytes)
        .map_err(|error| Error::new(format!("it is not JSON: {error}")).at(DOCUMENT))?;
    let mut findings = Findings::default();
    inspect(&mut tree, &schema::RESOURCES, AT, &mut findings);
    findings.faults.into_result(DOCUMENT)?;
    let mut value = tree.into_value();
    drop_unset(&mut value);
    Ok(value)
}

/// The typed resources of what [`read`] made.
///
/// # Errors
/// Every value that makes no sense, with its JSON path.
pub fn check(value: &Value) -> Result<LinuxResources> {
    let typed = serde_path_to_error::deserialize::<_, LinuxResources>(value.clone());
    let resources =
        typed.map_err(|error| Error::new(error.inner().to_string()).at(format!("{AT}.{}", error.path())))?;
    validate::resources(&resources).into_result(DOCUMENT)?;
    Ok(resources)
}

/// A limit of memory and swap together counts from the memory limit that the container has, unless a new
/// one comes with it.
pub fn complete(asked: &mut Value, before: &Value) {
    let known = before.pointer("/memory/limit").filter(|limit| limit.as_i64() > Some(0));
    let (Some(limit), Some(memory)) = (known, asked.get_mut("memory").and_then(Value::as_object_mut)) else {
        return;
    };
    if memory.get("swap").and_then(Value::as_i64) > Some(0) {
        memory.entry("limit").or_insert(limit.clone());
    }
}

/// `before` with everything that `asked` says. Lists of devices, page sizes and interfaces are joined by
/// what they are about; device rules replace all former ones.
pub fn merge(before: &Value, asked: &Value) -> Value {
    match (before, asked) {
        (Value::Object(old), Value::Object(new)) => {
            let mut merged = old.clone();
            for (key, value) in new {
                let joined = match (key.as_str(), old.get(key)) {
                    ("devices", _) | (_, None) => value.clone(),
                    (_, Some(old)) => merge(old, value),
                };
                merged.insert(key.clone(), joined);
            }
            Value::Object(merged)
        }
        (Value::Array(old), Value::Array(new)) => {
            let is_new = |entry: &&Value| !new.iter().any(|other| same_subject(entry, other));
            old.iter().filter(is_new).chain(new).cloned().collect()
        }
        _ => asked.clone(),
    }
}

fn same_subject(one: &Value, other: &Value) -> bool {
    ["major", "minor", "pageSize", "name"].iter().all(|key| one.get(key) == other.get(key))
}

/// Zero means "as it is" for these, and an empty string for lists of processors.
const UNSET_WHEN_ZERO: [(&str, &[&str]); 3] = [
    ("memory", &["limit", "reservation", "swap", "kernel", "kernelTCP"]),
    ("cpu", &["shares", "quota", "period", "realtimeRuntime", "realtimePeriod", "cpus", "mems"]),
    ("blockIO", &["weight", "leafWeight"]),
];

fn drop_unset(value: &mut Value) {
    let Some(resources) = value.as_object_mut() else { return };
    drop_nulls(resources);
    for (section, names) in UNSET_WHEN_ZERO {
        if let Some(section) = resources.get_mut(section).and_then(Value::as_object_mut) {
            section.retain(|name, value| !(names.contains(&name.as_str()) && is_zero(value)));
        }
    }
    if resources.get("pids").is_some_and(|pids| pids.get("limit").is_none()) {
        resources.remove("pids");
    }
}

fn drop_nulls(object: &mut Map<String, Value>) {
    object.retain(|_, value| !value.is_null());
    object.values_mut().filter_map(Value::as_object_mut).for_each(drop_nulls);
}

fn is_zero(value: &Value) -> bool {
    value.as_i64() == Some(0) || value.as_str() == Some("")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn text(value: &Value) -> Result<Value> {
        read(value.to_string().as_bytes())
    }

    #[test]
    fn what_says_nothing_is_left_out() {
        let full = json!({
            "memory": {"limit": 0, "swap": 0, "checkBeforeUpdate": false, "reservation": null},
            "cpu": {"shares": 0, "quota": 5000, "cpus": "", "idle": 0, "burst": 0},
            "blockIO": {"weight": 0}, "pids": {}, "nonesuch": 3, "hugepageLimits": null
        });
        let kept = json!({
            "memory": {"checkBeforeUpdate": false}, "cpu": {"quota": 5000, "idle": 0, "burst": 0}, "blockIO": {}
        });
        assert_eq!(text(&full).unwrap(), kept);
        assert_eq!(text(&json!({"pids": {"limit": 0}})).unwrap(), json!({"pids": {"limit": 0}}));
    }

    #[test]
    fn faults_of_form_and_of_sense_have_their_places() {
        let error = text(&json!({"memory": {"limit": "64M"}, "cpu": 3})).unwrap_err().to_string();
        assert!(error.starts_with("2 faults in the resources:\n  linux.resources.cpu: "), "{error}");
        assert!(error.contains("\n  linux.resources.memory.limit: "), "{error}");
        let error = read(b"{").unwrap_err().to_string();
        assert!(error.starts_with("the resources: it is not JSON: "), "{error}");
        assert!(read(b" ").is_err() && read(b"[]").is_err() && read(b"\xff").is_err());
        let error = check(&json!({"pids": {"limit": -2}, "cpu": {"cpus": "x"}})).unwrap_err().to_string();
        assert!(error.contains("linux.resources.pids.limit") && error.contains("linux.resources.cpu.cpus"));
    }

    #[test]
    fn swap_counts_from_the_limit_that_is_known() {
        let mut asked = json!({"memory": {"swap": 200}});
        complete(&mut asked, &json!({"memory": {"limit": 100}}));
        assert_eq!(asked, json!({"memory": {"swap": 200, "limit": 100}}));
        let mut unknown = json!({"memory": {"swap": 200}});
        complete(&mut unknown, &json!({}));
        assert!(check(&unknown).is_err());
        let mut lifted = json!({"memory": {"swap": -1}});
        complete(&mut lifted, &json!({"memory": {"limit": 100}}));
        assert_eq!(lifted, json!({"memory": {"swap": -1}}));
    }

    #[test]
    fn what_is_asked_goes_over_what_was_there() {
        let before = json!({
            "memory": {"limit": 1, "swap": 2}, "pids": {"limit": 9}, "devices": [{"allow": false}],
            "hugepageLimits": [{"pageSize": "2MB", "limit": 1}, {"pageSize": "1GB", "limit": 1}],
            "blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1}]}
        });
        let asked = json!({
            "memory": {"limit": 5}, "devices": [{"allow": true}], "cpu": {"shares": 7},
            "hugepageLimits": [{"pageSize": "2MB", "limit": 3}],
            "blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 1, "rate": 4}]}
        });
        let merged = merge(&before, &asked);
        assert_eq!(merged["memory"], json!({"limit": 5, "swap": 2}));
        assert_eq!(merged["pids"], json!({"limit": 9}));
        assert_eq!(merged["devices"], json!([{"allow": true}]));
        assert_eq!(
            merged["hugepageLimits"],
            json!([{"pageSize": "1GB", "limit": 1}, {"pageSize": "2MB", "limit": 3}])
        );
        assert_eq!(merged["blockIO"]["throttleReadBpsDevice"].as_array().unwrap().len(), 2);
    }
}
