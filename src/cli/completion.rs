//! `isolate completion`: scripts that let a shell complete our command line, made from the table of commands.
//! The runtime process, no privilege needed; reads nothing.

use clap::{Arg, ArgMatches, Command};
use clap_complete::Shell;

use super::{arg, commands, print};
use crate::container::Runtime;
use crate::error::{Error, Result};

/// The parser of `completion`.
pub fn command() -> Command {
    let shell = Arg::new("shell").value_name("SHELL").required(true);
    Command::new("completion")
        .about("Print the completion script of a shell")
        .arg(shell.value_parser(["bash", "zsh", "fish"]).help("The shell"))
        .after_help(EXAMPLES)
}

const EXAMPLES: &str = "Examples:
  For every user's bash:
    isolate completion bash > /usr/share/bash-completion/completions/isolate
  For your own fish:
    isolate completion fish > ~/.config/fish/completions/isolate.fish
  For zsh, in a folder of $fpath:
    isolate completion zsh > /usr/local/share/zsh/site-functions/_isolate";

/// Prints the script.
///
/// # Errors
/// When standard output cannot be written.
pub fn run(matches: &ArgMatches, _runtime: &Runtime) -> Result<i32> {
    let shell = arg::text(matches, "shell").unwrap_or_default();
    print(script(&shell)?.trim_end())
}

fn script(shell: &str) -> Result<String> {
    let shell: Shell = shell.parse().map_err(|why: String| Error::new(why))?;
    let mut bytes = Vec::new();
    clap_complete::generate(shell, &mut commands::tree(), "isolate", &mut bytes);
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shells_script_knows_every_visible_command() {
        for shell in ["bash", "zsh", "fish"] {
            let script = script(shell).unwrap();
            for command in commands::tree().get_subcommands().filter(|command| !command.is_hide_set()) {
                assert!(script.contains(command.get_name()), "{shell}: {}", command.get_name());
            }
        }
    }
}
