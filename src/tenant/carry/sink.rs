//! Where the content of a file goes: into a file, with its holes, or a stream. The side of `push` and `pull` that gets
//! the files; no privilege.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use nix::errno::Errno;

use crate::error::{Error, Result};
use crate::tenant::carry::stream::{Piece, read_piece};
use crate::tenant::unpack::Watch;

/// Where content goes.
pub trait Sink: Write {
    /// Puts so many zeros.
    ///
    /// # Errors
    /// No room for them.
    fn skip(&mut self, length: u64) -> io::Result<()>;
    /// After the last piece.
    ///
    /// # Errors
    /// No room for it.
    fn end(&mut self) -> io::Result<()>;
}

impl Sink for File {
    fn skip(&mut self, length: u64) -> io::Result<()> {
        let length = i64::try_from(length).map_err(|_| Errno::EFBIG)?;
        self.seek(SeekFrom::Current(length)).map(drop)
    }

    fn end(&mut self) -> io::Result<()> {
        let length = self.stream_position()?;
        self.set_len(length)
    }
}

/// A stream, in which a hole is zeros.
pub struct Flat<'a>(pub &'a mut dyn Write);

impl Write for Flat<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Sink for Flat<'_> {
    fn skip(&mut self, length: u64) -> io::Result<()> {
        io::copy(&mut io::repeat(0).take(length), &mut self.0).map(drop)
    }

    fn end(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Puts all the pieces of a file; how many bytes there are with those `before`.
///
/// # Errors
/// Exit code 46 without room; the other side is gone.
pub fn content(
    from: &mut impl Read,
    to: &mut dyn Sink,
    shown: &str,
    watch: &mut Watch<'_>,
    before: u64,
) -> Result<u64> {
    let mut bytes = before;
    let full = |error: io::Error| match error.raw_os_error() {
        Some(code) => no_room(format!("write({shown})"), Errno::from_raw(code)),
        None => Error::io(format!("write({shown})"), &error),
    };
    loop {
        let length = match read_piece(from)? {
            Piece::Data(piece) => to.write_all(&piece).map(|()| piece.len() as u64),
            Piece::Hole(length) => to.skip(length).map(|()| length),
            Piece::End => return to.end().map(|()| bytes).map_err(full),
        };
        bytes = bytes.saturating_add(length.map_err(full)?);
        watch(shown, bytes)?;
    }
}

/// A call that failed; exit code 46 if there is no room.
pub fn no_room(call: String, errno: Errno) -> Error {
    let error = Error::sys(call, errno);
    if matches!(errno, Errno::ENOSPC | Errno::EDQUOT) { error.code(46) } else { error }
}
