//! A Kata pod with a direct-assigned volume: the driver names the device in the file that Kata's
//! runtime reads, and removes the file with the volume. The manifest is the documentation's.
//!
//! Kata itself needs KVM. The test plays its part: it reads the file and mounts the device that it
//! names; runc runs the pod's containers under the handler's name (`containerd.toml`).

use std::time::Duration;

use serde_json::Value;

use crate::namespace::Namespace;
use crate::release::TEMPLATE;
use crate::world::World;
use crate::{Result, documentation};

/// The directory in which Kata's runtimes look for one directory per volume.
const DIRECT_VOLUMES: &str = "/run/kata-containers/shared/direct-volumes";
const GONE: Duration = Duration::from_secs(120);

pub(crate) fn run(world: &World, namespace: &Namespace) -> Result<()> {
    let manifest = documentation::manifest(documentation::KATA)?;
    namespace.apply(&manifest)?;
    let pod = namespace.only_pod()?;
    namespace.wait_until_ready(&pod)?;
    let object = namespace.get("pod", &pod)?.unwrap_or_default();
    let uid = object["metadata"]["uid"].as_str().unwrap_or_default();

    // The directory is named after the path that the kubelet asked the driver to publish at.
    let volumes = format!("/var/lib/kubelet/pods/{uid}/volumes/kubernetes.io~csi");
    let path = world.node.run(&format!("ls -d {volumes}/*/mount"))?;
    let path = path.trim_end();
    let directory = format!("{DIRECT_VOLUMES}/{}", encode(world, path)?);
    let text = world.node.run(&format!("cat '{directory}/mountInfo.json'"))?;
    println!("{directory}/mountInfo.json: {text}");
    let info: Value = serde_json::from_str(&text)
        .map_err(|error| format!("mountInfo.json is no JSON: {error}: {text}"))?;
    if info["volume-type"] != "directvol" || info["fstype"] != "ext4" {
        return Err(format!("mountInfo.json should speak of a direct volume with ext4: {text}"));
    }
    let device = info["device"].as_str().unwrap_or_default();

    // As with Kata, the device goes to the guest, which mounts it.
    let found = world.node.run(&format!(
        "mkdir -p /run/guest && mount -t ext4 '{device}' /run/guest && cat /run/guest/template
        umount /run/guest"
    ))?;
    if found.trim_end() != TEMPLATE {
        return Err(format!("{device} should hold template {TEMPLATE}, and holds {found:?}"));
    }
    // And the host does not mount it at the same time.
    let mounts = world.node.run(&format!("findmnt --noheadings --source '{device}' || true"))?;
    if !mounts.is_empty() {
        return Err(format!("{device} belongs to the guest, but the node mounts it: {mounts}"));
    }

    namespace.remove(&manifest)?;
    world.cluster.wait("mountInfo.json to be gone", GONE, || {
        let left = world.node.run(&format!("find '{directory}' 2> /dev/null || true"))?;
        Ok(left.is_empty().then_some(()))
    })
}

/// The directory's name in Kata's form: base64 with the alphabet for URLs, padded.
fn encode(world: &World, path: &str) -> Result<String> {
    let encoded =
        world.node.run(&format!("printf %s '{path}' | base64 --wrap=0 | tr '+/' '-_'"))?;
    Ok(encoded.trim_end().to_owned())
}
