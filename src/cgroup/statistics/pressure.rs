//! Pressure stall information of a container: the share of time in which its processes waited for a resource.
//! Only v2 folders have it, on a hybrid host too. The runtime process; it only reads.
//!
//! KERNEL(4.20): the files; a kernel without `CONFIG_PSI`, or with `psi=0`, has none, and the numbers are absent.

use serde::{Deserialize, Serialize};

use super::files;
use crate::cgroup::Cgroup;

/// One line of a pressure file.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Stall {
    /// Percent of the last ten seconds.
    pub avg10: f64,
    /// Percent of the last minute.
    pub avg60: f64,
    /// Percent of the last five minutes.
    pub avg300: f64,
    /// Microseconds in all.
    pub total: u64,
}

/// One resource.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Pressure {
    /// At least one process waited.
    pub some: Stall,
    /// All of them did at once.
    pub full: Stall,
}

/// The resources.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Stalls {
    /// Processors.
    pub cpu: Option<Pressure>,
    /// Memory.
    pub memory: Option<Pressure>,
    /// Block devices.
    pub io: Option<Pressure>,
}

impl Cgroup {
    pub(super) fn pressure(&self) -> Stalls {
        let read = |file| parse(&files::read(&self.unified()?.fd, file).ok()?);
        Stalls { cpu: read("cpu.pressure"), memory: read("memory.pressure"), io: read("io.pressure") }
    }
}

/// Lines of `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`; `full` of the processors is of KERNEL(5.13).
fn parse(text: &str) -> Option<Pressure> {
    let line = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(parse_line);
    Some(Pressure { some: line("some ")?, full: line("full ").unwrap_or_default() })
}

fn parse_line(line: &str) -> Stall {
    let value =
        |key: &str| line.split_ascii_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
    let percent = |key| value(key).and_then(|text| text.parse().ok()).unwrap_or(0.0);
    Stall {
        avg10: percent("avg10"),
        avg60: percent("avg60"),
        avg300: percent("avg300"),
        total: value("total").and_then(|text| text.parse().ok()).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pressure_file_is_read_with_and_without_its_second_line() {
        let some = Stall { avg10: 1.5, avg60: 0.25, avg300: 0.0, total: 77 };
        let text = "some avg10=1.50 avg60=0.25 avg300=0.00 total=77\n";
        assert_eq!(parse(text), Some(Pressure { some, full: Stall::default() }));
        let both = format!("{text}full avg10=1.50 avg60=0.25 avg300=0.00 total=77\n");
        assert_eq!(parse(&both), Some(Pressure { some, full: some }));
        assert_eq!(parse(""), None);
    }
}
