//! The last of what a tenant's init wrote to its console: two files in the tenant's folder, the older one full. Written by
//! the keeper, read by the runtime process, with the caller's privilege. Failures of writing are told to nobody: nobody
//! is there.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::tenant::estate::read_limited;

/// What the file may hold in bytes; an older one of the same size is kept beside it.
const LARGEST: u64 = 256 << 10;

/// The file as it is written.
#[derive(Debug)]
pub struct Log {
    folder: PathBuf,
    file: Option<File>,
    size: u64,
}

impl Log {
    /// Opens the log in a tenant's folder; one that cannot be written holds nothing.
    ///
    /// # Errors
    /// None.
    pub fn open(folder: PathBuf) -> Result<Log> {
        let path = folder.join("log");
        let file = File::options().append(true).create(true).mode(0o600).open(&path);
        let size = file.as_ref().ok().and_then(|file| file.metadata().ok()).map_or(0, |found| found.len());
        Ok(Log { folder, file: file.ok(), size })
    }

    /// Adds to it.
    pub fn write(&mut self, bytes: &[u8]) {
        if self.size >= LARGEST {
            let _ = std::fs::rename(self.folder.join("log"), self.folder.join("log.1"));
            if let Ok(fresh) = Log::open(self.folder.clone()) {
                *self = fresh;
            }
        }
        if let Some(file) = &mut self.file
            && file.write_all(bytes).is_ok()
        {
            self.size += bytes.len() as u64;
        }
    }
}

/// The last `lines` lines, without what would act on a terminal; empty when there are none.
pub fn tail(folder: &Path, lines: usize) -> String {
    let text = read_limited(&folder.join("log")).unwrap_or_default();
    let all: Vec<String> = text.lines().map(plain).filter(|line| !line.trim().is_empty()).collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// A line without escape sequences (ECMA-48) and other control characters.
fn plain(line: &str) -> String {
    let mut plain = String::new();
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\u{1b}' if characters.peek() == Some(&'[') => {
                characters.next();
                // Parameters, then one final byte.
                let _ = characters.by_ref().find(|c| ('\u{40}'..='\u{7e}').contains(c));
            }
            other if other.is_control() => {}
            other => plain.push(other),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_keeps_the_last_and_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = Log::open(folder.path().to_owned()).unwrap();
        for _ in 0..200 {
            log.write(&[b'x'; 4096]);
        }
        let size = |name: &str| std::fs::metadata(folder.path().join(name)).unwrap().len();
        assert!(size("log") <= LARGEST + 4096 && size("log.1") <= LARGEST + 4096);
    }

    #[test]
    fn the_tail_has_no_sequences_that_act_on_a_terminal() {
        let folder = tempfile::tempdir().unwrap();
        let text = "first\n[\u{1b}[0;32m  OK  \u{1b}[0m] up\r\n\u{1b}[2J\u{7}\u{1b}]0;x\u{7}last\n\n";
        std::fs::write(folder.path().join("log"), text).unwrap();
        assert_eq!(tail(folder.path(), 2), "[  OK  ] up\n]0;xlast");
        assert_eq!(tail(&folder.path().join("none"), 2), "");
    }
}
