//! Snapshots of file systems that calf mounted.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use calf::{Consistency, VolumeSpec, VolumeState};
use calf_test_kit::kernel;
use calf_test_kit::real_pool::{self, Rig};

use crate::{delete, from_snapshot, take};

/// A mounted volume, its files, and a snapshot that was made while nothing was synced. Returns where a
/// volume of the snapshot has its device, not mounted yet.
fn snapshot_of(rig: &Rig, fs_type: &str) -> (calf::Publish, std::path::PathBuf) {
    rig.import_file_system("root", fs_type);
    rig.pool.create_volume(&VolumeSpec::new("v", "root")).expect("create");
    let publish = rig.publication("v", real_pool::mount());
    let volume = rig.pool.volume("v").expect("a volume id");
    volume.stage(&publish.stage).expect("stage");
    volume.publish(&publish).expect("publish");
    for n in 0..50u8 {
        fs::write(publish.target.join(format!("file-{n}")), vec![n; 10_000]).expect("write");
    }
    let taken = take(&rig.pool, "v", "s");
    println!("{fs_type}: writers waited {:?}", taken.waited);
    assert_eq!(taken.snapshot.record.consistency, Consistency::FileSystem);
    assert_eq!(volume.status().expect("it is there").state, VolumeState::Active);
    fs::write(publish.target.join("later"), "it goes on").expect("nobody waits");
    File::open(publish.target.join("later")).and_then(|file| file.sync_all()).expect("sync");
    rig.pool.create_volume(&from_snapshot("copy", "s")).expect("a copy");
    (publish, rig.node("copy"))
}

fn check_files(rig: &Rig) {
    let publish = rig.publication("copy", real_pool::mount());
    let copy = rig.pool.volume("copy").expect("a volume id");
    copy.stage(&publish.stage).expect("stage");
    copy.publish(&publish).expect("publish");
    for n in 0..50u8 {
        let file = fs::read(publish.target.join(format!("file-{n}"))).expect("a file");
        assert!(file == vec![n; 10_000], "file {n}");
    }
    assert!(!publish.target.join("later").exists());
    rig.tear_down(&publish, "copy");
}

fn end(rig: &Rig, publish: &calf::Publish) {
    rig.tear_down(publish, "v");
    delete(rig, &[], &["s"]);
}

/// Frozen, ext4 needs no recovery.
pub(crate) fn ext4(pool: kernel::Fs) {
    let rig = Rig::new(pool);
    let (publish, device) = snapshot_of(&rig, "ext4");
    let dump = real_pool::run("dumpe2fs", &["-h"], &[&device]);
    let features = dump.lines().find(|line| line.starts_with("Filesystem features"));
    assert!(!features.expect("features").contains("needs_recovery"), "{features:?}");
    real_pool::run("e2fsck", &["-f", "-n"], &[&device]);
    check_files(&rig);
    end(&rig, &publish);
}

/// XFS recovers its log at the mount, and is sound after it.
pub(crate) fn xfs() {
    let rig = Rig::new(kernel::Fs::Xfs);
    let (publish, device) = snapshot_of(&rig, "xfs");
    println!("before a mount, `xfs_repair -n` ends with {:?}", repair(&device));
    check_files(&rig);
    rig.pool.create_volume(&from_snapshot("copy", "s")).expect("a copy");
    let again = rig.publication("copy", real_pool::mount());
    let copy = rig.pool.volume("copy").expect("a volume id");
    copy.stage(&again.stage).expect("stage");
    copy.unstage(&again.stage.path).expect("unstage");
    assert_eq!(repair(&rig.node("copy")), Some(0));
    delete(&rig, &["copy"], &[]);
    end(&rig, &publish);
}

fn repair(device: &Path) -> Option<i32> {
    Command::new("xfs_repair").arg("-n").arg(device).output().expect("xfs_repair").status.code()
}
