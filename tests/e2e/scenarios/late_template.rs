//! A pod asks for a template that no node has: it waits, an event says why, and it starts as soon
//! as the template is imported.

use serde_json::json;

use crate::Result;
use crate::namespace::Namespace;
use crate::release::{self, TEMPLATE, TEMPLATE_IMAGES};
use crate::workload::{self, MOUNT, Mode};
use crate::world::World;

const LATE: &str = "late";
const CLASS: &str = "late-template";
const POD: &str = "early";

pub(crate) fn run(world: &World, namespace: &Namespace) -> Result<()> {
    let class = workload::class(CLASS, json!({ "template": LATE }));
    let spec = workload::claim_spec(CLASS, Mode::Filesystem, "64Mi");
    let script = format!("cat {MOUNT}/template");
    let pod = workload::pod(POD, &workload::ephemeral(&spec), Mode::Filesystem, &script);
    namespace.apply(&workload::all([class, pod]))?;

    let missing = format!("template \"{LATE}\" is not in the pool");
    let why = namespace.wait_for_event(POD, &missing)?;
    println!("the pod waits: {why}");
    let phase = namespace.get("pod", POD)?.unwrap_or_default()["status"]["phase"].take();
    if phase != "Pending" {
        return Err(format!("a pod without its template is {phase}, not Pending"));
    }

    // The same content under another name.
    let image = format!("{TEMPLATE_IMAGES}/{TEMPLATE}.img");
    release::calf(&world.cluster, &["template", "import", &image, "--name", LATE])?;
    let said = namespace.wait_until_succeeded(POD)?;
    if said.trim() != TEMPLATE {
        return Err(format!("the template's file says {TEMPLATE:?}, the pod read {said:?}"));
    }
    namespace.delete()?;
    release::calf(&world.cluster, &["template", "rm", LATE])?;
    world.cluster.kubectl(&["delete", "storageclass", CLASS]).map(drop)
}
