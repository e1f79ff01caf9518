//! Id maps of user namespaces. Pure.

use std::fmt;

use oci_spec::runtime::LinuxIdMapping;
use serde::{Deserialize, Serialize};

use super::MapWriter;
use crate::error::{Error, Result};
use crate::host::Host;

/// One line of a map: `size` ids from `inside` are `outside` in the parent namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMap {
    /// First id in the container.
    pub inside: u32,
    /// First id outside.
    pub outside: u32,
    /// How many.
    pub size: u32,
}

impl IdMap {
    /// The id outside of `id`, if this line maps it.
    pub fn to_outside(&self, id: u32) -> Option<u32> {
        let offset = id.checked_sub(self.inside)?;
        (offset < self.size).then(|| self.outside.checked_add(offset)).flatten()
    }
}

impl fmt::Display for IdMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.inside, self.outside, self.size)
    }
}

impl From<&LinuxIdMapping> for IdMap {
    fn from(map: &LinuxIdMapping) -> IdMap {
        IdMap { inside: map.container_id(), outside: map.host_id(), size: map.size() }
    }
}

/// Reads the lines of one map of the config.
pub fn read(maps: Option<&Vec<LinuxIdMapping>>) -> Vec<IdMap> {
    maps.into_iter().flatten().map(IdMap::from).collect()
}

/// Whether `id` of the container is mapped.
pub fn is_mapped(maps: &[IdMap], id: u32) -> bool {
    maps.iter().any(|map| map.to_outside(id).is_some())
}

/// Decides who writes the maps (user_namespaces(7), "Defining user and group ID mappings").
///
/// # Errors
/// When an ordinary user asks for more than its own ids and newuidmap(1) is not there.
pub fn writer(uid: &[IdMap], gid: &[IdMap], host: &Host) -> Result<MapWriter> {
    if host.sys_admin {
        return Ok(MapWriter::Direct);
    }
    let own = |maps: &[IdMap], id: u32| matches!(maps, [only] if only.size == 1 && only.outside == id);
    if own(uid, host.uid) && own(gid, host.gid) {
        return Ok(MapWriter::Single);
    }
    if host.newidmap {
        return Ok(MapWriter::Helpers);
    }
    Err(Error::new("an ordinary user needs newuidmap and newgidmap to map more than its own ids")
        .at("linux.uidMappings")
        .hint("install the package 'uidmap', or map only your own user and group"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_outside_a_map_are_not_mapped() {
        let map = IdMap { inside: 10, outside: 100_000, size: 5 };
        assert_eq!(map.to_outside(14), Some(100_004));
        assert_eq!(map.to_outside(15), None);
        assert_eq!(map.to_outside(9), None);
    }
}
