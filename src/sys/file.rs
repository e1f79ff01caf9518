//! Reading whole files in as few system calls as it takes. Any process, with the caller's privilege.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

/// Room for a file of the kernel's, most of which are far shorter.
const USUAL: usize = 4096;

/// A whole file of unknown length, as those of procfs and cgroup file systems are: `std::fs::read` asks
/// for their length, which is 0, and then feels its way with many short reads.
///
/// # Errors
/// As `std::fs::read`.
pub fn read(path: impl AsRef<Path>) -> std::io::Result<Vec<u8>> {
    read_up_to(&File::open(path)?, u64::MAX, USUAL)
}

/// What is left of an open file that most likely is shorter than a page, up to `limit` bytes. Such a file, on a disk or
/// in procfs, comes with the first read and without a second one that finds the end.
///
/// # Errors
/// As `read_to_end`.
pub fn read_small(mut file: &File, limit: u64) -> std::io::Result<Vec<u8>> {
    let mut buffer = [0; USUAL];
    let length = loop {
        match file.read(&mut buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => break result?,
        }
    };
    let mut content = buffer[..length].to_vec();
    content.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    if length == buffer.len() {
        file.take(limit.saturating_sub(length as u64)).read_to_end(&mut content)?;
    }
    Ok(content)
}

/// What is left of an open file, up to `limit` bytes, most likely `expected`.
///
/// # Errors
/// As `read_to_end`.
pub fn read_up_to(file: &File, limit: u64, expected: usize) -> std::io::Result<Vec<u8>> {
    // One byte more, so that the end is seen without growing.
    let mut content = Vec::with_capacity(expected.saturating_add(1));
    file.take(limit).read_to_end(&mut content)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_whole_whatever_length_was_expected_and_never_beyond_the_limit() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let content: Vec<u8> = (0..20_000u32).map(|number| number as u8).collect();
        std::fs::write(file.path(), &content).unwrap();
        assert_eq!(read(file.path()).unwrap(), content);
        let open = || File::open(file.path()).unwrap();
        assert_eq!(read_up_to(&open(), u64::MAX, 0).unwrap(), content);
        assert_eq!(read_up_to(&open(), 100, 20_000).unwrap(), content[..100]);
        assert_eq!(read_up_to(&open(), u64::MAX, 19_999).unwrap(), content);
        assert!(read("/proc/self/stat").unwrap().ends_with(b"\n"));
        assert_eq!(read_small(&open(), u64::MAX).unwrap(), content);
        assert_eq!(read_small(&open(), 100).unwrap(), content[..100]);
        assert_eq!(read_small(&open(), 10_000).unwrap(), content[..10_000]);
        for length in [0, 1, USUAL - 1, USUAL, USUAL + 1] {
            std::fs::write(file.path(), &content[..length]).unwrap();
            assert_eq!(read_small(&open(), u64::MAX).unwrap(), content[..length]);
        }
    }
}
