//! A snapshot is durable when its call returns, whatever its volume's durability.

use std::os::unix::fs::FileExt as _;

use calf::{Durability, VolumeSpec};
use calf_test_kit::kernel;
use calf_test_kit::real_pool::{Page, Rig, read_page, run};

use crate::{delete, from_snapshot, open_copy, take};

const LATER: u64 = 1 << 20;

/// The kernel crashes right after the call.
pub(crate) fn crash(fs: kernel::Fs) {
    if kernel::boot_count() == 0 {
        let rig = Rig::new(fs);
        rig.import_random("random", 3);
        let device = rig.open(&VolumeSpec::new("v", "random"));
        for n in 0..64u8 {
            device.write_all_at(&Page([n; 4096]).0, u64::from(n) * 4096).expect("write");
        }
        take(&rig.pool, "v", "early");
        let ephemeral = open_copy(&rig, "ephemeral", "early");
        ephemeral.write_all_at(&Page([200; 4096]).0, LATER).expect("write");
        let spec = from_snapshot("durable", "early").durability(Durability::Durable);
        let durable = rig.open(&spec);
        durable.write_all_at(&Page([200; 4096]).0, LATER).expect("write");
        durable.sync_all().expect("sync");
        run("sync", &["-f"], &[rig.disk.path()]);
        device.write_all_at(&Page([100; 4096]).0, 0).expect("write");
        take(&rig.pool, "v", "late");
        kernel::crash_and_reboot();
    }
    let rig = Rig::reopen(fs);
    let report = rig.pool.reconcile().expect("reconcile");
    assert_eq!(report.failed, Vec::<String>::new());
    let template = rig.open(&VolumeSpec::new("fresh", "random"));
    let unwritten = read_page(&template, LATER).0;
    drop(template);
    delete(&rig, &["fresh"], &[]);
    for (name, first) in [("early", 0), ("late", 100)] {
        let copy = open_copy(&rig, "copy", name);
        assert_eq!(read_page(&copy, 0).0, [first; 4096], "{name}");
        for n in 1..64u8 {
            assert_eq!(read_page(&copy, u64::from(n) * 4096).0, [n; 4096], "{name}");
        }
        drop(copy);
        delete(&rig, &["copy"], &[]);
    }
    // The snapshot may be gone: an ephemeral volume still starts from it.
    delete(&rig, &[], &["early"]);
    for (id, later) in [("ephemeral", unwritten), ("durable", [200; 4096])] {
        let device = rig.activate(id);
        assert_eq!(read_page(&device, 63 * 4096).0, [63; 4096], "{id}");
        assert!(read_page(&device, LATER).0 == later, "{id}");
        drop(device);
    }
    delete(&rig, &["v", "ephemeral", "durable"], &["late"]);
}
