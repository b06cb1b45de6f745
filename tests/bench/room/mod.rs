//! The rooms: one question each, one file system each.

mod buffer;
mod deltas;
mod density;
mod exceptions;
mod growth;
mod guests;
mod import;
mod io;
mod memory;
mod parts;
mod pool_disk;
mod ready;
mod sandbox;
mod slow;
mod snapshots;
mod trace;
mod warm;
mod workload;

use std::time::Instant;

/// Name and body of each room, in the order in which they run.
pub(crate) const ALL: [(&str, fn()); 13] = [
    ("ready_alone", ready::alone),
    ("ready_together", ready::together),
    ("spares", warm::spares),
    ("parts", parts::parts),
    ("sandboxes", sandbox::sandboxes),
    ("input_output", io::input_output),
    ("slow_disk", slow::slow_disk),
    ("guests", guests::guests),
    ("density", density::density),
    ("exceptions", exceptions::exceptions),
    ("snapshots", snapshots::snapshots),
    ("growth", growth::growth),
    ("import", import::import),
];

/// Milliseconds since `start`.
fn since(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1000.0
}
