//! The slow pass: a JSON tree against a table of what may stand where. Pure.
//!
//! It collects every fault of form with its JSON path, and every unknown property. It also *repairs* the
//! tree (a faulty value becomes a harmless one of the right form, unknown properties go), so that the
//! typed pass can read the rest and the rules of [`super::validate`] can report their faults in the same
//! error.

use super::fault::{Faults, quoted};
use super::json::Json;
use super::number_list;

/// What a value must look like.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    /// Anything: left out of what the typed pass reads (other platforms' sections).
    Foreign,
    /// `true` or `false`.
    Bool,
    /// A string.
    Text,
    /// One of these strings; the word names them in an error ("namespace type").
    OneOf(&'static str, &'static [&'static str]),
    /// A list of numbers like `0-3,7`; an empty one is the same as none.
    NumberList,
    /// A capability; an unknown one is no fault, but to be warned of.
    Capability,
    /// A whole number in these bounds.
    Integer(i128, i128),
    /// A list of equal things.
    List(&'static Shape),
    /// An object with free keys.
    Map(&'static Shape),
    /// An object with these properties.
    Object(&'static [Field]),
}

/// A known property of an object.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// Its key.
    pub name: &'static str,
    /// What it holds.
    pub shape: Shape,
    /// What its absence means.
    pub presence: Presence,
}

/// What the absence of a property means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// Nothing.
    Optional,
    /// A fault.
    Required,
    /// The same as an empty value, which the typed pass wants to see.
    Defaulted,
}

/// What the pass found.
#[derive(Debug, Default)]
pub struct Findings {
    /// Faults of form, in the order of the text.
    pub faults: Faults,
    /// JSON paths of unknown properties.
    pub unknown: Vec<String>,
}

/// Compares `json` with `shape`, repairing it as it goes. `path` is the JSON path of `json` (empty: root).
/// Once the list of faults is full the rest stays as it is: the document is refused in any case.
pub fn inspect(json: &mut Json, shape: &Shape, path: &str, findings: &mut Findings) {
    if findings.faults.is_full() {
        return;
    }
    if let Some(why) = mismatch(json, shape) {
        findings.faults.add(path, why);
        *json = neutral(shape);
        return;
    }
    match (shape, json) {
        (Shape::List(item), Json::List(items)) => {
            for (index, json) in items.iter_mut().enumerate() {
                inspect(json, item, &format!("{path}[{index}]"), findings);
            }
        }
        (Shape::Map(value), Json::Object(entries)) => inspect_map(entries, value, path, findings),
        (Shape::Object(fields), Json::Object(entries)) => inspect_object(entries, fields, path, findings),
        _ => {}
    }
}

fn inspect_map(entries: &mut [(String, Json)], value: &Shape, path: &str, findings: &mut Findings) {
    let mut seen = std::collections::HashSet::new();
    for (key, json) in entries.iter_mut() {
        let place = format!("{path}[{}]", quoted(key));
        if !seen.insert(key.clone()) {
            findings.faults.add(&place, "the key is given twice");
        }
        inspect(json, value, &place, findings);
    }
}

fn inspect_object(entries: &mut Vec<(String, Json)>, fields: &[Field], path: &str, findings: &mut Findings) {
    let mut seen: Vec<&str> = Vec::new();
    entries.retain_mut(|(key, json)| {
        let Some(field) = fields.iter().find(|field| field.name == key) else {
            findings.unknown.push(join(path, key));
            return false;
        };
        if seen.contains(&field.name) {
            findings.faults.add(join(path, key), "the property is given twice");
            return false;
        }
        seen.push(field.name);
        // As in Go, whose engines write these files: null is the same as absent.
        let is_empty_list = matches!(field.shape, Shape::NumberList) && *json == Json::Text(String::new());
        if *json == Json::Null || is_empty_list || matches!(field.shape, Shape::Foreign) {
            return false;
        }
        inspect(json, &field.shape, &join(path, key), findings);
        true
    });
    for field in fields.iter().filter(|field| field.presence != Presence::Optional) {
        if entries.iter().any(|(key, _)| key == field.name) {
            continue;
        }
        if field.presence == Presence::Required {
            findings.faults.add(join(path, field.name), "it is missing");
        }
        entries.push((field.name.to_owned(), neutral(&field.shape)));
    }
}

/// `path.key`, or `path["odd key"]` when the key is not a plain word.
fn join(path: &str, key: &str) -> String {
    let plain = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    match (path.is_empty(), plain) {
        (true, true) => key.to_owned(),
        (false, true) => format!("{path}.{key}"),
        (_, false) => format!("{path}[{}]", quoted(key)),
    }
}

fn mismatch(json: &Json, shape: &Shape) -> Option<String> {
    let expected = match (shape, json) {
        (Shape::Foreign, _)
        | (Shape::Bool, Json::Bool(_))
        | (Shape::Text | Shape::Capability, Json::Text(_))
        | (Shape::List(_), Json::List(_))
        | (Shape::Map(_) | Shape::Object(_), Json::Object(_)) => return None,
        (Shape::OneOf(noun, words), Json::Text(text)) => {
            return (!words.contains(&text.as_str())).then(|| unknown_word(noun, words, text));
        }
        (Shape::NumberList, Json::Text(text)) => return number_list::parse(text).err(),
        (Shape::Integer(min, max), Json::Number(number)) => return out_of_range(number, *min, *max),
        (Shape::Bool, _) => "true or false",
        (Shape::Text | Shape::Capability | Shape::OneOf(..) | Shape::NumberList, _) => "a string",
        (Shape::List(_), _) => "a list",
        (Shape::Map(_) | Shape::Object(_), _) => "an object",
        (Shape::Integer(..), _) => "a whole number",
    };
    Some(format!("it must be {expected}, not {}", json.kind()))
}

fn unknown_word(noun: &str, words: &[&str], text: &str) -> String {
    match words.len() {
        0..=10 => format!("unknown {noun} {}: known are {}", quoted(text), words.join(", ")),
        _ => format!("unknown {noun} {}", quoted(text)),
    }
}

fn out_of_range(number: &serde_json::Number, min: i128, max: i128) -> Option<String> {
    match number.as_i128() {
        Some(value) if value >= min && value <= max => None,
        Some(value) => Some(format!("{value} is out of range: {min} to {max}")),
        None => Some(format!("it must be a whole number from {min} to {max}, not {number}")),
    }
}

fn neutral(shape: &Shape) -> Json {
    match shape {
        Shape::Foreign => Json::Null,
        Shape::Bool => Json::Bool(false),
        Shape::Text | Shape::Capability => Json::Text(String::new()),
        Shape::NumberList => Json::Text("0".to_owned()),
        Shape::OneOf(_, words) => Json::Text(words.first().map_or("", |word| word).to_owned()),
        Shape::Integer(min, _) => Json::Number((*min).max(0).try_into().unwrap_or(0u32).into()),
        Shape::List(_) => Json::List(Vec::new()),
        Shape::Map(_) => Json::Object(Vec::new()),
        Shape::Object(fields) => Json::Object(
            fields
                .iter()
                .filter(|field| field.presence != Presence::Optional)
                .map(|field| (field.name.to_owned(), neutral(&field.shape)))
                .collect(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INNER: Shape = Shape::Object(&[
        Field { name: "n", shape: Shape::Integer(0, 7), presence: Presence::Required },
        Field { name: "w", shape: Shape::OneOf("word", &["a", "b"]), presence: Presence::Optional },
    ]);
    const OUTER: Shape = Shape::Object(&[
        Field { name: "list", shape: Shape::List(&INNER), presence: Presence::Optional },
        Field { name: "map", shape: Shape::Map(&Shape::Text), presence: Presence::Defaulted },
        Field { name: "other", shape: Shape::Foreign, presence: Presence::Optional },
    ]);

    fn look(text: &str) -> (Vec<String>, Vec<String>, serde_json::Value) {
        let mut json: Json = serde_json::from_str(text).unwrap();
        let mut findings = Findings::default();
        inspect(&mut json, &OUTER, "", &mut findings);
        let faults = findings.faults.iter().map(|fault| format!("{}: {}", fault.place, fault.why)).collect();
        (faults, findings.unknown, json.into_value())
    }

    #[test]
    fn every_fault_has_its_path_and_the_tree_is_repaired() {
        let (faults, unknown, value) = look(
            r#"{"list":[{"n":9},{"w":"c"},{"n":1.5},7],"map":{"k":1,"k":"x"},"list":[],"odd key":1,"other":5}"#,
        );
        assert_eq!(
            faults,
            [
                "list[0].n: 9 is out of range: 0 to 7",
                "list[1].w: unknown word \"c\": known are a, b",
                "list[1].n: it is missing",
                "list[2].n: it must be a whole number from 0 to 7, not 1.5",
                "list[3]: it must be an object, not a number",
                "map[\"k\"]: it must be a string, not a number",
                "map[\"k\"]: the key is given twice",
                "list: the property is given twice",
            ]
        );
        assert_eq!(unknown, ["[\"odd key\"]"]);
        let repaired = serde_json::json!({
            "list": [{"n": 0}, {"w": "a", "n": 0}, {"n": 0}, {"n": 0}], "map": {"k": "x"}
        });
        assert_eq!(value, repaired);
    }

    #[test]
    fn null_is_the_same_as_absent() {
        let (faults, _, value) = look(r#"{"list":null}"#);
        assert!(faults.is_empty(), "{faults:?}");
        assert_eq!(value, serde_json::json!({"map": {}}));
    }
}
