//! The kubelet is stopped under running pods: their disks keep working, and requests made meanwhile
//! are carried out when the kubelet is back.

use crate::Result;
use crate::namespace::Namespace;
use crate::node::Service;
use crate::release::EPHEMERAL_CLASS;
use crate::workers::{self, BLOCK, MOUNTED};
use crate::workload::{self, MOUNT, Mode};
use crate::world::{TEMPLATE_BYTES, World};

pub(crate) fn run(world: &World, namespace: &Namespace) -> Result<()> {
    workers::start(world, namespace)?;
    world.node.stop(Service::Kubelet)?;
    let without_kubelet = meanwhile(world, namespace);
    world.node.start(Service::Kubelet)?;
    without_kubelet?;

    namespace.wait_until_succeeded("started-meanwhile")?;
    namespace.wait_until_gone("pod", BLOCK)?;
    workers::works(world, namespace, MOUNTED)?;
    workers::never_restarted(namespace, MOUNTED)
}

/// What happens while there is no kubelet.
fn meanwhile(world: &World, namespace: &Namespace) -> Result<()> {
    for worker in [BLOCK, MOUNTED] {
        workers::works(world, namespace, worker)?;
    }
    let spec = workload::claim_spec(EPHEMERAL_CLASS, Mode::Filesystem, &TEMPLATE_BYTES.to_string());
    let script = format!("cat {MOUNT}/template");
    let volume = workload::ephemeral(&spec);
    let pod = workload::pod("started-meanwhile", &volume, Mode::Filesystem, &script);
    namespace.apply(&workload::all([pod]))?;
    namespace.delete_pod(BLOCK)
}
