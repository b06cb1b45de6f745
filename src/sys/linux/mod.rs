//! The running Linux, 5.12 or newer.
//!
//! Each subject has a file; [`LinuxHost`] only delegates. `raw` has all `unsafe` code; `table`,
//! `mountinfo` and `options` only process text and are tested without a kernel.

mod attach;
mod copy;
mod copy_buffer;
mod dm;
mod extents;
mod file_systems;
mod files;
mod free_loop;
mod frozen;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod grow;
mod holders;
mod inode_tables;
mod loops;
mod merging;
#[cfg(feature = "micro")]
pub(crate) mod micro;
mod minors;
mod mounted;
mod mountinfo;
mod mounts;
mod nodes;
mod options;
mod overlay;
mod places;
mod pod;
mod processes;
mod raw;
pub(crate) mod readiness;
mod refusal;
mod release;
mod seal;
mod share;
pub(crate) mod site;
mod sysfs;
mod table;
mod targets;
mod used_files;
mod walk;
mod write_cache;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use crate::cow::extents::Extent;
use crate::cow::header::StoreHeader;
use crate::cow::pieces::Piece;
use crate::error::{Error, Result};
use crate::model::device_id::DeviceId;
use crate::model::policy::NodeOwner;
use crate::sys::lock::{Lock, Mode};
use crate::sys::{
    BindSpec, Busy, Capabilities, CopyMode, Device, DeviceNumber, FileStatus, FileSystemUsage,
    FileTree, Files, Flush, Holder, Host, ImageFile, LoopDevice, LoopHandle, LoopSpec, Loops,
    Mapper, MountSpec, MountedAt, Mounts, OpenMode, Quiesce, SnapshotGlance, SparseRead as _,
    Table, Target, TargetKind,
};
use crate::sys::{file, image, lock, tree};

/// [`Host`] by ioctls and system calls on the running kernel. Threads may share it.
#[derive(Default)]
pub struct LinuxHost {
    device_mapper: dm::DeviceMapper,
    /// A process does not outlive a boot.
    boot_id: OnceLock<String>,
}

impl LinuxHost {
    /// A host; nothing is opened until it is used.
    pub fn new() -> Self {
        Self::default()
    }
}

impl fmt::Debug for LinuxHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinuxHost").finish_non_exhaustive()
    }
}

impl Host for LinuxHost {
    fn boot_id(&self) -> Result<String> {
        const PATH: &str = "/proc/sys/kernel/random/boot_id";
        if let Some(id) = self.boot_id.get() {
            return Ok(id.clone());
        }
        let id = std::fs::read_to_string(PATH).map_err(|e| Error::io("read", PATH, e))?;
        Ok(self.boot_id.get_or_init(|| id.trim_end().to_owned()).clone())
    }

    fn uptime(&self) -> Result<Duration> {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        Ok(Duration::try_from(time).unwrap_or_default())
    }

    fn kernel_version(&self) -> Result<(u32, u32)> {
        release::version()
    }

    fn capabilities(&self) -> Result<Capabilities> {
        Ok(Capabilities {
            snapshot: self.device_mapper.target_version("snapshot"),
            linear: self.device_mapper.target_version("linear"),
            loop_control: loops::capability(),
        })
    }

    fn pause(&self, duration: Duration) {
        std::thread::sleep(duration);
    }
}

impl Files for LinuxHost {
    fn file_system_usage(&self, path: &Path) -> Result<FileSystemUsage> {
        files::usage(path)
    }

    fn is_file_system_root(&self, path: &Path) -> Result<bool> {
        file_systems::is_root(path)
    }

    fn file_system_instance(&self, path: &Path) -> Result<Option<u64>> {
        file_systems::instance(path)
    }

    fn file(&self, path: &Path) -> Result<Option<FileStatus>> {
        FileStatus::at(path)
    }

    fn list(&self, directory: &Path) -> Result<Vec<OsString>> {
        file::list(directory)
    }

    fn read_file(&self, path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
        file::read(path, limit)
    }

    fn lock(&self, path: &Path, subject: &str, mode: Mode) -> Result<Lock> {
        lock::lock(path, subject, mode)
    }

    fn try_lock(&self, path: &Path, subject: &str, mode: Mode) -> Result<Option<Lock>> {
        lock::try_lock(path, subject, mode)
    }

    fn make_private_directory(&self, path: &Path) -> Result<()> {
        file::make_private_directory(path)
    }

    fn write_record(&self, path: &Path, content: &[u8]) -> Result<()> {
        files::write_record(path, content)
    }

    fn write_first_record(&self, path: &Path, content: &[u8]) -> Result<()> {
        files::write_first_record(path, content)
    }

    fn write_hint(&self, path: &Path, content: &[u8]) -> Result<()> {
        file::write_hint(path, content)
    }

    fn create_file(&self, path: &Path, length: u64, flush: Flush) -> Result<()> {
        files::create(path, length, flush)
    }

    fn copy_file(
        &self,
        from: &Path,
        path: &Path,
        length: u64,
        mode: CopyMode,
        flush: Flush,
    ) -> Result<()> {
        copy::copy(from, path, length, mode, flush)
    }

    fn share_pieces(&self, from: &Path, to: &Path, pieces: &[Piece]) -> Result<Vec<Piece>> {
        share::share(from, to, pieces)
    }

    fn extents(&self, path: &Path) -> Result<Option<Vec<Extent>>> {
        extents::of(path)
    }

    fn open_image(&self, path: &Path, mode: OpenMode) -> Result<Box<dyn ImageFile>> {
        Ok(Box::new(image::open(path, mode)?))
    }

    fn open_tree(&self, path: &Path) -> Result<Box<dyn FileTree>> {
        Ok(Box::new(tree::open(path)?))
    }

    fn canonical_path(&self, path: &Path) -> Result<PathBuf> {
        file::canonical_path(path)
    }

    fn allocate_file(&self, path: &Path, length: u64) -> Result<()> {
        files::allocate(path, length)
    }

    fn store_header(&self, path: &Path) -> Result<StoreHeader> {
        files::store_header(path)
    }

    fn shorten_file(&self, path: &Path, least: u64, after_content: u64) -> Result<()> {
        file::shorten(path, least, after_content)
    }

    fn extend_file(&self, path: &Path, length: u64) -> Result<()> {
        files::extend(path, length)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        files::rename(from, to)
    }

    fn sync_directory(&self, path: &Path) -> Result<()> {
        files::sync_directory(path)
    }

    fn remove_file(&self, path: &Path) -> Result<()> {
        files::remove(path)
    }

    fn remove_directory(&self, path: &Path) -> Result<()> {
        files::remove_directory(path)
    }

    fn discard_directory(&self, path: &Path) -> Result<()> {
        files::discard_directory(path)
    }
}

impl Loops for LinuxHost {
    fn attach_loop(&self, spec: &LoopSpec) -> Result<LoopHandle> {
        attach::attach(spec)
    }

    fn open_loop(&self, number: DeviceNumber, path: &Path) -> Result<Option<LoopHandle>> {
        loops::open(number, path)
    }

    fn loop_file(&self, number: DeviceNumber) -> Result<Option<PathBuf>> {
        sysfs::loop_file(number)
    }

    fn find_loops(&self, path: &Path) -> Result<Vec<LoopDevice>> {
        loops::find(path)
    }

    fn loops_below(&self, directory: &Path) -> Result<u64> {
        loops::below(directory)
    }

    fn refresh_loop(&self, number: DeviceNumber) -> Result<()> {
        loops::refresh(number)
    }

    fn refresh_attached(&self, handle: &LoopHandle) -> Result<()> {
        loops::refresh_attached(handle)
    }

    fn merge_requests(&self, number: DeviceNumber, merge: bool) -> Result<()> {
        merging::set(number, merge)
    }

    fn hand_back_loop(&self, number: DeviceNumber) {
        merging::hand_back(number);
        write_cache::hand_back(number);
    }

    fn detach_loop(&self, number: DeviceNumber, path: &Path) -> Result<()> {
        loops::detach(number, path)
    }

    fn sync_device(&self, number: DeviceNumber) -> Result<()> {
        // Opened for reading only, since udev reads a device that was open for writing.
        nodes::open_block(number, nodes::Access::Read)
            .and_then(|device| device.sync_all())
            .map_err(|e| Error::io("write back to device", number, e))
    }

    fn device_node(&self, number: DeviceNumber) -> Result<PathBuf> {
        // Opening it creates the node if /dev is static.
        nodes::open_block(number, nodes::Access::Read)
            .and_then(|_| nodes::block_node(number))
            .map_err(|e| Error::io("find block device", number, e))
    }

    fn device_size(&self, number: DeviceNumber) -> Result<u64> {
        sysfs::size(number)
    }

    fn device_start(&self, number: DeviceNumber, length: usize) -> Result<Vec<u8>> {
        let read = || {
            let device = nodes::open_block(number, nodes::Access::Read)?;
            let mut bytes = vec![0; length];
            let filled = device.fill_from(&mut bytes, 0)?;
            bytes.truncate(filled);
            Ok(bytes)
        };
        read().map_err(|e: std::io::Error| Error::io("read the start of device", number, e))
    }
}

impl Mapper for LinuxHost {
    fn device(&self, id: &DeviceId) -> Result<Option<Device>> {
        self.device_mapper.device(id)
    }

    fn glance(&self, id: &DeviceId) -> Result<Option<SnapshotGlance>> {
        self.device_mapper.glance(id)
    }

    fn copy_buffer(&self) -> Result<Option<u64>> {
        copy_buffer::read()
    }

    fn set_copy_buffer(&self, bytes: u64) -> Result<()> {
        copy_buffer::set(bytes)
    }

    fn device_names(&self) -> Result<BTreeSet<String>> {
        self.device_mapper.names()
    }

    fn device_id(&self, name: &str) -> Result<Option<DeviceId>> {
        self.device_mapper.id(name)
    }

    fn device_uuid(&self, number: DeviceNumber) -> Result<Option<String>> {
        Ok(sysfs::attribute(number, "dm/uuid")?.filter(|uuid| !uuid.is_empty()))
    }

    fn create_device(&self, id: &DeviceId) -> Result<DeviceNumber> {
        self.device_mapper.create(id)
    }

    fn create_spare(&self, name: &str, table: &Table) -> Result<DeviceNumber> {
        self.device_mapper.create_spare(name, table)
    }

    fn start_spare(&self, name: &str) -> Result<()> {
        self.device_mapper.start_spare(name)
    }

    fn adopt(&self, name: &str, id: &DeviceId) -> Result<()> {
        self.device_mapper.adopt(name, id)
    }

    fn load_table(&self, id: &DeviceId, table: &Table) -> Result<()> {
        self.device_mapper.load(id, table)
    }

    fn clear_table(&self, id: &DeviceId) -> Result<()> {
        self.device_mapper.clear(id)
    }

    fn suspend(&self, id: &DeviceId, quiesce: Quiesce) -> Result<()> {
        self.device_mapper.suspend(id, quiesce)
    }

    fn resume(&self, id: &DeviceId) -> Result<()> {
        self.device_mapper.resume(id)
    }

    fn remove_device(&self, id: &DeviceId) -> Result<()> {
        self.device_mapper.remove(id)
    }

    fn holders(&self, busy: Busy<'_>) -> Vec<Holder> {
        holders::holders(busy)
    }
}

impl Mounts for LinuxHost {
    fn make_node(&self, path: &Path, number: DeviceNumber, owner: NodeOwner) -> Result<()> {
        nodes::make(path, number, owner)
    }

    fn target(&self, path: &Path) -> Result<Target> {
        targets::look(path)
    }

    fn target_usage(&self, path: &Path) -> Result<FileSystemUsage> {
        targets::usage(path)
    }

    fn create_target(&self, path: &Path, kind: TargetKind) -> Result<()> {
        targets::create(path, kind)
    }

    fn make_parents(&self, path: &Path) -> Result<()> {
        places::make_parents(path)
    }

    fn remove_target(&self, path: &Path) -> Result<()> {
        targets::remove(path)
    }

    fn check_mount_options(&self, fs_type: &str, options: &[String]) -> Result<()> {
        mounts::check_options(fs_type, options)
    }

    fn mount(&self, spec: &MountSpec) -> Result<()> {
        mounts::mount(spec)
    }

    fn bind(&self, spec: &BindSpec) -> Result<()> {
        mounts::bind(spec)
    }

    fn seal(&self, path: &Path, owner: &str) -> Result<()> {
        seal::seal(path, owner)
    }

    fn unmount(&self, path: &Path) -> Result<()> {
        mounts::unmount(path)
    }

    fn resolve(&self, path: &Path) -> PathBuf {
        places::find(path)
            .ok()
            .and_then(|place| place.shown_path())
            .unwrap_or_else(|| path.to_owned())
    }

    fn mounts_of(
        &self,
        number: DeviceNumber,
        is_other: &dyn Fn(&Path) -> bool,
    ) -> Result<Vec<MountedAt>> {
        mounts::mounts_of(number, is_other)
    }

    fn sync_file_system(&self, path: &Path) -> Result<()> {
        const OPERATION: &str = "write back the file system at";
        let mounted = mounted::open(OPERATION, path)?;
        rustix::fs::syncfs(&mounted.root)
            .map_err(|errno| Error::io(OPERATION, path.display(), errno))
    }

    fn grow_file_system(&self, path: &Path, fs_type: &str, size: u64) -> Result<()> {
        grow::grow(path, fs_type, size)
    }

    fn end_background_writes(&self, path: &Path, fs_type: &str) -> Result<()> {
        match options::driver(fs_type) {
            "ext4" => inode_tables::leave_alone(path),
            "xfs" => frozen::refuse_xfs("use the file system at", path),
            _ => Ok(()),
        }
    }

    fn thaw_abandoned(&self, number: DeviceNumber) -> Result<bool> {
        frozen::thaw_abandoned(number)
    }
}
