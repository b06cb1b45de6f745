//! Pods and claims for scenarios, as manifests.

use serde_json::{Value, json};

use crate::release::DRIVER;

/// Has the common commands.
pub(crate) const IMAGE: &str = "docker.io/library/busybox:1.37";
/// Where a pod has its volume.
pub(crate) const MOUNT: &str = "/disk";
pub(crate) const DEVICE: &str = "/dev/disk";

/// How a pod sees its volume.
#[derive(Clone, Copy)]
pub(crate) enum Mode {
    Block,
    Filesystem,
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Mode::Block => "Block",
            Mode::Filesystem => "Filesystem",
        }
    }
}

/// A StorageClass of calf.
pub(crate) fn class(name: &str, parameters: Value) -> Value {
    json!({
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": { "name": name },
        "provisioner": DRIVER,
        "volumeBindingMode": "WaitForFirstConsumer",
        "parameters": parameters,
    })
}

/// The properties of a claim.
pub(crate) fn claim_spec(class: &str, mode: Mode, size: &str) -> Value {
    json!({
        "accessModes": ["ReadWriteOncePod"],
        "volumeMode": mode.name(),
        "storageClassName": class,
        "resources": { "requests": { "storage": size } },
    })
}

pub(crate) fn claim(name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": { "name": name },
        "spec": spec,
    })
}

/// A volume that lives and dies with its pod.
pub(crate) fn ephemeral(spec: &Value) -> Value {
    json!({ "ephemeral": { "volumeClaimTemplate": { "spec": spec } } })
}

pub(crate) fn claimed(claim: &str) -> Value {
    json!({ "persistentVolumeClaim": { "claimName": claim } })
}

/// A pod with one volume that runs a script once.
pub(crate) fn pod(name: &str, volume: &Value, mode: Mode, script: &str) -> Value {
    let mut volume = volume.clone();
    volume["name"] = "disk".into();
    let mut container = json!({
        "name": "main",
        "image": IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-ec", script],
        "env": [{ "name": "POD", "value": name }],
    });
    match mode {
        Mode::Block => {
            container["volumeDevices"] = json!([{ "name": "disk", "devicePath": DEVICE }]);
        }
        Mode::Filesystem => {
            container["volumeMounts"] = json!([{ "name": "disk", "mountPath": MOUNT }]);
        }
    }
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name },
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            "volumes": [volume],
            "containers": [container],
        },
    })
}

/// Several objects in one manifest.
pub(crate) fn all(objects: impl IntoIterator<Item = Value>) -> String {
    let items: Vec<Value> = objects.into_iter().collect();
    json!({ "apiVersion": "v1", "kind": "List", "items": items }).to_string()
}
