//! Id maps in a mount's option, as crun takes them: `idmap=uids=0-1-10#10-11-10;gids=0-100-10`. Pure.
//!
//! Each triplet is the first id on disk, the first id it is shown as, and their number. With `@` before it
//! the second one counts in the container's user namespace, and is moved to what that is on the host.

use serde::Serialize;

use super::IdMap;

/// The maps of one option.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct OptionMaps {
    uid: Vec<(Counted, IdMap)>,
    gid: Vec<(Counted, IdMap)>,
}

/// Where the second id of a triplet counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Counted {
    /// On the host.
    Outside,
    /// In the container's user namespace.
    Inside,
}

impl OptionMaps {
    /// Reads what follows `idmap=`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<OptionMaps, String> {
        let mut maps = OptionMaps::default();
        for part in text.split(';').filter(|part| !part.is_empty()) {
            let (kind, list) =
                part.split_once('=').ok_or_else(|| format!("{part:?} is not uids=… or gids=…"))?;
            let map = match kind {
                "uids" => &mut maps.uid,
                "gids" => &mut maps.gid,
                _ => return Err(format!("{kind:?} is neither uids nor gids")),
            };
            for triplet in list.split('#').filter(|triplet| !triplet.is_empty()) {
                let read = read(triplet).ok_or_else(|| format!("{triplet:?} is not like 0-1000-10"))?;
                map.push(read);
            }
        }
        match maps.uid.is_empty() || maps.gid.is_empty() {
            true => Err("it needs both uids= and gids=".to_owned()),
            false => Ok(maps),
        }
    }

    /// The maps on the host, given those of the container's user namespace.
    ///
    /// # Errors
    /// When an id is not mapped there.
    pub fn resolve(&self, uid: &[IdMap], gid: &[IdMap]) -> Result<(Vec<IdMap>, Vec<IdMap>), String> {
        let all = |maps: &[(Counted, IdMap)], container: &[IdMap]| {
            maps.iter().map(|(counted, map)| moved(*counted, *map, container)).collect::<Result<Vec<_>, _>>()
        };
        Ok((all(&self.uid, uid)?, all(&self.gid, gid)?))
    }
}

fn read(triplet: &str) -> Option<(Counted, IdMap)> {
    let (counted, rest) = match triplet.strip_prefix('@') {
        Some(rest) => (Counted::Inside, rest),
        None => (Counted::Outside, triplet),
    };
    let mut numbers = rest.split('-').map(|part| part.parse::<u32>().ok());
    let map = IdMap { inside: numbers.next()??, outside: numbers.next()??, size: numbers.next()?? };
    (numbers.next().is_none() && map.size > 0).then_some((counted, map))
}

fn moved(counted: Counted, map: IdMap, container: &[IdMap]) -> Result<IdMap, String> {
    if counted == Counted::Outside {
        return Ok(map);
    }
    let outside = container.iter().find_map(|range| range.to_outside(map.outside));
    let missing = || format!("{} is not mapped in the container's user namespace", map.outside);
    Ok(IdMap { outside: outside.ok_or_else(missing)?, ..map })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(inside: u32, outside: u32, size: u32) -> IdMap {
        IdMap { inside, outside, size }
    }

    #[test]
    fn triplets_are_read_and_relative_ones_moved() {
        let container = [map(0, 0, 1), map(1, 2, 1000)];
        let maps = OptionMaps::parse("uids=0-1-10#10-11-10;gids=@1-3-10").unwrap();
        let (uid, gid) = maps.resolve(&container, &container).unwrap();
        assert_eq!(uid, [map(0, 1, 10), map(10, 11, 10)]);
        // crun's own example: 3 in the container is 4 on the host.
        assert_eq!(gid, [map(1, 4, 10)]);
    }

    #[test]
    fn what_is_no_map_is_refused() {
        let fault = |text: &str| OptionMaps::parse(text).unwrap_err();
        assert_eq!(fault("uids=0-0-1"), "it needs both uids= and gids=");
        assert_eq!(fault("x=0-0-1"), "\"x\" is neither uids nor gids");
        assert_eq!(fault("uids"), "\"uids\" is not uids=… or gids=…");
        for text in ["0-0", "0-0-0", "0-0-1-1", "a-b-c", "0--1-1", "@@0-0-1"] {
            assert_eq!(fault(&format!("uids={text};gids=0-0-1")), format!("{text:?} is not like 0-1000-10"));
        }
        let maps = OptionMaps::parse("uids=@5-5-1;gids=0-0-1").unwrap();
        let unmapped = "5 is not mapped in the container's user namespace";
        assert_eq!(maps.resolve(&[map(0, 100, 5)], &[]).unwrap_err(), unmapped);
    }
}
