//! Pods that use their disks continuously, and would show if one stopped working: one with a block
//! device, one with a file system.
//!
//! Each writes a number to its disk once a second, reads it back, and prints it. The test reads the
//! output from the node's files, where the runtime writes it, so that it works while the kubelet is
//! down.

use std::thread;
use std::time::{Duration, Instant};

use calf_test_kit::kernel::environment::stretched;

use serde_json::Value;

use crate::Result;
use crate::namespace::Namespace;
use crate::release::EPHEMERAL_CLASS;
use crate::workload::{self, DEVICE, MOUNT, Mode};
use crate::world::{TEMPLATE_BYTES, World};

pub(crate) const BLOCK: &str = "block-worker";
pub(crate) const MOUNTED: &str = "mounted-worker";

/// How many more numbers prove that a disk works.
const ENOUGH: u64 = 3;
const LIMIT: Duration = Duration::from_secs(120);

/// Starts both workers, and waits until they work.
pub(crate) fn start(world: &World, namespace: &Namespace) -> Result<()> {
    let size = TEMPLATE_BYTES.to_string();
    let pods = [
        (BLOCK, Mode::Block, "dd of=DISK conv=notrunc,fsync 2>/dev/null", "head -n 1 DISK"),
        (MOUNTED, Mode::Filesystem, "cat > DISK/number && sync", "cat DISK/number"),
    ];
    let pods = pods.map(|(name, mode, write, read)| {
        let place = if matches!(mode, Mode::Block) { DEVICE } else { MOUNT };
        let script = SCRIPT.replace("WRITE", write).replace("READ", read).replace("DISK", place);
        let volume = workload::ephemeral(&workload::claim_spec(EPHEMERAL_CLASS, mode, &size));
        workload::pod(name, &volume, mode, &script)
    });
    namespace.apply(&workload::all(pods))?;
    for name in [BLOCK, MOUNTED] {
        namespace.wait_until_ready(name)?;
        works(world, namespace, name)?;
    }
    Ok(())
}

const SCRIPT: &str = r#"
number=0
while :; do
    number=$((number + 1))
    echo "$number" | WRITE
    found=$(READ)
    [ "$found" = "$number" ] || { echo "wrote $number, read $found"; exit 1; }
    echo "$number"
    sleep 1
done
"#;

/// Waits until a worker has written and read some more, past what memory may hold of its disk.
pub(crate) fn works(world: &World, namespace: &Namespace, worker: &str) -> Result<()> {
    // From here on, reads come from the disk.
    world.node.run("sync; echo 3 > /proc/sys/vm/drop_caches")?;
    let deadline = Instant::now() + stretched(LIMIT);
    let before = last_number(world, namespace, worker)?;
    loop {
        let now = last_number(world, namespace, worker)?;
        if now >= before + ENOUGH {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("{worker} does not go on: it was at {before}, and is at {now}"));
        }
        thread::sleep(Duration::from_millis(500));
    }
}

/// Checks that a worker's container was not restarted.
pub(crate) fn never_restarted(namespace: &Namespace, worker: &str) -> Result<()> {
    let pod = namespace.get("pod", worker)?.unwrap_or_default();
    let container = &pod["status"]["containerStatuses"][0];
    match container["restartCount"].as_u64() {
        Some(0) if !container["state"]["running"].is_null() => Ok(()),
        _ => Err(format!("{worker} did not stay alive: {container}")),
    }
}

fn last_number(world: &World, namespace: &Namespace, worker: &str) -> Result<u64> {
    let log = format!("/var/log/pods/{}_{worker}_*/main/0.log", namespace.name);
    let line = world.node.run(&format!("tail -n 1 {log}"))?;
    let said = line.split_whitespace().last().unwrap_or("0");
    said.parse().map_err(|_| format!("{worker} failed: {line}"))
}

/// How often a pod's container was restarted.
pub(crate) fn restarts(pod: &Value, container: &str) -> u64 {
    let statuses = pod["status"]["containerStatuses"].as_array();
    let status = statuses.into_iter().flatten().find(|status| status["name"] == container);
    status.and_then(|status| status["restartCount"].as_u64()).unwrap_or(0)
}
