//! `isolate man`, hidden: writes the man pages of `man/` from the table of commands. Run by maintainers, with
//! no privilege but to write there.

use std::io;
use std::path::Path;

use clap::{ArgMatches, Command};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

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
    let dir = arg::os_text(matches, "dir").ok_or_else(|| Error::new("no --dir").kind(Kind::Usage))?;
    let pages = pages().call(|| "write(man page)")?;
    for (name, text) in &pages {
        let path = Path::new(dir).join(name);
        std::fs::write(&path, text).call(|| format!("write({path:?})"))?;
    }
    print(format_args!("{} pages", pages.len()))
}

/// File names and contents: `isolate.1`, and `isolate-COMMAND.1` for all that are not hidden.
fn pages() -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut tree = commands::tree().disable_help_subcommand(true);
    tree.build();
    let mut pages = vec![];
    add_pages(&tree, &mut pages)?;
    Ok(pages)
}

/// The page of `command` and those of its subcommands that are not hidden.
fn add_pages(command: &Command, pages: &mut Vec<(String, Vec<u8>)>) -> io::Result<()> {
    pages.push(page(command)?);
    let mut below = command.get_subcommands().filter(|command| !command.is_hide_set());
    below.try_for_each(|command| add_pages(command, pages))
}

fn page(command: &Command) -> io::Result<(String, Vec<u8>)> {
    let name = command.get_display_name().unwrap_or(command.get_name()).replace(' ', "-");
    let version = concat!("isolate ", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone()).title(name.to_uppercase()).source(version);
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
    if name == "isolate" {
        general().to_writer(&mut text)?;
    } else {
        Roff::new().control("SH", ["SEE ALSO"]).text([roman("isolate(1)")]).to_writer(&mut text)?;
    }
    Ok((format!("{name}.1"), once(&String::from_utf8_lossy(&text), PREAMBLE).into_bytes()))
}

/// What roff writes before each section, for its apostrophes.
const PREAMBLE: &str = ".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n";

/// `text` with `part` at its beginning only.
fn once(text: &str, part: &str) -> String {
    format!("{part}{}", text.replace(part, ""))
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

/// What holds for every command: title, then lines of a term and its meaning.
const GENERAL: [(&str, &[(&str, &str)]); 3] = [
    (
        "EXIT STATUS",
        &[
            ("0", "Success; run and exec in the foreground exit with the program's own code."),
            ("128+N", "Signal N ended the program of run or exec."),
            ("255", "exec could not run the program."),
            ("1", "Any other failure; one error on standard error, and in the log if there is one."),
        ],
    ),
    (
        "ENVIRONMENT",
        &[
            ("XDG_RUNTIME_DIR", "Holds the state root of callers that are not root of the host."),
            ("USER", "In an inner user namespace, root there keeps the host's state root if this is root."),
            ("LISTEN_FDS", "Count of socket-activation descriptors that create, run and exec pass on."),
            ("NOTIFY_SOCKET", "Socket on which the program of run or create may tell that it is ready."),
        ],
    ),
    (
        "FILES",
        &[
            ("/run/isolate", "State root of root."),
            ("$XDG_RUNTIME_DIR/isolate", "State root of others."),
            ("config.json", "What a bundle asks for: the OCI runtime specification, version 1."),
        ],
    ),
];

fn general() -> Roff {
    let mut roff = Roff::new();
    for (title, entries) in GENERAL {
        roff.control("SH", [title]);
        for (term, meaning) in entries {
            roff.control("TP", []).text([bold(*term)]).text([roman(*meaning)]);
        }
    }
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
