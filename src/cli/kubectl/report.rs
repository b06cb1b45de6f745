//! Prints what the drivers have said.
//!
//! Their calf may be older or newer than this one: a field that an answer does not have is shown as
//! `-`.

use calf::Result;
use calf::units::format_size;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::answers::{Answers, Question, visible};
use crate::cli::output::{Output, age, table};

pub(super) fn print(output: Output, question: Question, answers: &Answers) -> Result<()> {
    let documents = &answers.documents;
    let failed = answers.failed.iter().map(|failure| {
        let message = failure.error.story();
        json!({ "node": failure.node, "pod": failure.pod, "message": message })
    });
    let failed: Vec<Value> = failed.collect();
    let (list, name) = match question {
        Question::Volumes => ("volumes", "id"),
        Question::Templates => ("templates", "name"),
        Question::Status | Question::Doctor => ("nodes", "node"),
    };
    let value = json!({ list: documents, "failed": failed });
    let names = documents.iter().map(|document| word(&document[name]));
    output.result(&value, names, || match question {
        Question::Volumes => volumes(documents),
        Question::Templates => templates(documents),
        Question::Status => status(documents),
        Question::Doctor => doctor(documents),
    })
}

fn word(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => visible(text),
        other => other.to_string(),
    }
}

fn size(value: &Value) -> String {
    value.as_u64().map_or("-".into(), format_size)
}

fn moment(value: &Value) -> String {
    let timestamp = value.as_str().and_then(|text| text.parse::<Timestamp>().ok());
    timestamp.map_or("-".into(), |timestamp| age(timestamp, Timestamp::now()))
}

fn volumes(volumes: &[Value]) -> String {
    let row = |v: &Value| {
        [
            word(&v["node"]),
            word(&v["id"]),
            word(&v["state"]),
            word(&v["device"]),
            word(&v["template"]),
            size(&v["size"]),
            size(&v["allocated"]),
            moment(&v["created"]),
        ]
    };
    let header = ["NODE", "ID", "STATE", "DEVICE", "TEMPLATE", "SIZE", "USED", "AGE"];
    table(header, volumes.iter().map(row).collect())
}

fn templates(templates: &[Value]) -> String {
    let row = |t: &Value| {
        [
            word(&t["node"]),
            word(&t["name"]),
            size(&t["size"]),
            word(&t["fsType"]),
            word(&t["digest"]),
            moment(&t["created"]),
        ]
    };
    let header = ["NODE", "NAME", "SIZE", "FS", "DIGEST", "AGE"];
    table(header, templates.iter().map(row).collect())
}

fn status(nodes: &[Value]) -> String {
    let row = |n: &Value| {
        let pool = &n["pool"];
        let volumes = n["volumes"].as_object();
        let volumes = volumes.map(|states| states.values().filter_map(Value::as_u64).sum::<u64>());
        let damaged = n["damage"].as_array().map_or(0, Vec::len);
        let unhealthy = n["unhealthy"].as_array().map_or(0, Vec::len) + damaged;
        [
            word(&n["node"]),
            volumes.map_or("-".into(), |count| count.to_string()),
            unhealthy.to_string(),
            size(&pool["available"]),
            size(&pool["total"]),
            size(&pool["volumesAllocated"]),
            size(&pool["committed"]),
            word(&n["backing"]["kind"]),
        ]
    };
    let header =
        ["NODE", "VOLUMES", "UNHEALTHY", "AVAILABLE", "OF", "USED", "COMMITTED", "BACKING"];
    table(header, nodes.iter().map(row).collect())
}

fn doctor(nodes: &[Value]) -> String {
    let mut rows = Vec::new();
    for node in nodes {
        for check in node["checks"].as_array().into_iter().flatten() {
            let [verdict, name, detail] =
                ["verdict", "name", "detail"].map(|key| word(&check[key]));
            rows.push([word(&node["node"]), verdict, name, detail]);
            if let Some(help) = check["help"].as_str() {
                let help = format!("help: {}", visible(help));
                rows.push([String::new(), String::new(), String::new(), help]);
            }
        }
    }
    table(["NODE", "VERDICT", "CHECK", "FOUND"], rows)
}
