//! How do disks behave if the pool is on a slow or metered disk, such as a volume over a network?
//!
//! A device-mapper device delays each request to the pool's disk. How long a request really takes depends on
//! the kernel's timer, so the room reports it. Such disks are often metered by requests: the room counts those
//! that reach the disk for each write of a guest.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::time::Instant;

use calf::Durability;
use calf_test_kit::real_pool;

use super::buffer::{Buffer, PAGE};
use super::memory::drop_caches;
use super::pool_disk::{Counters, PoolDisk};
use super::{since, trace, workload};
use crate::contender::{self, Caller, Contender, Library, Script};
use crate::series::emit;
use crate::world::World;

const ROOM: &str = "slow";
/// The delay of each read, write and flush, in milliseconds.
const DELAY: u64 = 1;
/// Pages that are read and written to measure the disk itself.
const LOOKS: usize = 20;

pub(super) fn slow_disk() {
    let world = World::on_slow_disk(DELAY);
    let disk = PoolDisk::of(&world);
    the_disk_itself(&world);
    let contenders = contenders(&world);
    for round in 0..world.scale.rounds.min(2) {
        for turn in 0..contenders.len() {
            let contender = &contenders[(turn + round) % contenders.len()];
            let mut caller = contender.caller();
            Sandbox { world: &world, disk: &disk, name: contender.name(), round }
                .live(&mut *caller);
        }
        println!("{ROOM}: round {round} done");
    }
}

/// calf with two chunk sizes and both durabilities, a store that is not flushed, and the rivals.
fn contenders(world: &World) -> Vec<Box<dyn Contender>> {
    let pool = world.pool();
    let mut all: Vec<Box<dyn Contender>> = Vec::new();
    for (durability, word) in
        [(Durability::Ephemeral, "ephemeral"), (Durability::Durable, "durable")]
    {
        for kib in world.scale.chunks.iter().copied().filter(|kib| [4, 16].contains(kib)) {
            let name = format!("calf {word} {kib} KiB");
            all.push(Box::new(Library::with_shape(pool.clone(), name, move |spec| {
                spec.chunk_size(kib << 10).durability(durability)
            })));
        }
    }
    if world.scale.all_rivals_everywhere {
        all.push(Box::new(Script::new(world, "losetup+dmsetup, N 8", "N 8")));
    }
    all.extend(contender::rivals_again(world));
    all
}

/// What one request costs here.
fn the_disk_itself(world: &World) {
    let path = world.path().join("looks");
    let mut buffer = Buffer::random();
    let file = File::create(&path).expect("a file");
    file.set_len((LOOKS * PAGE) as u64).expect("a length");
    let file = real_pool::open(&path);
    for offset in (0..LOOKS * PAGE).step_by(PAGE) {
        file.write_all_at(&buffer.0[..PAGE], offset as u64).expect("write");
    }
    file.sync_all().expect("sync");
    let (mut reads, mut writes) = (Vec::new(), Vec::new());
    for offset in (0..LOOKS * PAGE).step_by(PAGE) {
        let start = Instant::now();
        file.read_exact_at(&mut buffer.0[..PAGE], offset as u64).expect("read");
        reads.push(since(start));
        let start = Instant::now();
        file.write_all_at(&buffer.0[..PAGE], offset as u64).expect("write");
        writes.push(since(start));
    }
    emit(ROOM, "a page read", "the pool's disk", ("latency", "ms"), &reads);
    emit(ROOM, "a page written", "the pool's disk", ("latency", "ms"), &writes);
    std::fs::remove_file(path).expect("unlink");
}

/// One contender's round.
struct Sandbox<'a> {
    world: &'a World,
    disk: &'a PoolDisk,
    name: &'a str,
    round: usize,
}

impl Sandbox<'_> {
    /// Each work starts on a disk of its own.
    fn live(&self, caller: &mut dyn Caller) {
        let scale = &self.world.scale;
        let boot = |device: &File| trace::replay(device, scale.template, scale.boot) / 1000.0;
        drop_caches();
        self.work(caller, "boot, nothing cached", 0, boot);
        self.work(caller, "boot, again", trace::writes(scale.boot), boot);
        let count = scale.packages;
        self.work(caller, "packages", workload::package_writes(count), |device| {
            workload::packages(device, scale.template, count)
        });
        let commits = scale.io as usize / PAGE / 4;
        let pages = workload::offsets(scale.stream..scale.template, scale.io);
        self.work(caller, "database", workload::database_writes(commits), |device| {
            workload::database(device, &pages, commits)
        });
    }

    /// Measures some work, which returns its seconds, with its `writes`: 0 if the disk's requests are not to
    /// be told for each of them.
    fn work(
        &self,
        caller: &mut dyn Caller,
        case: &str,
        writes: usize,
        work: impl FnOnce(&File) -> f64,
    ) {
        let made = caller.create(&format!("{}-{}", case.replace([' ', ','], "-"), self.round));
        let device = real_pool::open(&made.device);
        let (done, seconds): (Counters, f64) = self.disk.counted(|| work(&device));
        drop(device);
        caller.delete(made);
        emit(ROOM, case, self.name, ("time", "s"), &[seconds]);
        if writes > 0 {
            let each = done.requests() as f64 / writes as f64;
            emit(ROOM, case, self.name, ("requests to the disk per write", "×"), &[each]);
            let amplified = done.written as f64 / 1024.0 / writes as f64;
            emit(ROOM, case, self.name, ("written to the disk per write", "KiB"), &[amplified]);
        }
    }
}
