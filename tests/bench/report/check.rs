//! Reads the report again. The run fails if the report cannot be read, or lacks a goal.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use super::markdown::ROOMS;
use super::targets::{Judgement, Verdict};
use super::{Run, distinct};

/// Returns what is wrong with the files of a report.
pub(super) fn check(
    run: &Run<'_>,
    judgements: &[Judgement],
    file: &dyn Fn(&str) -> PathBuf,
    plots: &[(String, String)],
) -> Result<(), String> {
    let read = |path: PathBuf| {
        fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
    };
    let json: Value = serde_json::from_str(&read(file(".json"))?).map_err(|e| e.to_string())?;
    if json["series"].as_array().map(Vec::len) != Some(run.series.len()) {
        return Err("the JSON file lacks series".to_owned());
    }
    let page = read(file(".md"))?;
    for Judgement { what, .. } in judgements {
        if !page.lines().any(|line| line.starts_with(&format!("| {what} |"))) {
            return Err(format!("the page has no line for: {what}"));
        }
    }
    for (name, _) in plots {
        let text = read(file(".json").with_file_name(name))?;
        let plot = roxmltree::Document::parse(&text).map_err(|e| format!("{name}: {e}"))?;
        if plot.root_element().tag_name().name() != "svg" {
            return Err(format!("{name} is not an SVG image"));
        }
    }
    let rooms = distinct(&run.series.iter().collect::<Vec<_>>(), |row| &row.room).len();
    let unknown = judgements.iter().find(|judgement| matches!(judgement.verdict, Verdict::Unknown));
    match unknown {
        // A room that failed, or was not selected, is reported elsewhere.
        Some(judgement) if rooms == ROOMS.len() => {
            Err(format!("all rooms were measured, but this goal has no number: {}", judgement.what))
        }
        _ => Ok(()),
    }
}
