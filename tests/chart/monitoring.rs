//! Monitor, alerts and dashboard: they are optional, and use only existing metrics.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::helm::{list, read, render, text, yaml};

const ALL: &str = "{networkPolicy: {scrapers: [{podSelector: {}}]}, metrics: {podMonitor: {enabled: true, labels: {release: p}}, \
                   prometheusRule: {enabled: true}, dashboard: {enabled: true, namespace: grafana}}}";

pub(crate) fn is_optional() {
    let plain: BTreeSet<String> = render("{}").names().into_iter().collect();
    let objects = render(ALL);
    let more: Vec<String> =
        objects.names().into_iter().filter(|name| !plain.contains(name)).collect();
    assert_eq!(more, ["ConfigMap/calf-dashboard", "PodMonitor/calf", "PrometheusRule/calf"]);

    let monitor = objects.one("PodMonitor");
    assert_eq!(monitor["metadata"]["labels"]["release"], "p");
    let pod = &objects.one("DaemonSet")["spec"]["template"];
    let selector = monitor["spec"]["selector"]["matchLabels"].as_object().expect("labels");
    for (key, value) in selector {
        assert_eq!(&pod["metadata"]["labels"][key], value, "{key}");
    }
    let port = &monitor["spec"]["podMetricsEndpoints"][0]["port"];
    let ports = list(&objects.container("calf")["ports"]);
    assert!(ports.contains(&json!({ "name": port, "containerPort": 9810 })), "{ports:?}");

    let dashboard = objects.one("ConfigMap");
    assert_eq!(dashboard["metadata"]["namespace"], "grafana");
    assert_eq!(dashboard["metadata"]["labels"]["grafana_dashboard"], "1");
    let dashboard: Value =
        serde_json::from_str(text(&dashboard["data"]["calf.json"])).expect("JSON");
    assert!(!list(&dashboard["panels"]).is_empty());
}

pub(crate) fn alerts_are_the_documented_ones() {
    let documentation = read("docs/metrics.md");
    let (_, block) = documentation.split_once("```yaml\ngroups:").expect("the rules");
    let (block, _) = block.split_once("```").expect("the end of the rules");
    let documented = yaml(&format!("groups:{block}"));
    assert_eq!(render(ALL).one("PrometheusRule")["spec"], documented);
}

/// Each `calf_…` metric that Grafana and Prometheus would query is in the table of docs/metrics.md,
/// which the driver's own tests compare with the metrics that it serves.
pub(crate) fn queries_name_metrics_that_exist() {
    let documentation = read("docs/metrics.md");
    let exist: BTreeSet<&str> = documentation
        .lines()
        .filter_map(|line| line.strip_prefix("| `calf_")?.split('`').next())
        .collect();
    let mut asked = 0;
    for file in ["dashboard.json", "alerts.yaml"] {
        let content = read(&format!("charts/calf/files/{file}"));
        let word = |c: char| !c.is_ascii_alphanumeric() && c != '_';
        for name in content.split(word).filter_map(|word| word.strip_prefix("calf_")) {
            let base = ["_bucket", "_count", "_sum"].iter().find_map(|end| name.strip_suffix(end));
            let known = exist.contains(name) || base.is_some_and(|base| exist.contains(base));
            assert!(known, "calf_{name} in {file} is no metric of calf");
            asked += 1;
        }
    }
    assert!(asked > 30, "only {asked} names found");
}
