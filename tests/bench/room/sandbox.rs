//! The sandbox case: five sandboxes of one root image, each nominally with 1,536 MiB of memory.
//!
//! The room compares the total time until five disks are ready, and the disk space that they take
//! after the first writes of a boot in each. The nominal memory is a sparse file, as a VMM maps it,
//! which shows that this memory costs nothing.

use std::fs::File;
use std::time::Instant;

use calf_test_kit::real_pool::{self, Page, Random};

use super::since;
use crate::contender::{self, Contender, Disk, Grpc};
use crate::series::emit;
use crate::world::World;

const SANDBOXES: usize = 5;
/// Bytes of memory of each.
const MEMORY: u64 = 1536 << 20;
/// Pages of 4 KiB that each sandbox writes at its start.
const WRITES: u64 = 256;

pub(super) fn sandboxes() {
    let world = World::new();
    let pool = world.pool();
    let mut contenders: Vec<Box<dyn Contender>> = vec![Box::new(Grpc::new(&world, &pool, &[]))];
    let rivals = ["losetup+dmsetup", "reflink+loop", "copy+loop"];
    contenders.extend(contender::rivals(&world, &rivals));
    let memory = world.directory("memory");
    for round in 0..world.scale.rounds.min(3) {
        for contender in &contenders {
            // Five copies of a large image may not fit next to the leftovers of other contenders.
            let before = world.free();
            let mut caller = contender.caller();
            let start = Instant::now();
            let disks: Vec<Disk> = (0..SANDBOXES)
                .map(|number| {
                    let paper = File::create(memory.join(format!("{number}"))).expect("a file");
                    paper.set_len(MEMORY).expect("a length");
                    caller.create(&format!("s{round}-{number}"))
                })
                .collect();
            let time = since(start);
            disks.iter().for_each(|disk| world.check(&disk.device));
            disks.iter().for_each(|disk| boot(disk, world.scale.template));
            let space = before.saturating_sub(world.free()) as f64 / 1024.0;
            disks.into_iter().for_each(|disk| caller.delete(disk));
            let name = contender.name();
            emit("sandboxes", "5 sandboxes", name, ("ready, all", "ms"), &[time]);
            emit(
                "sandboxes",
                "5 sandboxes",
                name,
                ("disk, all, 1 MiB written in each", "KiB"),
                &[space],
            );
        }
    }
}

/// The writes of a boot, scattered like those of a file system.
fn boot(disk: &Disk, size: u64) {
    let device = real_pool::open(&disk.device);
    let mut random = Random(11);
    let page = Page::random(&mut random);
    for _ in 0..WRITES {
        let offset = random.below(size / 4096) * 4096;
        std::os::unix::fs::FileExt::write_all_at(&device, &page.0, offset).expect("write");
    }
}
