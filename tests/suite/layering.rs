//! The layers of `docs/architecture.md`, read from the `use crate::…` lines of `src/`: arrows go down only.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::repository;
use crate::tests;

tests![
    no_module_uses_one_above_it,
    the_pure_modules_touch_no_file_process_or_environment,
    unsafe_code_lives_in_sys_alone,
    the_rules_catch_an_arrow_that_goes_up,
];

/// Each layer and the ones it may use, from the user's side down to the kernel's; a longer path names the
/// one part of a layer whose values, not acts, are used. All may use what [`EVERYWHERE`] lists.
const LAYERS: [(&str, &[&str]); 11] = [
    ("cli", &["tenant", "container", "apply", "lint", "plan", "store", "host", "cgroup", "oci", "sys"]),
    ("tenant", &["container", "plan", "host", "store", "oci", "sys", "cgroup", "apply::idmaps"]),
    ("container", &["apply", "lint", "plan", "store", "host", "oci", "cgroup", "sys"]),
    ("apply", &["plan", "store", "host", "oci", "cgroup", "sys"]),
    ("store", &["plan", "oci", "sys", "cgroup::SavedGroup"]),
    ("lint", &["plan::seccomp", "oci", "sys::syscalls"]),
    (
        "plan",
        &[
            "host",
            "oci",
            "cgroup::layout",
            "cgroup::group",
            "cgroup::unit",
            "cgroup::device",
            "sys::bpf",
            "sys::seccomp",
            "sys::syscalls",
        ],
    ),
    ("host", &["cgroup::layout", "sys", "cgroup"]),
    ("cgroup", &["sys"]),
    ("oci", &[]),
    ("sys", &[]),
];

const EVERYWHERE: [&str; 4] = ["error", "ids", "log", "sys::time"];

const PURE: [&str; 3] = ["lint", "oci", "plan"];

fn source() -> PathBuf {
    repository("src")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        match entry.path() {
            path if path.is_dir() => found.extend(files(&path)),
            path if path.extension().is_some_and(|extension| extension == "rs") => found.push(path),
            _ => {}
        }
    }
    found.sort();
    found
}

/// The code of a file without comments and without its tests.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_owned();
    text.lines().map(|line| line.split("//").next().unwrap_or("")).collect::<Vec<_>>().join("\n")
}

/// Everything that follows `crate::` in a text, up to the first character that is no part of a path.
fn uses(text: &str) -> Vec<String> {
    let path = |rest: &str| {
        rest.chars().take_while(|c| c.is_alphanumeric() || "_:".contains(*c)).collect::<String>()
    };
    text.split("crate::").skip(1).map(path).collect()
}

fn may_use(layer: &str, used: &str) -> bool {
    let covers = |allowed: &str| used == allowed || used.starts_with(&format!("{allowed}::"));
    let Some((_, below)) = LAYERS.iter().find(|(name, _)| *name == layer) else { return true };
    covers(layer) || below.iter().chain(&EVERYWHERE).any(|allowed| covers(allowed))
}

fn layer_of(path: &Path) -> String {
    let relative = path.strip_prefix(source()).unwrap();
    relative.components().next().unwrap().as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned()
}

fn is_test(path: &Path) -> bool {
    path.file_stem().is_some_and(|name| name.to_string_lossy().ends_with("tests"))
}

fn no_module_uses_one_above_it() {
    let known: Vec<_> = LAYERS.iter().map(|(name, _)| *name).collect();
    let mut wrong = Vec::new();
    for path in files(&source()).iter().filter(|path| !is_test(path)) {
        let layer = layer_of(path);
        for used in uses(&code(path)) {
            let to_a_layer = known.contains(&used.split("::").next().unwrap_or_default());
            if known.contains(&layer.as_str()) && to_a_layer && !may_use(&layer, &used) {
                wrong.push(format!("{}: crate::{used}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that go up:\n  {}", wrong.join("\n  "));
}

fn the_pure_modules_touch_no_file_process_or_environment() {
    let mut wrong = Vec::new();
    for path in
        files(&source()).iter().filter(|path| PURE.contains(&layer_of(path).as_str()) && !is_test(path))
    {
        for word in ["std::fs", "std::process", "std::env", "std::net"] {
            if code(path).contains(word) {
                wrong.push(format!("{}: {word}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "not pure:\n  {}", wrong.join("\n  "));
}

fn unsafe_code_lives_in_sys_alone() {
    let outside = |path: &&PathBuf| layer_of(path) != "sys";
    let has = |path: &&PathBuf| {
        code(path).lines().any(|line| line.contains("unsafe ") || line.contains("allow(unsafe_code)"))
    };
    let wrong: Vec<_> = files(&source()).iter().filter(outside).filter(has).cloned().collect();
    assert!(wrong.is_empty(), "unsafe code outside sys: {wrong:?}");
}

fn the_rules_catch_an_arrow_that_goes_up() {
    assert!(
        !may_use("sys", "container::create") && !may_use("plan", "apply") && !may_use("oci", "sys::path")
    );
    assert!(
        may_use("cli", "container::run") && may_use("plan", "host::Host") && may_use("sys", "error::Error")
    );
    assert_eq!(uses("use crate::plan::{Plan, Step};\n crate::log::warning(1)"), ["plan::", "log::warning"]);
}
