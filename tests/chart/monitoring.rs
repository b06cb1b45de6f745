//! Monitor, alerts and dashboard: they are optional, and use only existing metrics.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::helm::{Objects, list, read, render, text, try_render, yaml};

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
    // There, the release is in a namespace of its name.
    let block = block.replace("calf/calf", "storage/calf");
    let documented = yaml(&format!("groups:{block}"));
    assert_eq!(render(ALL).one("PrometheusRule")["spec"], documented);
}

/// The Prometheus operator makes the label `job` from the namespace and the name of the monitor.
pub(crate) fn down_is_noticed_by_any_name() {
    let expression = |objects: &Objects| {
        let rules = objects.one("PrometheusRule")["spec"]["groups"][0]["rules"].clone();
        let rule = list(&rules).iter().find(|rule| rule["alert"] == "CalfDown").cloned();
        text(&rule.expect("the alert")["expr"]).to_owned()
    };
    let by_job = |job: &str| format!(r#"up{{job="{job}"}} == 0 or absent(up{{job="{job}"}})"#);
    for release in ["calf", "disks"] {
        let objects = try_render(release, ALL).unwrap_or_else(|e| panic!("{e}"));
        let monitor = &objects.one("PodMonitor")["metadata"];
        let job = format!("{}/{}", text(&monitor["namespace"]), text(&monitor["name"]));
        assert!(job.starts_with(&format!("storage/{release}")), "{job}");
        assert_eq!(expression(&objects), by_job(&job));
    }
    let own = render("metrics: {prometheusRule: {enabled: true, job: node-disks}}");
    assert_eq!(expression(&own), by_job("node-disks"));
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
