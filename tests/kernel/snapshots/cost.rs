//! What snapshots cost: printed, and not judged.

use std::fs::File;
use std::io::IoSlice;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use calf::{VolumeSource, VolumeSpec};
use calf_test_kit::kernel;
use calf_test_kit::real_pool::{Page, Rig, open};

use crate::{delete, from_snapshot, take};

const SIZE: u64 = 2 << 30;

/// The longest write of a guest while `action` runs.
fn longest_write<T>(device: &File, action: impl FnOnce() -> T) -> (T, Duration) {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let (page, mut longest) = (Page([1; 4096]), Duration::ZERO);
            while !stop.load(Ordering::Acquire) {
                let start = Instant::now();
                device.write_all_at(&page.0, SIZE - 4096).expect("write");
                longest = longest.max(start.elapsed());
                std::thread::sleep(Duration::from_millis(1));
            }
            longest
        });
        std::thread::sleep(Duration::from_millis(50));
        let result = action();
        stop.store(true, Ordering::Release);
        (result, writer.join().expect("the writer"))
    })
}

/// Where files cannot share blocks.
pub(crate) fn print_unshared() {
    let rig = Rig::new(kernel::Fs::Ext4);
    rig.import_file_system("root", "ext4");
    for dirty in [0, 64, 512u64] {
        drop(snapshot_of_dirty(&rig, dirty));
        delete(&rig, &["v"], &["s"]);
    }
}

/// Takes snapshot `s` of a new volume `v` with so many mebibytes just written, and prints what that costs. Returns
/// the volume's device.
fn snapshot_of_dirty(rig: &Rig, dirty: u64) -> File {
    let device = rig.open(&VolumeSpec::new("v", "root").size(SIZE));
    write_all(&device, dirty);
    let start = Instant::now();
    let (taken, longest) = longest_write(&device, || take(&rig.pool, "v", "s"));
    println!(
        "{dirty} MiB dirty: snapshot in {:?}, writers waited {:?} at most, longest write {longest:?}",
        start.elapsed().saturating_sub(Duration::from_millis(50)),
        taken.waited.expect("it was made"),
    );
    device
}

/// Fills so many mebibytes from the start of the device on.
fn write_all(device: &File, mebibytes: u64) {
    let pages = vec![Page([7; 4096]); 256];
    for mebibyte in 0..mebibytes {
        let slices: Vec<_> = pages.iter().map(|page| IoSlice::new(&page.0)).collect();
        let written = rustix::io::pwritev(device, &slices, mebibyte << 20).expect("write");
        assert_eq!(written, 1 << 20);
    }
}

pub(crate) fn print() {
    let rig = Rig::new(kernel::Fs::Xfs);
    rig.import_file_system("root", "ext4");
    for dirty in [0, 64, 512u64] {
        let device = snapshot_of_dirty(&rig, dirty);
        let start = Instant::now();
        rig.pool.create_volume(&from_snapshot("copy", "s")).expect("a copy");
        let made = start.elapsed();
        drop(open(&rig.node("copy")));
        println!("{dirty} MiB: a volume of it in {made:?}, its device after {:?}", start.elapsed());
        let (taken, longest) = longest_write(&device, || take(&rig.pool, "v", "again"));
        println!(
            "{dirty} MiB: once more, writers waited {:?}, longest write {longest:?}",
            taken.waited
        );
        let ids: Vec<String> = (1..=20).map(|number| format!("fork-{number}")).collect();
        let specs: Vec<VolumeSpec> = ids
            .iter()
            .map(|id| VolumeSpec::from_source(id, VolumeSource::Volume("v".to_owned())))
            .collect();
        let volume = rig.pool.volume("v").expect("a volume id");
        let start = Instant::now();
        let (forked, longest) = longest_write(&device, || volume.fork(&specs, None));
        println!(
            "{dirty} MiB: fork of 20 in {:?}, writers waited {:?}, longest write {longest:?}",
            start.elapsed().saturating_sub(Duration::from_millis(50)),
            forked.expect("a fork").waited.expect("it was made"),
        );
        let start = Instant::now();
        for n in 0..20 {
            let spec = VolumeSpec::new(format!("fresh-{n}"), "root").size(SIZE);
            rig.pool.create_volume(&spec).expect("create");
        }
        println!("{dirty} MiB: 20 fresh volumes in {:?}", start.elapsed());
        for (n, id) in ids.iter().enumerate() {
            delete(&rig, &[id, &format!("fresh-{n}")], &[]);
        }
        drop(device);
        delete(&rig, &["v", "copy"], &["s", "again"]);
    }
}
