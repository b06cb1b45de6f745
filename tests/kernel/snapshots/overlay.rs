//! Overlays of volumes in use, where files cannot share blocks: what a crash of the machine leaves of them, and the
//! kernel's memory that they give back.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::process::ExitCode;

use calf::{Durability, ErrorKind, Key, SnapshotSpec, VolumeSpec, VolumeState};
use calf_test_kit::fault_run::Filler;
use calf_test_kit::kernel;
use calf_test_kit::real_pool::{Page, Random, Rig, TEMPLATE_SIZE, free_memory, read_page};
use calf_test_kit::victim;

use crate::{delete, take};

const VICTIM: &str = "overlay";

/// Makes a snapshot, if this process is to.
pub(crate) fn be_a_victim() -> Option<ExitCode> {
    victim::be(VICTIM, |pool| {
        let volume = pool.volume("v").expect("a volume id");
        volume.take_snapshot(&SnapshotSpec::new("s")).expect("a snapshot");
    })
}

fn file(rig: &Rig, id: &str) -> std::path::PathBuf {
    rig.pool.root().join("volumes").join(Key::of(id).as_str()).join("overlay")
}

/// Whether a volume has an overlay.
pub(crate) fn is_left(rig: &Rig, id: &str) -> bool {
    file(rig, id).exists()
}

/// Whether what is written to a volume goes to an overlay.
fn is_used(rig: &Rig, id: &str) -> bool {
    let mut devices = fs::read_dir("/sys/block").expect("sysfs").flatten();
    let base = format!("{}-base", Key::of(id));
    let base = devices.find(|device| {
        let name = fs::read_to_string(device.path().join("dm/name")).unwrap_or_default();
        name.trim_end().ends_with(&base)
    });
    is_left(rig, id)
        && base.is_some_and(|base| {
            fs::read_dir(base.path().join("holders")).is_ok_and(|holders| holders.count() > 0)
        })
}

/// Kills a process that makes a snapshot of the volume, such that the volume is over an overlay then.
fn leave_overlay(rig: &Rig) {
    for n in 1.. {
        assert!(victim::kill(VICTIM, &rig.pool, n), "no kill leaves an overlay in use");
        if is_used(rig, "v") {
            return;
        }
    }
}

/// The process is killed while the volume is over an overlay, and the machine crashes after the guest's next sync.
pub(crate) fn crash() {
    let page = |n: u8| Page([n; 4096]);
    if kernel::boot_count() == 0 {
        let rig = Rig::new(kernel::Fs::Ext4);
        rig.import_random("random", 3);
        let spec = VolumeSpec::new("v", "random").durability(Durability::Durable);
        let device = rig.open(&spec);
        for n in 0..64 {
            device.write_all_at(&page(n).0, u64::from(n) * 4096).expect("write");
        }
        // Not synced: the cut must see to it, since the guest's flushes no longer reach the store.
        leave_overlay(&rig);
        for n in (0..64).step_by(2) {
            device.write_all_at(&page(100 + n).0, u64::from(n) * 4096).expect("write");
        }
        device.write_all_at(&page(99).0, TEMPLATE_SIZE / 2).expect("write");
        device.sync_all().expect("sync");
        kernel::crash_and_reboot();
    }
    let rig = Rig::reopen(kernel::Fs::Ext4);
    let report = rig.pool.reconcile().expect("reconcile");
    assert_eq!(report.failed, Vec::<String>::new());
    assert!(is_left(&rig, "v"), "it is merged when the volume is activated");
    let device = rig.activate("v");
    assert!(!is_left(&rig, "v"));
    for n in 0..64 {
        let expected = if n % 2 == 0 { 100 + n } else { n };
        assert_eq!(read_page(&device, u64::from(n) * 4096).0, [expected; 4096], "page {n}");
    }
    assert_eq!(read_page(&device, TEMPLATE_SIZE / 2).0, [99; 4096]);
    drop(device);
    delete(&rig, &["v"], &[]);
    assert_eq!(rig.pool.snapshots().expect("a list"), []);
}

/// The pool gets full, and nobody guards it: the kernel stops the volume. Once it was down, it comes back with all that
/// was acknowledged, before the cut and after it.
pub(crate) fn full() {
    let rig = Rig::new(kernel::Fs::Ext4);
    rig.import_random("random", 3);
    let spec = VolumeSpec::new("v", "random").durability(Durability::Durable);
    let device = rig.open(&spec);
    let (mut random, mut written) = (Random(31), BTreeMap::new());
    let mut write = |written: &mut BTreeMap<u64, Box<Page>>| {
        let at = random.below(TEMPLATE_SIZE / 4096) * 4096;
        let page = Page::random(&mut random);
        // Nobody can tell what a page has whose write failed.
        written.remove(&at);
        device.write_all_at(&page.0, at).and_then(|()| device.sync_data())?;
        written.insert(at, page);
        Ok::<(), std::io::Error>(())
    };
    for _ in 0..200 {
        write(&mut written).expect("write");
    }
    leave_overlay(&rig);
    let filler = Filler::leaving(rig.disk.path(), 4 << 20);
    while write(&mut written).is_ok() {}
    let volume = rig.pool.volume("v").expect("a volume id");
    assert_eq!(volume.status().expect("it is there").state, VolumeState::Invalid);
    assert_eq!(volume.activate().expect_err("it is stopped").kind(), ErrorKind::NoSpace);
    drop(device);
    volume.deactivate().expect("deactivate");
    assert_eq!(volume.activate().expect_err("no room").kind(), ErrorKind::NoSpace);
    drop(filler);
    let device = rig.activate("v");
    assert!(!is_left(&rig, "v"));
    assert!(written.len() > 300, "only {} pages", written.len());
    for (at, page) in &written {
        assert!(read_page(&device, *at).0 == page.0, "what is at {at} was acknowledged");
    }
    drop(device);
    delete(&rig, &["v"], &["s"]);
}

pub(crate) fn memory() {
    const SNAPSHOTS: u64 = 50;
    let rig = Rig::new(kernel::Fs::Ext4);
    rig.import_random("random", 3);
    let device = rig.open(&VolumeSpec::new("v", "random").size(20 << 30));
    device.write_all_at(&Page([1; 4096]).0, 10 << 30).expect("write");
    let snapshot = || {
        take(&rig.pool, "v", "s");
        delete(&rig, &[], &["s"]);
    };
    snapshot();
    let before = free_memory();
    (0..SNAPSHOTS).for_each(|_| snapshot());
    let lost = before.saturating_sub(free_memory());
    println!("{} KiB less are free after {SNAPSHOTS} snapshots", lost >> 10);
    // Had each left only the smaller of its tables, it would be more.
    assert!(lost < 8 << 20, "{lost} bytes");
    assert_eq!(read_page(&device, 10 << 30).0, [1; 4096]);
    drop(device);
    delete(&rig, &["v"], &[]);
}
