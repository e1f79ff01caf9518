//! The table of `isolate stats`. Pure.

use comfy_table::{CellAlignment, Table, presets};
use indicatif::HumanBytes;

use super::row::{Bounded, Flow, Row};
use crate::cgroup::statistics::{Pressure, Stalls};

const HEAD: [&str; 8] = [
    "ID",
    "CPU %",
    "MEMORY / LIMIT",
    "MEM %",
    "NET IN / OUT",
    "DISK READ / WRITE",
    "PIDS",
    "STALLED CPU/MEM/IO",
];

/// The rows as columns, numbers to the right.
pub fn table(rows: &[Row]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(HEAD);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    rows.iter().for_each(|row| {
        table.add_row(cells(row));
    });
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

fn cells(row: &Row) -> [String; 8] {
    [
        row.id.clone(),
        or_none(row.cpu_percent.map(|percent| format!("{percent:.1}"))),
        or_none(row.memory.map(memory)),
        or_none(row.memory.and_then(percent)),
        or_none(row.network.map(flow)),
        or_none(row.block.map(flow)),
        or_none(row.pids.map(|pids| pids.usage.to_string())),
        stalls(&row.pressure),
    ]
}

fn or_none(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".to_owned())
}

fn memory(memory: Bounded) -> String {
    let limit = memory.limit.map(|limit| HumanBytes(limit).to_string());
    format!("{} / {}", HumanBytes(memory.usage), or_none(limit))
}

fn percent(memory: Bounded) -> Option<String> {
    let limit = memory.limit.filter(|limit| *limit > 0)?;
    Some(format!("{:.1}", memory.usage as f64 / limit as f64 * 100.0))
}

fn flow(flow: Flow) -> String {
    format!("{} / {}", HumanBytes(flow.read), HumanBytes(flow.written))
}

fn stalls(stalls: &Stalls) -> String {
    let one = |pressure: Option<Pressure>| or_none(pressure.map(|it| format!("{:.1}", it.some.avg10)));
    [stalls.cpu, stalls.memory, stalls.io].map(one).join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_for_people_and_what_is_not_counted_is_a_dash() {
        let mut row = Row {
            id: "web1".into(),
            cpu_percent: Some(12.345),
            cpu_nanoseconds: None,
            memory: Some(Bounded { usage: 32 << 20, limit: Some(64 << 20) }),
            pids: Some(Bounded { usage: 3, limit: None }),
            network: None,
            block: Some(Flow { read: 4096, written: 0 }),
            pressure: Stalls { cpu: Some(Pressure::default()), ..Stalls::default() },
            oom_kills: None,
        };
        let lines = table(&[row.clone()]);
        let words: Vec<&str> =
            lines.lines().nth(1).unwrap().split("  ").map(str::trim).filter(|w| !w.is_empty()).collect();
        assert_eq!(
            words,
            ["web1", "12.3", "32.00 MiB / 64.00 MiB", "50.0", "-", "4.00 KiB / 0 B", "3", "0.0/-/-"]
        );
        row.memory = Some(Bounded { usage: 1 << 20, limit: None });
        assert!(table(&[row]).contains("1.00 MiB / -"));
        assert!(table(&[]).starts_with(" ID"), "{:?}", table(&[]));
    }
}
