//! `run-script`, and the script that `start` runs once. The runtime process, with the caller's privilege; the script runs
//! as a program of the tenant's.
//!
//! The text is in a memory file that becomes the program's standard input, so nothing is written into the tenant.

use std::fs::File;
use std::io::{Seek, Write};
use std::path::Path;

use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::error::{Call, Error, Kind, Result};
use crate::tenant::enter::{self, Program};
use crate::tenant::estate::Estate;
use crate::tenant::name::Name;

/// The script that waits in a tenant's folder for its first start.
pub const ONCE: &str = "run-once";

/// The largest script, in bytes.
pub const LARGEST: u64 = 16 << 20;

/// Reads a script of the host's.
///
/// # Errors
/// Exit code 21 for one that is empty or too large; the call that failed.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    let file = File::open(path).call(|| format!("open({path:?})"))?;
    let text = crate::sys::file::read_up_to(&file, LARGEST + 1, 4096).call(|| format!("read({path:?})"))?;
    let why = match text.len() as u64 {
        0 => "the script is empty",
        length if length > LARGEST => "the script is larger than 16 MiB",
        _ => return Ok(text),
    };
    Err(Error::new(why).at(path.display().to_string()).kind(Kind::Usage).code(21))
}

/// Who reads the script: what its first line says, else `/bin/sh`. It reads its standard input.
fn interpreter(text: &[u8]) -> Vec<String> {
    let first = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let words = first.strip_prefix(b"#!").map(|words| String::from_utf8_lossy(words).trim().to_owned());
    match words.filter(|words| words.starts_with('/')) {
        // As the kernel does: all that follows the program is one argument.
        Some(words) => words.splitn(2, [' ', '\t']).map(|word| word.trim().to_owned()).collect(),
        None => vec!["/bin/sh".to_owned()],
    }
}

/// Runs a script in a running tenant; its exit code.
///
/// # Errors
/// As [`enter::exec`].
pub fn run(estate: &Estate, name: &Name, text: &[u8], program: Program) -> Result<i32> {
    let memory = memfd_create(c"script", MFdFlags::MFD_CLOEXEC).call(|| "memfd_create")?;
    let mut memory = File::from(memory);
    memory.write_all(text).and_then(|()| memory.rewind()).call(|| "write(memfd)")?;
    nix::unistd::dup2_stdin(&memory).call(|| "dup2(stdin)")?;
    let mut command = interpreter(text);
    command.push("/dev/stdin".to_owned());
    command.extend(program.command);
    enter::exec(estate, name, &Program { command, tty: false, ..program })
}

/// Runs the script that waits for the first start, if there is one, and removes it when it has succeeded.
///
/// # Errors
/// It fails: it is kept, and the next start runs it again.
pub fn run_once(estate: &Estate, name: &Name) -> Result<()> {
    let path = estate.folder(name).join(ONCE);
    if !path.exists() {
        return Ok(());
    }
    match run(estate, name, &read(&path)?, Program::default())? {
        0 => std::fs::remove_file(&path).call(|| format!("unlink({path:?})")),
        code => Err(Error::new(format!("it runs, but its run-once script failed with exit code {code}"))
            .hint(format!("it is kept in {path:?}, and runs again at the next start"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_says_who_reads_it() {
        let of = |text: &str| interpreter(text.as_bytes()).join("|");
        assert_eq!(of("echo"), "/bin/sh");
        assert_eq!(of("#!/usr/bin/env  python3 -u\nprint()"), "/usr/bin/env|python3 -u");
        assert_eq!(of("#! /bin/bash -e \n"), "/bin/bash|-e");
        assert_eq!(of("#!relative\n"), "/bin/sh");
        assert_eq!(of(""), "/bin/sh");
    }
}
