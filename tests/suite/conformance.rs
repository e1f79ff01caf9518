//! `docs/conformance.md`: every test that it names exists, and every property of the schema is in it.

use std::collections::BTreeSet;
use std::fs;

use crate::support::repository;
use crate::tests;

tests![every_test_that_is_named_exists, every_property_of_the_schema_is_named, no_row_is_without_a_test,];

fn read(path: &str) -> String {
    let file = repository(path);
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// What stands between backticks.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

fn is_name(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// `file::name` of the suite, or `src-path.rs::name` of a test beside the code.
fn named_tests(text: &str) -> Vec<(&str, &str)> {
    let pairs = quoted(text).into_iter().filter_map(|word| word.split_once("::"));
    pairs
        .filter(|(file, name)| *file != "file" && !file.contains(' ') && is_name(name) && !name.is_empty())
        .collect()
}

/// Whether the test stands in the list that its file begins with, or has the attribute.
fn exists(file: &str, name: &str) -> bool {
    let (path, is_suite) = match file.ends_with(".rs") {
        true => (repository("src").join(file), false),
        false => (repository("tests/suite").join(format!("{file}.rs")), true),
    };
    let Ok(text) = fs::read_to_string(path) else { return false };
    if !is_suite {
        return text.contains(&format!("#[test]\nfn {name}()"))
            || text.contains(&format!("#[test]\n    fn {name}()"));
    }
    let list = text.split("tests![").nth(1).and_then(|rest| rest.split("];").next()).unwrap_or_default();
    let words: BTreeSet<&str> = list.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    words.contains(name) && text.contains(&format!("fn {name}()"))
}

fn every_test_that_is_named_exists() {
    let text = read("docs/conformance.md");
    let named = named_tests(&text);
    assert!(named.len() > 200, "only {} tests were found in the document", named.len());
    let missing: Vec<_> = named.into_iter().filter(|(file, name)| !exists(file, name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert!(!exists("fields", "nonesuch") && !exists("nonesuch", "nonesuch"));
}

fn every_property_of_the_schema_is_named() {
    let schema = read("src/oci/schema.rs");
    let fields =
        schema.split("may(\"").chain(schema.split("must(\"")).chain(schema.split("name: \"")).filter_map(
            |rest| {
                let name = rest.split('"').next()?;
                (!name.is_empty() && name.chars().all(char::is_alphanumeric)).then_some(name)
            },
        );
    let text = read("docs/conformance.md");
    let words: BTreeSet<&str> =
        quoted(&text).into_iter().flat_map(|word| word.split(['.', '[', ']'])).collect();
    let missing: BTreeSet<_> = fields.filter(|field| !words.contains(field)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// Rows of properties and rules, up to the section of what cannot be shown.
fn no_row_is_without_a_test() {
    let text = read("docs/conformance.md");
    let (rows, _) = text.split_once("## What no machine at hand can show").unwrap();
    let rows = rows.lines().filter(|line| {
        line.starts_with("| ") && !line.starts_with("| property") && !line.starts_with("| rule")
    });
    let bare: Vec<_> = rows.filter(|row| named_tests(row).is_empty() && !row.contains("the same")).collect();
    assert!(bare.is_empty(), "{bare:?}");
}
