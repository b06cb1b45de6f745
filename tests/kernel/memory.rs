//! The kernel's memory for what volumes write: what calf says that it takes, compared with what the kernel
//! allocates.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::process::ExitCode;

use calf::VolumeSpec;
use calf::internal::EXCEPTION_MEMORY;
use calf_test_kit::kernel;
use calf_test_kit::real_pool::{Page, Random, Rig};

const MIB: u64 = 1 << 20;

fn main() -> ExitCode {
    kernel::main(vec![kernel::test("exceptions_take_the_memory_that_is_told", exceptions)])
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
