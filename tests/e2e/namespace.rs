//! A namespace for one scenario: its pods, and their removal.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::Result;
use crate::cluster::Cluster;

/// Time limit for a pod on one emulated CPU that it shares with the whole node.
pub(crate) const POD: Duration = Duration::from_secs(300);
const DELETION: Duration = Duration::from_secs(300);

pub(crate) struct Namespace {
    pub(crate) cluster: Cluster,
    pub(crate) name: String,
}

impl Namespace {
    pub(crate) fn create(cluster: &Cluster, name: &str) -> Result<Self> {
        cluster.kubectl(&["create", "namespace", name])?;
        let namespace = Self { cluster: cluster.clone(), name: name.to_owned() };
        // Pods are refused until their service account exists.
        cluster.wait("the namespace's service account", POD, || {
            namespace.get("serviceaccount", "default")
        })?;
        Ok(namespace)
    }

    /// Applies manifests into this namespace.
    pub(crate) fn apply(&self, manifests: &str) -> Result<()> {
        self.cluster.apply_in(&self.name, manifests)
    }

    /// Requests the deletion of what was applied, including cluster-wide objects, and does not
    /// wait.
    pub(crate) fn remove(&self, manifests: &str) -> Result<()> {
        self.cluster.delete_in(&self.name, manifests)
    }

    pub(crate) fn get(&self, kind: &str, name: &str) -> Result<Option<Value>> {
        self.cluster.get(&[kind, name, "--namespace", &self.name])
    }

    /// Waits for a pod to be ready. A failure of the pod ends the wait.
    pub(crate) fn wait_until_ready(&self, pod: &str) -> Result<()> {
        self.cluster.wait(&format!("pod {pod} to be ready"), POD, || {
            let pod = self.alive(pod)?;
            Ok(is_ready(&pod).then_some(()))
        })
    }

    /// Waits for a pod's containers to succeed, and returns their output.
    pub(crate) fn wait_until_succeeded(&self, pod: &str) -> Result<String> {
        self.wait_until_succeeded_within(pod, POD)
    }

    pub(crate) fn wait_until_succeeded_within(&self, pod: &str, limit: Duration) -> Result<String> {
        self.cluster.wait(&format!("pod {pod} to succeed"), limit, || {
            let pod = self.alive(pod)?;
            Ok((pod["status"]["phase"] == "Succeeded").then_some(()))
        })?;
        self.logs(pod)
    }

    /// The name of the only pod in the namespace.
    pub(crate) fn only_pod(&self) -> Result<String> {
        match self.cluster.list(&["pods", "--namespace", &self.name])?.as_slice() {
            [pod] => Ok(pod["metadata"]["name"].as_str().unwrap_or_default().to_owned()),
            pods => Err(format!("there are {} pods in {}, not one", pods.len(), self.name)),
        }
    }

    /// Requests a pod's deletion, and does not wait for it.
    pub(crate) fn delete_pod(&self, pod: &str) -> Result<()> {
        let delete = ["delete", "pod", pod, "--namespace", &self.name, "--wait=false"];
        self.cluster.kubectl(&delete).map(drop)
    }

    pub(crate) fn wait_until_gone(&self, kind: &str, name: &str) -> Result<()> {
        self.cluster.wait(&format!("{kind} {name} to be gone"), DELETION, || {
            Ok(self.get(kind, name)?.is_none().then_some(()))
        })
    }

    fn alive(&self, name: &str) -> Result<Value> {
        let pod = self.get("pod", name)?.ok_or_else(|| format!("there is no pod {name}"))?;
        if pod["status"]["phase"] != "Failed" {
            return Ok(pod);
        }
        let said = self.logs(name).unwrap_or_else(|error| error);
        Err(format!("pod {name} failed: {}\n{said}", pod["status"]["message"]))
    }

    /// What a pod's containers have written so far.
    pub(crate) fn logs(&self, pod: &str) -> Result<String> {
        self.cluster.kubectl(&["logs", pod, "--namespace", &self.name, "--all-containers"])
    }

    /// Runs a script in a running pod's first container.
    pub(crate) fn exec(&self, pod: &str, script: &str) -> Result<String> {
        self.cluster.kubectl(&["exec", pod, "--namespace", &self.name, "--", "sh", "-c", script])
    }

    /// Waits for an event about a pod (or its objects) that contains this text. Returns its
    /// message.
    pub(crate) fn wait_for_event(&self, about: &str, saying: &str) -> Result<String> {
        let what = format!("an event about {about} that says \"{saying}\"");
        let mut seen = BTreeMap::new();
        let found = self.cluster.wait(&what, POD, || {
            for event in self.cluster.list(&["events", "--namespace", &self.name])? {
                let text = |field: &Value| field.as_str().unwrap_or_default().to_owned();
                let (object, message) =
                    (text(&event["involvedObject"]["name"]), text(&event["message"]));
                if object == about && message.contains(saying) {
                    return Ok(Some(message));
                }
                seen.insert(message, object);
            }
            Ok(None)
        });
        found.map_err(|error| format!("{error}; there are {seen:#?}"))
    }

    /// Waits until the scheduler reports this about a pod that it cannot place. Returns the
    /// message, which is read from the pod, since the scheduler's events about a pod are one series
    /// that keeps the first message.
    pub(crate) fn wait_until_refused(&self, pod: &str, saying: &str) -> Result<String> {
        let mut last = String::new();
        let found =
            self.cluster.wait(&format!("the scheduler to say \"{saying}\" of {pod}"), POD, || {
                let pod = self.get("pod", pod)?.unwrap_or_default();
                let message = condition(&pod, "PodScheduled").and_then(|it| it["message"].as_str());
                last = message.unwrap_or_default().to_owned();
                Ok(last.contains(saying).then(|| last.clone()))
            });
        found.map_err(|error| format!("{error}: it said \"{last}\" last"))
    }

    /// Deletes the namespace with its content, and waits until it is gone.
    pub(crate) fn delete(&self) -> Result<()> {
        let delete = ["delete", "namespace", &self.name, "--ignore-not-found", "--wait=false"];
        self.cluster.kubectl(&delete)?;
        self.cluster.wait(&format!("namespace {} to be gone", self.name), DELETION, || {
            Ok(self.cluster.get(&["namespace", &self.name])?.is_none().then_some(()))
        })
    }
}

/// Whether a pod or a node reports that it is ready.
pub(crate) fn is_ready(object: &Value) -> bool {
    condition(object, "Ready").is_some_and(|ready| ready["status"] == "True")
}

fn condition<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    let conditions = object["status"]["conditions"].as_array()?;
    conditions.iter().find(|condition| condition["type"] == name)
}
