//! Any arguments for any command: parsed or refused, never more.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

pub fn run(data: &[u8]) {
    let names = isolate::cli::commands::COMMANDS;
    let mut words = data.split(|byte| *byte == 0).map(|word| OsString::from_vec(word.to_vec()));
    let first = words.next().unwrap_or_default();
    let name = names[first.len() % names.len()].name;
    let args = std::iter::once(OsString::from(name)).chain(words.take(64));
    isolate::cli::fuzz(args.collect());
}
