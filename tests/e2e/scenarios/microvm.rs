//! A pod with a generic ephemeral block volume runs a microVM whose root disk is that device. The
//! guest boots, writes, and powers off; the pod succeeds. The manifest is the documentation's.

use std::time::Duration;

use crate::microvm::MARK;
use crate::namespace::Namespace;
use crate::node::POOL;
use crate::world::World;
use crate::{Result, documentation};

/// The guest's processor is emulated, on the one emulated processor that the whole node has.
const BOOT: Duration = Duration::from_secs(900);
/// As much as the guest writes (`microvm/init.sh`).
const WRITTEN: u64 = 4 << 20;

pub(crate) fn run(world: &World, namespace: &Namespace) -> Result<()> {
    namespace.apply(&documentation::manifest(documentation::MICROVM)?)?;
    let pod = namespace.only_pod()?;
    let said = namespace.wait_until_succeeded_within(&pod, BOOT)?;
    let said: Vec<&str> = said
        .lines()
        .filter_map(|line| line.trim_end().split_once(MARK))
        .map(|(_, said)| said)
        .collect();
    for line in &said {
        println!("the guest: {line}");
    }
    // The guest reports that its disk was fresh, what it wrote, and that it finished.
    let digest = said.iter().any(|line| line.strip_prefix("sha256 ").is_some_and(is_sha256));
    if !(said.contains(&"fresh") && digest && said.last() == Some(&"done")) {
        return Err(format!("the guest did not say what it should: {said:?}"));
    }
    // The claim lives as long as the pod, and so does what the guest wrote.
    let stored = world.node.run(&format!("du --block-size=1 {POOL}/volumes/*/cow"))?;
    let stored: u64 =
        stored.lines().filter_map(|line| line.split_whitespace().next()?.parse::<u64>().ok()).sum();
    if stored < WRITTEN {
        return Err(format!("the guest wrote {WRITTEN} bytes, but its COW store has {stored}"));
    }
    println!("its COW store has {stored} bytes");
    Ok(())
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
