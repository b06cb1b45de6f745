//! What does a backup of what changed cost, against reading both states and comparing them? Part of the room of snapshots.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::time::Instant;

use calf::{ExportSpec, Pool, SnapshotImportSpec, SnapshotSpec};
use calf_test_kit::real_pool;

use super::buffer::PAGE;
use super::snapshots::{ROOM, write};
use super::{since, workload};
use crate::contender::{Contender as _, Library};
use crate::series::emit;
use crate::world::World;

const CASE: &str = "1 % changed, scattered";

/// A disk with chunks written, of which one percent of the disk changes.
pub(super) fn deltas(world: &World, pool: &Pool, calf: &Library, round: usize) {
    let report =
        |contender: &str, metric, value: f64| emit(ROOM, CASE, contender, metric, &[value]);
    let mut caller = calf.caller();
    let made = caller.create(&format!("d{round}"));
    let device = real_pool::open(&made.device);
    let size = world.scale.template;
    let volume = pool.volume(&made.id).expect("an id");
    let state = |bytes: u64, name: &str| {
        write(&device, &workload::offsets(0..size, bytes), PAGE);
        volume.take_snapshot(&SnapshotSpec::new(name)).expect("a snapshot");
        pool.snapshot(name).expect("a name")
    };
    let before = state((world.scale.warm_chunks * PAGE) as u64, "before");
    let after = state((size / 100).max(PAGE as u64), "after");
    let file = world.path().join("delta");

    let start = Instant::now();
    after.changed_since(&before).expect("a comparison");
    report(calf.name(), ("the changed ranges", "ms"), since(start));
    let start = Instant::now();
    let mut out = File::create(&file).expect("a file");
    let spec = ExportSpec::new("after").base("before".to_owned());
    pool.export_snapshot(&spec, &mut out, &mut |_| ()).expect("an export");
    out.sync_all().expect("sync");
    report(calf.name(), ("a delta in a file", "ms"), since(start));
    report(calf.name(), ("size of that file", "MiB"), mebibytes(&file));
    let start = Instant::now();
    let mut stream = File::open(&file).expect("the file");
    let spec = SnapshotImportSpec::new("again");
    pool.import_snapshot(&spec, &mut stream, &mut |_| ()).expect("an import");
    report(calf.name(), ("a delta imported", "ms"), since(start));

    let devices = [&before, &after].map(|it| it.activate().expect("a device"));
    let start = Instant::now();
    compare(devices[0].path(), devices[1].path(), &file);
    report("read and compare", ("a delta in a file", "ms"), since(start));
    report("read and compare", ("size of that file", "MiB"), mebibytes(&file));
    fs::remove_file(file).expect("unlink");
    for snapshot in [before, after, pool.snapshot("again").expect("a name")] {
        snapshot.delete().expect("delete");
    }
    drop(device);
    caller.delete(made);
}

/// Writes the pages that differ into a file, each after its offset, and waits until it is on the disk.
fn compare(before: &Path, after: &Path, path: &Path) {
    let mut devices = [before, after].map(|path| File::open(path).expect("a device"));
    let mut file = File::create(path).expect("a file");
    let mut buffers = [vec![0; 1 << 20], vec![0; 1 << 20]];
    let mut offset = 0u64;
    loop {
        let mut length = 0;
        for (device, buffer) in devices.iter_mut().zip(&mut buffers) {
            buffer.resize(1 << 20, 0);
            length = device.read(buffer).expect("read");
            buffer.truncate(length);
        }
        if length == 0 {
            break;
        }
        for (n, (old, new)) in buffers[0].chunks(PAGE).zip(buffers[1].chunks(PAGE)).enumerate() {
            if old != new {
                let at = offset + (n * PAGE) as u64;
                file.write_all(&[&at.to_le_bytes(), new].concat()).expect("write");
            }
        }
        offset += length as u64;
    }
    file.sync_all().expect("sync");
}

fn mebibytes(path: &Path) -> f64 {
    fs::metadata(path).expect("the file").len() as f64 / f64::from(1 << 20)
}
