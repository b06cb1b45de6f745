//! How long a pod waits for its disk.
//!
//! The time starts when kube-apiserver receives the pod's creation (in its audit log, in
//! microseconds). It ends when calf has published the volume, that is, when NodePublishVolume
//! succeeded (in the driver's log, in microseconds). It includes the scheduler, the provisioner and
//! the kubelet, so it is the time that a user waits; calf's own calls are also listed separately.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use crate::Result;
use crate::namespace::Namespace;
use crate::release::NAMESPACE;
use crate::world::World;

/// The calls that make and show a volume.
const CALLS: [&str; 3] = ["CreateVolume", "NodeStageVolume", "NodePublishVolume"];

/// Prints the distribution over these pods.
pub(crate) fn report(world: &World, namespace: &Namespace, pods: &[String]) -> Result<()> {
    let created = creations(world, namespace)?;
    let volumes = volumes(namespace)?;
    let calls = driver_calls(world)?;
    let mut waits = Vec::new();
    let mut own = Vec::new();
    for pod in pods {
        let missing = |what: &str| format!("{pod}: {what} is not to be found");
        let from = created.get(pod).ok_or_else(|| missing("its creation in the audit log"))?;
        let volume = volumes.get(pod).ok_or_else(|| missing("its volume"))?;
        let of_volume = || calls.iter().filter(|call| call.volume.contains(volume.as_str()));
        let ready = of_volume()
            .filter(|call| call.method == "NodePublishVolume")
            .map(|call| call.ended)
            .min()
            .ok_or_else(|| missing("NodePublishVolume in the driver's log"))?;
        waits.push(ready.duration_since(*from).unsigned_abs());
        own.push(of_volume().map(|call| call.took).sum());
    }
    println!(
        "pod created -> volume published, {} pods at once: {}",
        pods.len(),
        spread(&mut waits)
    );
    println!("of that in calf's own calls: {}", spread(&mut own));
    Ok(())
}

/// When kube-apiserver received each pod of a namespace.
fn creations(world: &World, namespace: &Namespace) -> Result<BTreeMap<String, Timestamp>> {
    let path = &world.audit_log;
    let text = fs::read_to_string(path)
        .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let mut created = BTreeMap::new();
    for line in text.lines() {
        let event: Value = parse(line)?;
        let about = &event["objectRef"];
        if about["namespace"] != namespace.name.as_str() || !about["subresource"].is_null() {
            continue;
        }
        let name = about["name"].as_str().unwrap_or_default().to_owned();
        created.insert(name, time(&event["requestReceivedTimestamp"])?);
    }
    Ok(created)
}

/// The volume's name of each pod that has one ephemeral claim.
fn volumes(namespace: &Namespace) -> Result<BTreeMap<String, String>> {
    let claims = namespace.cluster.list(&["pvc", "--namespace", &namespace.name])?;
    let pairs = claims.iter().filter_map(|claim| {
        let pod = claim["metadata"]["ownerReferences"][0]["name"].as_str()?;
        Some((pod.to_owned(), claim["spec"]["volumeName"].as_str()?.to_owned()))
    });
    Ok(pairs.collect())
}

/// A call that the driver answered with success.
struct Call {
    method: String,
    volume: String,
    ended: Timestamp,
    took: Duration,
}

fn driver_calls(world: &World) -> Result<Vec<Call>> {
    // Read the files, since kubectl shows the log of only one container, which may have been
    // restarted.
    let log = world.node.run(&format!("cat /var/log/pods/{NAMESPACE}_*/calf/*.log"))?;
    let mut calls = Vec::new();
    // containerd writes the time and the stream in front of calf's JSON.
    for line in log.lines().filter_map(|line| line.find('{').map(|at| &line[at..])) {
        let entry: Value = parse(line)?;
        let method = entry["method"].as_str().unwrap_or_default();
        if entry["code"] != "OK" || !CALLS.contains(&method) {
            continue;
        }
        calls.push(Call {
            method: method.to_owned(),
            volume: entry["volume"].as_str().unwrap_or_default().to_owned(),
            ended: time(&entry["timestamp"])?,
            took: Duration::from_secs_f64(entry["elapsed_ms"].as_f64().unwrap_or_default() / 1e3),
        });
    }
    Ok(calls)
}

fn parse(line: &str) -> Result<Value> {
    serde_json::from_str(line).map_err(|error| format!("no JSON ({error}): {line}"))
}

fn time(value: &Value) -> Result<Timestamp> {
    let text = value.as_str().unwrap_or_default();
    text.parse().map_err(|error| format!("{text:?} is no time: {error}"))
}

fn spread(durations: &mut [Duration]) -> String {
    durations.sort_unstable();
    let at = |share: f64| {
        // A fraction of a small count, so neither sign nor precision can be lost.
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss
        )]
        let index = ((durations.len() - 1) as f64 * share) as usize;
        format!("{:.3} s", durations[index].as_secs_f64())
    };
    format!("least {}, median {}, most {}", at(0.0), at(0.5), at(1.0))
}
