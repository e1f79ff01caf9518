//! Which snapshots are kept, and which go. Pure.
//!
//! A rule keeps the newest of each of the last so many hours, days or weeks that have one, as restic's and borg's do. What
//! no rule keeps goes.

use std::collections::BTreeSet;

/// How many of each kind are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rules {
    /// The newest ones, whenever they are from.
    pub last: u32,
    /// Hours.
    pub hourly: u32,
    /// Days.
    pub daily: u32,
    /// Weeks, from Monday on.
    pub weekly: u32,
}

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

impl Rules {
    /// Whether there is none, so that nothing would be kept.
    pub fn is_empty(&self) -> bool {
        *self == Rules::default()
    }
}

/// Seconds since 1970 of a time as snapshots have it (`2026-01-02T03:04:05…Z`).
pub fn seconds(time: &str) -> Option<u64> {
    let number = |from: usize, to: usize| time.get(from..to)?.parse::<u64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Days from 1970 to the first of March of the year that began before, by the calendar of Gregory.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    Some((days - 719_468) * DAY + hour * HOUR + minute * 60 + second)
}

/// Which of `times`, seconds since 1970, are kept: the indices. Of equal times the later one is newer.
pub fn kept(times: &[u64], rules: Rules) -> BTreeSet<usize> {
    let mut newest: Vec<usize> = (0..times.len()).collect();
    newest.sort_by_key(|index| std::cmp::Reverse((times[*index], *index)));
    let mut kept: BTreeSet<usize> = newest.iter().copied().take(rules.last as usize).collect();
    // 1970 began on a Thursday.
    let rules = [(rules.hourly, HOUR, 0), (rules.daily, DAY, 0), (rules.weekly, 7 * DAY, 3 * DAY)];
    for (count, length, offset) in rules {
        let mut periods = BTreeSet::new();
        for index in &newest {
            let period = (times[*index] + offset) / length;
            if periods.len() < count as usize && periods.insert(period) {
                kept.insert(*index);
            }
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        assert_eq!(seconds("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(seconds("2000-02-29T12:34:56.789Z"), Some(951_827_696));
        assert_eq!(seconds("2026-11-25T20:00:00Z"), Some(1_795_636_800));
        for bad in ["", "1969-12-31T00:00:00Z", "2026-13-01T00:00:00Z", "é", "2026-01-00T00:00:00Z"] {
            assert_eq!(seconds(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_rule_keeps_the_newest_of_each_period() {
        let at = |day: u64, hour: u64| day * DAY + hour * HOUR;
        let times = [at(10, 1), at(10, 5), at(11, 2), at(11, 2) + 60, at(20, 0)];
        let of = |rules| kept(&times, rules).into_iter().collect::<Vec<_>>();
        assert_eq!(of(Rules { last: 2, ..Rules::default() }), [3, 4]);
        assert_eq!(of(Rules { daily: 2, ..Rules::default() }), [3, 4]);
        assert_eq!(of(Rules { daily: 9, ..Rules::default() }), [1, 3, 4]);
        assert_eq!(of(Rules { hourly: 3, ..Rules::default() }), [1, 3, 4]);
        assert_eq!(of(Rules { weekly: 9, ..Rules::default() }), [1, 3, 4]);
        assert!(of(Rules::default()).is_empty());
        assert_eq!(of(Rules { last: 1, weekly: 2, ..Rules::default() }), [3, 4]);
        let equal = kept(&[5, 5, 5], Rules { last: 2, ..Rules::default() });
        assert_eq!(equal.into_iter().collect::<Vec<_>>(), [1, 2]);
    }
}
