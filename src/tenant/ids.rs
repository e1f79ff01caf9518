//! Which ids of the host stand behind the ids inside. Pure.
//!
//! A privileged caller takes a slot: a range of [`WIDTH`] ids that nobody else has, between systemd's
//! container range and its reserved top (systemd's `UIDS-GIDS.md` lists 1879048192..2147352575 as unused),
//! so concurrent systems cannot touch each other's files or processes even if one of them breaks out.
//! An ordinary caller is root inside, with its subordinate ids behind the others if it has them.

use serde::Serialize;

use crate::host::Host;

/// Ids of one system.
pub const WIDTH: u32 = 65_536;

/// The first id of slot 0.
pub const FIRST: u32 = 0x7000_0000;

/// How many slots there are.
pub const SLOTS: u32 = (2_147_352_576 - FIRST) / WIDTH;

/// `count` ids from `inside` on are `outside` and what follows on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Range {
    /// First id in the system.
    pub inside: u32,
    /// First id on the host.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

/// Both maps of a user namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IdMaps {
    /// `uid_map`.
    pub uids: Vec<Range>,
    /// `gid_map`.
    pub gids: Vec<Range>,
}

/// The id on the host behind `inside`, if one is mapped.
pub fn outside(map: &[Range], inside: u32) -> Option<u32> {
    let range = map.iter().find(|range| inside >= range.inside && inside - range.inside < range.count)?;
    Some(range.outside + (inside - range.inside))
}

/// The maps of a privileged caller's slot.
pub fn of_slot(slot: u32) -> IdMaps {
    let range = Range { inside: 0, outside: FIRST + slot * WIDTH, count: WIDTH };
    IdMaps { uids: vec![range], gids: vec![range] }
}

/// Whether a slot overlaps none of `taken`, the (first, count) ranges of `/etc/subuid` and `/etc/subgid`.
pub fn is_free(slot: u32, taken: &[(u32, u32)]) -> bool {
    let first = u64::from(FIRST + slot * WIDTH);
    let end = first + u64::from(WIDTH);
    taken.iter().all(|&(other, count)| {
        let other = u64::from(other);
        end <= other || first >= other + u64::from(count)
    })
}

/// Every (first, count) of a `subuid(5)` file, whosever it is. Lines that are none are passed over, as
/// newuidmap does.
pub fn parse_subids(text: &str) -> Vec<(u32, u32)> {
    let line = |line: &str| {
        let mut parts = line.split(':').skip(1);
        Some((parts.next()?.trim().parse().ok()?, parts.next()?.trim().parse().ok()?))
    };
    text.lines().filter_map(line).collect()
}

/// The maps of an ordinary caller: itself as root, then its subordinate ids (through `newuidmap`) if it
/// has both kinds and the programs.
pub fn of_caller(host: &Host) -> IdMaps {
    let with_subids = host.newidmap && !host.subuids.is_empty() && !host.subgids.is_empty();
    let map = |own: u32, subids: &[(u32, u32)]| {
        let mut ranges = vec![Range { inside: 0, outside: own, count: 1 }];
        if with_subids {
            append(&mut ranges, subids);
        }
        ranges
    };
    IdMaps { uids: map(host.uid, &host.subuids), gids: map(host.gid, &host.subgids) }
}

fn append(ranges: &mut Vec<Range>, subids: &[(u32, u32)]) {
    let mut inside = 1_u32;
    for &(outside, count) in subids {
        let count = count.min(u32::MAX - inside).min(u32::MAX - outside);
        if count > 0 {
            ranges.push(Range { inside, outside, count });
            inside += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::layout::Layout;

    fn user(subids: &[(u32, u32)], newidmap: bool) -> Host {
        Host {
            kernel: (6, 1),
            uid: 1000,
            gid: 100,
            initial_user_namespace: true,
            privileged: false,
            sys_admin: false,
            subuids: subids.to_vec(),
            subgids: subids.to_vec(),
            newidmap,
            cgroups: Layout::default(),
            apparmor: false,
            selinux: false,
            resctrl: Default::default(),
            systemd: None,
            namespaces: vec![],
        }
    }

    #[test]
    fn slots_never_overlap_each_other_or_leave_the_unused_range() {
        let last = of_slot(SLOTS - 1).uids[0];
        assert_eq!(u64::from(last.outside) + u64::from(last.count), 2_147_352_576);
        assert_eq!(of_slot(0).uids[0].outside + WIDTH, of_slot(1).uids[0].outside);
    }

    #[test]
    fn a_slot_that_somebody_has_as_subordinate_ids_is_not_free() {
        let taken = parse_subids("a:100000:65536\nbad\nb:1879048200:10\n:x:y\n");
        assert_eq!(taken, [(100_000, 65_536), (1_879_048_200, 10)]);
        assert!(!is_free(0, &taken));
        assert!(is_free(1, &taken));
    }

    #[test]
    fn an_ordinary_caller_is_root_inside_with_its_subordinate_ids_behind() {
        let maps = of_caller(&user(&[(100_000, 65_536)], true));
        assert_eq!(outside(&maps.uids, 0), Some(1000));
        assert_eq!(outside(&maps.gids, 0), Some(100));
        assert_eq!(outside(&maps.uids, 1), Some(100_000));
        assert_eq!(outside(&maps.uids, 65_537), None);
    }

    #[test]
    fn without_newuidmap_the_caller_alone_is_mapped() {
        for host in [user(&[(100_000, 65_536)], false), user(&[], true)] {
            assert_eq!(of_caller(&host).uids, [Range { inside: 0, outside: 1000, count: 1 }]);
        }
    }

    #[test]
    fn absurd_subordinate_ranges_do_not_overflow() {
        let maps = of_caller(&user(&[(4_294_967_290, u32::MAX), (5, u32::MAX)], true));
        assert!(maps.uids.iter().all(|range| range.inside.checked_add(range.count).is_some()));
    }
}
