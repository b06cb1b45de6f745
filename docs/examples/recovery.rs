//! A sandbox manager after a crash, of itself or of the machine.
//!
//! ```sh
//! cargo run --example recovery -- /var/lib/calf debian-12 web-1 web-2
//! ```
//!
//! The pool and the kernel know the state of each disk. A manager only needs to keep the list of
//! sandboxes that should exist. Needs root, and a kernel with dm-snapshot.

use std::collections::BTreeMap;
use std::env;
use std::error::Error;

use calf::{Device, Durability, ErrorKind, Pool, VolumeSpec};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [pool, template, ids @ ..] = arguments.as_slice() else {
        return Err("give a pool, a template, and the ids of the sandboxes".into());
    };
    let wanted: Vec<_> = ids.iter().map(|id| VolumeSpec::new(id, template)).collect();
    for (id, device) in recover(&Pool::open(pool)?, &wanted)? {
        println!("{id} is at {}", device.path().display());
    }
    Ok(())
}

/// Brings the pool to the wanted state, from whatever a crash left: a disk for each sandbox.
pub(crate) fn recover(
    pool: &Pool,
    wanted: &[VolumeSpec],
) -> calf::Result<BTreeMap<String, Device>> {
    // Completes or undoes interrupted operations. Does not touch a disk that a VMM uses.
    for what in pool.reconcile()?.failed {
        eprintln!("not repaired yet: {what}");
    }
    let mut devices = BTreeMap::new();
    for spec in wanted {
        // Finds the volume with its content, or creates it. After a reboot, an ephemeral volume
        // starts from its template again; a durable one has what was synced.
        let volume = pool.create_volume(spec)?;
        let device = match volume.activate() {
            // A full pool may have stopped the volume: `activate` recovers it. What it cannot prove to
            // be whole begins anew here, unless somebody counts on the content.
            Err(error)
                if error.kind() == ErrorKind::Corrupt
                    && spec.durability == Durability::Ephemeral =>
            {
                volume.delete()?;
                pool.create_volume(spec)?.activate()?
            }
            device => device?,
        };
        devices.insert(spec.id.clone(), device);
    }
    for left in pool.volume_records()? {
        if wanted.iter().any(|spec| spec.id == left.id) {
            continue;
        }
        match pool.volume(&left.id)?.delete() {
            // Its VMM still runs, and the error names it.
            Err(error) if error.kind() == ErrorKind::InUse => eprintln!("{}", error.report()),
            deleted => deleted?,
        }
    }
    Ok(devices)
}
