//! The report's plots, as SVG.

use std::error::Error;
use std::path::Path;

use plotters::prelude::*;

use super::{Run, Summarized, distinct};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const WIDTH: u32 = 860;
/// Height of one bar with its room, in pixels.
const BAR: u32 = 26;

/// Bars to draw: room, case, metric, name of the file, caption.
const BARS: [(&str, &str, &str, &str, &str); 6] = [
    ("ready", "1 volumes", "ready", "ready", "Time to a ready device, one volume, ms"),
    ("sandboxes", "5 sandboxes", "ready, all", "sandboxes", "Time to five ready sandboxes, ms"),
    (
        "io",
        "random first write, fsync every 16",
        "rate",
        "first-writes",
        "First random 4 KiB writes, fsync every 16, MB/s",
    ),
    ("io", "sequential rewrite", "rate", "rewrites", "Sequential rewrite, MB/s"),
    ("io", "database", "commits", "database", "Database, commits/s"),
    ("io", "boot trace", "time", "boot", "Boot trace, ms"),
];

/// Draws the plots for which the run has numbers; returns names of files and captions.
pub(super) fn draw(run: &Run<'_>, prefix: &str, directory: &Path) -> Result<Vec<(String, String)>> {
    let mut drawn = Vec::new();
    for (room, case, metric, name, caption) in BARS {
        let rows: Vec<&Summarized> = run
            .series
            .iter()
            .filter(|row| (&*row.room, &*row.case, &*row.metric) == (room, case, metric))
            .collect();
        if !rows.is_empty() {
            let file = format!("{prefix}-{name}.svg");
            bars(&directory.join(&file), caption, &rows).map_err(|e| e.to_string())?;
            drawn.push((file, caption.to_owned()));
        }
    }
    let rows: Vec<&Summarized> = run.series.iter().filter(|row| row.room == "growth").collect();
    if !rows.is_empty() {
        let (file, caption) =
            (format!("{prefix}-growth.svg"), "Time of the n-th volume, median, ms");
        lines(&directory.join(&file), caption, &rows).map_err(|e| e.to_string())?;
        drawn.push((file, caption.to_owned()));
    }
    Ok(drawn)
}

/// Medians as bars on a logarithmic scale, with a line from quartile to p99.
fn bars(
    path: &Path,
    caption: &str,
    rows: &[&Summarized],
) -> std::result::Result<(), Box<dyn Error>> {
    let count = rows.len();
    let root = SVGBackend::new(path, (WIDTH, 90 + BAR * count as u32)).into_drawing_area();
    root.fill(&WHITE)?;
    let values = || rows.iter().flat_map(|row| [row.summary.quartiles[0], row.summary.p99]);
    let least = values().fold(f64::MAX, f64::min).max(1e-3) / 2.0;
    let most = values().fold(0.0, f64::max).max(least * 4.0) * 1.5;
    let mut chart = ChartBuilder::on(&root)
        .caption(caption, ("sans-serif", 18))
        .margin(8)
        .x_label_area_size(28)
        .y_label_area_size(230)
        .build_cartesian_2d((least..most).log_scale(), 0.0..count as f64)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .y_labels(0)
        .x_label_formatter(&|value| super::markdown::number(*value))
        .draw()?;
    for (index, row) in rows.iter().enumerate() {
        let middle = (count - index) as f64 - 0.5;
        let color = if row.contender.starts_with("calf") {
            RGBColor(0, 114, 178)
        } else {
            RGBColor(150, 150, 150)
        };
        let corners = [(least, middle - 0.35), (row.summary.median.max(least), middle + 0.35)];
        chart.draw_series([Rectangle::new(corners, color.filled())])?;
        let spread = [(row.summary.quartiles[0].max(least), middle), (row.summary.p99, middle)];
        chart.draw_series([PathElement::new(spread, BLACK)])?;
        let label = format!("{}  {}", row.contender, super::markdown::number(row.summary.median));
        let place = (12, 38 + (BAR as f64 * (index as f64 + 0.25)) as i32);
        root.draw(&Text::new(label, place, ("sans-serif", 13)))?;
    }
    root.present()?;
    Ok(())
}

/// Medians over the number of volumes, a line for each contender and direction.
fn lines(
    path: &Path,
    caption: &str,
    rows: &[&Summarized],
) -> std::result::Result<(), Box<dyn Error>> {
    let number = |row: &Summarized| row.number() as f64;
    let root = SVGBackend::new(path, (WIDTH, 420)).into_drawing_area();
    root.fill(&WHITE)?;
    let right = rows.iter().map(|row| number(row)).fold(1.0, f64::max);
    let top = rows.iter().map(|row| row.summary.median).fold(1e-3, f64::max) * 1.1;
    let mut chart = ChartBuilder::on(&root)
        .caption(caption, ("sans-serif", 18))
        .margin(8)
        .x_label_area_size(30)
        .y_label_area_size(50)
        .build_cartesian_2d(0.0..right, 0.0..top)?;
    chart.configure_mesh().x_desc("volumes").draw()?;
    let mut index = 0;
    for contender in distinct(rows, |row| &row.contender) {
        for metric in distinct(rows, |row| &row.metric) {
            let mut points: Vec<(f64, f64)> = rows
                .iter()
                .filter(|row| row.contender == contender && row.metric == metric)
                .map(|row| (number(row), row.summary.median))
                .collect();
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            let color = Palette99::pick(index).to_rgba();
            index += 1;
            chart
                .draw_series([PathElement::new(points, color.stroke_width(2))])?
                .label(format!("{contender}, {metric}"))
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color));
        }
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .draw()?;
    root.present()?;
    Ok(())
}
