//! Two pools, what guests write in one of them, and what the devices of snapshots would show.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use calf::sys::fake::FakeHost;
use calf::{
    ExportSpec, Exported, ImportSpec, ImportedSnapshot, Key, Pool, SnapshotImportSpec,
    SnapshotSpec, VolumeSpec,
};
use calf_test_kit::simulated_pool::{Environment, ext4_image};

pub(super) const CHUNK: u64 = 4096;
const PER_AREA: u64 = CHUNK / 16;

/// What a guest wrote to a chunk: a byte all over it, or nothing more since it discarded the chunk.
pub(super) type Written = BTreeMap<u64, Option<u8>>;

/// Two pools with the same template on one machine.
pub(super) struct Pools {
    pub(super) environment: Environment,
    pub(super) here: Pool,
    pub(super) there: Pool,
}

impl Pools {
    pub(super) fn new() -> Self {
        let environment = Environment::new();
        let here = environment.pool();
        let there = environment.directory.path().join("there");
        let there = environment.options().open(there).expect("a pool");
        let source = environment.directory.path().join("again.img");
        fs::write(&source, ext4_image(0xca)).expect("an image");
        there.import_template(&ImportSpec::new(source, "debian"), &mut |_| ()).expect("an import");
        Self { environment, here, there }
    }

    /// Makes a volume.
    pub(super) fn volume(&self, spec: &VolumeSpec) {
        self.here.create_volume(spec).expect("create");
    }

    /// Has the guest of volume `v` write this, and makes a snapshot.
    pub(super) fn snapshot(&self, written: &Written, name: &str) {
        let store = store(&self.here, "volumes", "v");
        put(&store, written);
        let taken = self.here.volume("v").and_then(|it| it.take_snapshot(&SnapshotSpec::new(name)));
        taken.expect("a snapshot");
    }

    pub(super) fn host(&self) -> &FakeHost {
        &self.environment.host
    }
}

pub(super) fn store(pool: &Pool, directory: &str, name: &str) -> PathBuf {
    pool.root().join(directory).join(Key::of(name).as_str()).join("cow")
}

/// Puts into a COW store what the kernel would. Chunks that it has stay where they are.
pub(super) fn put(path: &Path, written: &Written) {
    let file = File::options().read(true).write(true).open(path).expect("the store");
    let header = [u32::from_le_bytes(*b"SnAp"), 1, 1, 8].map(u32::to_le_bytes);
    file.write_all_at(header.as_flattened(), 0).expect("a header");
    let mut places: BTreeMap<u64, u64> = exceptions(path).into_iter().collect();
    for (chunk, byte) in written {
        let next = places.len() as u64;
        let (area, slot) = (next / PER_AREA, next % PER_AREA);
        let list = 1 + area * (PER_AREA + 1);
        let place = *places.entry(*chunk).or_insert_with(|| {
            let exception = [*chunk, list + 1 + slot].map(u64::to_le_bytes);
            file.write_all_at(exception.as_flattened(), list * CHUNK + slot * 16).expect("write");
            list + 1 + slot
        });
        let bytes = [byte.unwrap_or(0); CHUNK as usize];
        file.write_all_at(&bytes, place * CHUNK).expect("write");
    }
}

/// The exceptions in a COW store.
fn exceptions(path: &Path) -> Vec<(u64, u64)> {
    let bytes = fs::read(path).expect("the store");
    let mut found = Vec::new();
    for area in 0.. {
        let at = ((1 + area * (PER_AREA + 1)) * CHUNK) as usize;
        let Some(list) = bytes.get(at..at + CHUNK as usize) else { break };
        for exception in list.as_chunks::<16>().0 {
            let [old, new] = [0, 8].map(|at| {
                u64::from_le_bytes(exception[at..at + 8].try_into().expect("eight bytes"))
            });
            if new == 0 {
                return found;
            }
            found.push((old, new));
        }
    }
    found
}

/// What the device of a snapshot would show.
pub(super) fn shown(pool: &Pool, name: &str) -> Vec<u8> {
    let record = pool.snapshot(name).and_then(|it| it.status()).expect("a snapshot").record;
    let image = pool.root().join("images").join(record.digest.as_str()).join("image");
    let mut bytes = fs::read(image).expect("the content");
    bytes.truncate(record.template_size as usize);
    bytes.resize(record.size.next_multiple_of(CHUNK) as usize, 0);
    let path = store(pool, "snapshots", name);
    let store = fs::read(&path).expect("the store");
    for (old, new) in exceptions(&path) {
        let [to, from] = [old, new].map(|chunk| (chunk * CHUNK) as usize);
        let length = CHUNK as usize;
        bytes[to..to + length].copy_from_slice(&store[from..from + length]);
    }
    bytes.truncate(record.size as usize);
    bytes
}

pub(super) fn export(pool: &Pool, spec: &ExportSpec) -> calf::Result<(Vec<u8>, Exported)> {
    let mut bytes = Vec::new();
    let exported = pool.export_snapshot(spec, &mut bytes, &mut |_| ())?;
    assert_eq!(exported.length, bytes.len() as u64);
    Ok((bytes, exported))
}

pub(super) fn full(pool: &Pool, name: &str) -> Vec<u8> {
    export(pool, &ExportSpec::new(name)).expect("an export").0
}

pub(super) fn delta(pool: &Pool, base: &str, name: &str) -> Vec<u8> {
    export(pool, &ExportSpec::new(name).base(base.to_owned())).expect("an export").0
}

pub(super) fn import(pool: &Pool, name: &str, mut stream: &[u8]) -> calf::Result<ImportedSnapshot> {
    pool.import_snapshot(&SnapshotImportSpec::new(name), &mut stream, &mut |_| ())
}
