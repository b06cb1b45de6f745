//! The examples in `docs/examples`, on a real device-mapper.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::process::ExitCode;

use calf::{Durability, VolumeSpec};
use calf_test_kit::kernel;
use calf_test_kit::real_pool::{Page, Random, Rig, first_difference, open, read_page};

#[path = "../../docs/examples/recovery.rs"]
#[allow(dead_code, reason = "its `main` is not run here")]
mod recovery;
#[path = "../../docs/examples/sandboxes.rs"]
#[allow(dead_code, reason = "its `main` is not run here")]
mod sandboxes;

fn main() -> ExitCode {
    kernel::main(vec![
        kernel::test("twenty_sandboxes_have_their_disks_at_once", sandboxes),
        kernel::test("a_manager_recovers_from_a_crash_of_the_machine", recovery),
    ])
}

fn sandboxes() {
    let rig = Rig::new(kernel::Fs::Xfs);
    let template = rig.import_random("random", 7);
    let disks = sandboxes::disks(&rig.pool, "random").expect("disks");
    let paths = disks.iter().map(|disk| disk.activate().expect("a device").path().to_owned());
    let paths: Vec<_> = paths.collect();

    let words = ["sh", "-c", "printf guest | dd of=$0 conv=fsync,notrunc status=none", "{}"];
    sandboxes::run(&words.map(str::to_owned), &disks[0]).expect("the VMM ran");
    let head = |path| {
        let content = fs::read(path).expect("read");
        let changed = first_difference(&open(path), &template);
        (content[..5].to_vec(), changed)
    };
    assert_eq!(head(&paths[0]).0, b"guest");
    for path in &paths[1..] {
        assert_eq!(head(path), (template[..5].to_vec(), None), "{}", path.display());
    }
    drop(disks);
    assert!(rig.pool.volume_records().expect("a list").is_empty());
    assert!(paths.iter().all(|path| !path.exists()), "no device is left");
}

fn recovery() {
    let wanted = [
        VolumeSpec::new("ephemeral", "random"),
        VolumeSpec::new("durable", "random").durability(Durability::Durable),
    ];
    let page = Page::random(&mut Random(42));
    let write = |device: &calf::Device| {
        let file = open(device.path());
        file.write_all_at(&page.0, 0).expect("write");
        file.sync_all().expect("sync");
    };
    let has_it = |device: &calf::Device| read_page(&open(device.path()), 0).0 == page.0;
    if kernel::boot_count() == 0 {
        let rig = Rig::new(kernel::Fs::Xfs);
        rig.import_random("random", 7);
        rig.pool.create_volume(&VolumeSpec::new("old", "random")).expect("create");
        let devices = recovery::recover(&rig.pool, &wanted).expect("made");
        devices.values().for_each(write);
        kernel::crash_and_reboot();
    }
    let rig = Rig::reopen(kernel::Fs::Xfs);
    let devices = recovery::recover(&rig.pool, &wanted).expect("recovered");
    assert!(has_it(&devices["durable"]), "what was synced is there");
    assert!(!has_it(&devices["ephemeral"]), "it starts from its template again");
    let records = rig.pool.volume_records().expect("a list");
    assert_eq!(
        records.iter().map(|record| &record.id).collect::<Vec<_>>(),
        ["durable", "ephemeral"]
    );
    for record in &records {
        rig.pool.volume(&record.id).expect("a volume id").delete().expect("delete");
    }
}
