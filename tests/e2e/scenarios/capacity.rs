//! Storage capacity objects show the pool's actual capacity, and the scheduler refuses what does
//! not fit.

use std::time::Duration;

use serde_json::Value;

use crate::Result;
use crate::cluster::Cluster;
use crate::namespace::Namespace;
use crate::release::{self, DURABLE_CLASS, EPHEMERAL_CLASS, NAMESPACE};
use crate::workload::{self, Mode};
use crate::world::World;

const PUBLISHED: Duration = Duration::from_secs(120);
/// Tolerance for logs and other files on the pool's file system, which change between two checks.
const TOLERANCE: u64 = 16 << 20;
/// The largest volume that calf makes is 15 TiB. Disks are sparse, so the pool's free space does
/// not limit their size, but a full pool refuses all of them.
const TOO_LARGE: &str = "16Ti";
const REFUSAL: &str = "did not have enough free storage";
/// Space that other files take from the pool.
const SOME: u64 = 1 << 30;
/// The path of other files, next to the volumes on the same file system.
const BALLAST: &str = "/var/lib/calf/ballast";
/// A second file, since XFS needs the space of a whole file free to allocate a part of it.
const MORE_BALLAST: &str = "/var/lib/calf/more-ballast";

pub(crate) fn run(world: &World, namespace: &Namespace) -> Result<()> {
    let empty = agree(world, "with an empty pool")?;
    let result = while_others_fill_the_pool(world, namespace, empty);
    world.node.run(&format!("rm -f {BALLAST} {MORE_BALLAST}"))?;
    result?;
    // There is room again, and the waiting pod starts.
    namespace.wait_until_succeeded("waits")?;

    let pod = one_disk("too-large", TOO_LARGE);
    namespace.apply(&workload::all([pod]))?;
    refused(namespace, "too-large")
}

fn while_others_fill_the_pool(world: &World, namespace: &Namespace, empty: u64) -> Result<()> {
    world.node.run(&format!("fallocate -l {SOME} {BALLAST}"))?;
    let less = agree(world, "with 1 GiB of the pool taken")?;
    let shrunk = empty.saturating_sub(less);
    if shrunk.abs_diff(SOME) > TOLERANCE {
        return Err(format!("1 GiB taken from the pool shows as {shrunk} bytes"));
    }
    println!("capacity objects: {empty} bytes, and {less} with 1 GiB of the pool taken");

    // Fill the pool into its reserve, but not to the last block.
    world.node.run(&format!("fallocate -l {} {MORE_BALLAST}", less + TOLERANCE))?;
    let full = agree(world, "with a full pool")?;
    if full != 0 {
        return Err(format!("a pool that is filled into its reserve has {full} bytes"));
    }
    namespace.apply(&workload::all([one_disk("waits", "64Mi")]))?;
    refused(namespace, "waits")
}

fn one_disk(name: &str, size: &str) -> Value {
    let spec = workload::claim_spec(EPHEMERAL_CLASS, Mode::Block, size);
    workload::pod(name, &workload::ephemeral(&spec), Mode::Block, "true")
}

/// The scheduler says why, and nothing was made.
fn refused(namespace: &Namespace, pod: &str) -> Result<()> {
    let why = namespace.wait_until_refused(pod, REFUSAL)?;
    println!("the scheduler about {pod}: {why}");
    let claim = namespace.get("pvc", &format!("{pod}-disk"))?.unwrap_or_default();
    if claim["status"]["phase"] == "Pending" {
        return Ok(());
    }
    Err(format!("the claim that does not fit is {}", claim["status"]["phase"]))
}

/// Waits until the objects of both classes show the pool's capacity, and returns it.
fn agree(world: &World, when: &str) -> Result<u64> {
    let mut last = String::new();
    world
        .cluster
        .wait(&format!("capacity objects to agree with the pool {when}"), PUBLISHED, || {
            let pool = available(&world.cluster)?;
            let published = published(&world.cluster)?;
            last = format!("the pool has {pool} bytes, the objects say {published:?}");
            let near = |class: &str| {
                published
                    .iter()
                    .any(|(name, bytes)| name == class && bytes.abs_diff(pool) <= TOLERANCE)
            };
            Ok((near(EPHEMERAL_CLASS) && near(DURABLE_CLASS)).then_some(pool))
        })
        .map_err(|error| format!("{error}: {last}"))
}

/// The free space that the kernel reports for the pool, less calf's reserve.
fn available(cluster: &Cluster) -> Result<u64> {
    let status = release::calf(cluster, &["status", "--output", "json"])?;
    let status: Value = serde_json::from_str(&status)
        .map_err(|error| format!("calf status wrote no JSON: {error}\n{status}"))?;
    status["pool"]["available"]
        .as_u64()
        .ok_or_else(|| format!("calf status says nothing of available space: {status}"))
}

/// Each class with the bytes in its capacity object.
fn published(cluster: &Cluster) -> Result<Vec<(String, u64)>> {
    let objects = cluster.list(&["csistoragecapacities", "--namespace", NAMESPACE])?;
    let pairs = objects.iter().map(|object| {
        let class = object["storageClassName"].as_str().unwrap_or_default().to_owned();
        Ok((class, bytes(object["capacity"].as_str().unwrap_or("0"))?))
    });
    pairs.collect()
}

/// A quantity of Kubernetes, in the forms that the provisioner uses for capacities.
fn bytes(quantity: &str) -> Result<u64> {
    let digits = quantity.trim_end_matches(|unit: char| unit.is_ascii_alphabetic());
    let factor = match &quantity[digits.len()..] {
        "" => 1,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        unit => return Err(format!("the quantity {quantity} has the unknown unit {unit}")),
    };
    digits
        .parse::<u64>()
        .map(|number| number * factor)
        .map_err(|_| format!("{quantity} is no quantity"))
}
