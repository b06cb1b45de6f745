//! Snapshots exported from one pool and imported into another, on another file system: against what the devices
//! show, byte by byte.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::process::ExitCode;

use calf::{
    Durability, ExportSpec, Pool, SnapshotImportSpec, SnapshotSpec, VolumeSource, VolumeSpec,
};
use calf_test_kit::kernel;
use calf_test_kit::real_pool::{Page, Random, Rig, TEMPLATE_SIZE, read_page};
use calf_test_kit::victim;

use crate::changes::scribble;

/// The process that dies.
const VICTIM: &str = "import";

/// All that a volume of the snapshot shows.
fn shown(rig: &Rig, snapshot: &str) -> Vec<u8> {
    let device = rig.open(&copy(snapshot));
    let size = rig.pool.volume("copy").and_then(|it| it.status()).expect("it").record.size;
    let bytes = (0..size).step_by(4096).flat_map(|at| read_page(&device, at).0).collect();
    drop(device);
    rig.pool.volume("copy").and_then(|volume| volume.delete()).expect("delete");
    bytes
}

fn copy(snapshot: &str) -> VolumeSpec {
    VolumeSpec::from_source("copy", VolumeSource::Snapshot(snapshot.to_owned()))
}

fn export(pool: &Pool, base: Option<&str>, name: &str, compress: bool) -> Vec<u8> {
    let mut stream = Vec::new();
    let spec = ExportSpec::new(name).base(base.map(str::to_owned)).compress(compress);
    pool.export_snapshot(&spec, &mut stream, &mut |_| ()).expect("an export");
    stream
}

fn import(pool: &Pool, name: &str, stream: &[u8]) {
    let spec = SnapshotImportSpec::new(name);
    pool.import_snapshot(&spec, &mut &stream[..], &mut |_| ()).expect("an import");
}

/// Exports all that was written, and two increments, which become snapshots in a pool on another file system, and go
/// back from there.
pub(crate) fn is_the_same(from: kernel::Fs, to: kernel::Fs, chunk: u64) {
    let (here, there) = (Rig::new(from), Rig::new(to));
    here.import_random("random", 3);
    there.import_random("of-this-node", 3);
    let mut random = Random(chunk + 29);
    // The last chunk is not whole.
    let mut size = TEMPLATE_SIZE + 4096;
    let mut device = here.open(&VolumeSpec::new("v", "random").chunk_size(chunk).size(size));
    let volume = here.pool.volume("v").expect("an id");
    let names = ["s0", "s1", "s2"];
    let mut streams = Vec::new();
    for (n, name) in names.iter().enumerate() {
        if n == 2 {
            size += 4 << 20;
            volume.expand(size).expect("expand");
        }
        scribble(&here, &device, size, chunk, &mut random);
        if from == kernel::Fs::Ext4 {
            drop(device);
            volume.deactivate().expect("deactivate");
        }
        volume.take_snapshot(&SnapshotSpec::new(*name)).expect("a snapshot");
        device = here.activate("v");
        let base = n.checked_sub(1).map(|n| names[n]);
        streams.push(export(&here.pool, base, name, n == 1));
    }
    for (name, stream) in names.iter().zip(&streams) {
        println!("{from:?} to {to:?}: {name} in {} KiB", stream.len() >> 10);
        import(&there.pool, name, stream);
        assert!(shown(&there, name) == shown(&here, name), "{name}");
    }
    // Back in time: what was written later is taken away again.
    import(&there.pool, "back", &export(&here.pool, Some("s2"), "s0", false));
    assert!(shown(&there, "back") == shown(&here, "s0"));
    // The pool that imported compares and exports what it has.
    let again = export(&there.pool, Some("s1"), "s2", false);
    here.pool.snapshot("s2").and_then(|it| it.delete()).expect("delete");
    import(&here.pool, "s2", &again);
    assert!(shown(&here, "s2") == shown(&there, "s2"));
    for name in ["s2", "back"] {
        goes_on_being_written(&there, name, chunk, &mut random);
    }
    drop(device);
    volume.delete().expect("delete");
}

/// A volume of the snapshot is written all over, and has it after it was taken down.
fn goes_on_being_written(rig: &Rig, snapshot: &str, chunk: u64, random: &mut Random) {
    let mut expected = shown(rig, snapshot);
    let device = rig.open(&copy(snapshot).durability(Durability::Durable));
    for _ in 0..600 {
        let at = random.below(expected.len() as u64 / 4096) * 4096;
        let page = Page::random(random);
        device.write_all_at(&page.0, at).expect("write");
        expected[at as usize..at as usize + 4096].copy_from_slice(&page.0);
    }
    drop(device);
    rig.pool.volume("copy").and_then(|volume| volume.deactivate()).expect("deactivate");
    let device = rig.activate("copy");
    for (at, page) in (0..).step_by(4096).zip(expected.chunks(4096)) {
        assert!(read_page(&device, at).0 == *page, "{snapshot}, chunks of {chunk}, at {at}");
    }
    drop(device);
    rig.pool.volume("copy").and_then(|volume| volume.delete()).expect("delete");
}

/// Imports, if this process is to.
pub(crate) fn be_a_victim() -> Option<ExitCode> {
    victim::be(VICTIM, |pool| {
        for name in ["a", "b"] {
            let mut file = File::open(stream(pool, name)).expect("a stream");
            let spec = SnapshotImportSpec::new(format!("{name}-again"));
            pool.import_snapshot(&spec, &mut file, &mut |_| ()).expect("an import");
        }
    })
}

fn stream(pool: &Pool, name: &str) -> PathBuf {
    pool.root().with_extension(name)
}

/// Kills before change 1, 2, … until there are no more: a snapshot is whole or absent, and nothing else is left.
pub(crate) fn survives() {
    let rig = Rig::new(kernel::Fs::Xfs);
    rig.import_random("random", 3);
    let device = rig.open(&VolumeSpec::new("v", "random"));
    let volume = rig.pool.volume("v").expect("an id");
    let mut base = None;
    for (name, byte) in [("a", 1), ("b", 2)] {
        for at in [1 << 20, (2 << 20) + u64::from(byte) * 4096] {
            device.write_all_at(&Page([byte; 4096]).0, at).expect("write");
        }
        volume.take_snapshot(&SnapshotSpec::new(name)).expect("a snapshot");
        fs::write(stream(&rig.pool, name), export(&rig.pool, base, name, false)).expect("write");
        base = Some(name);
    }
    let snapshots = rig.pool.root().join("snapshots");
    let mut kills = 0;
    for n in 1.. {
        let killed = victim::kill(VICTIM, &rig.pool, n);
        let report = rig.pool.reconcile().expect("reconcile");
        assert_eq!(report.failed, Vec::<String>::new(), "change {n}");
        let found = rig.pool.snapshots().expect("snapshots");
        let directories = fs::read_dir(&snapshots).expect("a list").count();
        assert_eq!(directories, found.len(), "change {n}: half a snapshot");
        for (name, byte) in [("a", 1), ("b", 2)] {
            let again = format!("{name}-again");
            if found.iter().any(|it| it.record.name == again) {
                let device = rig.open(&copy(&again));
                assert_eq!(read_page(&device, 1 << 20).0, [byte; 4096], "change {n}");
                drop(device);
                rig.pool.volume("copy").and_then(|volume| volume.delete()).expect("delete");
                let snapshot = rig.pool.snapshot(&again).expect("a name");
                snapshot.delete().expect("delete");
            } else {
                assert!(killed, "{again}");
            }
        }
        if !killed {
            break;
        }
        kills += 1;
    }
    println!("killed {kills} times");
    assert!(kills > 20, "only {kills} changes");
    drop(device);
    volume.delete().expect("delete");
}
