//! The report of a run: JSON for programs, tables for people, plots.
//!
//! Files are named by the kernel (`uml`, `qemu`, `host`), so that each keeps its last run.

mod check;
mod markdown;
mod plot;
mod statistics;
mod targets;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;

use calf_test_kit::built;
use serde::Serialize;

use crate::series::{About, Collected, Series};
use statistics::Summary;

/// A run, prepared for the report.
#[derive(Serialize)]
struct Run<'a> {
    about: &'a About,
    /// Contenders that this machine does not support, and why not.
    absent: &'a BTreeMap<String, String>,
    series: Vec<Summarized>,
}

/// One row: all numbers of one kind.
#[derive(Clone, Serialize)]
struct Summarized {
    room: String,
    case: String,
    contender: String,
    metric: String,
    unit: String,
    summary: Summary,
    values: Vec<f64>,
}

/// Writes the report, reads it again, and returns its directory.
pub(crate) fn write(collected: &Collected) -> io::Result<PathBuf> {
    let directory = match std::env::var_os("CALF_BENCH_OUT") {
        Some(directory) => PathBuf::from(directory),
        None => built::target_tmp().join("bench"),
    };
    fs::create_dir_all(&directory)?;
    let Collected { about, absent, series } = collected;
    let run = Run { about, absent, series: joined(series) };
    let name = std::env::var("CALF_KERNEL").unwrap_or_else(|_| "uml".to_owned());
    let file = |suffix: &str| directory.join(format!("{name}{suffix}"));
    fs::write(file(".json"), format!("{}\n", serde_json::to_string(&run)?))?;
    let plots = plot::draw(&run, &name, &directory).map_err(io::Error::other)?;
    let judgements = targets::judge(&run);
    let text = markdown::page(&run, &judgements, &plots);
    fs::write(file(".md"), &text)?;
    println!("\n{text}");
    check::check(&run, &judgements, &file, &plots).map_err(io::Error::other)?;
    Ok(directory)
}

/// Combines numbers of one kind that arrived in several lines, in the order of arrival.
fn joined(collected: &[Series]) -> Vec<Summarized> {
    let mut rows: Vec<Series> = Vec::new();
    for series in collected {
        let same = |row: &&mut Series| {
            (&row.room, &row.case, &row.contender, &row.metric)
                == (&series.room, &series.case, &series.contender, &series.metric)
        };
        match rows.iter_mut().find(same) {
            Some(row) => row.values.extend(&series.values),
            None => rows.push(series.clone()),
        }
    }
    rows.into_iter()
        .map(|Series { room, case, contender, metric, unit, values }| Summarized {
            room,
            case,
            contender,
            metric,
            unit,
            summary: Summary::of(&values),
            // More digits than a clock provides.
            values: values.iter().map(|value| (value * 1e4).round() / 1e4).collect(),
        })
        .collect()
}

// === impl Summarized ===

impl Summarized {
    /// The number at the start of its case: of volumes, or of callers.
    fn number(&self) -> u64 {
        self.case.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0)
    }
}

// === impl Run ===

impl Run<'_> {
    /// The row of exactly this kind.
    fn row(&self, room: &str, case: &str, contender: &str, metric: &str) -> Option<&Summarized> {
        self.series.iter().find(|row| {
            (&*row.room, &*row.case, &*row.contender, &*row.metric)
                == (room, case, contender, metric)
        })
    }

    /// The largest case with up to `limit` volumes or callers that all these contenders have.
    fn largest(
        &self,
        room: &str,
        contenders: &[&str],
        metric: &str,
        limit: u64,
    ) -> Option<&Summarized> {
        let (first, others) = contenders.split_first()?;
        self.series
            .iter()
            .filter(|row| (&*row.room, &*row.contender, &*row.metric) == (room, *first, metric))
            .filter(|row| row.number() <= limit)
            .filter(|row| {
                others.iter().all(|other| self.row(room, &row.case, other, metric).is_some())
            })
            .max_by_key(|row| row.number())
    }

    fn median(&self, room: &str, case: &str, contender: &str, metric: &str) -> Option<f64> {
        self.row(room, case, contender, metric).map(|row| row.summary.median)
    }
}

/// The distinct values of a field, in the order of first arrival.
fn distinct<'a>(
    rows: &[&'a Summarized],
    field: impl Fn(&'a Summarized) -> &'a str,
) -> Vec<&'a str> {
    let mut found = Vec::new();
    for row in rows {
        if !found.contains(&field(row)) {
            found.push(field(row));
        }
    }
    found
}
