//! Shared code of tests in a real kernel: a pool on a real disk, images, and bytes that are random
//! but known.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use calf::{Access, ImportSpec, Pool, Publish, Stage, VolumeSpec};

use crate::kernel;

/// Size of the templates that the rig makes, in bytes.
pub const TEMPLATE_SIZE: u64 = 32 << 20;

/// A pool on a disk of its own. Field order matters: nothing may outlive the mounted disk.
pub struct Rig {
    pub pool: Pool,
    pub disk: kernel::PoolDir,
}

impl Rig {
    /// A new pool on a new file system.
    pub fn new(fs: kernel::Fs) -> Self {
        Self::on(kernel::pool_dir(fs))
    }

    /// The pool that was made before a crash.
    pub fn reopen(fs: kernel::Fs) -> Self {
        Self::on(kernel::reopen_pool_dir(fs))
    }

    fn on(disk: kernel::PoolDir) -> Self {
        let pool = Pool::open(disk.path().join("pool")).expect("a pool");
        Self { pool, disk }
    }

    /// Imports a template that holds an empty file system of `fs_type`.
    pub fn import_file_system(&self, name: &str, fs_type: &str) {
        let source = self.disk.path().join(format!("{name}.img"));
        // mkfs.xfs needs at least 300 MiB.
        let size = if fs_type == "xfs" { 320 << 20 } else { TEMPLATE_SIZE };
        File::create(&source).and_then(|file| file.set_len(size)).expect("an image");
        let options: &[&str] = match fs_type {
            "ext4" => &["-q", "-F", "-b", "4096"],
            _ => &["-q", "-f"],
        };
        run(&format!("mkfs.{fs_type}"), options, &[&source]);
        self.import(name, &source);
    }

    /// Imports a template of random bytes, and returns them.
    pub fn import_random(&self, name: &str, seed: u64) -> Vec<u8> {
        let source = self.disk.path().join(format!("{name}.img"));
        let mut content = vec![0; usize::try_from(TEMPLATE_SIZE).expect("a size")];
        Random(seed).fill(&mut content);
        fs::write(&source, &content).expect("an image");
        self.import(name, &source);
        content
    }

    fn import(&self, name: &str, source: &Path) {
        let spec = ImportSpec::new(source, name);
        self.pool.import_template(&spec, &mut |_| ()).expect("an import");
        fs::remove_file(source).expect("the source is not needed any more");
    }

    /// Makes a volume, brings it up and opens its device.
    pub fn open(&self, spec: &VolumeSpec) -> File {
        self.pool.create_volume(spec).expect("create");
        self.activate(&spec.id)
    }

    /// Brings a volume up and opens its device.
    pub fn activate(&self, id: &str) -> File {
        open(&self.node(id))
    }

    /// Brings a volume up and returns the path of its device.
    pub fn node(&self, id: &str) -> PathBuf {
        let device = self.pool.volume(id).and_then(|volume| volume.activate()).expect("activate");
        device.path().to_owned()
    }

    /// A path on the pool's disk, which survives a crash of the kernel, like a path of kubelet.
    pub fn path(&self, name: &str) -> PathBuf {
        let parent = self.disk.path().join("kubelet");
        fs::create_dir_all(&parent).expect("a directory");
        parent.join(name)
    }

    /// A publication of volume `id` with its own staging path.
    pub fn publication(&self, id: &str, access: Access) -> Publish {
        let stage = Stage::new(self.path(&format!("{id}-staging")), access);
        Publish::new(self.path(&format!("{id}-target")), stage)
    }

    /// Unpublishes, unstages and deletes.
    pub fn tear_down(&self, publish: &Publish, id: &str) {
        let volume = self.pool.volume(id).expect("a volume id");
        volume.unpublish(&publish.target).expect("unpublish");
        volume.unstage(&publish.stage.path).expect("unstage");
        volume.delete().expect("delete");
    }
}

pub fn mount() -> Access {
    Access::Mount { fs_type: None, options: Vec::new() }
}

/// Opens a block device for reading and writing, with no page cache in between.
pub fn open(path: &Path) -> File {
    open_as(path, true)
}

/// Opens a block device for reading only, with no page cache in between.
pub fn open_for_reading(path: &Path) -> File {
    open_as(path, false)
}

fn open_as(path: &Path, write: bool) -> File {
    use std::os::unix::fs::OpenOptionsExt as _;
    let direct = i32::try_from(rustix::fs::OFlags::DIRECT.bits()).expect("a flag");
    OpenOptions::new()
        .read(true)
        .write(write)
        .custom_flags(direct)
        .open(path)
        .unwrap_or_else(|error| panic!("cannot open {}: {error}", path.display()))
}

/// A buffer that direct I/O accepts: aligned to a page.
#[repr(align(4096))]
#[derive(Clone)]
pub struct Page(pub [u8; 4096]);

impl Page {
    pub fn random(random: &mut Random) -> Box<Self> {
        let mut page = Box::new(Self([0; 4096]));
        random.fill(&mut page.0);
        page
    }
}

pub fn read_page(file: &File, offset: u64) -> Box<Page> {
    let mut page = Box::new(Page([0; 4096]));
    file.read_exact_at(&mut page.0, offset).expect("read");
    page
}

/// The first difference between a device and what it must hold, as an offset.
pub fn first_difference(file: &File, content: &[u8]) -> Option<usize> {
    content
        .chunks(4096)
        .enumerate()
        .map(|(n, chunk)| (n * 4096, chunk))
        .find(|(offset, chunk)| read_page(file, *offset as u64).0[..chunk.len()] != **chunk)
        .map(|(offset, _)| offset)
}

/// Random bytes that a seed reproduces (xorshift64). The seed must not be 0.
#[derive(Debug)]
pub struct Random(pub u64);

impl Random {
    #[expect(clippy::should_implement_trait, reason = "it has no end, and is no iterator")]
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for index in (1..items.len()).rev() {
            let other = self.below(index as u64 + 1);
            items.swap(index, usize::try_from(other).expect("an index"));
        }
    }

    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let word = self.next().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}

/// Runs a program that must succeed, and returns its output.
pub fn run(program: &str, options: &[&str], paths: &[&Path]) -> String {
    let output = Command::new(program).args(options).args(paths).output().unwrap_or_else(|error| {
        panic!("cannot run {program}: {error}");
    });
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {options:?} {paths:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Bytes of memory that nothing uses, once the kernel has dropped its caches.
pub fn free_memory() -> u64 {
    rustix::fs::sync();
    fs::write("/proc/sys/vm/drop_caches", "3").expect("drop caches");
    let memory = fs::read_to_string("/proc/meminfo").expect("meminfo");
    let line = memory.lines().find_map(|line| line.strip_prefix("MemFree:"));
    let words = line.and_then(|line| line.split_whitespace().next());
    words.and_then(|kib| kib.parse::<u64>().ok()).expect("a number of KiB") * 1024
}
