//! calf in the cluster: the chart, as Helm installs it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::Result;
use crate::cluster::Cluster;
use crate::namespace::is_ready;
use crate::tools;

pub(crate) const NAMESPACE: &str = "calf-system";
/// The driver's name in volumes and classes.
pub(crate) const DRIVER: &str = "calf.csi.dev";
const RELEASE: &str = "calf";
/// The chart's defaults.
pub(crate) const EPHEMERAL_CLASS: &str = "calf-ephemeral";
pub(crate) const DURABLE_CLASS: &str = "calf-durable";
pub(crate) const METRICS_PORT: u16 = 9810;
/// The template of the chart's classes.
pub(crate) const TEMPLATE: &str = "base";
/// The directory on the node with the images that become templates.
pub(crate) const TEMPLATE_IMAGES: &str = "/var/lib/images";

const INSTALL: Duration = Duration::from_secs(900);

pub(crate) struct Release {
    helm: PathBuf,
    chart: PathBuf,
    kubeconfig: PathBuf,
    /// The directory for Helm's per-user files.
    home: PathBuf,
}

impl Release {
    pub(crate) fn new(kubeconfig: &Path, state: &Path) -> Result<Self> {
        Ok(Self {
            helm: tools::helm()?,
            chart: Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/calf"),
            kubeconfig: kubeconfig.to_owned(),
            home: state.join("helm"),
        })
    }

    /// The images that the chart's pods run, with snapshots and its default values otherwise.
    pub(crate) fn images(&self) -> Result<Vec<String>> {
        let mut images: Vec<String> = self
            .render(&["--set", "snapshots.enabled=true"])?
            .lines()
            .filter_map(|line| line.trim_start_matches([' ', '-']).strip_prefix("image:"))
            .map(|image| image.trim().trim_matches('"').to_owned())
            .collect();
        images.sort();
        images.dedup();
        Ok(images)
    }

    /// The manifests that `helm template` writes with these additional arguments.
    pub(crate) fn render(&self, arguments: &[&str]) -> Result<String> {
        self.helm(&[&["template", RELEASE, &self.chart()], arguments].concat())
    }

    /// Installs it and waits until its pods are ready.
    pub(crate) fn install(&self, cluster: &Cluster) -> Result<()> {
        let values = values().to_string();
        self.helm(&[
            "install",
            RELEASE,
            &self.chart(),
            "--namespace",
            NAMESPACE,
            "--create-namespace",
            "--set-json",
            &values,
        ])?;
        wait_until_ready(cluster, INSTALL)
    }

    /// `helm test`.
    pub(crate) fn test(&self) -> Result<String> {
        self.helm(&["test", RELEASE, "--namespace", NAMESPACE, "--logs", "--timeout", "10m"])
    }

    fn chart(&self) -> String {
        self.chart.display().to_string()
    }

    fn helm(&self, arguments: &[&str]) -> Result<String> {
        let output = Command::new(&self.helm)
            .args(arguments)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HOME", &self.home)
            .output()
            .map_err(|error| format!("cannot run helm: {error}"))?;
        let (said, errors) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if output.status.success() {
            return Ok(said.into_owned());
        }
        Err(format!("helm {}: {}{}", arguments.join(" "), said, errors))
    }
}

/// The differences from the chart's defaults, with reasons.
fn values() -> Value {
    json!({
        "templates": [{ "name": TEMPLATE, "source": format!("{TEMPLATE_IMAGES}/{TEMPLATE}.img") }],
        "templateImages": { "path": TEMPLATE_IMAGES },
        "kata": { "enabled": true },
        "inlineVolumes": { "enabled": true },
        "snapshots": { "enabled": true },
        "metrics": { "dashboard": { "enabled": true } },
        // A test should not wait half a minute for a new capacity.
        "provisioner": { "capacityPollInterval": "5s" },
        "log": { "format": "json" },
        // The node has one emulated CPU. Twenty containers that start on it at once would starve
        // the driver until its liveness probe fails.
        "resources": { "requests": { "cpu": "400m", "memory": "64Mi" } },
    })
}

/// Waits until there are pods of the release, and all are ready.
pub(crate) fn wait_until_ready(cluster: &Cluster, limit: Duration) -> Result<()> {
    cluster.wait("the driver's pod to be ready", limit, || {
        let pods = cluster.list(&["pods", "--namespace", NAMESPACE])?;
        Ok((!pods.is_empty() && pods.iter().all(is_ready)).then_some(()))
    })
}

/// The driver's pod.
pub(crate) fn driver_pod(cluster: &Cluster) -> Result<String> {
    let selector = "app.kubernetes.io/name=calf,app.kubernetes.io/component!=test";
    let pods = cluster.list(&["pods", "--namespace", NAMESPACE, "--selector", selector])?;
    match pods.as_slice() {
        [pod] => Ok(pod["metadata"]["name"].as_str().unwrap_or_default().to_owned()),
        pods => Err(format!("there are {} pods of the driver, not one", pods.len())),
    }
}

/// Runs `calf` in the driver's pod.
pub(crate) fn calf(cluster: &Cluster, arguments: &[&str]) -> Result<String> {
    let pod = driver_pod(cluster)?;
    let exec = ["exec", &pod, "--namespace", NAMESPACE, "--container", "calf", "--", "calf"];
    cluster.kubectl(&[&exec, arguments].concat())
}
