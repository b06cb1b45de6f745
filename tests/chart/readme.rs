//! The table of values in the chart's README, made from the comments in `values.yaml`. (helm-docs
//! does the same and more, but its build needs all of Helm 3.)

use std::path::Path;

use serde_json::Value;

use crate::helm::{CHART, read, yaml};

const README: &str = "charts/calf/README.md";
const VALUES: &str = "charts/calf/values.yaml";
const BEGIN: &str = "<!-- The table is made from values.yaml: `make chart-docs`. -->\n";
const END: &str = "<!-- End of the table. -->\n";

/// If set, the test writes the table instead of comparing it.
const WRITE: &str = "CALF_WRITE_CHART_README";

pub(crate) fn lists_every_value() {
    let readme = read(README);
    let (head, rest) = readme.split_once(BEGIN).expect("the table's begin");
    let (_, tail) = rest.split_once(END).expect("the table's end");
    let made = format!("{head}{BEGIN}\n{}\n{END}{tail}", table(&read(VALUES)));
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(Path::new(CHART).join("README.md"), made).expect("write the README");
    } else {
        assert!(readme == made, "{README} is not up to date: run `make chart-docs`");
    }
}

pub(crate) fn names_the_version() {
    let chart = yaml(&read("charts/calf/Chart.yaml"));
    for key in ["version", "appVersion"] {
        assert_eq!(chart[key], env!("CARGO_PKG_VERSION"), "{key} in Chart.yaml");
    }
}

fn table(values: &str) -> String {
    let defaults = yaml(values);
    let described = descriptions(values);
    let mut undescribed = Vec::new();
    find_undescribed(&defaults, "", &described, &mut undescribed);
    assert!(undescribed.is_empty(), "without a comment in {VALUES}: {undescribed:?}");
    let mut table = String::from("| value | default | meaning |\n| --- | --- | --- |\n");
    for (path, text) in described {
        let default = path.split('.').fold(&defaults, |value, key| &value[key]);
        table.push_str(&format!("| `{path}` | `{default}` | {text} |\n"));
    }
    table
}

/// The commented values in order: path and comment. A comment starts with `# --`, may continue on
/// further lines, and precedes its value.
fn descriptions(values: &str) -> Vec<(String, String)> {
    let mut described = Vec::new();
    let mut parents: Vec<(usize, &str)> = Vec::new();
    let mut comment: Option<String> = None;
    for line in values.lines() {
        let text = line.trim_start();
        let indent = line.len() - text.len();
        if let Some(first) = text.strip_prefix("# -- ") {
            comment = Some(first.to_owned());
        } else if let Some(more) = text.strip_prefix("# ") {
            if let Some(comment) = &mut comment {
                comment.push(' ');
                comment.push_str(more);
            }
        } else if let Some((key, _)) = text.split_once(':').filter(|_| !text.starts_with('-')) {
            parents.retain(|(outer, _)| *outer < indent);
            parents.push((indent, key));
            if let Some(comment) = comment.take() {
                let path: Vec<&str> = parents.iter().map(|(_, key)| *key).collect();
                described.push((path.join("."), comment));
            }
        }
    }
    described
}

fn find_undescribed(
    value: &Value,
    path: &str,
    described: &[(String, String)],
    found: &mut Vec<String>,
) {
    if described.iter().any(|(known, _)| known == path) {
        return;
    }
    match value.as_object() {
        Some(map) if !map.is_empty() => {
            for (key, value) in map {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                find_undescribed(value, &path, described, found);
            }
        }
        _ => found.push(path.to_owned()),
    }
}
