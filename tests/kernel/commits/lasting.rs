//! A committed template is durable when its call returns, whatever its volume's durability.

use std::os::unix::fs::FileExt as _;

use calf::VolumeSpec;
use calf_test_kit::kernel;
use calf_test_kit::real_pool::{Page, Rig, read_page};

use crate::{commit, of_volume, remove};

/// The kernel crashes right after the call.
pub(crate) fn crash() {
    if kernel::boot_count() == 0 {
        let rig = Rig::new(kernel::Fs::Xfs);
        rig.import_random("random", 3);
        let device = rig.open(&VolumeSpec::new("v", "random"));
        for n in 0..64u8 {
            device.write_all_at(&Page([n; 4096]).0, u64::from(n) * 8192).expect("write");
        }
        commit(&rig.pool, of_volume("v"), "made");
        kernel::crash_and_reboot();
    }
    let rig = Rig::reopen(kernel::Fs::Xfs);
    let report = rig.pool.reconcile().expect("reconcile");
    assert_eq!(report.failed, Vec::<String>::new());
    let copy = rig.open(&VolumeSpec::new("w", "made"));
    for n in 0..64u8 {
        assert_eq!(read_page(&copy, u64::from(n) * 8192).0, [n; 4096], "{n}");
    }
    drop(copy);
    remove(&rig.pool, &["v", "w"], &[], &["made"]);
}
