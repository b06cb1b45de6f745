//! The driver's metrics can be scraped as by Prometheus, and every query of the dashboard and of
//! the alert rules uses existing metrics.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::Result;
use crate::namespace::Namespace;
use crate::release::{self, METRICS_PORT, NAMESPACE};
use crate::world::World;

pub(crate) fn run(world: &World, _: &Namespace) -> Result<()> {
    let scraped = scrape(world)?;
    let present = metrics_of(&scraped);
    for needed in ["calf_build_info", "calf_csi_request_duration_seconds", "calf_pool_free_bytes"] {
        if !present.contains(needed) {
            return Err(format!("{needed} is not among what the driver tells:\n{scraped}"));
        }
    }
    // The scenarios before this one have made volumes.
    if !scraped.lines().any(|line| {
        line.starts_with("calf_csi_request_duration_seconds_count")
            && line.contains(r#"method="CreateVolume""#)
            && line.contains(r#"grpc_code="OK""#)
    }) {
        return Err(format!("no CreateVolume was counted:\n{scraped}"));
    }

    let dashboard = queries(&dashboard(world)?);
    let rules = queries(&Value::String(alert_rules(world)?));
    if dashboard.is_empty() || rules.is_empty() {
        return Err("the dashboard or the alert rules have no query that names a metric".into());
    }
    let unknown: Vec<&String> =
        dashboard.union(&rules).filter(|name| !present.contains(name.as_str())).collect();
    if !unknown.is_empty() {
        return Err(format!("queries name metrics that the driver does not have: {unknown:?}"));
    }
    println!(
        "{} metrics scraped; the dashboard names {}, the alert rules {}",
        present.len(),
        dashboard.len(),
        rules.len()
    );
    Ok(())
}

/// The answer of the driver's pod to a scrape.
fn scrape(world: &World) -> Result<String> {
    let pod = release::driver_pod(&world.cluster)?;
    let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/{pod}:{METRICS_PORT}/proxy/metrics");
    world.cluster.kubectl(&["get", "--raw", &path])
}

/// The names that a scrape declares or has samples of, without the suffixes of parts of a histogram
/// or of a counter's sample.
fn metrics_of(scraped: &str) -> BTreeSet<String> {
    let declared =
        scraped.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let samples = scraped.lines().filter(|line| !line.starts_with('#'));
    let sampled = samples.filter_map(|line| line.split(['{', ' ']).next());
    declared.chain(sampled).filter(|name| !name.is_empty()).map(family).collect()
}

fn family(name: &str) -> String {
    ["_bucket", "_sum", "_count", "_total"]
        .iter()
        .find_map(|suffix| name.strip_suffix(suffix))
        .unwrap_or(name)
        .to_owned()
}

/// The dashboard that the chart has put into the cluster.
fn dashboard(world: &World) -> Result<Value> {
    let maps = world.cluster.list(&[
        "configmaps",
        "--namespace",
        NAMESPACE,
        "--selector",
        "grafana_dashboard=1",
    ])?;
    let texts = maps.iter().flat_map(|map| map["data"].as_object().into_iter().flatten());
    let mut dashboards = Vec::new();
    for (file, text) in texts {
        let text = text.as_str().unwrap_or_default();
        let dashboard: Value =
            serde_json::from_str(text).map_err(|error| format!("{file} is no JSON: {error}"))?;
        dashboards.push(dashboard);
    }
    Ok(Value::Array(dashboards))
}

/// The alert rules, as the chart would install them for the Prometheus operator.
fn alert_rules(world: &World) -> Result<String> {
    world.release.render(&[
        "--set=metrics.prometheusRule.enabled=true",
        "--show-only=templates/monitoring.yaml",
    ])
}

/// Every metric of calf that a text inside this value names.
fn queries(value: &Value) -> BTreeSet<String> {
    match value {
        Value::String(text) => {
            let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            words.filter(|word| word.starts_with("calf_")).map(family).collect()
        }
        Value::Array(values) => values.iter().flat_map(queries).collect(),
        Value::Object(fields) => fields.values().flat_map(queries).collect(),
        _ => BTreeSet::new(),
    }
}
