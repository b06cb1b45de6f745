//! The read-only devices of snapshots.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use calf::{ErrorKind, Key, VolumeSpec};
use calf_test_kit::kernel;
use calf_test_kit::real_pool::{
    Page, Random, Rig, TEMPLATE_SIZE, first_difference, open_for_reading, read_page, run,
};
use calf_test_kit::victim;

use crate::{delete, open_copy, take};

/// The process that dies.
const VICTIM: &str = "device";

/// Brings a device up and down, if this process is to.
pub(crate) fn be_a_victim() -> Option<ExitCode> {
    victim::be(VICTIM, |pool| {
        let snapshot = pool.snapshot("s").expect("a name");
        snapshot.activate().expect("activate");
        snapshot.deactivate().expect("deactivate");
    })
}

fn store(rig: &Rig, name: &str) -> PathBuf {
    rig.pool.root().join("snapshots").join(Key::of(name).as_str()).join("cow")
}

/// The digest of a file and when it changed.
fn fingerprint(path: &Path) -> (String, std::time::SystemTime) {
    let digest = run("sha256sum", &[], &[path]);
    let changed = fs::metadata(path).and_then(|it| it.modified()).expect("a file");
    (digest, changed)
}

/// Fails to write to the device, in each way that there is.
fn refuse_writes(path: &Path) {
    let refused = |result: io::Result<()>, how: &str| {
        let error = result.expect_err(how);
        let expected =
            [rustix::io::Errno::PERM, rustix::io::Errno::ROFS, rustix::io::Errno::ACCESS];
        let expected = expected.map(|errno| Some(errno.raw_os_error()));
        assert!(expected.contains(&error.raw_os_error()), "{how}: {error}");
        println!("{how}: {error}");
    };
    let write = || OpenOptions::new().write(true).open(path);
    refused(write().and_then(|device| device.write_all_at(&[7; 4096], 0)), "write");
    let discard = Command::new("blkdiscard").arg("-f").arg(path).output().expect("blkdiscard");
    assert!(!discard.status.success(), "a discard");
}

pub(crate) fn shows(fs: kernel::Fs) {
    let rig = Rig::new(fs);
    let mut content = rig.import_random("random", 3);
    let device = rig.open(&VolumeSpec::new("v", "random"));
    let mut random = Random(31);
    let mut write = |content: &mut [u8]| {
        for _ in 0..300 {
            let page = Page::random(&mut random);
            let at = random.below(TEMPLATE_SIZE / 4096) * 4096;
            device.write_all_at(&page.0, at).expect("write");
            content[at as usize..at as usize + 4096].copy_from_slice(&page.0);
        }
    };
    write(&mut content);
    let frozen = content.clone();
    take(&rig.pool, "v", "s");
    write(&mut content);
    run("sync", &["-f"], &[rig.pool.root()]);
    let before = fingerprint(&store(&rig, "s"));

    let snapshot = rig.pool.snapshot("s").expect("a name");
    let path = snapshot.activate().expect("activate").path().to_owned();
    let reader = open_for_reading(&path);
    assert_eq!(first_difference(&reader, &frozen), None, "it shows the snapshot");
    refuse_writes(&path);
    // A volume of the snapshot shows the same, and what is written there does not show here.
    let copy = open_copy(&rig, "copy", "s");
    assert_eq!(first_difference(&copy, &frozen), None);
    copy.write_all_at(&Page([9; 4096]).0, 0).expect("write");
    assert!(read_page(&reader, 0).0 == frozen[..4096]);
    assert_eq!(first_difference(&device, &content), None, "the volume goes on");
    for refused in [snapshot.delete(), snapshot.deactivate()] {
        assert_eq!(refused.expect_err("it is open").kind(), ErrorKind::InUse);
    }
    drop((reader, copy));
    snapshot.deactivate().expect("deactivate");
    run("sync", &["-f"], &[rig.pool.root()]);
    assert_eq!(fingerprint(&store(&rig, "s")), before, "not a byte has changed");
    snapshot.activate().expect("activate");
    drop(device);
    delete(&rig, &["v", "copy"], &["s"]);
}

/// A store that was never used has no header, and gets none.
pub(crate) fn unwritten() {
    let rig = Rig::new(kernel::Fs::Xfs);
    let content = rig.import_random("random", 3);
    let spec = VolumeSpec::new("v", "random").size(2 * TEMPLATE_SIZE);
    rig.pool.create_volume(&spec).expect("create");
    take(&rig.pool, "v", "s");
    let before = fingerprint(&store(&rig, "s"));
    let snapshot = rig.pool.snapshot("s").expect("a name");
    let path = snapshot.activate().expect("activate").path().to_owned();
    let reader = open_for_reading(&path);
    assert_eq!(first_difference(&reader, &content), None);
    assert_eq!(read_page(&reader, 2 * TEMPLATE_SIZE - 4096).0, [0; 4096]);
    refuse_writes(&path);
    drop(reader);
    snapshot.deactivate().expect("deactivate");
    assert_eq!(fingerprint(&store(&rig, "s")), before);
    delete(&rig, &["v"], &["s"]);
}

pub(crate) fn killed() {
    let rig = Rig::new(kernel::Fs::Xfs);
    rig.import_random("random", 3);
    let device: File = rig.open(&VolumeSpec::new("v", "random"));
    device.write_all_at(&Page([1; 4096]).0, 0).expect("write");
    take(&rig.pool, "v", "s");
    let snapshot = rig.pool.snapshot("s").expect("a name");
    let mut kills = 0;
    for n in 1.. {
        if !victim::kill(VICTIM, &rig.pool, n) {
            break;
        }
        kills += 1;
        // The next call heals it: either one, or reconciliation.
        match n % 3 {
            0 => snapshot.deactivate().expect("deactivate"),
            1 => drop(rig.pool.reconcile().expect("reconcile")),
            _ => {}
        }
        let path = snapshot.activate().expect("activate").path().to_owned();
        assert_eq!(read_page(&open_for_reading(&path), 0).0, [1; 4096], "change {n}");
        snapshot.deactivate().expect("deactivate");
    }
    println!("killed {kills} times");
    assert!(kills >= 5, "only {kills} changes");
    drop(device);
    delete(&rig, &["v"], &["s"]);
}
