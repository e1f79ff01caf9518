//! A second look at a document without building anything: does it fit the schema? Pure.
//!
//! The types of `oci-spec` wave through what is not the specification's: a list in place of an object, a
//! capability by another name than the kernel's, a key given twice in a map. This pass *fails* on any of it,
//! without a word; the slow pass of [`super::read`] then says what and where.

use std::collections::HashSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::number_list;
use super::shape::{Field, Shape};

/// The kernel's capabilities, by the only names runc accepts (capabilities(7), Linux 5.9).
pub const CAPABILITIES: [&str; 41] = [
    "CAP_AUDIT_CONTROL",
    "CAP_AUDIT_READ",
    "CAP_AUDIT_WRITE",
    "CAP_BLOCK_SUSPEND",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_KILL",
    "CAP_LEASE",
    "CAP_LINUX_IMMUTABLE",
    "CAP_MAC_ADMIN",
    "CAP_MAC_OVERRIDE",
    "CAP_MKNOD",
    "CAP_NET_ADMIN",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_RAW",
    "CAP_PERFMON",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYSLOG",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_CHROOT",
    "CAP_SYS_MODULE",
    "CAP_SYS_NICE",
    "CAP_SYS_PACCT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_WAKE_ALARM",
];

/// Whether `bytes` is JSON that fits `shape`; missing properties and `null` are the typed pass's matter.
pub fn fits(bytes: &[u8], shape: &Shape) -> bool {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    Fits(shape).deserialize(&mut deserializer).is_ok() && deserializer.end().is_ok()
}

struct Fits<'a>(&'a Shape);

impl<'de> DeserializeSeed<'de> for Fits<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match self.0 {
            Shape::Foreign => deserializer.deserialize_ignored_any(IgnoredAny).map(drop),
            _ => deserializer.deserialize_any(self),
        }
    }
}

impl Fits<'_> {
    fn only<E: Error>(fit: bool) -> Result<(), E> {
        if fit { Ok(()) } else { Err(E::custom("it does not fit")) }
    }
}

impl<'de> Visitor<'de> for Fits<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what the schema says")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Fits::only(matches!(self.0, Shape::Bool))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        Fits::only(matches!(self.0, Shape::Integer(min, max) if (*min..=*max).contains(&number.into())))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<(), E> {
        Fits::only(matches!(self.0, Shape::Integer(min, max) if (*min..=*max).contains(&number.into())))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        Fits::only(match self.0 {
            Shape::Text => true,
            Shape::NumberList => number_list::parse(text).is_ok(),
            Shape::Capability => CAPABILITIES.contains(&text),
            Shape::OneOf(_, words) => words.contains(&text),
            _ => false,
        })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Shape::List(item) = self.0 else { return Fits::only(false) };
        while list.next_element_seed(Fits(item))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        match self.0 {
            Shape::Map(value) => {
                let mut seen = HashSet::new();
                while let Some(key) = map.next_key::<String>()? {
                    map.next_value_seed(Fits(value))?;
                    Fits::only(seen.insert(key))?;
                }
                Ok(())
            }
            Shape::Object(fields) => {
                while let Some(known) = map.next_key_seed(Known(fields))? {
                    map.next_value_seed(Fits(known.unwrap_or(&Shape::Foreign)))?;
                }
                Ok(())
            }
            _ => Fits::only(false),
        }
    }
}

/// A key, as the shape of its value; nothing for an unknown one.
struct Known(&'static [Field]);

impl<'de> DeserializeSeed<'de> for Known {
    type Value = Option<&'static Shape>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl<'de> Visitor<'de> for Known {
    type Value = Option<&'static Shape>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().find(|field| field.name == key).map(|field| &field.shape))
    }
}

/// `linux.resources.pids.limit`, if it is given: the type reads its absence as 0.
pub fn pids_limit(bytes: &[u8]) -> Option<i64> {
    let spec: SpecProbe = serde_json::from_slice(bytes).ok()?;
    spec.linux?.resources?.pids?.limit
}

#[derive(Deserialize)]
struct SpecProbe {
    linux: Option<LinuxProbe>,
}

#[derive(Deserialize)]
struct LinuxProbe {
    resources: Option<ResourcesProbe>,
}

#[derive(Deserialize)]
struct ResourcesProbe {
    pids: Option<PidsProbe>,
}

#[derive(Deserialize)]
struct PidsProbe {
    limit: Option<i64>,
}

#[cfg(test)]
mod tests {
    use super::super::schema::SPEC;
    use super::*;

    #[test]
    fn what_the_types_wave_through_does_not_fit() {
        assert!(fits(br#"{"root":{"path":"/"},"new":[{}],"linux":null,"windows":7}"#, &SPEC));
        for bad in [
            "[]",
            r#"{"root":["/",true]}"#,
            r#"{"annotations":{"a":"1","a":"1"}}"#,
            r#"{"process":{"capabilities":{"bounding":["CHOWN"]}}}"#,
            r#"{"process":{"oomScoreAdj":1.0}}"#,
            "{} {}",
        ] {
            assert!(!fits(bad.as_bytes(), &SPEC), "{bad}");
        }
    }
}
