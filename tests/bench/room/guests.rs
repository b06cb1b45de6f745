//! What does the page cache cost when many guests boot from one template, with VMMs that open their disks
//! buffered and with VMMs that open them with `O_DIRECT`?
//!
//! A guest is a replay of a recorded boot. Its VMM then keeps the disk open, as a guest that runs. What the
//! kernel's memory lost is what the guests take: the page cache of their disks, of their stores and of the
//! template, and the kernel's own tables for what they wrote.

use std::fs::{File, OpenOptions};
use std::path::Path;

use calf_test_kit::real_pool;

use super::memory::{drop_caches, free};
use super::trace;
use crate::contender::{self, Contender, Disk, Library};
use crate::series::emit;
use crate::world::World;

const ROOM: &str = "guests";

/// Opens a disk as a VMM does.
type Open = fn(&Path) -> File;

const OPENED: [(&str, Open); 2] = [("buffered", buffered), ("O_DIRECT", real_pool::open)];

pub(super) fn guests() {
    let world = World::new();
    let _loops = world.make_loops();
    let mut contenders: Vec<Box<dyn Contender>> = vec![Box::new(Library::new(world.pool()))];
    contenders.extend(contender::rivals(&world, &["reflink+loop"]));
    for round in 0..world.scale.rounds.min(3) {
        for contender in &contenders {
            for (word, open) in OPENED {
                let name = format!("{}, {word}", contender.name());
                boot_all(&world, &**contender, &name, open, round);
            }
        }
    }
}

fn buffered(path: &Path) -> File {
    OpenOptions::new().read(true).write(true).open(path).expect("the disk")
}

/// Boots all guests, one after the other, on disks that are there.
fn boot_all(world: &World, contender: &dyn Contender, name: &str, open: Open, round: usize) {
    let count = world.scale.guests;
    let mut caller = contender.caller();
    let disks: Vec<Disk> =
        (0..count).map(|number| caller.create(&format!("g{round}-{number}"))).collect();
    drop_caches();
    let before = free();
    let mut running = Vec::new();
    let mut times = Vec::new();
    let mut taken = Vec::new();
    for disk in &disks {
        let device = open(&disk.device);
        times.push(trace::replay(&device, world.scale.template, world.scale.boot));
        rustix::fs::sync();
        taken.push((before as f64 - free() as f64) / 1024.0);
        running.push(device);
    }
    let case = format!("{count} guests");
    let (first, all) = (taken[0], taken[count - 1]);
    let each = (all - first) / (count - 1) as f64;
    emit(ROOM, &case, name, ("memory of the first guest", "MiB"), &[first]);
    emit(ROOM, &case, name, ("memory of each further guest", "MiB"), &[each]);
    emit(ROOM, &case, name, ("boot of the first guest", "ms"), &times[..1]);
    emit(ROOM, &case, name, ("boot of the last guest", "ms"), &times[count - 1..]);
    drop(running);
    disks.into_iter().for_each(|disk| caller.delete(disk));
}
