//! What `push` and `pull` say through their pipe: folders entered and left, files with their content in pieces, links.
//! Names are single components. No privilege.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use crate::error::{Call, Error, Result};

/// The largest frame, in bytes: a piece of a file, or a name and the target of a link.
pub const LARGEST: usize = 64 << 10;

/// How deep folders may lie in each other: each of them is held open.
pub const DEEPEST: usize = 400;

/// In the place of a length: a hole follows.
const HOLE: u32 = u32::MAX;

/// One thing that is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Item {
    /// A folder; what follows is in it, until [`Item::Leave`].
    Folder(Name, Meta),
    /// The end of a folder.
    Leave,
    /// A file; its content follows, in pieces.
    File(Name, Meta),
    /// A symbolic link and its target.
    Link(Name, Vec<u8>),
    /// There is no more.
    End,
}

/// Some of a file's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// These bytes.
    Data(Vec<u8>),
    /// So many zeros that need no room.
    Hole(u64),
    /// There is no more.
    End,
}

/// A component of a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Name(Vec<u8>);

impl Name {
    /// As it is.
    pub fn new(name: &OsStr) -> Name {
        Name(name.as_bytes().to_vec())
    }

    /// Checked: it leads nowhere else.
    ///
    /// # Errors
    /// It is no component of a path.
    pub fn read(&self) -> Result<OsString> {
        match self.0.as_slice() {
            b"" | b"." | b".." => Err(Error::new("a name that is none")),
            name if name.contains(&b'/') || name.contains(&0) => Err(Error::new("a name with a / in it")),
            name => Ok(OsString::from_vec(name.to_vec())),
        }
    }
}

/// What a file or folder has besides its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// Permissions; set-id and sticky bits are never carried.
    pub mode: u32,
    /// Seconds since 1970; absent: now.
    pub modified: Option<i64>,
}

/// What was carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Tally {
    /// Files.
    pub files: u64,
    /// Folders.
    pub folders: u64,
    /// Symbolic links.
    pub links: u64,
    /// Bytes of the files, holes and all.
    pub bytes: u64,
}

const BROKEN: &str = "the other side has ended";

/// Whether this side only failed because the other one did.
pub fn is_broken(error: &Error) -> bool {
    error.errno() == Some(Errno::EPIPE) || error.to_string().ends_with(BROKEN)
}

/// Says one frame.
///
/// # Errors
/// The other side is gone.
pub fn write_frame(to: &mut impl Write, bytes: &[u8]) -> Result<()> {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes();
    to.write_all(&length).and_then(|()| to.write_all(bytes)).call(|| "write(pipe)")
}

/// Hears one frame.
///
/// # Errors
/// The other side is gone, or says what it never would.
pub fn read_frame(from: &mut impl Read) -> Result<Vec<u8>> {
    let length = u32::from_le_bytes(read(from)?);
    read_rest(from, length)
}

fn read<const COUNT: usize>(from: &mut impl Read) -> Result<[u8; COUNT]> {
    let mut bytes = [0; COUNT];
    from.read_exact(&mut bytes).map_err(ended)?;
    Ok(bytes)
}

fn read_rest(from: &mut impl Read, length: u32) -> Result<Vec<u8>> {
    if length as usize > LARGEST {
        return Err(Error::new("a frame that is too large"));
    }
    let mut bytes = vec![0; length as usize];
    from.read_exact(&mut bytes).map_err(ended)?;
    Ok(bytes)
}

fn ended(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Error::new(BROKEN),
        _ => Error::io("read(pipe)", &error),
    }
}

/// Says that so many zeros follow.
///
/// # Errors
/// As [`write_frame`].
pub fn write_hole(to: &mut impl Write, length: u64) -> Result<()> {
    to.write_all(&HOLE.to_le_bytes())
        .and_then(|()| to.write_all(&length.to_le_bytes()))
        .call(|| "write(pipe)")
}

/// Hears a piece of a file: a frame, of which an empty one is the end, or a hole.
///
/// # Errors
/// As [`read_frame`].
pub fn read_piece(from: &mut impl Read) -> Result<Piece> {
    match u32::from_le_bytes(read(from)?) {
        0 => Ok(Piece::End),
        HOLE => Ok(Piece::Hole(u64::from_le_bytes(read(from)?))),
        length => read_rest(from, length).map(Piece::Data),
    }
}

/// Says an item.
///
/// # Errors
/// As [`write_frame`].
pub fn write_item(to: &mut impl Write, item: &Item) -> Result<()> {
    let bytes = serde_json::to_vec(item).map_err(|error| Error::new(error.to_string()))?;
    write_frame(to, &bytes)
}

/// Hears an item.
///
/// # Errors
/// As [`read_frame`].
pub fn read_item(from: &mut impl Read) -> Result<Item> {
    let bytes = read_frame(from)?;
    serde_json::from_slice(&bytes).map_err(|error| Error::new(format!("an item that is none: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_heard_as_they_were_said() {
        let name = Name::new(OsStr::from_bytes(b"\xff name"));
        let meta = Meta { mode: 0o640, modified: Some(-5) };
        let items =
            [Item::Folder(name.clone(), meta), Item::Link(name, b"../x".to_vec()), Item::Leave, Item::End];
        let mut bytes = vec![];
        items.iter().for_each(|item| write_item(&mut bytes, item).unwrap());
        let mut stream = bytes.as_slice();
        for item in &items {
            assert_eq!(&read_item(&mut stream).unwrap(), item);
        }
        assert!(is_broken(&read_item(&mut stream).unwrap_err()));
    }

    #[test]
    fn content_is_bytes_and_holes() {
        let mut bytes = vec![];
        write_frame(&mut bytes, b"ab").unwrap();
        write_hole(&mut bytes, 1 << 40).unwrap();
        write_frame(&mut bytes, b"").unwrap();
        let mut stream = bytes.as_slice();
        for piece in [Piece::Data(b"ab".to_vec()), Piece::Hole(1 << 40), Piece::End] {
            assert_eq!(read_piece(&mut stream).unwrap(), piece);
        }
        assert!(read_piece(&mut &b"\xfe\xff\xff\xff"[..]).is_err());
    }

    #[test]
    fn names_that_lead_elsewhere_and_frames_that_are_none_are_refused() {
        for bad in ["", ".", "..", "a/b", "/", "a\0b"] {
            assert!(Name::new(OsStr::new(bad)).read().is_err(), "{bad:?}");
        }
        for bad in [&b"\xff\xff\xff\xff"[..], b"\x02\0\0\0{}", b"\x04\0\0\0ab", b"\x01"] {
            assert!(read_item(&mut &*bad).is_err(), "{bad:?}");
        }
    }
}
