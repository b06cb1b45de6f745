//! Shared code of tests of the engine on a simulated machine.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use calf::sys::fake::{Crash, Failure, FakeHost};
use calf::{Access, ImportSpec, Pool, PoolOptions, Publish, Stage, VolumeSpec, VolumeState};

/// Size of the template that every environment has, in bytes.
pub const TEMPLATE_SIZE: u64 = 1 << 20;

/// Every way in which a call can fail.
pub const FAILURES: [Failure; 4] =
    [Failure::ErrorBefore, Failure::ErrorAfter, Failure::CrashBefore, Failure::CrashAfter];

/// Runs what may meet a failure of [`FAILURES`]: `None` if that was a crash. Another panic goes on.
pub fn unless_crashed<T>(run: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(outcome) => Some(outcome),
        Err(panic) if panic.is::<Crash>() => None,
        Err(panic) => resume_unwind(panic),
    }
}

/// A pool on a simulated machine, with a template `debian` that holds an ext4 superblock.
pub struct Environment {
    pub host: FakeHost,
    pub directory: tempfile::TempDir,
}

impl Environment {
    pub fn new() -> Self {
        // Imported once for all tests of a process, since an import hashes, and waits for the disk.
        static PREPARED: LazyLock<Environment> = LazyLock::new(|| {
            let environment = Environment::empty();
            environment.import("debian", 0xca);
            environment
        });
        let environment = Self::empty();
        let [from, to] = [&PREPARED, &environment].map(|e| e.directory.path().join("pool"));
        copy_directory(&from, &to);
        environment
    }

    /// In memory if possible: the tests make thousands of pools, and none needs to last.
    fn empty() -> Self {
        let memory = tempfile::tempdir_in("/dev/shm");
        let directory = memory.or_else(|_| tempfile::tempdir()).expect("a directory");
        Self { host: FakeHost::new(), directory }
    }

    /// The pool, opened as by a new process.
    pub fn pool(&self) -> Pool {
        self.options().open(self.directory.path().join("pool")).expect("a pool")
    }

    /// The pool after a restart that found nothing that it could not mend.
    ///
    /// # Panics
    ///
    /// With `context`, if something was left to mend.
    pub fn mended_pool(&self, context: &str) -> Pool {
        let pool = self.pool();
        let report = pool.reconcile().expect("reconcile");
        assert_eq!(report.failed, Vec::<String>::new(), "{context}");
        for volume in pool.volumes().expect("volumes") {
            assert_ne!(volume.state, VolumeState::Interrupted, "{context}: {volume:?}");
        }
        pool
    }

    pub fn options(&self) -> PoolOptions {
        PoolOptions::default().host(Arc::new(self.host.clone())).kata_root(self.kata_root())
    }

    /// Imports a template whose content differs by `seed`.
    pub fn import(&self, name: &str, seed: u8) {
        self.try_import(name, seed).expect("an import");
    }

    /// The same, but may fail.
    pub fn try_import(&self, name: &str, seed: u8) -> calf::Result<()> {
        let source = self.directory.path().join(format!("{name}-{seed}.img"));
        fs::write(&source, ext4_image(seed)).expect("an image");
        let spec = ImportSpec::new(source, name);
        self.pool().import_template(&spec, &mut |_| ()).map(drop)
    }

    /// Imports a template with the layout of an ext4 that writes some MiB when it grows by many GiB.
    pub fn import_growing(&self, name: &str) {
        self.import_image(name, &growing_image());
    }

    /// Imports a template with the content of `image`.
    pub fn import_image(&self, name: &str, image: &[u8]) {
        let source = self.directory.path().join(format!("{name}.img"));
        fs::write(&source, image).expect("an image");
        let spec = ImportSpec::new(source, name);
        self.pool().import_template(&spec, &mut |_| ()).expect("an import");
    }

    /// A path that the orchestrator would give; its parent exists.
    pub fn path(&self, name: &str) -> PathBuf {
        let parent = self.directory.path().join("kubelet");
        fs::create_dir_all(&parent).expect("a directory");
        parent.join(name)
    }

    /// Where Kata would look for direct-assigned volumes.
    pub fn kata_root(&self) -> PathBuf {
        self.directory.path().join("kata")
    }

    /// The content of the file that Kata would find there.
    pub fn kata_entries(&self) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.kata_root()) else { return Vec::new() };
        entries.map(|entry| entry.expect("an entry").path()).collect()
    }

    /// The names of the volume directories in the pool.
    pub fn volume_directories(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.directory.path().join("pool/volumes")) else {
            return Vec::new();
        };
        entries.map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
    }
}

/// Puts into the COW store at `path` what the kernel would, had a guest filled the first chunks of 4 KiB of its
/// volume with these bytes.
pub fn put_store(path: &Path, bytes: &[u8]) {
    const CHUNK: usize = 4096;
    let store = File::options().write(true).open(path).expect("the store");
    let header = [u32::from_le_bytes(*b"SnAp"), 1, 1, 8].map(u32::to_le_bytes);
    store.write_all_at(header.as_flattened(), 0).expect("a header");
    let exceptions: Vec<u8> = (0..bytes.len() as u64)
        .flat_map(|chunk| [chunk, chunk + 2])
        .flat_map(u64::to_le_bytes)
        .collect();
    store.write_all_at(&exceptions, CHUNK as u64).expect("an area");
    let data: Vec<u8> = bytes.iter().flat_map(|byte| [*byte; CHUNK]).collect();
    store.write_all_at(&data, 2 * CHUNK as u64).expect("data");
}

/// The byte with which such a chunk is filled in the store at `path`.
pub fn stored_chunk(path: &Path, chunk: u64) -> u8 {
    let mut byte = [0];
    let store = File::open(path).expect("the store");
    store.read_exact_at(&mut byte, (chunk + 2) * 4096).expect("read");
    byte[0]
}

pub fn copy_directory(from: &Path, to: &Path) {
    fs::create_dir(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let from = entry.expect("an entry").path();
        let to = to.join(from.file_name().expect("a name"));
        match from.is_dir() {
            true => copy_directory(&from, &to),
            false => drop(fs::copy(&from, &to).expect("a copy")),
        }
    }
}

pub fn spec(id: &str) -> VolumeSpec {
    VolumeSpec::new(id, "debian")
}

pub fn block() -> Access {
    Access::Block
}

pub fn mount() -> Access {
    Access::Mount { fs_type: None, options: Vec::new() }
}

/// A publication of volume `id` with its own staging path.
pub fn publication(environment: &Environment, id: &str, access: Access) -> Publish {
    let stage = Stage::new(environment.path(&format!("{id}-staging")), access);
    Publish::new(environment.path(&format!("{id}-target")), stage)
}

/// An image that has only an ext4 superblock: magic, a 4 KiB block size, the features that make it
/// ext4.
pub fn ext4_image(seed: u8) -> Vec<u8> {
    let mut image = vec![0; usize::try_from(TEMPLATE_SIZE).expect("a size")];
    let superblock = &mut image[1024..2048];
    superblock[0x04..0x08].copy_from_slice(&256u32.to_le_bytes());
    superblock[0x18..0x1c].copy_from_slice(&2u32.to_le_bytes());
    superblock[0x38..0x3a].copy_from_slice(&0xef53u16.to_le_bytes());
    superblock[0x4c..0x50].copy_from_slice(&1u32.to_le_bytes());
    superblock[0x5c..0x60].copy_from_slice(&0x4u32.to_le_bytes());
    superblock[0x60..0x64].copy_from_slice(&0x40u32.to_le_bytes());
    superblock[0xe0..0xe4].copy_from_slice(&8u32.to_le_bytes());
    image[4096] = seed;
    image
}

/// The same, with a layout as `mkfs.ext4` makes it: groups, descriptors, reserved blocks.
fn growing_image() -> Vec<u8> {
    let mut image = ext4_image(0);
    for (at, bytes) in [
        (0x20, &32768u32.to_le_bytes()[..]),
        (0x28, &8192u32.to_le_bytes()),
        (0x58, &256u16.to_le_bytes()),
        (0x5c, &0x14u32.to_le_bytes()),
        (0x60, &0x2c2u32.to_le_bytes()),
        (0x64, &0x46bu32.to_le_bytes()),
        (0xce, &127u16.to_le_bytes()),
        (0xfd, &[1]),
        (0xfe, &64u16.to_le_bytes()),
        (0x14c, &(32u32 << 20).to_le_bytes()),
        (0x174, &[4]),
    ] {
        image[1024 + at..][..bytes.len()].copy_from_slice(bytes);
    }
    image
}
