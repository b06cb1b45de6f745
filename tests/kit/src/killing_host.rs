//! A host that kills its process at the n-th requested change, as SIGKILL would: without unwinding
//! and without cleaning up.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use calf::sys::lock::{Lock, Mode};
use calf::sys::{
    BindSpec, Busy, Capabilities, CopyMode, Device, DeviceId, DeviceNumber, Extent, FileStatus,
    FileSystemUsage, FileTree, Files, Flush, Holder, Host, ImageFile, LinuxHost, LoopDevice,
    LoopHandle, LoopSpec, Loops, Mapper, MountSpec, MountedAt, Mounts, OpenMode, Piece, Quiesce,
    SnapshotGlance, SparseRead, StoreHeader, Table, Target, TargetKind,
};
use calf::{NodeOwner, Result};

/// The running Linux, up to a point.
pub struct KillingHost {
    linux: LinuxHost,
    fuse: Fuse,
}

/// How many changes this process may still make. Clones share the count.
#[derive(Clone)]
struct Fuse(Arc<AtomicU64>);

impl KillingHost {
    /// Dies right before the `n`-th change; 0 means never.
    pub fn new(n: u64) -> Self {
        let changes_left = if n == 0 { u64::MAX } else { n };
        Self { linux: LinuxHost::new(), fuse: Fuse(Arc::new(AtomicU64::new(changes_left))) }
    }

    fn look(&self) -> &LinuxHost {
        &self.linux
    }

    fn change(&self) -> &LinuxHost {
        self.fuse.burn();
        &self.linux
    }
}

impl Fuse {
    /// Counts a change that is about to be made; kills the process right before the last one.
    fn burn(&self) {
        if self.0.fetch_sub(1, Ordering::SeqCst) == 1 {
            let this = rustix::process::getpid();
            let _ = rustix::process::kill_process(this, rustix::process::Signal::KILL);
            loop {
                std::thread::park();
            }
        }
    }
}

/// An open image, each of whose changes may be the last.
struct KillingImage {
    linux: Box<dyn ImageFile>,
    fuse: Fuse,
}

impl KillingImage {
    fn look(&self) -> &dyn ImageFile {
        &*self.linux
    }

    fn change(&self) -> &dyn ImageFile {
        self.fuse.burn();
        &*self.linux
    }
}

/// Passes each call on; calls marked `change` may be the last.
macro_rules! pass_on {
    ($($kind:ident $name:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => {
        $(fn $name(&self, $($argument: $type),*) -> $result {
            self.$kind().$name($($argument),*)
        })*
    };
}

impl Host for KillingHost {
    pass_on! {
        look boot_id() -> Result<String>;
        look uptime() -> Result<Duration>;
        look kernel_version() -> Result<(u32, u32)>;
        look capabilities() -> Result<Capabilities>;
        look pause(duration: Duration) -> ();
    }
}

impl Files for KillingHost {
    pass_on! {
        look file_system_usage(path: &Path) -> Result<FileSystemUsage>;
        look is_file_system_root(path: &Path) -> Result<bool>;
        look file_system_instance(path: &Path) -> Result<Option<u64>>;
        look file(path: &Path) -> Result<Option<FileStatus>>;
        look list(directory: &Path) -> Result<Vec<OsString>>;
        look read_file(path: &Path, limit: u64) -> Result<Option<Vec<u8>>>;
        look lock(path: &Path, subject: &str, mode: Mode) -> Result<Lock>;
        look try_lock(path: &Path, subject: &str, mode: Mode) -> Result<Option<Lock>>;
        look open_tree(path: &Path) -> Result<Box<dyn FileTree>>;
        look canonical_path(path: &Path) -> Result<PathBuf>;
        change make_private_directory(path: &Path) -> Result<()>;
        change write_record(path: &Path, content: &[u8]) -> Result<()>;
        change write_first_record(path: &Path, content: &[u8]) -> Result<()>;
        change write_hint(path: &Path, content: &[u8]) -> Result<()>;
        change create_file(path: &Path, length: u64, flush: Flush) -> Result<()>;
        change copy_file(from: &Path, path: &Path, length: u64, mode: CopyMode, flush: Flush) -> Result<()>;
        change share_pieces(from: &Path, to: &Path, pieces: &[Piece]) -> Result<Vec<Piece>>;
        look extents(path: &Path) -> Result<Option<Vec<Extent>>>;
        change allocate_file(path: &Path, length: u64) -> Result<()>;
        look store_header(path: &Path) -> Result<StoreHeader>;
        change extend_file(path: &Path, length: u64) -> Result<()>;
        change shorten_file(path: &Path, least: u64, after_content: u64) -> Result<()>;
        change remove_file(path: &Path) -> Result<()>;
        change remove_directory(path: &Path) -> Result<()>;
        change discard_directory(path: &Path) -> Result<()>;
        change rename(from: &Path, to: &Path) -> Result<()>;
        change sync_directory(path: &Path) -> Result<()>;
    }

    fn open_image(&self, path: &Path, mode: OpenMode) -> Result<Box<dyn ImageFile>> {
        let linux = self.linux.open_image(path, mode)?;
        Ok(Box::new(KillingImage { linux, fuse: self.fuse.clone() }))
    }
}

impl SparseRead for KillingImage {
    pass_on! {
        look read_at(buffer: &mut [u8], offset: u64) -> io::Result<usize>;
        look next_data(offset: u64) -> io::Result<u64>;
        look next_hole(offset: u64) -> io::Result<u64>;
    }
}

impl ImageFile for KillingImage {
    pass_on! {
        look status() -> io::Result<FileStatus>;
        change write_all_at(bytes: &[u8], offset: u64) -> io::Result<()>;
        change clear(offset: u64, length: u64) -> io::Result<()>;
        change set_length(length: u64) -> io::Result<()>;
        change sync() -> io::Result<()>;
        change seal() -> io::Result<()>;
    }
}

impl Loops for KillingHost {
    pass_on! {
        change attach_loop(spec: &LoopSpec) -> Result<LoopHandle>;
        look open_loop(number: DeviceNumber, path: &Path) -> Result<Option<LoopHandle>>;
        look loop_file(number: DeviceNumber) -> Result<Option<PathBuf>>;
        look find_loops(path: &Path) -> Result<Vec<LoopDevice>>;
        look loops_below(directory: &Path) -> Result<u64>;
        change refresh_loop(number: DeviceNumber) -> Result<()>;
        change refresh_attached(handle: &LoopHandle) -> Result<()>;
        // The guard does it at any time, and a kill there leaves nothing behind.
        look merge_requests(number: DeviceNumber, merge: bool) -> Result<()>;
        change hand_back_loop(number: DeviceNumber) -> ();
        change detach_loop(number: DeviceNumber, path: &Path) -> Result<()>;
        change sync_device(number: DeviceNumber) -> Result<()>;
        look device_node(number: DeviceNumber) -> Result<PathBuf>;
        look device_size(number: DeviceNumber) -> Result<u64>;
        look device_start(number: DeviceNumber, length: usize) -> Result<Vec<u8>>;
    }
}

impl Mapper for KillingHost {
    pass_on! {
        look device(id: &DeviceId) -> Result<Option<Device>>;
        look glance(id: &DeviceId) -> Result<Option<SnapshotGlance>>;
        look copy_buffer() -> Result<Option<u64>>;
        change set_copy_buffer(bytes: u64) -> Result<()>;
        look device_names() -> Result<BTreeSet<String>>;
        look device_id(name: &str) -> Result<Option<DeviceId>>;
        look device_uuid(number: DeviceNumber) -> Result<Option<String>>;
        change create_device(id: &DeviceId) -> Result<DeviceNumber>;
        change create_spare(name: &str, table: &Table) -> Result<DeviceNumber>;
        change start_spare(name: &str) -> Result<()>;
        change adopt(name: &str, id: &DeviceId) -> Result<()>;
        change load_table(id: &DeviceId, table: &Table) -> Result<()>;
        change clear_table(id: &DeviceId) -> Result<()>;
        change suspend(id: &DeviceId, quiesce: Quiesce) -> Result<()>;
        change resume(id: &DeviceId) -> Result<()>;
        change remove_device(id: &DeviceId) -> Result<()>;
        look holders(busy: Busy<'_>) -> Vec<Holder>;
    }
}

impl Mounts for KillingHost {
    pass_on! {
        change make_node(path: &Path, number: DeviceNumber, owner: NodeOwner) -> Result<()>;
        look target(path: &Path) -> Result<Target>;
        look target_usage(path: &Path) -> Result<FileSystemUsage>;
        change create_target(path: &Path, kind: TargetKind) -> Result<()>;
        change make_parents(path: &Path) -> Result<()>;
        change remove_target(path: &Path) -> Result<()>;
        look check_mount_options(fs_type: &str, options: &[String]) -> Result<()>;
        change mount(spec: &MountSpec) -> Result<()>;
        change bind(spec: &BindSpec) -> Result<()>;
        change seal(path: &Path, owner: &str) -> Result<()>;
        change unmount(path: &Path) -> Result<()>;
        look resolve(path: &Path) -> PathBuf;
        look mounts_of(number: DeviceNumber, is_other: &dyn Fn(&Path) -> bool) -> Result<Vec<MountedAt>>;
        change sync_file_system(path: &Path) -> Result<()>;
        change grow_file_system(path: &Path, fs_type: &str, size: u64) -> Result<()>;
        change end_background_writes(path: &Path, fs_type: &str) -> Result<()>;
        change thaw_abandoned(number: DeviceNumber) -> Result<bool>;
    }
}
