//! `docs/cves.md` against the suite: every defect of the list is in it, and every test it names exists.

use std::collections::BTreeSet;
use std::fs;

use crate::support::repository;
use crate::tests;

tests![
    every_known_defect_is_in_the_list,
    every_test_of_the_list_exists,
    every_test_of_the_corpus_is_in_the_list,
    every_patch_of_the_list_exists
];

/// The defects of runc, crun, youki, LXC and of engines that a runtime can stop.
const DEFECTS: &[&str] = &[
    // runc
    "CVE-2015-3627",
    "CVE-2015-3631",
    "CVE-2015-3629",
    "CVE-2015-3630",
    "CVE-2016-3697",
    "CVE-2016-9962",
    "CVE-2019-5736",
    "CVE-2020-14298",
    "CVE-2020-14300",
    "CVE-2019-16884",
    "CVE-2019-19921",
    "CVE-2023-27561",
    "CVE-2023-28642",
    "CVE-2021-30465",
    "CVE-2021-43784",
    "CVE-2022-29162",
    "CVE-2022-24769",
    "CVE-2023-25809",
    "CVE-2024-21626",
    "CVE-2024-45310",
    "CVE-2025-31133",
    "CVE-2025-52565",
    "CVE-2025-52881",
    "CVE-2026-41579",
    "runc issue 1962",
    // crun
    "CVE-2019-18837",
    "CVE-2022-27650",
    "CVE-2025-24965",
    "CVE-2026-30892",
    "CVE-2026-47766",
    "crun 1.28 and 1.29",
    "crun issue 1200",
    // youki
    "CVE-2025-27612",
    "CVE-2025-54867",
    "CVE-2025-62161",
    "CVE-2025-62596",
    "youki issue 3434",
    "youki issue 3554",
    // LXC, and engines
    "CVE-2015-1331",
    "CVE-2015-1334",
    "CVE-2015-1335",
    "CVE-2016-8649",
    "CVE-2016-10124",
    "CVE-2017-5985",
    "CVE-2018-6556",
    "CVE-2022-47952",
    "CVE-2026-39402",
    "CVE-2022-0811",
    "CVE-2024-3154",
    "CVE-2022-0492",
    "CVE-2025-23266",
    "CVE-2024-0132",
    "CVE-2018-15664",
    "CVE-2019-14271",
    "CVE-2020-15257",
    "CVE-2026-46680",
    "CVE-2026-53489",
    "CVE-2026-53492",
];

fn list() -> String {
    fs::read_to_string(repository("docs/cves.md")).unwrap()
}

/// `file::name` of every test of the suite that stands in a `tests![…]`.
fn known_tests() -> BTreeSet<String> {
    let mut known = BTreeSet::new();
    for entry in fs::read_dir(repository("tests/suite")).unwrap().flatten() {
        let path = entry.path();
        let file = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(&path).unwrap();
        let names = text.lines().filter_map(|line| line.strip_prefix("fn ")?.strip_suffix("() {"));
        let declared =
            text.split("tests![").nth(1).and_then(|rest| rest.split("];").next()).unwrap_or_default();
        known.extend(names.filter(|name| declared.contains(name)).map(|name| format!("{file}::{name}")));
    }
    known
}

/// What stands between backquotes and looks like a test.
fn named_tests() -> BTreeSet<String> {
    let text = list();
    let quoted = text.split('`').skip(1).step_by(2);
    let is_test = |word: &&str| {
        word.split_once("::").is_some_and(|(file, name)| {
            !file.contains('/')
                && !name.contains(':')
                && repository(&format!("tests/suite/{file}.rs")).exists()
        })
    };
    quoted.filter(is_test).map(str::to_owned).collect()
}

fn every_known_defect_is_in_the_list() {
    let text = list();
    let missing: Vec<_> = DEFECTS.iter().filter(|defect| !text.contains(**defect)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

fn every_test_of_the_list_exists() {
    let known = known_tests();
    let strange: Vec<_> = named_tests().into_iter().filter(|name| !known.contains(name)).collect();
    assert!(strange.is_empty(), "no such tests: {strange:?}");
    assert!(named_tests().len() > 40, "only {} tests are named", named_tests().len());
}

fn every_test_of_the_corpus_is_in_the_list() {
    let named = named_tests();
    let corpus =
        known_tests().into_iter().filter(|name| name.starts_with("cve_") && !name.starts_with("cve_list"));
    let missing: Vec<_> = corpus.filter(|name| !named.contains(name)).collect();
    assert!(missing.is_empty(), "tests that the list does not name: {missing:?}");
}

fn every_patch_of_the_list_exists() {
    let text = list();
    let patches = text.split('`').skip(1).step_by(2).filter(|word| word.ends_with(".patch"));
    let missing: Vec<_> = patches.filter(|name| !repository("tests/bite").join(name).exists()).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
