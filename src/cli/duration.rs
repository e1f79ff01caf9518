//! Lengths of time as Go's programs write them (`1m30s`, `500ms`), and bare seconds. Pure.

use std::time::Duration;

use crate::error::{Error, Kind, Result};

/// Longest first, so that `ms` is not read as `m`.
const UNITS: [(&str, f64); 6] =
    [("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];

/// The time that `text` says.
///
/// # Errors
/// Names what is wrong with it. A negative time is none.
pub fn parse(text: &str) -> Result<Duration> {
    let fault = || {
        Error::new(format!("invalid time {text:?}"))
            .hint("write 5s, 1m30s, 500ms, or a number of seconds")
            .kind(Kind::Usage)
    };
    if let Ok(seconds) = text.parse::<u32>() {
        return Ok(Duration::from_secs(seconds.into()));
    }
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
        let (number, after) = rest.split_at(digits);
        let number: f64 = number.parse().map_err(|_| fault())?;
        let unit = UNITS.iter().find(|(name, _)| after.starts_with(name));
        let (name, factor) = unit.ok_or_else(fault)?;
        seconds += number * factor;
        rest = &after[name.len()..];
    }
    match text.is_empty() {
        true => Err(fault()),
        false => Duration::try_from_secs_f64(seconds).map_err(|_| fault()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_go_writes_them_and_as_seconds() {
        for (text, millis) in [
            ("5s", 5000),
            ("500ms", 500),
            ("1m30s", 90_000),
            ("1.5s", 1500),
            ("7", 7000),
            ("1h", 3_600_000),
            ("0s", 0),
        ] {
            assert_eq!(parse(text).unwrap(), Duration::from_millis(millis), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in ["", "s", "5x", "-5s", "-5", "5 s", "1..2s", "5ss", "1e3s", "99999999999999999999h"] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("invalid time {text:?}")), "{error}");
        }
    }
}
