//! Messages of D-Bus (dbus-specification.html, "Message Protocol"): method calls out, replies and signals in. Pure.

use serde::Serialize;
use zvariant::serialized::{Context, Data};
use zvariant::{DynamicType, Endian, Type, Value, to_bytes};

use crate::error::{Error, Result};

/// Bytes in which a message says how long it is.
pub(super) const PREFIX: usize = 16;
/// More than any answer of a service manager; the protocol allows 128 MiB.
const LONGEST: usize = 16 << 20;

/// Kinds of message.
pub(super) const CALL: u8 = 1;
pub(super) const REPLY: u8 = 2;
pub(super) const FAILURE: u8 = 3;
pub(super) const SIGNAL: u8 = 4;

/// Numbers of header fields.
const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const BODY_SIGNATURE: u8 = 8;

/// The receiver sends no answer.
const NO_REPLY: u8 = 1;

/// Whether an answer is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Wanted,
    Unwanted,
}

/// Whom a call is for, and which method it calls.
#[derive(Debug, Clone, Copy)]
pub(super) struct Method<'a> {
    pub(super) destination: &'a str,
    pub(super) path: &'a str,
    pub(super) interface: &'a str,
    pub(super) member: &'a str,
}

/// A received message.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) kind: u8,
    pub(super) reply_to: Option<u32>,
    pub(super) member: Option<String>,
    pub(super) error_name: Option<String>,
    body: Data<'static, 'static>,
}

type Header<'a> = (u8, u8, u8, u8, u32, u32, Vec<(u8, Value<'a>)>);

fn wrong(error: impl std::fmt::Display) -> Error {
    Error::new(format!("not a D-Bus message: {error}"))
}

/// A method call as bytes.
pub(super) fn encode<B>(method: Method<'_>, body: &B, serial: u32, answer: Answer) -> Result<Vec<u8>>
where
    B: Serialize + DynamicType,
{
    let context = Context::new_dbus(Endian::Little, 0);
    let body_bytes = to_bytes(context, body).map_err(wrong)?;
    let mut fields = Vec::new();
    // By hand: zvariant writes the signature of several arguments as that of one structure.
    add_field(&mut fields, PATH, 'o', method.path)?;
    add_field(&mut fields, INTERFACE, 's', method.interface)?;
    add_field(&mut fields, MEMBER, 's', method.member)?;
    add_field(&mut fields, DESTINATION, 's', method.destination)?;
    let signature = body.signature().to_string_no_parens();
    if !signature.is_empty() {
        add_field(&mut fields, BODY_SIGNATURE, 'g', &signature)?;
    }
    let flags = if answer == Answer::Wanted { 0 } else { NO_REPLY };
    let mut bytes = vec![b'l', CALL, flags, 1];
    for number in [body_bytes.len(), serial as usize, fields.len()] {
        bytes.extend(u32::try_from(number).map_err(wrong)?.to_le_bytes());
    }
    bytes.extend(fields);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes.extend_from_slice(body_bytes.bytes());
    Ok(bytes)
}

/// One header field: its number, the signature of its value, the value. The array begins at an offset that is a
/// multiple of eight, so offsets within it count as those of the message do.
fn add_field(fields: &mut Vec<u8>, number: u8, kind: char, value: &str) -> Result<()> {
    fields.resize(fields.len().next_multiple_of(8), 0);
    fields.extend([number, 1, kind as u8, 0]);
    match kind {
        'g' => fields.push(u8::try_from(value.len()).map_err(wrong)?),
        _ => fields.extend(u32::try_from(value.len()).map_err(wrong)?.to_le_bytes()),
    }
    fields.extend(value.bytes());
    fields.push(0);
    Ok(())
}

fn endian(first: u8) -> Result<Endian> {
    match first {
        b'l' => Ok(Endian::Little),
        b'B' => Ok(Endian::Big),
        other => Err(wrong(format_args!("it begins with {other:#x}"))),
    }
}

fn number(endian: Endian, bytes: &[u8]) -> usize {
    let bytes: [u8; 4] = bytes.try_into().unwrap_or_default();
    let number = if endian == Endian::Little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) };
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Lengths of header (padded) and body, from the first [`PREFIX`] bytes.
pub(super) fn lengths(prefix: &[u8]) -> Result<(usize, usize)> {
    let order = endian(prefix.first().copied().unwrap_or(0))?;
    let at = |start: usize| number(order, prefix.get(start..start + 4).unwrap_or_default());
    let (body, fields) = (at(4), at(12));
    if body > LONGEST || fields > LONGEST {
        return Err(wrong("it is too long"));
    }
    Ok(((PREFIX + fields).next_multiple_of(8), body))
}

/// A whole message.
pub(super) fn decode(bytes: &[u8]) -> Result<Message> {
    let (header_length, body_length) = lengths(bytes)?;
    let order = endian(bytes.first().copied().unwrap_or(0))?;
    let part = |start: usize, end: usize| {
        let part = bytes.get(start..end).ok_or_else(|| wrong("it is cut off"))?;
        Ok::<_, Error>(Data::new(part.to_vec(), Context::new_dbus(order, 0)))
    };
    let header = part(0, header_length)?;
    let (header, _): (Header<'_>, usize) = header.deserialize().map_err(wrong)?;
    let body = part(header_length, header_length + body_length)?;
    let mut message = Message { kind: header.1, reply_to: None, member: None, error_name: None, body };
    for (field, value) in header.6 {
        match (field, value) {
            (REPLY_SERIAL, Value::U32(serial)) => message.reply_to = Some(serial),
            (MEMBER, Value::Str(name)) => message.member = Some(name.to_string()),
            (ERROR_NAME, Value::Str(name)) => message.error_name = Some(name.to_string()),
            _ => {}
        }
    }
    Ok(message)
}

impl Message {
    /// The arguments, which must be of type `T`.
    pub(super) fn body<'a, T: serde::Deserialize<'a> + Type>(&'a self) -> Result<T> {
        self.body.deserialize().map(|(value, _)| value).map_err(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_laid_out_as_the_specification_has_it() {
        let method = Method { destination: "a.b", path: "/x", interface: "c.d", member: "Do" };
        let bytes = encode(method, &("text", 7u32), 3, Answer::Wanted).unwrap();
        assert_eq!(bytes[..4], [b'l', CALL, 0, 1]);
        let (header, body) = lengths(&bytes).unwrap();
        assert_eq!(bytes.len(), header + body);
        assert_eq!(body, 16);
        let message = decode(&bytes).unwrap();
        assert_eq!(message.member.as_deref(), Some("Do"));
        assert_eq!(message.body::<(String, u32)>().unwrap(), ("text".to_owned(), 7));
        let text = String::from_utf8_lossy(&bytes).into_owned();
        assert!(text.contains("\u{2}su\0"), "{text:?}");
    }

    #[test]
    fn a_call_without_arguments_has_no_body() {
        let method = Method { destination: "a.b", path: "/x", interface: "c.d", member: "Hello" };
        let bytes = encode(method, &(), 1, Answer::Unwanted).unwrap();
        assert_eq!(lengths(&bytes).unwrap(), (bytes.len(), 0));
        assert_eq!(bytes[2], NO_REPLY);
    }

    #[test]
    fn rubbish_is_refused_and_does_not_panic() {
        let noise: Vec<u8> = (0..4096u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for start in 0..256 {
            let mut bytes = noise[start..].to_vec();
            bytes[0] = if start % 2 == 0 { b'l' } else { b'B' };
            let _ = decode(&bytes);
        }
        assert!(decode(b"").is_err());
        assert!(decode(b"l\x01\x00\x01\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00").is_err());
    }
}
