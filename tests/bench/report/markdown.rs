//! The report as a page of tables.

use std::fmt::Write as _;

use super::targets::{Judgement, Verdict};
use super::{Run, Summarized, distinct};

/// Titles of the rooms, in the order of the page.
pub(super) const ROOMS: [(&str, &str); 9] = [
    ("ready", "Ready time: one caller"),
    ("together", "Ready time: callers at once"),
    ("warm", "Ready time: with a spare"),
    ("parts", "What any driver pays"),
    ("sandboxes", "The sandbox case"),
    ("io", "Input and output"),
    ("density", "Density"),
    ("growth", "Growth"),
    ("import", "Import"),
];

/// Rooms in which each metric has a table of its own, with contenders in rows and cases in columns.
const MATRICES: [&str; 3] = ["together", "io", "growth"];

/// The page. `plots` are file names beside it, with their captions.
pub(super) fn page(run: &Run<'_>, judgements: &[Judgement], plots: &[(String, String)]) -> String {
    let about = run.about;
    let mut page = String::new();
    let _ = writeln!(page, "# {} {} ({})\n", about.kernel, about.machine, about.scale);
    let _ = writeln!(
        page,
        "Made by `make bench`; do not edit. {} processors, {} MiB of memory, pool on {}, template \
         of {} MiB. Only ratios within this run mean something.\n",
        about.processors, about.memory, about.file_system, about.template
    );
    page.push_str(
        "## What must be reached\n\n| | goal | measured | |\n| --- | --- | --- | --- |\n",
    );
    for Judgement { what, goal, measured, verdict } in judgements {
        let verdict = match verdict {
            Verdict::Reached => "reached",
            Verdict::Missed => "**missed**",
            Verdict::Absent => "not available here",
            Verdict::Unknown => "not measured",
        };
        let _ = writeln!(page, "| {what} | {goal} | {measured} | {verdict} |");
    }
    if !run.absent.is_empty() {
        page.push_str("\n## Not available here\n\n");
    }
    for (contender, why) in run.absent {
        let _ = writeln!(page, "- {contender}, because {why}");
    }
    for (file, caption) in plots {
        let _ = writeln!(page, "\n![{caption}]({file})");
    }
    for (room, title) in ROOMS {
        let rows: Vec<&Summarized> = run.series.iter().filter(|row| row.room == room).collect();
        if rows.is_empty() {
            continue;
        }
        let _ = writeln!(page, "\n## {title}");
        if MATRICES.contains(&room) {
            for metric in distinct(&rows, |row| &row.metric) {
                matrix(&mut page, metric, &rows);
            }
        } else {
            list(&mut page, &rows);
        }
    }
    page
}

/// A table of medians, with contenders in rows and cases in columns.
fn matrix(page: &mut String, metric: &str, rows: &[&Summarized]) {
    let rows: Vec<&Summarized> = rows.iter().copied().filter(|row| row.metric == metric).collect();
    let cases = distinct(&rows, |row| &row.case);
    let unit = rows.first().map_or("", |row| &*row.unit);
    let _ = writeln!(page, "\n{metric}, {unit}, median:\n\n| | {} |", cases.join(" | "));
    let _ = writeln!(page, "| --- |{}", " ---: |".repeat(cases.len()));
    for contender in distinct(&rows, |row| &row.contender) {
        let cells: Vec<String> = cases
            .iter()
            .map(|case| {
                let row = rows.iter().find(|row| row.contender == contender && row.case == *case);
                row.map_or(String::new(), |row| number(row.summary.median))
            })
            .collect();
        let _ = writeln!(page, "| {contender} | {} |", cells.join(" | "));
    }
}

/// A table with all statistics, a row for each series.
fn list(page: &mut String, rows: &[&Summarized]) {
    page.push_str(
        "\n| case | contender | what | median | quartiles | p99 | n |\n\
         | --- | --- | --- | ---: | ---: | ---: | ---: |\n",
    );
    for row in rows {
        let Summarized { case, contender, metric, unit, summary, .. } = row;
        let [lower, upper] = summary.quartiles.map(number);
        let _ = writeln!(
            page,
            "| {case} | {contender} | {metric} | {} {unit} | {lower} – {upper} | {} | {} |",
            number(summary.median),
            number(summary.p99),
            summary.count
        );
    }
}

/// Three significant digits.
pub(super) fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size < 0.1 => format!("{value:.4}"),
        size if size < 10.0 => format!("{value:.2}"),
        size if size < 100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}
