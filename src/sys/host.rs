//! What calf asks of the machine: meaningful operations in four traits, and [`Host`] for all of them.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cow::header::StoreHeader;
use crate::error::Result;
use crate::model::device_id::DeviceId;
use crate::model::policy::NodeOwner;
use crate::sys::device::{
    Device, DeviceNumber, Holder, LoopDevice, LoopHandle, LoopSpec, SnapshotGlance, Table,
};
use crate::sys::file::{FileStatus, Flush};
use crate::sys::image::{ImageFile, OpenMode};
use crate::sys::lock::{Lock, Mode};
use crate::sys::mount::{BindSpec, FileSystemUsage, MountSpec, MountedAt, Target, TargetKind};

/// What this kernel offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Version of the device-mapper `snapshot` target, or why there is none.
    pub snapshot: Result<(u32, u32, u32), String>,
    /// Whether the `linear` target is there (read-only views need it), or why not.
    pub linear: Result<(u32, u32, u32), String>,
    /// Whether loop devices can be made, or why not.
    pub loop_control: Result<(), String>,
}

/// How the content of a file is to be duplicated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyMode {
    /// Share the blocks (`FICLONE`); fails where the file system cannot.
    Reflink,
    /// Copy the data, keeping holes.
    Sparse,
}

/// The machine, as calf needs it. All methods block.
///
/// Errors carry the operation and the path or device; `ErrorKind::InUse` stands for `EBUSY`,
/// `ErrorKind::NoSpace` for `ENOSPC`.
pub trait Host: Files + Loops + Mapper + Mounts + Send + Sync + 'static {
    /// An identifier of the running kernel's boot, other after each reboot.
    fn boot_id(&self) -> Result<String>;

    /// Version of the running kernel: its first two numbers.
    fn kernel_version(&self) -> Result<(u32, u32)>;

    /// What this kernel offers. Asked at start and by `calf doctor`.
    fn capabilities(&self) -> Result<Capabilities>;

    /// Lets time pass before a busy device is tried again.
    fn pause(&self, duration: Duration);
}

/// Files of the pool, and the room in its file system. Part of [`Host`].
pub trait Files {
    /// Size and free space of the file system that holds `path`.
    fn file_system_usage(&self, path: &Path) -> Result<FileSystemUsage>;

    /// What is at `path`, not following a symlink at its end; `None` if nothing is.
    fn file(&self, path: &Path) -> Result<Option<FileStatus>>;

    /// The names in a directory, in no order; none if it is missing.
    fn list(&self, directory: &Path) -> Result<Vec<OsString>>;

    /// The whole of a small file; `None` if it is not there. `Corrupt` if it is a symlink, is not a
    /// regular file, or has more than `limit` bytes. Never waits, as for the writer of a pipe.
    fn read_file(&self, path: &Path, limit: u64) -> Result<Option<Vec<u8>>>;

    /// Takes the lock of `subject` in the lock file at `path`, waiting for its holder.
    fn lock(&self, path: &Path, subject: &str, mode: Mode) -> Result<Lock>;

    /// Takes the lock of `subject` in the lock file at `path`; `None` if it is held elsewhere, by this
    /// process or another.
    fn try_lock(&self, path: &Path, subject: &str, mode: Mode) -> Result<Option<Lock>>;

    /// Makes a directory that only its owner may look into, and its missing parents. One that is there
    /// is restricted to its owner.
    fn make_private_directory(&self, path: &Path) -> Result<()>;

    /// Replaces the file at `path` by `content`, atomically and durably: after a return, or
    /// after a crash at any instant, it has the old content or the new.
    /// The parent directory is made, durably, if missing.
    fn write_record(&self, path: &Path, content: &[u8]) -> Result<()>;

    /// Makes the record at `path` of something that is new, durably, with its parent directory if
    /// that is missing: waits for the disk once. A loss of power before the return may leave the
    /// record, nothing, or a file of its name that is empty or of zeros.
    fn write_first_record(&self, path: &Path, content: &[u8]) -> Result<()>;

    /// Writes a file whose loss costs nothing: in place, and without waiting for the disk. A crash may
    /// leave any part of it.
    fn write_hint(&self, path: &Path, content: &[u8]) -> Result<()>;

    /// Makes a new sparse file of `length` bytes, mode 0600, and its parent directory if that is
    /// missing. Fails if the file exists.
    fn create_file(&self, path: &Path, length: u64, flush: Flush) -> Result<()>;

    /// Makes a new file at `path` with the content of `from`, `length` bytes long, and its parent
    /// directory, durably, if that is missing. The file appears whole or not at all, whatever
    /// happens. Two copies to one path must not run at once.
    fn copy_file(
        &self,
        from: &Path,
        path: &Path,
        length: u64,
        mode: CopyMode,
        flush: Flush,
    ) -> Result<()>;

    /// Opens an image. Never waits, as for the writer of a pipe.
    fn open_image(&self, path: &Path, mode: OpenMode) -> Result<Box<dyn ImageFile>>;

    /// The absolute path of what is at `path`, without symlinks.
    fn canonical_path(&self, path: &Path) -> Result<PathBuf>;

    /// Allocates the first `length` bytes of a file, so that writing to them needs no more space;
    /// a shorter file becomes that long. `Unsupported` where the file system cannot.
    fn allocate_file(&self, path: &Path, length: u64) -> Result<()>;

    /// What the first bytes of a COW store say.
    fn store_header(&self, path: &Path) -> Result<StoreHeader>;

    /// Extends a file to `length` bytes with a hole; a longer file stays as it is.
    fn extend_file(&self, path: &Path, length: u64) -> Result<()>;

    /// Moves a file or a directory within the pool, in one step; a file that is there is replaced.
    /// A loss of power may take that back, up to the next [`sync_directory`](Self::sync_directory).
    /// `NotFound` if there is nothing to move.
    fn rename(&self, from: &Path, to: &Path) -> Result<()>;

    /// Removes a file; a missing one is fine.
    fn remove_file(&self, path: &Path) -> Result<()>;

    /// Makes the names in a directory durable.
    fn sync_directory(&self, path: &Path) -> Result<()>;

    /// Removes a directory of the pool with what is left in it, and makes the removal durable;
    /// a missing one is fine. Never follows symlinks.
    fn remove_directory(&self, path: &Path) -> Result<()>;

    /// The same without waiting for the disk: a loss of power may bring it back.
    fn discard_directory(&self, path: &Path) -> Result<()>;
}

/// Loop devices, and block devices by their number. Part of [`Host`].
pub trait Loops {
    /// Attaches a free loop device to a file. It stays as long as the handle or, with
    /// `autoclear`, another opener (a device-mapper table) holds it.
    fn attach_loop(&self, spec: &LoopSpec) -> Result<LoopHandle>;

    /// Opens the loop device `number` if it is, right now, attached to exactly the file at
    /// `path` (same device and inode); it then stays attached while the handle lives.
    fn open_loop(&self, number: DeviceNumber, path: &Path) -> Result<Option<LoopHandle>>;

    /// All loop devices whose backing file is the file at `path` (same device and inode).
    /// Reads the whole list of loop devices: for recovery and fallback volumes only.
    fn find_loops(&self, path: &Path) -> Result<Vec<LoopDevice>>;

    /// How many loop devices are attached to files below `directory`, by the paths that the kernel
    /// shows: none is opened. For figures only.
    fn loops_below(&self, directory: &Path) -> Result<u64>;

    /// Tells a loop device that its backing file has grown.
    fn refresh_loop(&self, number: DeviceNumber) -> Result<()>;

    /// Detaches a loop device that is not `autoclear` from the file at `path`; one that is not
    /// attached to that file is left alone. Fails with `InUse` if it is open elsewhere.
    fn detach_loop(&self, number: DeviceNumber, path: &Path) -> Result<()>;

    /// The node of a block device in `/dev`, such as `/dev/dm-3`; made if it is missing.
    fn device_node(&self, number: DeviceNumber) -> Result<PathBuf>;

    /// Size of a block device in bytes.
    fn device_size(&self, number: DeviceNumber) -> Result<u64>;

    /// The first `length` bytes of a block device; fewer if it is smaller.
    fn device_start(&self, number: DeviceNumber, length: usize) -> Result<Vec<u8>>;
}

/// Device-mapper devices. Part of [`Host`].
pub trait Mapper {
    /// The state of a device, or `None` if no device has that name. Fails if a device of that
    /// name has another UUID: it is not ours.
    fn device(&self, id: &DeviceId) -> Result<Option<Device>>;

    /// The state of a live snapshot device as far as one question tells; `None` if it is not there,
    /// is no snapshot, or tells nothing of its store. Fails as [`device`](Self::device) does.
    fn glance(&self, id: &DeviceId) -> Result<Option<SnapshotGlance>>;

    /// Names of all device-mapper devices, ours or not: a single ioctl.
    fn device_names(&self) -> Result<BTreeSet<String>>;

    /// Name and UUID of the device with this name; `None` if there is none, or if it has no UUID.
    fn device_id(&self, name: &str) -> Result<Option<DeviceId>>;

    /// The UUID of the device-mapper device with this number; `None` for any other device.
    fn device_uuid(&self, number: DeviceNumber) -> Result<Option<String>>;

    /// Makes an empty device. `AlreadyExists` if the name or UUID is taken.
    fn create_device(&self, id: &DeviceId) -> Result<DeviceNumber>;

    /// Makes a device that has a name and is nobody's yet, as it has no UUID, with a live table.
    /// `AlreadyExists` if the name is taken. A failure may leave it without a live table.
    fn create_spare(&self, name: &str, table: &Table) -> Result<DeviceNumber>;

    /// Gives the device of this name, which has no UUID, that of `id`, once and for all, and then its
    /// name: from here on it is a device like others. One that has the UUID already gets the name.
    /// `NotFound` if there is no device of that name; `AlreadyExists` if it has another UUID, or if
    /// another device has what it is to get.
    fn adopt(&self, name: &str, id: &DeviceId) -> Result<()>;

    /// Loads a table into the inactive slot, which must be empty: the kernel refuses a third
    /// snapshot over one COW store.
    fn load_table(&self, id: &DeviceId, table: &Table) -> Result<()>;

    /// Empties the inactive slot; an empty one is fine.
    fn clear_table(&self, id: &DeviceId) -> Result<()>;

    /// Suspends a device: waits for I/O in flight and freezes a mounted file system.
    fn suspend(&self, id: &DeviceId) -> Result<()>;

    /// Makes the inactive table live, if there is one, and lets I/O flow. A live device need not be
    /// suspended before: the kernel does that for the change of tables.
    fn resume(&self, id: &DeviceId) -> Result<()>;

    /// Removes a device. `InUse` if it is open; `NotFound` if there is none.
    fn remove_device(&self, id: &DeviceId) -> Result<()>;

    /// Who keeps a block device busy: mounts, processes, loop and other block devices. Reads
    /// much of `/proc`: for error messages only.
    fn holders(&self, number: DeviceNumber) -> Vec<Holder>;
}

/// Nodes, mounts, and the paths that the orchestrator names. Part of [`Host`].
pub trait Mounts {
    /// Makes (or remakes) a block device node.
    fn make_node(&self, path: &Path, number: DeviceNumber, owner: NodeOwner) -> Result<()>;

    // Paths that the orchestrator named are walked to without following what others than root may
    // have put there: `InvalidArgument`. A symlink at their end is never followed.

    /// What is at a path that the orchestrator named.
    fn target(&self, path: &Path) -> Result<Target>;

    /// Size and use of the file system that is mounted at a path that the orchestrator named.
    fn target_usage(&self, path: &Path) -> Result<FileSystemUsage>;

    /// Makes an empty directory or file at `path`; its parent must exist. One of the same kind
    /// that is already there is fine.
    fn create_target(&self, path: &Path, kind: TargetKind) -> Result<()>;

    /// Removes an empty directory or file; a missing one is fine. Anything with content is
    /// left and is an error.
    fn remove_target(&self, path: &Path) -> Result<()>;

    /// Mounts a file system.
    fn mount(&self, spec: &MountSpec) -> Result<()>;

    /// Mounts what is at one path at another as well.
    fn bind(&self, spec: &BindSpec) -> Result<()>;

    /// Unmounts what is mounted last on `path`. `InUse` if it is busy; `NotFound` if nothing is
    /// mounted there.
    fn unmount(&self, path: &Path) -> Result<()>;

    /// A path as the mount table shows it: symlinks in its parent are followed, one at its end
    /// is not. A path that cannot be followed is returned as it is.
    fn resolve(&self, path: &Path) -> PathBuf;

    /// Every place in this mount namespace where the file system on device `number` or a node
    /// of that device is mounted. `is_other` tells of the file that a mount shows, by its path from
    /// the root of its file system, that it is the node of another device: such a mount is not looked
    /// at, since a look keeps it busy for that moment, and there may be thousands.
    fn mounts_of(
        &self,
        number: DeviceNumber,
        is_other: &dyn Fn(&Path) -> bool,
    ) -> Result<Vec<MountedAt>>;

    /// Grows the file system mounted at `path` to fill its device. Nothing happens if it does.
    fn grow_file_system(&self, path: &Path, fs_type: &str) -> Result<()>;
}
