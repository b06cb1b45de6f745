//! The rooms: one question each, one file system each.

mod density;
mod growth;
mod import;
mod io;
mod memory;
mod parts;
mod ready;
mod sandbox;
mod warm;

use std::time::Instant;

/// Name and body of each room, in the order in which they run.
pub(crate) const ALL: [(&str, fn()); 9] = [
    ("ready_alone", ready::alone),
    ("ready_together", ready::together),
    ("spares", warm::spares),
    ("parts", parts::parts),
    ("sandboxes", sandbox::sandboxes),
    ("input_output", io::input_output),
    ("density", density::density),
    ("growth", growth::growth),
    ("import", import::import),
];

/// Milliseconds since `start`.
fn since(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1000.0
}
