//! Real files, flushed as on a real machine, below a simulated kernel.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use calf::sys::fake::FakeHost;
use calf::sys::lock::{Lock, Mode};
use calf::sys::{
    BindSpec, Busy, Capabilities, CopyMode, Device, DeviceId, DeviceNumber, Extent, FileStatus,
    FileSystemUsage, FileTree, Files, Flush, Holder, Host, ImageFile, LinuxHost, LoopDevice,
    LoopHandle, LoopSpec, Loops, Mapper, MountSpec, MountedAt, Mounts, OpenMode, Piece, Quiesce,
    SnapshotGlance, StoreHeader, Table, Target, TargetKind,
};
use calf::{NodeOwner, Result};

/// Devices and mounts in memory; everything else is this machine's.
#[derive(Default)]
pub(crate) struct CostHost {
    linux: LinuxHost,
    simulated: FakeHost,
}

/// Passes each call on.
macro_rules! pass_on {
    ($($to:ident $name:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => {
        $(fn $name(&self, $($argument: $type),*) -> $result {
            self.$to.$name($($argument),*)
        })*
    };
}

impl Host for CostHost {
    pass_on! {
        linux boot_id() -> Result<String>;
        linux uptime() -> Result<Duration>;
        linux kernel_version() -> Result<(u32, u32)>;
        linux pause(duration: Duration) -> ();
        simulated capabilities() -> Result<Capabilities>;
    }
}

impl Files for CostHost {
    pass_on! {
        linux file_system_usage(path: &Path) -> Result<FileSystemUsage>;
        linux is_file_system_root(path: &Path) -> Result<bool>;
        linux file_system_instance(path: &Path) -> Result<Option<u64>>;
        linux file(path: &Path) -> Result<Option<FileStatus>>;
        linux list(directory: &Path) -> Result<Vec<OsString>>;
        linux read_file(path: &Path, limit: u64) -> Result<Option<Vec<u8>>>;
        linux lock(path: &Path, subject: &str, mode: Mode) -> Result<Lock>;
        linux try_lock(path: &Path, subject: &str, mode: Mode) -> Result<Option<Lock>>;
        linux open_tree(path: &Path) -> Result<Box<dyn FileTree>>;
        linux canonical_path(path: &Path) -> Result<PathBuf>;
        linux make_private_directory(path: &Path) -> Result<()>;
        linux write_record(path: &Path, content: &[u8]) -> Result<()>;
        linux write_first_record(path: &Path, content: &[u8]) -> Result<()>;
        linux write_hint(path: &Path, content: &[u8]) -> Result<()>;
        linux create_file(path: &Path, length: u64, flush: Flush) -> Result<()>;
        linux copy_file(from: &Path, path: &Path, length: u64, mode: CopyMode, flush: Flush) -> Result<()>;
        linux share_pieces(from: &Path, to: &Path, pieces: &[Piece]) -> Result<Vec<Piece>>;
        linux extents(path: &Path) -> Result<Option<Vec<Extent>>>;
        linux allocate_file(path: &Path, length: u64) -> Result<()>;
        linux store_header(path: &Path) -> Result<StoreHeader>;
        linux shorten_file(path: &Path, least: u64, after_content: u64) -> Result<()>;
        linux extend_file(path: &Path, length: u64) -> Result<()>;
        linux open_image(path: &Path, mode: OpenMode) -> Result<Box<dyn ImageFile>>;
        linux remove_file(path: &Path) -> Result<()>;
        linux remove_directory(path: &Path) -> Result<()>;
        linux discard_directory(path: &Path) -> Result<()>;
        linux sync_directory(path: &Path) -> Result<()>;
        simulated rename(from: &Path, to: &Path) -> Result<()>;
    }
}

impl Loops for CostHost {
    pass_on! {
        simulated attach_loop(spec: &LoopSpec) -> Result<LoopHandle>;
        simulated open_loop(number: DeviceNumber, path: &Path) -> Result<Option<LoopHandle>>;
        simulated loop_file(number: DeviceNumber) -> Result<Option<PathBuf>>;
        simulated find_loops(path: &Path) -> Result<Vec<LoopDevice>>;
        simulated loops_below(directory: &Path) -> Result<u64>;
        simulated refresh_attached(handle: &LoopHandle) -> Result<()>;
        simulated merge_requests(number: DeviceNumber, merge: bool) -> Result<()>;
        simulated refresh_loop(number: DeviceNumber) -> Result<()>;
        simulated hand_back_loop(number: DeviceNumber) -> ();
        simulated detach_loop(number: DeviceNumber, path: &Path) -> Result<()>;
        simulated sync_device(number: DeviceNumber) -> Result<()>;
        simulated device_node(number: DeviceNumber) -> Result<PathBuf>;
        simulated device_size(number: DeviceNumber) -> Result<u64>;
        simulated device_start(number: DeviceNumber, length: usize) -> Result<Vec<u8>>;
    }
}

impl Mapper for CostHost {
    pass_on! {
        simulated device(id: &DeviceId) -> Result<Option<Device>>;
        simulated glance(id: &DeviceId) -> Result<Option<SnapshotGlance>>;
        simulated device_names() -> Result<BTreeSet<String>>;
        simulated device_id(name: &str) -> Result<Option<DeviceId>>;
        simulated device_uuid(number: DeviceNumber) -> Result<Option<String>>;
        simulated create_device(id: &DeviceId) -> Result<DeviceNumber>;
        simulated copy_buffer() -> Result<Option<u64>>;
        simulated set_copy_buffer(bytes: u64) -> Result<()>;
        simulated start_spare(name: &str) -> Result<()>;
        simulated create_spare(name: &str, table: &Table) -> Result<DeviceNumber>;
        simulated adopt(name: &str, id: &DeviceId) -> Result<()>;
        simulated load_table(id: &DeviceId, table: &Table) -> Result<()>;
        simulated clear_table(id: &DeviceId) -> Result<()>;
        simulated suspend(id: &DeviceId, quiesce: Quiesce) -> Result<()>;
        simulated resume(id: &DeviceId) -> Result<()>;
        simulated remove_device(id: &DeviceId) -> Result<()>;
        simulated holders(busy: Busy<'_>) -> Vec<Holder>;
    }
}

impl Mounts for CostHost {
    pass_on! {
        simulated make_node(path: &Path, number: DeviceNumber, owner: NodeOwner) -> Result<()>;
        simulated target(path: &Path) -> Result<Target>;
        simulated target_usage(path: &Path) -> Result<FileSystemUsage>;
        simulated create_target(path: &Path, kind: TargetKind) -> Result<()>;
        simulated make_parents(path: &Path) -> Result<()>;
        simulated remove_target(path: &Path) -> Result<()>;
        simulated check_mount_options(fs_type: &str, options: &[String]) -> Result<()>;
        simulated mount(spec: &MountSpec) -> Result<()>;
        simulated bind(spec: &BindSpec) -> Result<()>;
        simulated seal(path: &Path, owner: &str) -> Result<()>;
        simulated unmount(path: &Path) -> Result<()>;
        linux resolve(path: &Path) -> PathBuf;
        simulated mounts_of(number: DeviceNumber, is_other: &dyn Fn(&Path) -> bool) -> Result<Vec<MountedAt>>;
        simulated sync_file_system(path: &Path) -> Result<()>;
        simulated grow_file_system(path: &Path, fs_type: &str, size: u64) -> Result<()>;
        simulated end_background_writes(path: &Path, fs_type: &str) -> Result<()>;
        simulated thaw_abandoned(number: DeviceNumber) -> Result<bool>;
    }
}
