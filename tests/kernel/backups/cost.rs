//! What a comparison costs, and an export of what changed: printed, and not judged.

use std::os::unix::fs::FileExt as _;
use std::time::Instant;

use calf::{ExportSpec, Pool, SnapshotImportSpec, SnapshotSpec, VolumeSpec};
use calf_test_kit::kernel;
use calf_test_kit::real_pool::{Page, Random, Rig};

/// Of 4 KiB.
const WRITTEN: u64 = 100_000;
const REWRITTEN: u64 = 10_000;

pub(crate) fn print() {
    let rig = Rig::new(kernel::Fs::Xfs);
    rig.import_random("random", 3);
    let size = 1 << 30;
    let device = rig.open(&VolumeSpec::new("v", "random").size(size));
    let volume = rig.pool.volume("v").expect("an id");
    let mut order: Vec<u64> = (0..size / 4096).collect();
    Random(9).shuffle(&mut order);
    let start = Instant::now();
    for chunk in &order[..WRITTEN as usize] {
        device.write_all_at(&Page([1; 4096]).0, chunk * 4096).expect("write");
    }
    println!("wrote {WRITTEN} chunks in {:?}", start.elapsed());
    volume.take_snapshot(&SnapshotSpec::new("first")).expect("a snapshot");
    for chunk in order[..WRITTEN as usize].iter().step_by((WRITTEN / REWRITTEN) as usize) {
        device.write_all_at(&Page([2; 4096]).0, chunk * 4096).expect("write");
    }
    volume.take_snapshot(&SnapshotSpec::new("second")).expect("a snapshot");
    let [first, second] = ["first", "second"].map(|it| rig.pool.snapshot(it).expect("a name"));
    let mut times = Vec::new();
    for _ in 0..5 {
        let start = Instant::now();
        let blocks = second.changed_since(&first).expect("a comparison");
        times.push(start.elapsed());
        assert_eq!(blocks.bytes(), REWRITTEN * 4096, "exact");
    }
    times.sort();
    println!(
        "{WRITTEN} chunks at random, {REWRITTEN} rewritten: compared in {:?} (median of 5, {:?} to {:?})",
        times[2], times[0], times[4]
    );
    let start = Instant::now();
    let blocks = second.allocated().expect("ranges");
    println!("allocated: {} ranges in {:?}", blocks.ranges().len(), start.elapsed());
    transfers(&rig.pool);
    drop(device);
    volume.delete().expect("delete");
}

/// Exports and imports what was written, and then what was rewritten.
fn transfers(pool: &Pool) {
    for (name, base) in [("first", None), ("second", Some("first".to_owned()))] {
        let (start, mut stream) = (Instant::now(), Vec::new());
        let spec = ExportSpec::new(name).base(base.clone());
        let exported = pool.export_snapshot(&spec, &mut stream, &mut |_| ()).expect("an export");
        let export = start.elapsed();
        let start = Instant::now();
        let spec = SnapshotImportSpec::new(format!("{name}-again")).base(base);
        pool.import_snapshot(&spec, &mut &stream[..], &mut |_| ()).expect("an import");
        println!(
            "{} chunks exported in {export:?} to {} MiB, imported in {:?}",
            exported.content / 4096,
            exported.length >> 20,
            start.elapsed()
        );
    }
}
