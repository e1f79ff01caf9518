//! The clock, and times as text (RFC 3339, UTC). Any process, no privilege.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The time since 1970 by the host's clock; zero if the clock is set before that.
pub fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// `2026-11-23T04:05:06.000000007Z`, what engines parse as RFC 3339 with nanoseconds.
pub fn rfc3339(since_epoch: Duration) -> String {
    let seconds = since_epoch.as_secs();
    let (year, month, day) = civil_from_days(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let nanos = since_epoch.subsec_nanos();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z")
}

/// Year, month and day of a day counted from 1970-01-01, in the proleptic Gregorian calendar: years
/// begin in March here, so that the leap day comes last.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_rfc3339_in_utc() {
        assert_eq!(rfc3339(Duration::new(0, 0)), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(rfc3339(Duration::new(951_782_400, 1)), "2000-02-29T00:00:00.000000001Z");
        assert_eq!(rfc3339(Duration::new(1_795_408_496, 0)), "2026-11-23T04:34:56.000000000Z");
    }
}
