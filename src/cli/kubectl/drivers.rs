//! Finds the driver's pods.

use calf::{Error, ErrorKind, Result};
use serde::Deserialize;

use super::program::Kubectl;

/// The labels that the chart gives to the driver's pods.
pub(super) const LABELS: &str = "app.kubernetes.io/name=calf,app.kubernetes.io/component=driver";

/// The container that runs calf.
pub(super) const CONTAINER: &str = "calf";

/// A driver on a node.
pub(super) struct Driver {
    pub(super) node: String,
    pub(super) namespace: String,
    pub(super) pod: String,
    /// Why it cannot be asked.
    pub(super) problem: Option<String>,
}

#[derive(Deserialize)]
struct Pods {
    items: Vec<Pod>,
}

#[derive(Deserialize)]
struct Pod {
    metadata: Metadata,
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
    namespace: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    node_name: Option<String>,
    containers: Vec<Container>,
}

#[derive(Deserialize)]
struct Container {
    name: String,
}

#[derive(Default, Deserialize)]
struct Status {
    phase: Option<String>,
}

/// The drivers on `nodes`, or on all nodes if that is empty, by the nodes' names.
pub(super) fn find(
    kubectl: &Kubectl,
    namespace: Option<&str>,
    labels: &str,
    nodes: &[String],
) -> Result<Vec<Driver>> {
    let place = namespace.map_or("--all-namespaces".into(), |name| format!("--namespace={name}"));
    let selector = format!("--selector={labels}");
    let pods = pods(kubectl, &["get", "pods", &place, &selector, "--output=json"])?;
    let mut drivers: Vec<Driver> = pods.items.into_iter().filter_map(driver).collect();
    if drivers.is_empty() {
        let why = "no pod on a node has these labels";
        return Err(Error::new(ErrorKind::NotFound, "find", format!("pods with {labels}"), why)
            .remedy("give the driver's namespace with --namespace and its labels with --selector; `helm list --all-namespaces` shows where the chart is installed"));
    }
    if let Some(node) = nodes.iter().find(|node| drivers.iter().all(|d| d.node != **node)) {
        let why = "no pod of the driver is on that node";
        return Err(Error::new(ErrorKind::NotFound, "find", format!("a driver on {node}"), why)
            .remedy("list the nodes that have one with `kubectl calf status`"));
    }
    drivers.retain(|driver| nodes.is_empty() || nodes.contains(&driver.node));
    drivers.sort_by(|a, b| (&a.node, &a.pod).cmp(&(&b.node, &b.pod)));
    Ok(drivers)
}

fn pods(kubectl: &Kubectl, arguments: &[&str]) -> Result<Pods> {
    let failed = |why: String| Error::new(ErrorKind::Internal, "list", "the driver's pods", why);
    let ran = kubectl.run(arguments).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            Error::new(ErrorKind::NotFound, "run", "kubectl", "no such program is in PATH")
                .remedy("install kubectl, which finds the driver's pods and reaches them")
        }
        _ => failed(error.to_string()),
    })?;
    if !ran.status.success() {
        return Err(failed(format!("kubectl says: {}", ran.stderr.trim())).remedy(
            "check --context and --kubeconfig; who may see one namespace only gives --namespace",
        ));
    }
    serde_json::from_slice(&ran.stdout)
        .map_err(|error| failed(format!("kubectl printed no list of pods: {error}")))
}

/// The driver in a pod, which is none before the pod has a node.
fn driver(pod: Pod) -> Option<Driver> {
    let node = pod.spec.node_name?;
    let phase = pod.status.phase.unwrap_or_else(|| "Unknown".into());
    let problem = if phase != "Running" {
        Some(format!("the pod is {phase}"))
    } else if pod.spec.containers.iter().all(|container| container.name != CONTAINER) {
        Some(format!("the pod has no container {CONTAINER}"))
    } else {
        None
    };
    Some(Driver { node, namespace: pod.metadata.namespace, pod: pod.metadata.name, problem })
}
