//! What the token of a node's driver may do in the cluster: what calf needs on that node, and
//! nothing to the volumes of other nodes or drivers.

use serde_json::{Value, json};

use crate::Result;
use crate::cluster::Cluster;
use crate::namespace::Namespace;
use crate::node;
use crate::release::{self, DRIVER, DURABLE_CLASS, NAMESPACE};
use crate::workload::{self, Mode};
use crate::world::World;

const ELSEWHERE: &str = "another-node";
const OTHER_DRIVER: &str = "other.example";
const SELECTED: &str = "volume.kubernetes.io/selected-node";
const PROVISIONER: &str = "volume.kubernetes.io/storage-provisioner";
const MANAGED_BY: &str = "snapshot.storage.kubernetes.io/managed-by";
/// How the API server begins a refusal by one of the chart's policies. A refusal by RBAC would not
/// show that the policy works.
const POLICY: &str = "ValidatingAdmissionPolicy 'calf-";

pub(crate) fn run(world: &World, namespace: &Namespace) -> Result<()> {
    let admin = &world.cluster;
    let thief = stolen(admin)?;
    let manifests = workload::all([
        volume("of-another-node", DRIVER, ELSEWHERE, "1Gi"),
        volume("of-another-driver", OTHER_DRIVER, node::NAME, "1Gi"),
        // Of a class that does not exist, so that nobody else works on them.
        claim("waits", &namespace.name),
        claim("foreign", &namespace.name),
    ]);
    // Not applied: `kubectl replace` would keep account of that in an annotation.
    admin.create(&manifests)?;
    let published = capacity("of-another-node", ELSEWHERE).to_string();
    admin.apply_in(NAMESPACE, &published)?;
    let result = volumes(&thief)
        .and_then(|()| claims(admin, &thief, namespace))
        .and_then(|()| capacities(&thief))
        .and_then(|()| snapshots(admin, &thief))
        .and_then(|()| without_a_node(admin));
    admin.delete_in(NAMESPACE, &published)?;
    namespace.remove(&manifests)?;
    result
}

fn volumes(thief: &Cluster) -> Result<()> {
    for name in ["of-another-node", "of-another-driver"] {
        refused(thief, &["delete", "pv", name])?;
        for patch in [
            json!({ "spec": { "claimRef": { "namespace": "default", "name": "mine" } } }),
            json!({ "spec": { "persistentVolumeReclaimPolicy": "Delete" } }),
            json!({ "metadata": { "finalizers": ["thief.example/keep"] } }),
        ] {
            refused(thief, &["patch", "pv", name, "--patch", &patch.to_string()])?;
        }
    }
    create_is_refused(thief, &volume("made", DRIVER, ELSEWHERE, "1Gi"))?;
    create_is_refused(thief, &volume("made", OTHER_DRIVER, node::NAME, "1Gi"))?;
    let mut directory = volume("made", DRIVER, node::NAME, "1Gi");
    if let Some(spec) = directory["spec"].as_object_mut() {
        spec.remove("csi");
        spec.insert("hostPath".into(), json!({ "path": "/" }));
    }
    create_is_refused(thief, &directory)?;

    // A resizer serves all nodes, but only makes volumes larger.
    let grown = |size: &str| json!({ "spec": { "capacity": { "storage": size } } }).to_string();
    refused(thief, &["patch", "pv", "of-another-node", "--patch", &grown("512Mi")])?;
    refused(thief, &["patch", "pv", "of-another-driver", "--patch", &grown("2Gi")])?;
    thief.kubectl(&["patch", "pv", "of-another-node", "--patch", &grown("2Gi")])?;

    // What external-provisioner does.
    thief.create(&volume("of-this-node", DRIVER, node::NAME, "1Gi").to_string())?;
    thief.kubectl(&["delete", "pv", "of-this-node", "--wait=false"]).map(drop)
}

fn claims(admin: &Cluster, thief: &Cluster, namespace: &Namespace) -> Result<()> {
    // The controller manager and the scheduler do this.
    for (claim, driver, node) in
        [("waits", DRIVER, ELSEWHERE), ("foreign", OTHER_DRIVER, node::NAME)]
    {
        change(admin, namespace, claim, |claim| {
            claim["metadata"]["annotations"][PROVISIONER] = driver.into();
            claim["metadata"]["annotations"][SELECTED] = node.into();
        })?;
    }
    let changes: [fn(&mut Value); 3] = [
        |claim| claim["metadata"]["labels"]["owner"] = "thief".into(),
        |claim| claim["metadata"]["finalizers"] = json!([]),
        give_back,
    ];
    for claim in ["waits", "foreign"] {
        for to in changes {
            refused_or(change(thief, namespace, claim, to), &["replace", claim])?;
        }
    }
    let to_this_node =
        |claim: &mut Value| claim["metadata"]["annotations"][SELECTED] = node::NAME.into();
    refused_or(
        change(thief, namespace, "waits", to_this_node),
        &["select this node for", "waits"],
    )?;

    // What external-provisioner does with a claim that does not fit on its node.
    change(admin, namespace, "waits", to_this_node)?;
    change(thief, namespace, "waits", give_back).map(drop)
}

/// Gives a claim back to the scheduler.
fn give_back(claim: &mut Value) {
    if let Some(annotations) = claim["metadata"]["annotations"].as_object_mut() {
        annotations.remove(SELECTED);
    }
}

/// Reads a claim, changes it, and writes it back, as external-provisioner does.
fn change(
    cluster: &Cluster,
    namespace: &Namespace,
    name: &str,
    change: impl Fn(&mut Value),
) -> Result<String> {
    let mut claim = namespace.get("pvc", name)?.ok_or_else(|| format!("no claim {name}"))?;
    change(&mut claim);
    cluster.replace(&claim.to_string())
}

fn capacities(thief: &Cluster) -> Result<()> {
    refused(thief, &["delete", "csistoragecapacity", "of-another-node", "--namespace", NAMESPACE])?;
    let patch = json!({ "capacity": "1Ti" }).to_string();
    let name = ["csistoragecapacity", "of-another-node", "--namespace", NAMESPACE];
    refused(thief, &[&["patch"], &name[..], &["--type=merge", "--patch", &patch]].concat())?;
    create_is_refused(thief, &capacity("made", ELSEWHERE))?;
    thief.create(&capacity("of-this-node", node::NAME).to_string())?;
    thief
        .kubectl(&["delete", "csistoragecapacity", "of-this-node", "--namespace", NAMESPACE])
        .map(drop)
}

/// A handle that leads to another node's snapshot would give its content to a claim there.
fn snapshots(admin: &Cluster, thief: &Cluster) -> Result<()> {
    let kind = "volumesnapshotcontent";
    let objects = [
        content("of-another-node", DRIVER, ELSEWHERE),
        content("of-another-driver", OTHER_DRIVER, node::NAME),
        content("of-this-node", DRIVER, node::NAME),
    ];
    admin.create(&workload::all(objects))?;
    let handle =
        |node: &str| json!({ "status": { "snapshotHandle": format!("{node}/x") } }).to_string();
    let write = |name: &'static str, patch: &str| {
        let status =
            ["patch", kind, name, "--subresource=status", "--type=merge", "--patch", patch];
        thief.kubectl(&status)
    };
    for name in ["of-another-node", "of-another-driver"] {
        refused_or(write(name, &handle(node::NAME)), &["write the status of", name])?;
        let keep = json!({ "metadata": { "finalizers": ["thief.example/keep"] } }).to_string();
        refused(thief, &["patch", kind, name, "--type=merge", "--patch", &keep])?;
    }
    refused_or(write("of-this-node", &handle(ELSEWHERE)), &["name another node's snapshot"])?;
    let take = json!({ "metadata": { "labels": { MANAGED_BY: ELSEWHERE } } }).to_string();
    refused(thief, &["patch", kind, "of-this-node", "--type=merge", "--patch", &take])?;
    // What csi-snapshotter does.
    write("of-this-node", &handle(node::NAME))?;
    for name in ["of-another-node", "of-another-driver", "of-this-node"] {
        admin.kubectl(&["delete", kind, name, "--wait=false"])?;
        // No sidecar serves the first two. One that is gone already needs nothing.
        let release = json!({ "metadata": { "finalizers": null } }).to_string();
        let _ = admin.kubectl(&["patch", kind, name, "--type=merge", "--patch", &release]);
    }
    Ok(())
}

fn content(name: &str, driver: &str, node: &str) -> Value {
    json!({
        "apiVersion": "snapshot.storage.k8s.io/v1",
        "kind": "VolumeSnapshotContent",
        "metadata": { "name": name, "labels": { MANAGED_BY: node } },
        "spec": {
            "driver": driver,
            "deletionPolicy": "Retain",
            "source": { "snapshotHandle": format!("{node}/x") },
            "volumeSnapshotRef": { "namespace": "default", "name": name },
        },
    })
}

/// A token of the service account that is bound to no pod may do nothing.
fn without_a_node(admin: &Cluster) -> Result<()> {
    let token = admin.kubectl(&["create", "token", "calf", "--namespace", NAMESPACE])?;
    let unbound = admin.with_token("unbound", token.trim())?;
    create_is_refused(&unbound, &volume("made", DRIVER, node::NAME, "1Gi"))
}

/// The cluster as somebody sees it who broke out of a pod and read the driver's token.
fn stolen(admin: &Cluster) -> Result<Cluster> {
    let pod = release::driver_pod(admin)?;
    let bound = ["--bound-object-kind", "Pod", "--bound-object-name", &pod];
    let create = ["create", "token", "calf", "--namespace", NAMESPACE];
    let token = admin.kubectl(&[&create[..], &bound].concat())?;
    admin.with_token("stolen", token.trim())
}

fn refused(thief: &Cluster, what: &[&str]) -> Result<()> {
    refused_or(thief.kubectl(what), what)
}

fn create_is_refused(thief: &Cluster, object: &Value) -> Result<()> {
    let manifest = object.to_string();
    refused_or(thief.create(&manifest), &["create", &manifest])
}

/// A policy must have refused it.
fn refused_or(outcome: Result<String>, what: &[&str]) -> Result<()> {
    let what = what.join(" ");
    match outcome {
        Ok(_) => Err(format!("a node's token may: {what}")),
        Err(error) if error.contains(POLICY) => Ok(()),
        Err(error) => Err(format!("not refused by a policy: {what}: {error}")),
    }
}

fn volume(name: &str, driver: &str, node: &str, size: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": { "name": name },
        "spec": {
            "capacity": { "storage": size },
            "accessModes": ["ReadWriteOnce"],
            "volumeMode": "Block",
            // Nobody is to delete a volume that no driver ever made.
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": "",
            "csi": { "driver": driver, "volumeHandle": name },
            "nodeAffinity": { "required": { "nodeSelectorTerms": [{ "matchExpressions": [{
                "key": format!("{DRIVER}/node"), "operator": "In", "values": [node],
            }] }] } },
        },
    })
}

fn claim(name: &str, namespace: &str) -> Value {
    let spec = workload::claim_spec("missing", Mode::Block, "64Mi");
    let mut claim = workload::claim(name, &spec);
    claim["metadata"]["namespace"] = namespace.into();
    claim
}

fn capacity(name: &str, node: &str) -> Value {
    json!({
        "apiVersion": "storage.k8s.io/v1",
        "kind": "CSIStorageCapacity",
        "metadata": { "name": name, "namespace": NAMESPACE },
        "storageClassName": DURABLE_CLASS,
        "capacity": "1Gi",
        "nodeTopology": { "matchLabels": { format!("{DRIVER}/node"): node } },
    })
}
