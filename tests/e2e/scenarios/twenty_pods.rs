//! Twenty pods at once from one template, each with a disk of its own, and how long each pod waited
//! for its disk.
//!
//! Each pod reports what its disk held before it wrote (the template's content), writes its name
//! over a part of the disk, waits until all twenty have written, and reads it back. This would
//! reveal a disk that two pods share.

use std::time::Duration;

use serde_json::json;

use crate::Result;
use crate::latency;
use crate::namespace::Namespace;
use crate::release::{EPHEMERAL_CLASS, TEMPLATE};
use crate::workload::{self, DEVICE, Mode};
use crate::world::{TEMPLATE_BYTES, World};

const PODS: usize = 20;
/// They share one emulated CPU, on which starting a container takes seconds.
const ALL: Duration = Duration::from_secs(1200);
/// A directory of the node in which the pods meet.
const MEETING: &str = "/run/e2e-twenty-pods";

pub(crate) fn run(world: &World, namespace: &Namespace) -> Result<()> {
    world.node.run(&format!("mkdir -p {MEETING}"))?;
    let names: Vec<String> = (1..=PODS).map(|number| format!("pod-{number:02}")).collect();
    // ext4 has its magic number at byte 1080, and leaves the first 1024 bytes to boot loaders.
    let script = format!(
        r#"
        magic() {{ dd if={DEVICE} bs=1 skip=1080 count=2 2>/dev/null | od -An -tx1 | tr -d ' '; }}
        echo "before: $(magic) $(head -c 1024 {DEVICE} | tr -d '\0' | wc -c)"
        yes "$POD" | head -n 100 | dd of={DEVICE} conv=notrunc,fsync 2>/dev/null
        touch /meeting/$POD
        until [ -e /meeting/all-have-written ]; do sleep 3; done
        echo "after: $(magic) $(head -n 100 {DEVICE} | sort -u)"
        "#
    );
    let spec = workload::claim_spec(EPHEMERAL_CLASS, Mode::Block, &TEMPLATE_BYTES.to_string());
    let volume = workload::ephemeral(&spec);
    let pods = names.iter().map(|name| {
        let mut pod = workload::pod(name, &volume, Mode::Block, &script);
        let spec = &mut pod["spec"];
        if let Some(volumes) = spec["volumes"].as_array_mut() {
            volumes.push(json!({ "name": "meeting", "hostPath": { "path": MEETING } }));
        }
        // The pods need no network, and the node is busy enough.
        spec["hostNetwork"] = true.into();
        spec["containers"][0]["volumeMounts"] =
            json!([{ "name": "meeting", "mountPath": "/meeting" }]);
        pod
    });
    namespace.apply(&workload::all(pods))?;
    namespace.cluster.wait("twenty pods to have written", ALL, || {
        let written = world.node.run(&format!("ls {MEETING} | wc -l"))?;
        Ok((written.trim() == PODS.to_string()).then_some(()))
    })?;
    one_origin(world)?;

    world.node.run(&format!("touch {MEETING}/all-have-written"))?;
    for name in &names {
        let said = namespace.wait_until_succeeded(name)?;
        // ext4's magic number at its place in the template; then an empty boot block.
        let expected = format!("before: 53ef 0\nafter: 53ef {name}\n");
        if said != expected {
            return Err(format!("{name} should have said {expected:?}, and said {said:?}"));
        }
    }
    world.node.run(&format!("rm -r {MEETING}"))?;
    println!("{PODS} pods, each read back its own name from its disk of template {TEMPLATE}");
    latency::report(world, namespace, &names)
}

/// All disks are snapshots of one loop device, read-only: the template's.
fn one_origin(world: &World) -> Result<()> {
    let tables = world.node.run("dmsetup table | grep -F snapshot | awk '{ print $5 }'")?;
    let mut origins: Vec<&str> = tables.lines().collect();
    let snapshots = origins.len();
    origins.sort_unstable();
    origins.dedup();
    if snapshots == PODS && origins.len() == 1 {
        return Ok(());
    }
    Err(format!("expected {PODS} snapshots of one origin, found {snapshots} of {origins:?}"))
}
