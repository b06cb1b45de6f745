//! What a commit costs, and what a copy of the device would: printed, and not judged.

use std::fs::{self, File};
use std::io::IoSlice;
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

use calf::{CommitSpec, SnapshotSpec, VolumeSpec};
use calf_test_kit::kernel;
use calf_test_kit::real_pool::{Page, Random, Rig, open_for_reading};

use crate::{of_snapshot, remove};

const SIZE: u64 = 1 << 30;
/// Chunks of 4 KiB in one percent of it.
const PERCENT: u64 = SIZE / 4096 / 100;
/// Chunks of a burst.
const BURST: u64 = 256;

pub(crate) fn print() {
    let rig = Rig::new(kernel::Fs::Xfs);
    import(&rig);
    for (name, burst) in [("in bursts of 1 MiB", BURST), ("scattered", 1)] {
        let device = rig.open(&VolumeSpec::new("v", "large"));
        let mut random = Random(5);
        for _ in 0..PERCENT / burst {
            let at = random.below(SIZE / 4096 / burst) * burst;
            for n in 0..burst {
                device.write_all_at(&Page([7; 4096]).0, (at + n) * 4096).expect("write");
            }
        }
        let volume = rig.pool.volume("v").expect("an id");
        let chunks = volume.take_snapshot(&SnapshotSpec::new("s")).expect("a snapshot").snapshot;
        let mut times = Vec::new();
        for n in 0..5 {
            let start = Instant::now();
            let name = format!("made-{n}");
            let spec = CommitSpec::new(of_snapshot("s"), &name);
            let committed = rig.pool.commit_template(&spec, &mut |_| ()).expect("a template");
            times.push(start.elapsed());
            assert_eq!(committed.copied, 0);
            remove(&rig.pool, &[], &[], &[&name]);
        }
        times.sort();
        let start = Instant::now();
        copy(&rig, &open_for_reading(&rig.node("v")));
        let copied = start.elapsed();
        println!(
            "1 GiB, {} chunks written {name}: committed in {:?} (median of 5, {:?} to {:?}), copied and \
             synced in {copied:?}, {:.0} times as long",
            chunks.record.chunks,
            times[2],
            times[0],
            times[4],
            ratio(copied, times[2]),
        );
        let spec = CommitSpec::new(of_snapshot("s"), "read").digest(true);
        let start = Instant::now();
        rig.pool.commit_template(&spec, &mut |_| ()).expect("a template");
        println!("with its digest: {:?}", start.elapsed());
        drop(device);
        remove(&rig.pool, &["v"], &["s"], &["read"]);
    }
}

fn ratio(long: Duration, short: Duration) -> f64 {
    long.as_secs_f64() / short.as_secs_f64()
}

/// A template of a GiB, all of it data.
fn import(rig: &Rig) {
    let source = rig.disk.path().join("large.img");
    let file = File::create(&source).expect("an image");
    let mut random = Random(11);
    let mut part = vec![0; 1 << 20];
    for at in (0..SIZE).step_by(part.len()) {
        random.fill(&mut part);
        file.write_all_at(&part, at).expect("write");
    }
    let spec = calf::ImportSpec::new(source.as_path(), "large");
    rig.pool.import_template(&spec, &mut |_| ()).expect("an import");
    fs::remove_file(source).expect("the source is not needed any more");
}

/// Copies all of the device to a file, and waits for the disk.
fn copy(rig: &Rig, device: &File) {
    let path = rig.disk.path().join("copy");
    let file = File::create(&path).expect("a file");
    let mut pages = vec![Page([0; 4096]); 256];
    for at in (0..SIZE).step_by(1 << 20) {
        let mut slices: Vec<_> =
            pages.iter_mut().map(|page| std::io::IoSliceMut::new(&mut page.0)).collect();
        assert_eq!(rustix::io::preadv(device, &mut slices, at).expect("read"), 1 << 20);
        let slices: Vec<_> = pages.iter().map(|page| IoSlice::new(&page.0)).collect();
        assert_eq!(rustix::io::pwritev(&file, &slices, at).expect("write"), 1 << 20);
    }
    file.sync_all().expect("sync");
    fs::remove_file(path).expect("remove");
}
