//! How much of the kernel's memory does a volume take: calf as it is, calf with smaller copy buffers, and the
//! ioctls as every other program issues them?

use std::fs;

use calf::Pool;

use crate::contender::{Contender, Disk, Floor, Library};
use crate::series::emit;
use crate::world::World;

/// Size of the volumes; the store alone decides on the kernel's tables.
const SIZE: u64 = 20 << 30;
/// dm-mod's parameter, in KiB.
const COPY_BUFFERS: &str = "/sys/module/dm_mod/parameters/kcopyd_subjob_size_kb";
/// Most volumes of each contender at once.
const MOST: usize = 60;

/// Each round, the next contender is the first: what one leaves behind is not counted for the same one each
/// time.
pub(super) fn memory(world: &World, pool: &Pool) {
    let count = MOST.min(world.scale.dense);
    let case = format!("{count} volumes of 20 GiB");
    let unasked = fs::read_to_string(COPY_BUFFERS).ok();
    let calf = |name: &str| {
        Library::with_shape(pool.clone(), name.to_owned(), |spec| spec.chunk_size(4096).size(SIZE))
    };
    let floor = Floor::with_store(world, "floor", "PO").with_stores_of(SIZE);
    let (plain, small, least) = (
        calf("calf (library)"),
        calf("calf (library), 64 KiB copy buffers"),
        calf("calf (library), 16 KiB copy buffers"),
    );
    let mut contenders: Vec<(&dyn Contender, Option<&str>)> = vec![(&plain, None), (&floor, None)];
    if unasked.is_some() {
        contenders.extend([(&small as &dyn Contender, Some("64")), (&least, Some("16"))]);
    }
    let mut taken = vec![Vec::new(); contenders.len()];
    // The first round makes loop devices, which the kernel keeps.
    for round in 0..=world.scale.rounds {
        for turn in 0..contenders.len() {
            let number = (turn + round) % contenders.len();
            let (contender, buffers) = contenders[number];
            if let Some(value) = buffers.or(unasked.as_deref()) {
                fs::write(COPY_BUFFERS, value).expect("the parameter");
            }
            let each = of(contender, &format!("m{round}-{number}"), count);
            if round > 0 {
                taken[number].push(each);
            }
        }
    }
    if let Some(value) = &unasked {
        fs::write(COPY_BUFFERS, value).expect("the parameter");
    }
    for ((contender, _), each) in contenders.iter().zip(&taken) {
        let metric = ("kernel memory per volume", "KiB");
        emit(super::density::ROOM, &case, contender.name(), metric, each);
    }
}

/// KiB that each of `count` volumes takes.
fn of(contender: &dyn Contender, prefix: &str, count: usize) -> f64 {
    let mut caller = contender.caller();
    let before = free_of_caches();
    let disks: Vec<Disk> =
        (0..count).map(|number| caller.create(&format!("{prefix}-{number}"))).collect();
    let each = before.saturating_sub(free_of_caches()) as f64 / count as f64;
    disks.into_iter().for_each(|disk| caller.delete(disk));
    each
}

/// KiB that nothing uses, once the kernel has dropped its caches.
pub(super) fn free_of_caches() -> u64 {
    drop_caches();
    free()
}

/// Writes what is dirty, and makes the kernel forget all that it can read again.
pub(super) fn drop_caches() {
    rustix::fs::sync();
    fs::write("/proc/sys/vm/drop_caches", "3").expect("drop caches");
}

/// KiB that nothing uses, not even a cache.
pub(super) fn free() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").expect("meminfo");
    let line = text.lines().find_map(|line| line.strip_prefix("MemFree:")).expect("a line");
    line.split_whitespace().next().and_then(|word| word.parse().ok()).expect("a number")
}
