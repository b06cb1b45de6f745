//! What does the n-th volume cost, as n grows, separately for the engine and the kernel?
//!
//! The stores are small, so that thousands fit into a small machine's memory. The floor shows what
//! the kernel's own part costs at the same number of devices.

use std::time::Instant;

use calf::VolumeSpec;

use super::since;
use crate::contender::{Contender, Disk, Floor, Published};
use crate::series::emit;
use crate::world::World;

const ROOM: &str = "growth";
/// Bytes of each store.
const STORE: u64 = 4 << 20;
/// Number of measuring points.
const POINTS: usize = 20;

pub(super) fn growth() {
    let world = World::new();
    let _loops = world.make_loops();
    let count = world.scale.growth;
    let shape = |spec: VolumeSpec| spec.cow_limit(STORE);
    grow(&Floor::new(&world).store_for(STORE), count);
    grow(&Published::new(&world, world.pool(), shape), count);
}

fn grow(contender: &dyn Contender, count: usize) {
    let mut caller = contender.caller();
    let point = count.div_ceil(POINTS);
    let mut disks: Vec<Disk> = Vec::with_capacity(count);
    for upto in (point..=count).step_by(point) {
        let times: Vec<f64> = (disks.len()..upto)
            .map(|number| {
                let start = Instant::now();
                disks.push(caller.create(&format!("g{number}")));
                since(start)
            })
            .collect();
        emit(ROOM, &format!("{upto} volumes"), contender.name(), ("create", "ms"), &times);
    }
    while !disks.is_empty() {
        let upto = disks.len();
        let left = upto.saturating_sub(point);
        let times: Vec<f64> = disks
            .drain(left..)
            .rev()
            .map(|disk| {
                let start = Instant::now();
                caller.delete(disk);
                since(start)
            })
            .collect();
        emit(ROOM, &format!("{upto} volumes"), contender.name(), ("delete", "ms"), &times);
    }
}
