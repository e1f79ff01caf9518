//! Compressed streams and digests of what is unpacked. The runtime process, with the caller's privilege;
//! it only reads, and holds no more than one compression window of a hostile stream in memory.

use std::io::{self, BufRead, BufReader, Read};

use ruzstd::decoding::StreamingDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use sha2::{Digest, Sha256};

use crate::error::{Call, Error, Result};

/// Takes gzip or zstd off a stream, by its first bytes.
///
/// # Errors
/// A compression that is known and not supported, or a read that failed.
pub fn decompress<'a>(stream: impl Read + 'a) -> Result<Box<dyn Read + 'a>> {
    let mut stream = BufReader::with_capacity(1 << 16, stream);
    let start = stream.fill_buf().call(|| "read")?;
    let unsupported = |name: &str, tool: &str| {
        Err(Error::new(format!("{name} compression is not supported"))
            .hint(format!("decompress it first, with {tool}")))
    };
    match start {
        [0x1f, 0x8b, ..] => Ok(Box::new(flate2::bufread::MultiGzDecoder::new(stream))),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Ok(Box::new(ZstdFrames::Between(stream))),
        // Skippable frames may come first: RFC 8878 §3.1.2.
        [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Ok(Box::new(ZstdFrames::Between(stream))),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => unsupported("xz", "xz -d"),
        [b'B', b'Z', b'h', ..] => unsupported("bzip2", "bzip2 -d"),
        _ => Ok(Box::new(stream)),
    }
}

/// A zstd stream of several frames; ruzstd reads one.
enum ZstdFrames<R: BufRead> {
    Between(R),
    Within(Box<StreamingDecoder<R, ruzstd::decoding::FrameDecoder>>),
    End,
}

impl<R: BufRead> Read for ZstdFrames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match std::mem::replace(self, ZstdFrames::End) {
                ZstdFrames::End => return Ok(0),
                ZstdFrames::Between(stream) => *self = next_frame(stream)?,
                ZstdFrames::Within(mut frame) => {
                    let count = frame.read(buffer)?;
                    *self = match count {
                        0 if !buffer.is_empty() => ZstdFrames::Between(frame.into_inner()),
                        _ => ZstdFrames::Within(frame),
                    };
                    if count > 0 || buffer.is_empty() {
                        return Ok(count);
                    }
                }
            }
        }
    }
}

fn next_frame<R: BufRead>(mut stream: R) -> io::Result<ZstdFrames<R>> {
    if stream.fill_buf()?.is_empty() {
        return Ok(ZstdFrames::End);
    }
    // The header is read from a borrow first, so that a skippable frame leaves the stream with us.
    let mut peek = [0; 4];
    let start = stream.fill_buf()?;
    let known = start.len().min(4);
    peek[..known].copy_from_slice(&start[..known]);
    if matches!(peek, [0x50..=0x5f, 0x2a, 0x4d, 0x18]) {
        return skip_frame(stream).map(ZstdFrames::Between);
    }
    match StreamingDecoder::new(stream) {
        Ok(frame) => Ok(ZstdFrames::Within(Box::new(frame))),
        Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { .. })) => {
            Err(io::Error::other("zstd: a skippable frame is cut in two"))
        }
        Err(error) => Err(io::Error::other(format!("zstd: {error}"))),
    }
}

fn skip_frame<R: BufRead>(mut stream: R) -> io::Result<R> {
    let mut header = [0; 8];
    stream.read_exact(&mut header)?;
    let length = u64::from(u32::from_le_bytes([header[4], header[5], header[6], header[7]]));
    io::copy(&mut (&mut stream).take(length), &mut io::sink())?;
    Ok(stream)
}

/// A reader that digests what passes through it.
pub struct Digested<R> {
    inner: R,
    hash: Sha256,
    bytes: u64,
}

impl<R: Read> Digested<R> {
    /// Starts digesting.
    pub fn new(inner: R) -> Digested<R> {
        Digested { inner, hash: Sha256::new(), bytes: 0 }
    }

    /// Reads what is left (at most `size` bytes in all), and compares.
    ///
    /// # Errors
    /// When size or digest differ from `size` and `sha256:HEX`.
    pub fn verify(mut self, digest: &str, size: u64) -> Result<()> {
        let rest = size.saturating_sub(self.bytes).saturating_add(1);
        io::copy(&mut (&mut self).take(rest), &mut io::sink()).call(|| "read")?;
        if self.bytes != size {
            return Err(Error::new(format!("it is not of the {size} bytes its descriptor says")));
        }
        let found = format!("sha256:{}", hex(&self.hash.finalize()));
        match found == digest {
            true => Ok(()),
            false => Err(Error::new(format!("its digest is {found}, not {digest}"))),
        }
    }
}

impl<R: Read> Read for Digested<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hash.update(&buffer[..count]);
        self.bytes += count as u64;
        Ok(count)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn all(stream: &[u8]) -> Result<Vec<u8>> {
        let mut bytes = vec![];
        decompress(stream)?.read_to_end(&mut bytes).call(|| "read")?;
        Ok(bytes)
    }

    #[test]
    fn gzip_and_plain_streams_are_told_apart() {
        let mut gz = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
        gz.write_all(b"hello").unwrap();
        assert_eq!(all(&gz.finish().unwrap()).unwrap(), b"hello");
        assert_eq!(all(b"hello").unwrap(), b"hello");
        assert_eq!(all(b"").unwrap(), b"");
    }

    #[test]
    fn zstd_streams_of_several_and_skippable_frames_are_read_to_the_end() {
        let raw = |text: &[u8]| {
            // One frame: no checksum, single segment, one raw last block.
            let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x20, text.len() as u8];
            frame.extend([(text.len() as u8) << 3 | 1, 0, 0]);
            frame.extend(text);
            frame
        };
        let skippable = [0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 9, 9, 9];
        let stream = [raw(b"he").as_slice(), &skippable, &raw(b"llo"), &skippable].concat();
        assert_eq!(all(&stream).unwrap(), b"hello");
        assert!(all(&stream[..12]).is_err());
    }

    #[test]
    fn xz_is_refused_with_the_way_out() {
        let text = all(b"\xfd7zXZ\0").unwrap_err().to_string();
        assert!(text.contains("xz -d"), "{text}");
    }

    #[test]
    fn a_changed_blob_is_noticed() {
        let digest = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
        assert!(Digested::new(&b"hello"[..]).verify(digest, 5).is_ok());
        assert!(Digested::new(&b"hellO"[..]).verify(digest, 5).is_err());
        assert!(Digested::new(&b"hello!"[..]).verify(digest, 5).is_err());
        assert!(Digested::new(&b"hell"[..]).verify(digest, 5).is_err());
    }
}
