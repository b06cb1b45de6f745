//! The kernel's memory for what volumes write: what calf says that it takes, compared with what the kernel
//! allocates.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::process::ExitCode;
use std::time::Duration;

use calf::internal::{EXCEPTION_MEMORY, store_size};
use calf::{Durability, VolumeSpec};
use calf_test_kit::kernel;
use calf_test_kit::real_pool::{Page, Random, Rig, free_memory, read_page};

const MIB: u64 = 1 << 20;

fn main() -> ExitCode {
    kernel::main(vec![
        kernel::test("exceptions_take_the_memory_that_is_told", exceptions),
        kernel::test("many_volumes_take_little_memory", many).timeout(Duration::from_secs(300)),
        kernel::test("a_volume_with_small_tables_is_used_in_full", in_full)
            .timeout(Duration::from_secs(300)),
    ])
}

/// Bytes in the kernel's cache of exceptions, free ones included; `None` if the kernel shares the cache with
/// others.
fn cache() -> Option<u64> {
    let caches = fs::read_to_string("/proc/slabinfo").expect("slabinfo");
    let line = caches.lines().find(|line| line.starts_with("dm_exception "))?;
    let number = |n| line.split_whitespace().nth(n).and_then(|word| word.parse::<u64>().ok());
    // Slabs of so many pages each.
    let (pages, slabs) = (number(5).expect("pages per slab"), number(14).expect("slabs"));
    Some(slabs * pages * 4096)
}

/// Bytes in all of the kernel's caches that cannot be reclaimed.
fn unreclaimable() -> u64 {
    let memory = fs::read_to_string("/proc/meminfo").expect("meminfo");
    let line = memory.lines().find_map(|line| line.strip_prefix("SUnreclaim:"));
    let words = line.and_then(|line| line.split_whitespace().next());
    words.and_then(|kib| kib.parse::<u64>().ok()).expect("a number of KiB") * 1024
}

/// What `work` adds to the kernel's memory.
fn added(work: impl FnOnce()) -> u64 {
    let before = (cache(), unreclaimable());
    work();
    let after = (cache(), unreclaimable());
    println!("cache of exceptions, unreclaimable caches: {before:?}, then {after:?}");
    match (before.0, after.0) {
        (before, Some(after)) => after - before.unwrap_or_default(),
        _ => after.1.saturating_sub(before.1),
    }
}

fn exceptions() {
    const COUNT: u64 = 1 << 16;
    let rig = Rig::new(kernel::Fs::Xfs);
    rig.import_random("random", 15);
    for (id, stride) in [("scattered", 2), ("in-order", 1)] {
        let spec = VolumeSpec::new(id, "random").size((64 + COUNT * 8 / 1024) * MIB);
        let device = rig.open(&spec);
        let mut chunks: Vec<u64> = (0..COUNT).map(|n| n * stride).collect();
        if stride > 1 {
            Random(7).shuffle(&mut chunks);
        }
        let page = Page([1; 4096]);
        let taken = added(|| {
            for chunk in chunks {
                device.write_all_at(&page.0, 64 * MIB + chunk * 4096).expect("write");
            }
        });
        let volume = rig.pool.volume(id).expect("a volume id");
        let (used, _) = volume.status().expect("a status").cow.expect("it is active");
        let told = used / 4096 * EXCEPTION_MEMORY;
        println!("{id}: {taken} bytes taken for {COUNT} chunks, {told} told");
        assert!(taken <= told + told / 20, "{id}: {taken} bytes are taken, and {told} told");
        match stride {
            // Each has an exception of its own.
            2 => assert!(taken >= told - told / 10, "{id}: {taken} of {told}"),
            _ => assert!(taken < told / 10, "{id}: chunks in order share exceptions: {taken}"),
        }
        drop(device);
        volume.delete().expect("delete");
    }
}

/// What calf's documents say that a volume takes, with a wide margin: a table over a whole store of 20 GiB
/// alone takes 2.25 MiB.
fn many() {
    const COUNT: u64 = 50;
    const MOST: u64 = 1400 << 10;
    let rig = Rig::new(kernel::Fs::Xfs);
    rig.import_random("random", 15);
    let ids: Vec<String> = (0..COUNT).map(|n| format!("volume-{n}")).collect();
    let volume = |id: &String| rig.pool.volume(id).expect("a volume id");
    // What the first one takes is not taken again.
    drop(rig.open(&VolumeSpec::new("first", "random")));
    for id in &ids {
        rig.pool.create_volume(&VolumeSpec::new(id, "random").size(20 << 30)).expect("create");
    }
    let each = |what: &str, before: u64| {
        let each = before.saturating_sub(free_memory()) / COUNT;
        println!("{what}: {} KiB a volume", each >> 10);
        each
    };
    for round in ["new", "activated again"] {
        let before = free_memory();
        for id in &ids {
            let device = rig.activate(id);
            device.write_all_at(&Page([1; 4096]).0, 19 << 30).expect("write");
        }
        assert!(each(round, before) < MOST, "{round}");
        if round == "new" {
            ids.iter().for_each(|id| volume(id).deactivate().expect("deactivate"));
        }
    }
    let before = free_memory();
    ids.iter().for_each(|id| drop(volume(id).expand(30 << 30).expect("expand")));
    assert!(each("grown, in addition", before) < MOST, "the growth of a volume");
    ids.iter().for_each(|id| volume(id).delete().expect("delete"));
    volume(&"first".to_owned()).delete().expect("delete");
}

/// Writes everywhere on a volume whose store was short when its table was loaded, and reads it back: now,
/// after it was activated again, and after it has grown.
fn in_full() {
    const SIZE: u64 = 96 * MIB;
    let rig = Rig::new(kernel::Fs::Xfs);
    rig.import_random("random", 17);
    for durability in [Durability::Ephemeral, Durability::Durable] {
        let spec = VolumeSpec::new("volume", "random").size(SIZE).durability(durability);
        let mut device = rig.open(&spec);
        let mut random = Random(23);
        let mut expected = BTreeMap::new();
        let volume = rig.pool.volume("volume").expect("a volume id");
        for (round, size) in [(1u8, SIZE), (2, SIZE), (3, 2 * SIZE), (4, 2 * SIZE)] {
            match round {
                2 | 4 => {
                    drop(device);
                    volume.deactivate().expect("deactivate");
                    device = rig.activate("volume");
                }
                3 => drop(volume.expand(size).expect("expand")),
                _ => {}
            }
            for (chunk, tag) in &expected {
                assert_eq!(read_page(&device, chunk * 4096).0, [*tag; 4096], "round {round}");
            }
            let (_, total) = volume.status().expect("a status").cow.expect("it is active");
            assert_eq!(total, store_size(size, None, 4096), "round {round}");
            let page = Page([round; 4096]);
            for _ in 0..6000 {
                let chunk = random.below(size / 4096);
                device.write_all_at(&page.0, chunk * 4096).expect("write");
                expected.insert(chunk, round);
            }
            for (chunk, tag) in &expected {
                assert_eq!(read_page(&device, chunk * 4096).0, [*tag; 4096], "round {round}");
            }
        }
        drop(device);
        volume.delete().expect("delete");
    }
}
