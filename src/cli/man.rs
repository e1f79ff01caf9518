//! `isolate man`, hidden: writes the man pages of `man/` from the table of commands. Run by maintainers, with
//! no privilege but to write there.

use std::io;
use std::path::PathBuf;

use clap::{ArgMatches, Command};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use super::{arg, commands, print};
use crate::container::Runtime;
use crate::error::{Call, Error, Kind, Result};

/// The parser of `man`.
pub fn command() -> Command {
    Command::new("man")
        .about("Write the man pages into a folder")
        .hide(true)
        .arg(arg::path("dir", "DIR", "The folder").required(true))
        .after_help(
            "Examples:\n  After a change of the command line, in the source tree:\n    isolate man --dir man",
        )
}

/// Writes them.
///
/// # Errors
/// When a file cannot be written.
pub fn run(matches: &ArgMatches, _runtime: &Runtime) -> Result<i32> {
    let dir = matches.get_one::<PathBuf>("dir").ok_or_else(|| Error::new("no --dir").kind(Kind::Usage))?;
    let pages = pages().call(|| "write(man page)")?;
    for (name, text) in &pages {
        let path = dir.join(name);
        std::fs::write(&path, text).call(|| format!("write({path:?})"))?;
    }
    print(format_args!("{} pages", pages.len()))
}

/// File names and contents: `isolate.1`, and `isolate-COMMAND.1` for all that are not hidden.
fn pages() -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut tree = commands::tree().disable_help_subcommand(true);
    tree.build();
    let commands = tree.get_subcommands().filter(|command| !command.is_hide_set());
    std::iter::once(&tree).chain(commands).map(page).collect()
}

fn page(command: &Command) -> io::Result<(String, Vec<u8>)> {
    let name = command.get_display_name().unwrap_or(command.get_name()).replace(' ', "-");
    // The tree is built: what clap derives (names, usage) is in place, and must not be derived again.
    let man = Man::new(command.clone().version(env!("CARGO_PKG_VERSION"))).title(name.to_uppercase());
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut text)?;
    }
    examples(command).to_writer(&mut text)?;
    Ok((format!("{name}.1"), text))
}

/// The examples of the help as a section of their own, line by line as they are.
fn examples(command: &Command) -> Roff {
    let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let mut roff = Roff::new();
    roff.control("SH", ["EXAMPLES"]).control("nf", []);
    for line in after.lines().skip(1) {
        roff.text([roman(line.strip_prefix("  ").unwrap_or(line))]);
    }
    roff.control("fi", []);
    roff
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn the_man_pages_are_up_to_date() {
        let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/man");
        let files: BTreeMap<String, Vec<u8>> = std::fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap()))
            .collect();
        let pages: BTreeMap<_, _> = pages().unwrap().into_iter().collect();
        let differing: Vec<_> = pages
            .keys()
            .chain(files.keys().filter(|name| !pages.contains_key(*name)))
            .filter(|name| pages.get(*name) != files.get(*name))
            .collect();
        assert!(differing.is_empty(), "out of date: {differing:?}; run: cargo run -- man --dir man");
    }
}
