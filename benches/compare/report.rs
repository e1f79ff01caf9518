//! Figures out of times: medians, spread, ratios to the floor; as a table and as JSON.

use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;

use super::Result;
use super::measure::{Measurements, Plan};
use super::runtime::Runtime;

/// Everything that is told.
#[derive(Serialize)]
pub struct Report {
    /// Of the kernel.
    pub kernel: String,
    /// Processors online.
    pub processors: usize,
    /// Load averages at the end.
    pub load: String,
    /// Seconds since 1970.
    pub time: u64,
    /// Whether it ran at real-time priority.
    pub real_time: bool,
    /// The pause of the cold tests in milliseconds.
    pub pause_ms: u128,
    /// Candidates in their order.
    pub runtimes: Vec<String>,
    /// A line of the table each.
    pub results: Vec<Row>,
    /// Who dropped out of which test.
    pub failed: Vec<String>,
}

/// One candidate in one test.
#[derive(Serialize)]
pub struct Row {
    /// The test.
    pub test: String,
    /// The candidate.
    pub runtime: String,
    /// Times measured.
    pub number: usize,
    /// Microseconds.
    pub p10: u128,
    /// Microseconds.
    pub median: u128,
    /// Microseconds.
    pub p90: u128,
    /// The median as a multiple of the floor's.
    pub ratio: Option<f64>,
    /// Peak memory in KiB, where it was measured.
    pub peak_kib: Option<u64>,
}

impl Report {
    /// Sums up.
    pub fn new(plan: &Plan, runtimes: &[Runtime], measured: &Measurements) -> Report {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
        Report {
            kernel: read("/proc/sys/kernel/osrelease"),
            processors: std::thread::available_parallelism().map_or(0, usize::from),
            load: read("/proc/loadavg"),
            time: since.as_secs(),
            real_time: plan.real_time,
            pause_ms: plan.pause.as_millis(),
            runtimes: runtimes.iter().map(|runtime| runtime.name.clone()).collect(),
            results: rows(runtimes, measured),
            failed: measured.failed.clone(),
        }
    }

    /// For people.
    pub fn table(&self) -> String {
        let mut out = format!(
            "kernel {}, {} processors, load {}{}\n{:<24} {:<10} {:>4} {:>9} {:>9} {:>9} {:>7} {:>9}\n",
            self.kernel,
            self.processors,
            self.load,
            if self.real_time { ", real-time priority" } else { "" },
            "test",
            "runtime",
            "n",
            "p10 µs",
            "median",
            "p90",
            "×floor",
            "peak KiB"
        );
        for row in &self.results {
            let ratio = row.ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default();
            let peak = row.peak_kib.map(|peak| peak.to_string()).unwrap_or_default();
            let Row { test, runtime, number, p10, median, p90, .. } = row;
            let _ = writeln!(
                out,
                "{test:<24} {runtime:<10} {number:>4} {p10:>9} {median:>9} {p90:>9} {ratio:>7} {peak:>9}"
            );
        }
        self.failed.iter().for_each(|what| out.push_str(&format!("failed: {what}\n")));
        out
    }

    /// For programs.
    pub fn json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }
}

fn rows(runtimes: &[Runtime], measured: &Measurements) -> Vec<Row> {
    let mut rows = Vec::new();
    for (test, times) in &measured.times {
        let floor = times.get("floor").map(|times| quantile(times, 50));
        for runtime in runtimes {
            let Some(times) = times.get(&runtime.name) else { continue };
            let median = quantile(times, 50);
            let peak = measured.peaks.get(&(test.clone(), runtime.name.clone()));
            rows.push(Row {
                test: test.clone(),
                runtime: runtime.name.clone(),
                number: times.len(),
                p10: quantile(times, 10).as_micros(),
                median: median.as_micros(),
                p90: quantile(times, 90).as_micros(),
                ratio: floor.map(|floor| median.as_secs_f64() / floor.as_secs_f64()),
                peak_kib: peak.copied(),
            });
        }
    }
    rows
}

/// The value below which `percent` of the times lie.
fn quantile(times: &[Duration], percent: usize) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}
