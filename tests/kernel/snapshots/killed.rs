//! The process is killed before each change that it makes, in turn, while it makes a snapshot of a volume in
//! use, a volume of that, a fork, and a group of snapshots with another volume. Nothing may be half done for good, and
//! nobody may wait.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::process::ExitCode;

use calf::{GroupSnapshotSpec, SnapshotSpec, VolumeSource, VolumeSpec, VolumeState};
use calf_test_kit::kernel;
use calf_test_kit::real_pool::{self, Page, Rig, open_for_reading, read_page};
use calf_test_kit::victim;

use crate::{from_snapshot, overlay};

/// The process that dies.
const VICTIM: &str = "snapshot";

const FORKS: [&str; 2] = ["fork-1", "fork-2"];

/// How the volume is used meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    Block,
    Mounted,
}

/// Makes and deletes, if this process is to.
pub(crate) fn be_a_victim() -> Option<ExitCode> {
    victim::be(VICTIM, |pool| {
        let volume = pool.volume("v").expect("a volume id");
        volume.take_snapshot(&SnapshotSpec::new("s")).expect("a snapshot");
        let copy = pool.create_volume(&from_snapshot("copy", "s")).expect("a copy");
        copy.activate().expect("activate");
        copy.delete().expect("delete");
        pool.snapshot("s").and_then(|snapshot| snapshot.delete()).expect("delete");
        let forks =
            FORKS.map(|id| VolumeSpec::from_source(id, VolumeSource::Volume("v".to_owned())));
        for fork in volume.fork(&forks, None).expect("a fork").volumes {
            fork.delete().expect("delete");
        }
        pool.take_group_snapshot(&GroupSnapshotSpec::new("g", ["v", "w"])).expect("a group");
        pool.group_snapshot("g").and_then(|group| group.delete()).expect("delete");
    })
}

/// Kills before change 1, 2, … until there are no more.
pub(crate) fn survives(fs: kernel::Fs, how: Use) {
    let rig = Rig::new(fs);
    rig.import_file_system("root", "ext4");
    rig.pool.create_volume(&VolumeSpec::new("v", "root")).expect("create");
    let publish = rig.publication("v", real_pool::mount());
    let volume = rig.pool.volume("v").expect("a volume id");
    if how == Use::Mounted {
        volume.stage(&publish.stage).expect("stage");
        volume.publish(&publish).expect("publish");
    }
    let device = rig.node("v");
    rig.open(&VolumeSpec::new("w", "root"));
    let mut kills = 0;
    for n in 1.. {
        write(&rig, how, n);
        if !victim::kill(VICTIM, &rig.pool, n) {
            break;
        }
        kills += 1;

        let report = rig.pool.reconcile().expect("reconcile");
        assert_eq!(report.failed, Vec::<String>::new(), "change {n}");
        for volume in rig.pool.volumes().expect("volumes") {
            assert_ne!(volume.state, VolumeState::Interrupted, "change {n}: {volume:?}");
        }
        assert_eq!(volume.status().expect("it is there").state, VolumeState::Active);
        assert!(["v", "w"].iter().all(|id| !overlay::is_left(&rig, id)), "change {n}");
        // Whoever uses the volume goes on.
        write(&rig, how, n + 1);
        rig.activate("w").write_all_at(&Page([n as u8; 4096]).0, 1 << 20).expect("write");
        let directory = rig.pool.root().join("snapshots");
        let directories = fs::read_dir(directory).map_or(0, Iterator::count);
        let snapshots = rig.pool.snapshots().expect("snapshots");
        let groups = rig.pool.group_snapshots().expect("groups").len();
        assert_eq!(directories, snapshots.len() + groups, "change {n}: half a snapshot");
        let members = snapshots.iter().filter(|it| it.record.group.is_some()).count();
        assert_eq!(members, 2 * groups, "change {n}: half a group");
        if members < snapshots.len() && how == Use::Block {
            let copy = rig.open(&from_snapshot("probe", "s"));
            assert_eq!(read_page(&copy, 1 << 20).0, [n as u8; 4096], "change {n}");
            drop(copy);
            rig.pool.volume("probe").and_then(|volume| volume.delete()).expect("delete");
        }
        // Of a fork that was not completed, nothing is there. The deletion deletes one after the other.
        let there = FORKS.map(|id| rig.pool.volume(id).and_then(|volume| volume.status()).is_ok());
        assert_ne!(there, [true, false], "change {n}: half a fork");
        for id in FORKS.iter().chain(&["copy"]) {
            rig.pool.volume(id).and_then(|volume| volume.delete()).expect("delete");
        }
        rig.pool.snapshot("s").and_then(|snapshot| snapshot.delete()).expect("delete");
        rig.pool.group_snapshot("g").and_then(|group| group.delete()).expect("delete");
    }
    println!("{how:?}: killed {kills} times");
    assert!(kills > 30, "only {kills} changes");
    drop(open_for_reading(&device));
    rig.pool.volume("w").and_then(|volume| volume.delete()).expect("delete");
    match how {
        Use::Mounted => rig.tear_down(&publish, "v"),
        Use::Block => volume.delete().expect("delete"),
    }
}

/// Writes to the volume, which must not wait.
fn write(rig: &Rig, how: Use, n: u64) {
    match how {
        Use::Block => {
            let device = rig.activate("v");
            device.write_all_at(&Page([n as u8; 4096]).0, 1 << 20).expect("write");
        }
        Use::Mounted => {
            let target = rig.publication("v", real_pool::mount()).target;
            let file = File::create(target.join("file")).expect("create");
            file.write_all_at(&[n as u8; 4096], 0).expect("write");
            file.sync_all().expect("sync");
        }
    }
}
