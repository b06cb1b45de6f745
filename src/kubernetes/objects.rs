//! Kubernetes objects, with only the fields that calf reads and writes.

use std::collections::HashMap;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// One page of a list.
#[derive(Deserialize)]
pub(super) struct List<T> {
    pub(super) metadata: ListMetadata,
    pub(super) items: Vec<T>,
}

#[derive(Deserialize)]
pub(super) struct ListMetadata {
    /// The token for the next page; empty or missing on the last page.
    #[serde(rename = "continue")]
    pub(super) next: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct StorageClass {
    pub(super) metadata: Metadata,
    pub(super) provisioner: String,
    #[serde(default)]
    pub(super) parameters: Option<HashMap<String, String>>,
}

#[derive(Deserialize)]
pub(super) struct Claim {
    pub(super) metadata: Metadata,
    pub(super) spec: ClaimSpec,
    pub(super) status: Option<ClaimStatus>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ClaimSpec {
    pub(super) storage_class_name: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct ClaimStatus {
    pub(super) phase: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metadata {
    pub(super) name: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    uid: String,
    creation_timestamp: Option<Timestamp>,
    #[serde(default)]
    owner_references: Vec<Owner>,
}

#[derive(Deserialize)]
struct Owner {
    kind: String,
    name: String,
    uid: String,
}

impl Claim {
    /// Whether the claim waits for a volume, and for longer than making one takes.
    pub(super) fn waits(&self, now: Timestamp, patience: jiff::SignedDuration) -> bool {
        let phase = self.status.as_ref().and_then(|status| status.phase.as_deref());
        let since = self.metadata.creation_timestamp.unwrap_or(Timestamp::UNIX_EPOCH);
        phase == Some("Pending") && now.duration_since(since) >= patience
    }

    /// The claim, and the pod that it was made for (a generic ephemeral volume).
    pub(super) fn subjects(&self) -> Vec<Subject> {
        let Metadata { name, namespace, uid, owner_references, .. } = &self.metadata;
        let subject = |kind: &'static str, name: &String, uid: &String| Subject {
            kind,
            namespace: Some(namespace.clone()),
            name: name.clone(),
            uid: uid.clone(),
        };
        let pods = owner_references.iter().filter(|owner| owner.kind == "Pod");
        std::iter::once(subject("PersistentVolumeClaim", name, uid))
            .chain(pods.map(|pod| subject("Pod", &pod.name, &pod.uid)))
            .collect()
    }
}

/// The subject of an Event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Subject {
    pub(super) kind: &'static str,
    pub(super) namespace: Option<String>,
    pub(super) name: String,
    pub(super) uid: String,
}

impl Subject {
    /// The node of this name. As in kubelet's Events, its name serves as its uid; `kubectl describe
    /// node` finds both.
    pub(super) fn node(name: &str) -> Self {
        Self { kind: "Node", namespace: None, name: name.to_owned(), uid: name.to_owned() }
    }

    /// The namespace of Events about the subject.
    pub(super) fn events_namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or("default")
    }
}

/// An Event to post.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) subject: Subject,
    pub(super) reason: &'static str,
    pub(super) warning: bool,
    /// What distinguishes this Event from others with the same reason and subject.
    pub(super) about: String,
    pub(super) message: String,
}

/// How much of an object's name goes into the names of its Events: Kubernetes' limit of 253, less
/// 22 for the suffix.
const MAX_NAME: usize = 231;

impl Event {
    /// The name is the same for all nodes, so that many nodes share one Event about a claim.
    pub(super) fn name(&self) -> String {
        let Subject { name, uid, kind, .. } = &self.subject;
        let hash = Sha256::digest(format!("{kind}/{uid}/{}/{}", self.reason, self.about));
        let name = name[..name.floor_char_boundary(MAX_NAME)].trim_end_matches(['-', '.']);
        format!("{name}.calf-{}", hex::encode(&hash[..8]))
    }

    pub(super) fn to_json(&self, component: &str, node: &str, now: Timestamp) -> Value {
        let Subject { kind, namespace, name, uid } = &self.subject;
        let time = time(now);
        json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": { "name": self.name(), "namespace": self.subject.events_namespace() },
            "involvedObject": {
                "apiVersion": "v1", "kind": kind, "namespace": namespace, "name": name, "uid": uid,
            },
            "type": if self.warning { "Warning" } else { "Normal" },
            "reason": self.reason,
            "message": self.message,
            "source": { "component": component, "host": node },
            "reportingComponent": component,
            "reportingInstance": node,
            "firstTimestamp": time,
            "lastTimestamp": time,
            "count": 1,
        })
    }

    /// The change to an Event that was posted before.
    pub(super) fn repetition(&self, posted: &Posted, now: Timestamp) -> Value {
        json!({
            "count": posted.count.unwrap_or(1).saturating_add(1),
            "lastTimestamp": time(now),
            "message": self.message,
        })
    }
}

/// An Event that already exists.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Posted {
    count: Option<i32>,
    pub(super) last_timestamp: Option<Timestamp>,
}

/// A timestamp in Kubernetes' format.
fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_events_are_names_of_objects() {
        for (name, head) in [
            ("node-1".to_owned(), "node-1.calf-".to_owned()),
            ("n".repeat(253), format!("{}.calf-", "n".repeat(MAX_NAME))),
            (format!("{}-.rest", "n".repeat(MAX_NAME - 1)), format!("{}.calf-", "n".repeat(230))),
        ] {
            let event = Event {
                subject: Subject::node(&name),
                reason: "TemplateMissing",
                warning: true,
                about: "base".to_owned(),
                message: String::new(),
            };
            let named = event.name();
            assert!(named.starts_with(&head) && named.len() <= 253, "{named}");
        }
    }
}
