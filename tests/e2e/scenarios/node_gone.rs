//! A node that is gone for good leaves nothing in the cluster but what somebody must decide on: the
//! PersistentVolumes of claims, whose removal is as the guide says.

use std::time::Duration;

use crate::Result;
use crate::namespace::Namespace;
use crate::node::{self, Service};
use crate::release::{self, DURABLE_CLASS, NAMESPACE};
use crate::workload::{self, Mode};
use crate::world::World;

const CLAIM: &str = "kept";
const POD: &str = "keeper";
/// Kubernetes removes pods of a missing node within minutes, and then what these own.
const COLLECTED: Duration = Duration::from_secs(600);

pub(crate) fn run(world: &World, namespace: &Namespace) -> Result<()> {
    let spec = workload::claim_spec(DURABLE_CLASS, Mode::Block, "64Mi");
    let pod = workload::pod(POD, &workload::claimed(CLAIM), Mode::Block, "sleep 100000");
    namespace.apply(&workload::all([workload::claim(CLAIM, &spec), pod]))?;
    namespace.wait_until_ready(POD)?;
    let claim = namespace.get("pvc", CLAIM)?.unwrap_or_default();
    let volume = claim["spec"]["volumeName"].as_str().unwrap_or_default().to_owned();

    world.node.stop(Service::Kubelet)?;
    // Nobody starts them again: what follows is without the node's help.
    for sidecar in ["csi-provisioner", "csi-resizer", "csi-snapshotter"] {
        world.node.kill(sidecar)?;
    }
    let without = without_the_node(world, namespace, &volume);
    world.node.start(Service::Kubelet)?;
    without?;
    is_back(world)?;
    // It came back with its pool, in which nobody knows the volume any more.
    world.cluster.wait("the volume without an object to be deleted", COLLECTED, || {
        let deleted = release::calf(&world.cluster, &["volume", "delete", &volume]);
        Ok(deleted.is_ok().then_some(()))
    })
}

fn without_the_node(world: &World, namespace: &Namespace, volume: &str) -> Result<()> {
    world.cluster.kubectl(&["delete", "node", node::NAME])?;
    world.cluster.wait("the node's capacity to be gone", COLLECTED, || {
        let left = world.cluster.list(&["csistoragecapacities", "--namespace", NAMESPACE])?;
        Ok(left.is_empty().then_some(()))
    })?;
    namespace.wait_until_gone("pod", POD)?;
    if world.cluster.get(&["pv", volume])?.is_none() {
        return Err(format!("{volume} went with its node, although its claim is there"));
    }
    world.cluster.kubectl(&["delete", "pvc", CLAIM, "--namespace", &namespace.name])?;
    world.cluster.kubectl(&["delete", "pv", volume, "--wait=false"])?;
    let keep_nothing = r#"{"metadata":{"finalizers":null}}"#;
    world.cluster.kubectl(&["patch", "pv", volume, "--type=merge", "--patch", keep_nothing])?;
    world.cluster.wait("the volume's object to be gone", COLLECTED, || {
        Ok(world.cluster.get(&["pv", volume])?.is_none().then_some(()))
    })
}

/// The node registers itself again, and Kubernetes starts the driver on it.
fn is_back(world: &World) -> Result<()> {
    release::wait_until_ready(&world.cluster, COLLECTED)?;
    world.cluster.wait("the node's capacity to be back", COLLECTED, || {
        let found = world.cluster.list(&["csistoragecapacities", "--namespace", NAMESPACE])?;
        Ok((!found.is_empty()).then_some(()))
    })
}
