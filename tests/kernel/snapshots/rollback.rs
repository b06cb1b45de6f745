//! Volumes that return to their snapshots, also when the process is killed before each change that it makes.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::process::ExitCode;

use calf::{Durability, ErrorKind, VolumeSpec, VolumeState};
use calf_test_kit::kernel;
use calf_test_kit::real_pool::{
    self, Page, Random, Rig, TEMPLATE_SIZE, first_difference, read_page, run,
};
use calf_test_kit::victim;

use crate::{delete, take};

/// The process that dies.
const VICTIM: &str = "rollback";

/// Rolls back, if this process is to.
pub(crate) fn be_a_victim() -> Option<ExitCode> {
    victim::be(VICTIM, |pool| {
        pool.volume("v").and_then(|volume| volume.rollback("s")).expect("a rollback");
    })
}

/// All of the content returns, whether blocks are shared or copied, and as often as asked.
pub(crate) fn content(fs: kernel::Fs) {
    let rig = Rig::new(fs);
    let mut content = rig.import_random("random", 3);
    let mut random = Random(29);
    let mut write = |device: &File, content: &mut [u8]| {
        for _ in 0..300 {
            let page = Page::random(&mut random);
            let at = random.below(TEMPLATE_SIZE / 4096) * 4096;
            device.write_all_at(&page.0, at).expect("write");
            content[at as usize..at as usize + 4096].copy_from_slice(&page.0);
        }
    };
    let device = rig.open(&VolumeSpec::new("v", "random").durability(Durability::Durable));
    write(&device, &mut content);
    drop(device);
    let volume = rig.pool.volume("v").expect("a volume id");
    // Elsewhere than on XFS and Btrfs, it must be at rest.
    volume.deactivate().expect("deactivate");
    take(&rig.pool, "v", "s");
    let mut changed = content.clone();
    for round in 0..3 {
        let device = rig.activate("v");
        write(&device, &mut changed);
        device.sync_all().expect("sync");
        assert!(first_difference(&device, &content).is_some(), "round {round}");
        let error = volume.rollback("s").expect_err("it is open");
        assert_eq!(error.kind(), ErrorKind::InUse, "{error:?}");
        assert_eq!(volume.status().expect("it is there").state, VolumeState::Active);
        drop(device);
        volume.rollback("s").expect("a rollback");
        let device = rig.activate("v");
        assert_eq!(first_difference(&device, &content), None, "round {round}");
    }
    // A volume that is larger by now shows zeros behind the snapshot's end.
    volume.expand(2 * TEMPLATE_SIZE).expect("expand");
    let device = rig.activate("v");
    device.write_all_at(&Page([7; 4096]).0, 2 * TEMPLATE_SIZE - 4096).expect("write");
    drop(device);
    volume.rollback("s").expect("a rollback");
    let device = rig.activate("v");
    assert_eq!(first_difference(&device, &content), None);
    assert_eq!(read_page(&device, 2 * TEMPLATE_SIZE - 4096).0, [0; 4096]);
    drop(device);
    delete(&rig, &["v"], &["s"]);
}

/// A file system has its former files, is sound, and grows again.
pub(crate) fn file_system() {
    let rig = Rig::new(kernel::Fs::Xfs);
    rig.import_file_system("root", "ext4");
    rig.pool.create_volume(&VolumeSpec::new("v", "root")).expect("create");
    let publish = rig.publication("v", real_pool::mount());
    let volume = rig.pool.volume("v").expect("a volume id");
    let mount = || {
        volume.stage(&publish.stage).expect("stage");
        volume.publish(&publish).expect("publish");
    };
    let unmount = || {
        volume.unpublish(&publish.target).expect("unpublish");
        volume.unstage(&publish.stage.path).expect("unstage");
    };
    let total = || {
        let statistics = volume.statistics(&publish.target).expect("it is there");
        statistics.file_system.expect("a file system").total
    };
    mount();
    fs::write(publish.target.join("early"), "kept").expect("write");
    take(&rig.pool, "v", "s");
    fs::write(publish.target.join("late"), "lost").expect("write");
    let error = volume.rollback("s").expect_err("it is mounted");
    assert!(error.report().contains("mounted or published at"), "{}", error.report());
    unmount();
    let size = volume.status().expect("it is there").record.size;
    volume.expand(2 * size).expect("expand");
    mount();
    let grown = total();
    unmount();
    volume.rollback("s").expect("a rollback");
    let node = rig.node("v");
    run("e2fsck", &["-f", "-n"], &[&node]);
    mount();
    assert_eq!(fs::read_to_string(publish.target.join("early")).expect("a file"), "kept");
    assert!(!publish.target.join("late").exists());
    assert_eq!(total(), grown, "it has grown again");
    unmount();
    delete(&rig, &["v"], &["s"]);
}

/// Kills before change 1, 2, … until there are no more: the volume has the one content or the other.
pub(crate) fn killed() {
    let rig = Rig::new(kernel::Fs::Xfs);
    rig.import_random("random", 3);
    let write = |byte: u8| {
        let device = rig.open(&VolumeSpec::new("v", "random"));
        for block in 0..64 {
            device.write_all_at(&Page([byte; 4096]).0, block * 4096).expect("write");
        }
    };
    write(1);
    take(&rig.pool, "v", "s");
    let (mut kills, mut rolled_back) = (0, 0);
    for n in 1.. {
        write(2);
        if !victim::kill(VICTIM, &rig.pool, n) {
            break;
        }
        kills += 1;

        let report = rig.pool.reconcile().expect("reconcile");
        assert_eq!(report.failed, Vec::<String>::new(), "change {n}");
        let left = fs::read_dir(rig.pool.root().join("snapshots")).map_or(0, Iterator::count);
        assert_eq!(left, 1, "change {n}: a half-made store stays");
        let device = rig.activate("v");
        let first = read_page(&device, 0).0[0];
        assert!([1, 2].contains(&first), "change {n}: {first}");
        for block in 0..64 {
            assert_eq!(read_page(&device, block * 4096).0, [first; 4096], "change {n}: a mixture");
        }
        rolled_back += u64::from(first == 1);
    }
    println!("killed {kills} times, {rolled_back} of them after the volume was rolled back");
    assert!(kills >= 5 && rolled_back > 0, "{kills} changes, {rolled_back} after the rename");
    let device = rig.activate("v");
    assert_eq!(read_page(&device, 63 * 4096).0, [1; 4096], "the last one was not killed");
    drop(device);
    delete(&rig, &["v"], &["s"]);
}
