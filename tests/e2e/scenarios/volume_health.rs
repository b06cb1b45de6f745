//! What is wrong with a volume is in the status of its pod, where Kubernetes asks for that.

use serde_json::{Value, json};

use crate::Result;
use crate::namespace::{self, Namespace};
use crate::workload::{self, DEVICE, Mode};
use crate::world::World;

const CLASS: &str = "limited";
const POD: &str = "writes";
const DISK: &str = "disk";

pub(crate) fn run(world: &World, namespace: &Namespace) -> Result<()> {
    let class = workload::class(CLASS, json!({ "template": "base", "cowLimit": "16Mi" }));
    let spec = workload::claim_spec(CLASS, Mode::Block, "64Mi");
    let pod = workload::pod(POD, &workload::ephemeral(&spec), Mode::Block, "sleep 100000");
    namespace.apply(&workload::all([class, pod]))?;
    namespace.wait_until_ready(POD)?;
    if let Some(found) = conditions(namespace)? {
        return Err(format!("a volume that nobody used is {found}"));
    }

    // More than the limit: the writes that do not fit fail.
    namespace.exec(
        POD,
        &format!("dd if=/dev/urandom of={DEVICE} bs=64k count=512 conv=fsync,notrunc || true"),
    )?;
    let found = namespace.cluster.wait("the pod's status to tell", namespace::POD, || {
        Ok(conditions(namespace)?.filter(|found| found.to_string().contains("CowLimitReached")))
    })?;
    println!("the pod's status: {found}");
    if found[0]["status"] != "Degraded" {
        return Err(format!("a volume at its limit is {found}"));
    }
    namespace.delete()?;
    world.cluster.kubectl(&["delete", "storageclass", CLASS]).map(drop)
}

/// What the pod's status says of its disk; `None` if nothing is wrong.
fn conditions(namespace: &Namespace) -> Result<Option<Value>> {
    let pod = namespace.get("pod", POD)?.unwrap_or_default();
    let volumes = pod["status"]["volumeHealth"].as_array().cloned().unwrap_or_default();
    let disk = volumes.into_iter().find(|volume| volume["name"] == DISK);
    Ok(disk
        .map(|mut disk| disk["healthConditions"].take())
        .filter(|conditions| conditions.as_array().is_some_and(|list| !list.is_empty())))
}
