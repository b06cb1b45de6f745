//! Expanding a claim while its pod runs enlarges the file system or block device inside the pod.

use serde_json::json;

use crate::Result;
use crate::namespace::{self, Namespace};
use crate::release::DURABLE_CLASS;
use crate::workload::{self, DEVICE, MOUNT, Mode};
use crate::world::World;

const BEFORE: u64 = 96 << 20;
const AFTER: u64 = 256 << 20;
const MARK: &str = "written before";

pub(crate) fn run(_: &World, namespace: &Namespace) -> Result<()> {
    let size = BEFORE.to_string();
    let objects = [("mounted", Mode::Filesystem), ("block", Mode::Block)].map(|(name, mode)| {
        let spec = workload::claim_spec(DURABLE_CLASS, mode, &size);
        let volume = workload::claimed(name);
        [workload::claim(name, &spec), workload::pod(name, &volume, mode, "sleep 100000")]
    });
    namespace.apply(&workload::all(objects.into_iter().flatten()))?;
    for pod in ["mounted", "block"] {
        namespace.wait_until_ready(pod)?;
    }
    namespace.exec("mounted", &format!("echo '{MARK}' > {MOUNT}/mark && sync"))?;
    namespace.exec("block", &format!("echo '{MARK}' > {DEVICE} && sync"))?;
    let before = (file_system(namespace)?, device(namespace)?);
    if before.1 != BEFORE {
        return Err(format!("the device has {} bytes, the claim {BEFORE}", before.1));
    }

    let patch =
        json!({ "spec": { "resources": { "requests": { "storage": AFTER.to_string() } } } });
    for claim in ["mounted", "block"] {
        namespace.cluster.kubectl(&[
            "patch",
            "pvc",
            claim,
            "--namespace",
            &namespace.name,
            "--patch",
            &patch.to_string(),
        ])?;
    }
    namespace.cluster.wait("the file system and the device to grow", namespace::POD, || {
        // The file system's metadata takes less than a tenth.
        let grown = file_system(namespace)? > AFTER / 10 * 9 && device(namespace)? == AFTER;
        Ok(grown.then_some(()))
    })?;
    println!(
        "in the running pods: file system {} -> {} bytes, block device {} -> {} bytes",
        before.0,
        file_system(namespace)?,
        before.1,
        device(namespace)?
    );

    for (pod, path) in [("mounted", format!("{MOUNT}/mark")), ("block", DEVICE.to_owned())] {
        let read = namespace.exec(pod, &format!("head -n 1 {path}"))?;
        if read.trim() != MARK {
            return Err(format!("{pod}: what was written before reads {read:?} afterwards"));
        }
    }
    // In bytes as requested, or in another unit that Kubernetes may write.
    let (bytes, unit) = (AFTER.to_string(), format!("{}Mi", AFTER >> 20));
    namespace.cluster.wait("the claims to say their new size", namespace::POD, || {
        let says = |claim| -> Result<bool> {
            let claim = namespace.get("pvc", claim)?.unwrap_or_default();
            let size = &claim["status"]["capacity"]["storage"];
            Ok(*size == bytes || *size == unit)
        };
        Ok((says("mounted")? && says("block")?).then_some(()))
    })
}

/// Bytes of the mounted file system, as the pod sees it.
fn file_system(namespace: &Namespace) -> Result<u64> {
    let blocks = number(&namespace.exec("mounted", &format!("stat -f -c '%b' {MOUNT}"))?)?;
    let size = number(&namespace.exec("mounted", &format!("stat -f -c '%S' {MOUNT}"))?)?;
    Ok(blocks * size)
}

/// Bytes of the device, as the pod sees it.
fn device(namespace: &Namespace) -> Result<u64> {
    number(&namespace.exec("block", &format!("blockdev --getsize64 {DEVICE}"))?)
}

fn number(text: &str) -> Result<u64> {
    text.trim().parse().map_err(|_| format!("{text:?} is no number"))
}
