//! The driver is killed with `kill -9` under running pods: their disks keep working, and requests
//! made meanwhile are carried out when the driver is back.

use std::time::Duration;

use serde_json::Value;

use crate::Result;
use crate::namespace::{Namespace, is_ready};
use crate::release::{self, EPHEMERAL_CLASS, NAMESPACE};
use crate::workers::{self, BLOCK, MOUNTED};
use crate::workload::{self, DEVICE, Mode};
use crate::world::{TEMPLATE_BYTES, World};

/// The kubelet waits longer between restarts each time.
const BACK: Duration = Duration::from_secs(600);
/// The name of the driver's process and of its container.
const CALF: &str = "calf";

pub(crate) fn run(world: &World, namespace: &Namespace) -> Result<()> {
    workers::start(world, namespace)?;
    let restarts = kill(world)?;
    for worker in [BLOCK, MOUNTED] {
        workers::works(world, namespace, worker)?;
    }
    // These wait for the driver: a pod that starts, and one that goes.
    namespace.apply(&workload::all([reader("started-meanwhile")]))?;
    namespace.delete_pod(BLOCK)?;
    wait_until_back(world, restarts)?;
    namespace.wait_until_succeeded("started-meanwhile")?;
    namespace.wait_until_gone("pod", BLOCK)?;

    // Kill it once more, between its work for the claim and its work for the pod.
    namespace.apply(&workload::all([reader("started-before")]))?;
    namespace.cluster.wait("the claim to be provisioned", BACK, || {
        let claim = namespace.get("pvc", "started-before-disk")?;
        Ok(claim.filter(|claim| !claim["spec"]["volumeName"].is_null()).map(drop))
    })?;
    let restarts = kill(world)?;
    wait_until_back(world, restarts)?;
    namespace.wait_until_succeeded("started-before")?;

    workers::works(world, namespace, MOUNTED)?;
    workers::never_restarted(namespace, MOUNTED)
}

/// Reads the disk once.
fn reader(name: &str) -> Value {
    let spec = workload::claim_spec(EPHEMERAL_CLASS, Mode::Block, &TEMPLATE_BYTES.to_string());
    let script = format!("sha256sum {DEVICE}");
    workload::pod(name, &workload::ephemeral(&spec), Mode::Block, &script)
}

/// Kills the driver's process on the node. Returns how often its container had been restarted.
fn kill(world: &World) -> Result<u64> {
    let restarts = restarts(world)?;
    match world.node.kill(CALF)? {
        1 => Ok(restarts),
        count => Err(format!("the node runs {count} processes named {CALF}, not one")),
    }
}

/// Waits until the driver's container has been restarted since, and its whole pod is ready.
fn wait_until_back(world: &World, before: u64) -> Result<()> {
    world.cluster.wait("the driver to be back", BACK, || {
        let pod = driver(world)?;
        Ok((is_ready(&pod) && workers::restarts(&pod, CALF) > before).then_some(()))
    })?;
    println!("the driver is back, its container restarted {} times", restarts(world)?);
    Ok(())
}

fn restarts(world: &World) -> Result<u64> {
    Ok(workers::restarts(&driver(world)?, CALF))
}

fn driver(world: &World) -> Result<Value> {
    let pod = release::driver_pod(&world.cluster)?;
    let pod = world.cluster.get(&["pod", &pod, "--namespace", NAMESPACE])?;
    pod.ok_or_else(|| "the driver's pod is gone".into())
}
