//! The picture: for each test a line a candidate, its median as a dot on the spread from p10 to p90, on a logarithmic
//! axis of milliseconds.

use std::path::Path;

use plotters::prelude::*;

use super::Result;
use super::report::{Report, Row};

const COLOURS: [RGBColor; 5] = [
    RGBColor(110, 110, 110),
    RGBColor(0, 100, 190),
    RGBColor(215, 110, 0),
    RGBColor(150, 40, 130),
    RGBColor(0, 130, 90),
];

/// Height of a line in the picture, in pixels.
const LINE: u32 = 15;

/// Draws to a file.
pub fn draw(report: &Report, path: &Path) -> Result<()> {
    let lines = lines(report);
    let height = LINE * u32::try_from(lines.len())? + 70;
    let area = SVGBackend::new(path, (820, height)).into_drawing_area();
    area.fill(&WHITE)?;
    let (from, to) = range(report);
    let mut chart = ChartBuilder::on(&area)
        .margin(10)
        .x_label_area_size(40)
        .y_label_area_size(200)
        .build_cartesian_2d((from..to).log_scale(), 0.0..lines.len() as f64)?;
    let label =
        |y: &f64| lines.get(lines.len().wrapping_sub(1 + *y as usize)).map(label_of).unwrap_or_default();
    chart
        .configure_mesh()
        .disable_y_mesh()
        .y_labels(lines.len() + 1)
        .y_label_formatter(&label)
        .y_label_style(("sans-serif", 11))
        .x_label_formatter(&|x| format!("{x}"))
        .x_desc("milliseconds: median, p10 to p90")
        .draw()?;
    for (index, line) in lines.iter().enumerate() {
        let Some(row) = line else { continue };
        let y = (lines.len() - index) as f64 - 0.5;
        let number = report.runtimes.iter().position(|name| *name == row.runtime).unwrap_or(0);
        let colour = COLOURS[number % COLOURS.len()];
        let ms = |micros: u128| micros as f64 / 1000.0;
        let spread = [(ms(row.p10), y), (ms(row.p90), y)];
        chart.draw_series(std::iter::once(PathElement::new(spread, colour.stroke_width(3))))?;
        chart.draw_series(std::iter::once(Circle::new((ms(row.median), y), 4, colour.filled())))?;
    }
    area.present()?;
    Ok(())
}

/// Rows, with an empty line between tests.
fn lines(report: &Report) -> Vec<Option<&Row>> {
    let mut lines: Vec<Option<&Row>> = Vec::new();
    for row in &report.results {
        if lines.last().is_some_and(|last| last.is_some_and(|last| last.test != row.test)) {
            lines.push(None);
        }
        lines.push(Some(row));
    }
    lines
}

fn label_of(line: &Option<&Row>) -> String {
    line.map(|row| format!("{} · {}", row.test, row.runtime)).unwrap_or_default()
}

/// The axis, with some room on both sides.
fn range(report: &Report) -> (f64, f64) {
    let lowest = report.results.iter().map(|row| row.p10).min().unwrap_or(1).max(1);
    let highest = report.results.iter().map(|row| row.p90).max().unwrap_or(1000).max(2);
    (lowest as f64 / 1000.0 * 0.7, highest as f64 / 1000.0 * 1.4)
}
