//! Sizes and CPU shares as an operator writes them. Pure.

use crate::error::{Error, Kind, Result};

/// Units of [`parse_bytes`], longest first so that `KiB` is not read as `B`. A bare letter is binary, as
/// in `podman` and `systemd`; `kB` and `MB` are the decimal ones of SI.
const UNITS: [(&str, u64); 18] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("K", 1 << 10),
    ("k", 1 << 10),
    ("M", 1 << 20),
    ("m", 1 << 20),
    ("G", 1 << 30),
    ("g", 1 << 30),
    ("T", 1 << 40),
    ("t", 1 << 40),
    ("B", 1),
];

/// Bytes of `256M`, `1.5G`, `64KiB`, `500MB`, `4096B`; `K M G T` count in 1024.
///
/// # Errors
/// A number without a unit, an unknown unit, a negative or absurd number.
pub fn parse_bytes(text: &str) -> Result<u64> {
    let fault = |why: &str| {
        Error::new(format!("invalid size {text:?}: {why}"))
            .hint("write 64K, 256M, 1G (of 1024), or kB, MB, GB (of 1000)")
            .kind(Kind::Usage)
    };
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = &text[number.len()..];
    if unit.is_empty() {
        return Err(fault("it needs a unit"));
    }
    let Some((_, factor)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err(fault(&format!("unknown unit {unit:?}")));
    };
    let (value, scale) = parse_decimal(number).ok_or_else(|| fault("it does not begin with a number"))?;
    let bytes = value.checked_mul(u128::from(*factor)).map(|product| product / scale);
    match bytes.and_then(|bytes| u64::try_from(bytes).ok()) {
        Some(0) => Err(fault("it is zero")),
        Some(bytes) if bytes <= i64::MAX as u64 => Ok(bytes),
        _ => Err(fault("it is larger than the kernel can hold")),
    }
}

/// Thousandths of a CPU of `0.5`, `2`, `1.25`.
///
/// # Errors
/// Not a number, less than 0.01 (the least quota the kernel takes, 1 ms of 100 ms), or above 4096.
pub fn parse_cpus(text: &str) -> Result<u32> {
    let fault = |why: &str| {
        Error::new(format!("invalid number of CPUs {text:?}: {why}"))
            .hint("write 0.5 for half a CPU, 2 for two")
            .kind(Kind::Usage)
    };
    let (value, scale) = parse_decimal(text).ok_or_else(|| fault("it is not a number"))?;
    let thousandths = value.checked_mul(1000).map_or(u128::MAX, |product| product / scale);
    match u32::try_from(thousandths) {
        Ok(0..10) => Err(fault("the least is 0.01")),
        Ok(thousandths @ 10..=4_096_000) => Ok(thousandths),
        _ => Err(fault("the most is 4096")),
    }
}

/// `12.5` as (125, 10): at most twelve digits on either side of the point.
fn parse_decimal(text: &str) -> Option<(u128, u128)> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.len() <= 20 && part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > 12 || text.ends_with('.') {
        return None;
    }
    let value = format!("{whole}{fraction}").parse().ok()?;
    Some((value, 10_u128.pow(u32::try_from(fraction.len()).ok()?)))
}

/// `512M` for 536870912: the largest binary unit that divides `bytes`.
pub fn show_bytes(bytes: u64) -> String {
    let units = [("T", 1_u64 << 40), ("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10)];
    match units.iter().find(|(_, factor)| bytes > 0 && bytes.is_multiple_of(*factor)) {
        Some((unit, factor)) => format!("{}{unit}", bytes / factor),
        None => format!("{bytes}B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_count_in_1024_and_si_units_in_1000() {
        for (text, bytes) in [
            ("256M", 256 << 20),
            ("1G", 1 << 30),
            ("64K", 65_536),
            ("64KiB", 65_536),
            ("2MiB", 2 << 20),
            ("5kB", 5_000),
            ("5MB", 5_000_000),
            ("1.5G", 3 << 29),
            ("4096B", 4096),
        ] {
            assert_eq!(parse_bytes(text).unwrap(), bytes, "{text}");
        }
    }

    #[test]
    fn a_bare_number_needs_a_unit() {
        let text = parse_bytes("1024").unwrap_err().to_string();
        assert!(text.starts_with("invalid size \"1024\": it needs a unit"), "{text}");
    }

    #[test]
    fn nonsense_sizes_are_refused() {
        for bad in [
            "",
            "M",
            "-1M",
            "1X",
            "0M",
            "99999999999T",
            "1.2.3M",
            "1 M",
            "é",
            "1.M",
            "1e9M",
            "NaNM",
            "0.0000001K",
        ] {
            assert!(parse_bytes(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn cpus_are_fractions_of_a_cpu() {
        assert_eq!(parse_cpus("0.5").unwrap(), 500);
        assert_eq!(parse_cpus("2").unwrap(), 2000);
        assert_eq!(parse_cpus("0.01").unwrap(), 10);
        for bad in ["", "0", "0.001", "-1", "1,5", "5000", "inf", "1.", "99999999999999999999999"] {
            assert!(parse_cpus(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn sizes_are_shown_in_the_largest_unit_that_divides_them() {
        assert_eq!(show_bytes(512 << 20), "512M");
        assert_eq!(show_bytes(1000), "1000B");
    }
}
