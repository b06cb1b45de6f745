//! The process is killed before each change that it makes, in turn, while it commits a volume in use, a snapshot,
//! and moves a name. A template is whole or absent, and nothing else is left.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::process::ExitCode;

use calf::{SnapshotSpec, VolumeSpec, VolumeState};
use calf_test_kit::kernel;
use calf_test_kit::real_pool::{Page, Rig, read_page};
use calf_test_kit::victim;

use crate::{commit, of_snapshot, of_volume, remove};

/// The process that dies.
const VICTIM: &str = "commit";

/// Commits, if this process is to.
pub(crate) fn be_a_victim() -> Option<ExitCode> {
    victim::be(VICTIM, |pool| {
        commit(pool, of_volume("v"), "made");
        commit(pool, of_snapshot("s"), "kept");
        commit(pool, of_snapshot("s"), "made");
    })
}

/// Kills before change 1, 2, … until there are no more.
pub(crate) fn survives() {
    let rig = Rig::new(kernel::Fs::Xfs);
    rig.import_random("random", 3);
    let device = rig.open(&VolumeSpec::new("v", "random"));
    let volume = rig.pool.volume("v").expect("an id");
    let mut kills = 0;
    for n in 1.. {
        let page = Page([n as u8; 4096]);
        device.write_all_at(&page.0, 1 << 20).expect("write");
        volume.take_snapshot(&SnapshotSpec::new("s")).expect("a snapshot");
        let killed = victim::kill(VICTIM, &rig.pool, n);
        kills += u32::from(killed);

        let report = rig.pool.reconcile().expect("reconcile");
        assert_eq!(report.failed, Vec::<String>::new(), "change {n}");
        assert_eq!(volume.status().expect("it is there").state, VolumeState::Active);
        // Whoever uses the volume goes on.
        device.write_all_at(&Page([0; 4096]).0, 2 << 20).expect("write");
        let directories = fs::read_dir(rig.pool.root().join("snapshots")).expect("a list").count();
        assert_eq!(directories, 1, "change {n}: only the snapshot");
        let templates = rig.pool.templates().expect("templates");
        let digests: BTreeSet<String> =
            templates.iter().map(|it| it.digest.as_str().to_owned()).collect();
        let images = fs::read_dir(rig.pool.root().join("images")).expect("a list");
        let images: BTreeSet<String> = images
            .map(|it| it.expect("an entry").file_name().into_string().expect("text"))
            .collect();
        assert_eq!(images, digests, "change {n}: content without a name, or the other way round");
        for record in templates.iter().filter(|record| record.name != "random") {
            let copy = rig.open(&VolumeSpec::new("probe", &record.name));
            assert_eq!(read_page(&copy, 1 << 20).0, page.0, "change {n}: {}", record.name);
            drop(copy);
            remove(&rig.pool, &["probe"], &[], &[&record.name]);
        }
        remove(&rig.pool, &[], &["s"], &[]);
        if !killed {
            break;
        }
    }
    println!("killed {kills} times");
    assert!(kills > 20, "only {kills} changes");
    drop(device);
    volume.delete().expect("delete");
}
