//! An inline ephemeral volume is mounted, written, and gone after deletion. The manifest is the
//! documentation's.

use serde_json::Value;

use crate::namespace::Namespace;
use crate::release::{DRIVER, TEMPLATE};
use crate::world::World;
use crate::{Result, documentation};

pub(crate) fn run(world: &World, namespace: &Namespace) -> Result<()> {
    namespace.apply(&documentation::manifest(documentation::INLINE)?)?;
    let pod = namespace.only_pod()?;
    namespace.wait_until_ready(&pod)?;
    let object = namespace.get("pod", &pod)?.unwrap_or_default();
    let directory = mount_path(&object)
        .ok_or_else(|| format!("no container of pod {pod} mounts an inline volume of {DRIVER}"))?;

    // The volume has the template's content, which can be overwritten.
    let said = namespace.exec(
        &pod,
        &format!(
            "cat {directory}/template
            echo written > {directory}/template && sync && cat {directory}/template"
        ),
    )?;
    if said != format!("{TEMPLATE}\nwritten\n") {
        return Err(format!("the pod should have found the template, and said {said:?}"));
    }
    let uid = object["metadata"]["uid"].as_str().unwrap_or_default();
    let mount = world.node.run(&format!(
        "findmnt --noheadings --list --output SOURCE,FSTYPE,TARGET | grep /var/lib/kubelet/pods/{uid}/"
    ))?;
    let device = mount
        .lines()
        .find_map(|line| line.split_whitespace().find(|word| word.starts_with("/dev/")));
    let device =
        device.ok_or_else(|| format!("the node has no mount of a device for the pod:\n{mount}"))?;
    let name = device.trim_start_matches("/dev/");
    let uuid = world.node.run(&format!("cat /sys/block/{name}/dm/uuid"))?;
    if !uuid.starts_with("CALF-") {
        return Err(format!("{device} in the pod is not a device of calf: {uuid}"));
    }
    println!("pod {pod} has {device} ({}) at {directory}", uuid.trim());
    Ok(())
}

/// The mount path in the first container with an inline volume of calf.
fn mount_path(pod: &Value) -> Option<&str> {
    let volumes = pod["spec"]["volumes"].as_array()?;
    let name = &volumes.iter().find(|volume| volume["csi"]["driver"] == DRIVER)?["name"];
    let containers = pod["spec"]["containers"].as_array()?;
    let mounts = containers.iter().filter_map(|container| container["volumeMounts"].as_array());
    mounts.flatten().find(|mount| mount["name"] == *name)?["mountPath"].as_str()
}
