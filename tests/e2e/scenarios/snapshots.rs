//! VolumeSnapshots and clones: what a pod wrote is in them, and what it wrote later is not; sources and copies
//! go in any order.

use serde_json::{Value, json};

use crate::Result;
use crate::documentation;
use crate::namespace::{self, Namespace};
use crate::release::DURABLE_CLASS;
use crate::workload::{self, DEVICE, MOUNT, Mode};
use crate::world::World;

const SIZE: &str = "96Mi";
/// As in the guide's manifests.
const SOURCE: &str = "data";
const SNAPSHOT: &str = "warm";
const RESTORED: &str = "from-warm";
const CLONE: &str = "copy-of-data";

pub(crate) fn run(world: &World, namespace: &Namespace) -> Result<()> {
    mounted(namespace)?;
    block(world, namespace)
}

/// The manifests of the guide, with a mounted file system. The source goes first.
fn mounted(namespace: &Namespace) -> Result<()> {
    let spec = workload::claim_spec(DURABLE_CLASS, Mode::Filesystem, SIZE);
    start(namespace, "writer", SOURCE, workload::claim(SOURCE, &spec), Mode::Filesystem)?;
    // Without a sync: the file system is frozen for the cut.
    namespace.exec("writer", &format!("echo first > {MOUNT}/mark"))?;
    namespace.apply(&documentation::manifest_of(documentation::SNAPSHOTS, "snapshot.yaml")?)?;
    wait_until_ready(namespace, SNAPSHOT)?;
    namespace.exec("writer", &format!("echo second > {MOUNT}/mark"))?;

    for (manifest, claim, expected) in
        [("restore.yaml", RESTORED, "first"), ("clone.yaml", CLONE, "second")]
    {
        namespace.apply(&documentation::manifest_of(documentation::SNAPSHOTS, manifest)?)?;
        let script = format!("cat {MOUNT}/mark; df -k {MOUNT} | tail -n 1");
        let volume = workload::claimed(claim);
        let pod = workload::pod(claim, &volume, Mode::Filesystem, &script);
        namespace.apply(&pod.to_string())?;
        let said = namespace.wait_until_succeeded(claim)?;
        println!("{claim} holds {:?}", said.lines().next().unwrap_or_default());
        if said.lines().next() != Some(expected) {
            return Err(format!("{claim} should hold {expected:?}, its pod read {said:?}"));
        }
    }

    namespace.delete_pod("writer")?;
    delete(namespace, "pvc", SOURCE)?;
    let again = workload::pod(
        "again",
        &workload::claimed(RESTORED),
        Mode::Filesystem,
        &format!("cat {MOUNT}/mark"),
    );
    namespace.delete_pod(RESTORED)?;
    namespace.wait_until_gone("pod", RESTORED)?;
    namespace.apply(&again.to_string())?;
    let said = namespace.wait_until_succeeded("again")?;
    if said.trim() != "first" {
        return Err(format!("after its source went, {RESTORED} holds {said:?}"));
    }
    delete(namespace, "volumesnapshot", SNAPSHOT)
}

/// A block volume. The snapshot goes before the volume that started from it, and before its source.
fn block(world: &World, namespace: &Namespace) -> Result<()> {
    let spec = workload::claim_spec(DURABLE_CLASS, Mode::Block, SIZE);
    start(namespace, "guest", "disk", workload::claim("disk", &spec), Mode::Block)?;
    namespace.exec("guest", &format!("echo first > {DEVICE} && sync"))?;
    namespace.apply(&snapshot("disk-then", "disk").to_string())?;
    wait_until_ready(namespace, "disk-then")?;
    namespace.exec("guest", &format!("echo second > {DEVICE} && sync"))?;

    let mut copy = workload::claim_spec(DURABLE_CLASS, Mode::Block, "128Mi");
    copy["dataSource"] = json!({
        "apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "disk-then",
    });
    start(namespace, "reader", "disk-copy", workload::claim("disk-copy", &copy), Mode::Block)?;
    delete(namespace, "volumesnapshot", "disk-then")?;
    world.cluster.wait("the snapshot's content to be gone", namespace::POD, || {
        let left = world.cluster.list(&["volumesnapshotcontents"])?;
        Ok(left.is_empty().then_some(()))
    })?;
    let said =
        namespace.exec("reader", &format!("head -n 1 {DEVICE}; blockdev --getsize64 {DEVICE}"))?;
    if said.lines().collect::<Vec<_>>() != ["first", &(128 << 20).to_string()] {
        return Err(format!("the copy of the disk should hold \"first\" in 128 MiB: {said:?}"));
    }
    let source = namespace.exec("guest", &format!("head -n 1 {DEVICE}"))?;
    match source.trim() {
        "second" => Ok(()),
        other => Err(format!("the disk itself should hold \"second\", and holds {other:?}")),
    }
}

/// A pod that runs until it is deleted, with its claim.
fn start(namespace: &Namespace, pod: &str, name: &str, claim: Value, mode: Mode) -> Result<()> {
    let volume = workload::claimed(name);
    let object = workload::pod(pod, &volume, mode, "sleep 100000");
    namespace.apply(&workload::all([claim, object]))?;
    namespace.wait_until_ready(pod)
}

fn snapshot(name: &str, claim: &str) -> Value {
    json!({
        "apiVersion": "snapshot.storage.k8s.io/v1",
        "kind": "VolumeSnapshot",
        "metadata": { "name": name },
        "spec": {
            "volumeSnapshotClassName": "calf",
            "source": { "persistentVolumeClaimName": claim },
        },
    })
}

fn wait_until_ready(namespace: &Namespace, name: &str) -> Result<()> {
    let mut last = Value::Null;
    let found = namespace.cluster.wait("the snapshot to be ready", namespace::POD, || {
        let mut snapshot = namespace.get("volumesnapshot", name)?.unwrap_or_default();
        last = snapshot["status"].take();
        Ok((last["readyToUse"] == true).then_some(()))
    });
    found.map_err(|error| format!("{error}: {name} is {last}"))
}

fn delete(namespace: &Namespace, kind: &str, name: &str) -> Result<()> {
    let delete = ["delete", kind, name, "--namespace", &namespace.name, "--wait=false"];
    namespace.cluster.kubectl(&delete)?;
    namespace.wait_until_gone(kind, name)
}
