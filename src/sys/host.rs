//! calf's interface to the machine: meaningful operations in four traits, which [`Host`] combines.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cow::extents::Extent;
use crate::cow::header::StoreHeader;
use crate::cow::pieces::Piece;
use crate::error::Result;
use crate::model::device_id::DeviceId;
use crate::model::policy::NodeOwner;
use crate::sys::device::{
    Device, DeviceNumber, LoopDevice, LoopHandle, LoopSpec, SnapshotGlance, Table,
};
use crate::sys::file::{FileStatus, Flush};
use crate::sys::holder::{Busy, Holder};
use crate::sys::image::{ImageFile, OpenMode};
use crate::sys::lock::{Lock, Mode};
use crate::sys::mount::{BindSpec, FileSystemUsage, MountSpec, MountedAt, Target, TargetKind};
use crate::sys::tree::FileTree;

/// The features of this kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Version of the device-mapper `snapshot` target, or why it is missing.
    pub snapshot: Result<(u32, u32, u32), String>,
    /// Version of the `linear` target, which read-only views need, or why it is missing.
    pub linear: Result<(u32, u32, u32), String>,
    /// Whether loop devices can be made, or why not.
    pub loop_control: Result<(), String>,
}

/// How to duplicate the content of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyMode {
    /// Share the blocks (`FICLONE`); fails if the file system does not support it.
    Reflink,
    /// Copy the data into blocks of the new file's own, keeping holes.
    Sparse,
}

/// What comes to rest when a device is suspended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quiesce {
    /// A mounted file system, and then the device: what is on the device is consistent.
    FileSystem,
    /// The device alone: nothing is frozen or written for it.
    Device,
}

/// The machine. All methods block.
///
/// Errors carry the operation and the path or device; `ErrorKind::InUse` stands for `EBUSY`,
/// `ErrorKind::NoSpace` for `ENOSPC`.
pub trait Host: Files + Loops + Mapper + Mounts + Send + Sync + 'static {
    /// An identifier of the running kernel's boot, which changes with each reboot.
    fn boot_id(&self) -> Result<String>;

    /// Version of the running kernel: its first two numbers.
    fn kernel_version(&self) -> Result<(u32, u32)>;

    /// The time since the boot, sleep included. Nobody can set this clock.
    fn uptime(&self) -> Result<Duration>;

    /// The features of this kernel. Called at start and by `calf doctor`.
    fn capabilities(&self) -> Result<Capabilities>;

    /// Waits before a busy device is tried again.
    fn pause(&self, duration: Duration);
}

/// Files of the pool, and the space in its file system. Part of [`Host`].
pub trait Files {
    /// Size and free space of the file system that holds `path`.
    fn file_system_usage(&self, path: &Path) -> Result<FileSystemUsage>;

    /// Whether the directory at `path` is the root of a file system (or of a Btrfs subvolume), so that
    /// something is mounted there.
    fn is_file_system_root(&self, path: &Path) -> Result<bool>;

    /// An identifier of the mounted file system that holds `path`. It changes each time the file system
    /// is mounted anew, and is not used again within a boot. `None` if the kernel does not tell.
    fn file_system_instance(&self, path: &Path) -> Result<Option<u64>>;

    /// The status of the file at `path`, not following a symlink at its end; `None` if nothing
    /// exists.
    fn file(&self, path: &Path) -> Result<Option<FileStatus>>;

    /// The names in a directory, in no particular order; empty if it does not exist.
    fn list(&self, directory: &Path) -> Result<Vec<OsString>>;

    /// Reads a small file completely; `None` if it does not exist. `Corrupt` if it is a symlink, is
    /// not a regular file, or has more than `limit` bytes. Never blocks, for instance on the writer
    /// of a pipe.
    fn read_file(&self, path: &Path, limit: u64) -> Result<Option<Vec<u8>>>;

    /// Takes the lock of `subject` in the lock file at `path`, waiting for its holder.
    fn lock(&self, path: &Path, subject: &str, mode: Mode) -> Result<Lock>;

    /// Takes the lock of `subject` in the lock file at `path`; `None` if it is held elsewhere, by this
    /// process or another.
    fn try_lock(&self, path: &Path, subject: &str, mode: Mode) -> Result<Option<Lock>>;

    /// Makes a directory that only its owner may access, and its missing parents. Restricts an
    /// existing directory to its owner.
    fn make_private_directory(&self, path: &Path) -> Result<()>;

    /// Replaces the file at `path` by `content`, atomically and durably: after a crash at any
    /// instant, it has the old content or the new. Durably makes a missing parent directory.
    fn write_record(&self, path: &Path, content: &[u8]) -> Result<()>;

    /// Writes the record of a new object at `path`, durably, and makes a missing parent directory.
    /// Waits for the disk once. A power loss before the return may leave the record, nothing, or a
    /// file of that name that is empty or holds zeros.
    fn write_first_record(&self, path: &Path, content: &[u8]) -> Result<()>;

    /// Writes a file whose loss does no harm: in place, and without waiting for the disk. A crash
    /// may leave any part of the content.
    fn write_hint(&self, path: &Path, content: &[u8]) -> Result<()>;

    /// Makes a new sparse file of `length` bytes, mode 0600, and a missing parent directory. Fails
    /// if the file exists.
    fn create_file(&self, path: &Path, length: u64, flush: Flush) -> Result<()>;

    /// Makes a new file at `path` with the content of `from`, `length` bytes long, and durably
    /// makes a missing parent directory. The file appears complete or not at all, whatever happens.
    /// Two copies to one path must not run at once.
    fn copy_file(
        &self,
        from: &Path,
        path: &Path,
        length: u64,
        mode: CopyMode,
        flush: Flush,
    ) -> Result<()>;

    /// Has the file at `to` share the blocks of these pieces of the file at `from`, in their places. Returns
    /// those that it cannot share, in order, and leaves what was in their places.
    fn share_pieces(&self, from: &Path, to: &Path, pieces: &[Piece]) -> Result<Vec<Piece>>;

    /// Where the bytes of the file at `path` are on the disk, in ascending order, after what is dirty was written
    /// back; what is not there is a hole. Files with a block at the same place have the same block. `None` if the
    /// file system does not say reliably where they are.
    fn extents(&self, path: &Path) -> Result<Option<Vec<Extent>>>;

    /// Opens an image. Never blocks, for instance on the writer of a pipe.
    fn open_image(&self, path: &Path, mode: OpenMode) -> Result<Box<dyn ImageFile>>;

    /// Opens the directory tree at `path`, which may lead through symlinks.
    fn open_tree(&self, path: &Path) -> Result<Box<dyn FileTree>>;

    /// The absolute path of the file at `path`, without symlinks.
    fn canonical_path(&self, path: &Path) -> Result<PathBuf>;

    /// Allocates the first `length` bytes of a file, so that writing to them needs no more space;
    /// extends a shorter file to that length. `Unsupported` if the file system does not support it.
    fn allocate_file(&self, path: &Path, length: u64) -> Result<()>;

    /// Reads the header of a COW store.
    fn store_header(&self, path: &Path) -> Result<StoreHeader>;

    /// Extends a file to `length` bytes with a hole. A longer file stays as it is.
    fn extend_file(&self, path: &Path, length: u64) -> Result<()>;

    /// Cuts off the hole at the end of a file, except for `after_content` bytes after the last data, and down
    /// to `least` bytes. Changes nothing that the file holds, but may free blocks that are allocated for the
    /// hole. Nobody may write to the file meanwhile.
    fn shorten_file(&self, path: &Path, least: u64, after_content: u64) -> Result<()>;

    /// Moves a file or a directory within the pool atomically, replacing an existing file. Until
    /// the next [`sync_directory`](Self::sync_directory), a power loss may undo the move.
    /// `NotFound` if there is nothing to move.
    fn rename(&self, from: &Path, to: &Path) -> Result<()>;

    /// Removes a file. Succeeds if it does not exist.
    fn remove_file(&self, path: &Path) -> Result<()>;

    /// Makes the names in a directory durable.
    fn sync_directory(&self, path: &Path) -> Result<()>;

    /// Removes a directory of the pool with its content, and makes the removal durable. Succeeds if
    /// it does not exist. Never follows symlinks.
    fn remove_directory(&self, path: &Path) -> Result<()>;

    /// Like `remove_directory`, without waiting for the disk: a power loss may bring the directory
    /// back.
    fn discard_directory(&self, path: &Path) -> Result<()>;
}

/// Loop devices, and block devices by their number. Part of [`Host`].
pub trait Loops {
    /// Attaches a free loop device to a file. With `autoclear`, the device stays attached as long
    /// as the handle or another opener (a device-mapper table) holds it.
    fn attach_loop(&self, spec: &LoopSpec) -> Result<LoopHandle>;

    /// Opens the loop device `number` if it is currently attached to exactly the file at `path`
    /// (same device and inode). It then stays attached while the handle lives.
    fn open_loop(&self, number: DeviceNumber, path: &Path) -> Result<Option<LoopHandle>>;

    /// The path that the kernel shows for the file behind the loop device `number`, with ` (deleted)` at
    /// the end for a deleted file; `None` if the device is not attached.
    fn loop_file(&self, number: DeviceNumber) -> Result<Option<PathBuf>>;

    /// All loop devices whose backing file is the file at `path` (same device and inode).
    /// Reads the whole list of loop devices: for recovery and fallback volumes only.
    fn find_loops(&self, path: &Path) -> Result<Vec<LoopDevice>>;

    /// How many loop devices are attached to files below `directory`, by the paths that the kernel
    /// shows: opens no device. For metrics only.
    fn loops_below(&self, directory: &Path) -> Result<u64>;

    /// Makes a loop device adopt the new size of its backing file.
    fn refresh_loop(&self, number: DeviceNumber) -> Result<()>;

    /// Does the same to the device of a handle that [`attach_loop`](Self::attach_loop) returned.
    fn refresh_attached(&self, handle: &LoopHandle) -> Result<()>;

    /// Has the kernel merge requests to a loop device, as it does by default, or not. Does nothing if the
    /// device is gone.
    fn merge_requests(&self, number: DeviceNumber, merge: bool) -> Result<()>;

    /// Gives the settings of a loop device back that is about to be detached, since a table that holds it is about
    /// to be replaced: the kernel keeps them for the next user. Removing a device does that itself.
    fn hand_back_loop(&self, number: DeviceNumber);

    /// Detaches a loop device that is not `autoclear` from the file at `path`. Leaves a device
    /// alone that is not attached to that file. Fails with `InUse` if the device is open elsewhere.
    fn detach_loop(&self, number: DeviceNumber, path: &Path) -> Result<()>;

    /// Writes what the node's page cache holds for a block device to the device, and flushes the device.
    /// Waits as long as the device is suspended.
    fn sync_device(&self, number: DeviceNumber) -> Result<()>;

    /// The node of a block device in `/dev`, such as `/dev/dm-5210`, created if it is missing.
    fn device_node(&self, number: DeviceNumber) -> Result<PathBuf>;

    /// Size of a block device in bytes.
    fn device_size(&self, number: DeviceNumber) -> Result<u64>;

    /// The first `length` bytes of a block device; fewer if it is smaller.
    fn device_start(&self, number: DeviceNumber, length: usize) -> Result<Vec<u8>>;
}

/// Device-mapper devices. Part of [`Host`].
pub trait Mapper {
    /// The state of a device, or `None` if no device has that name. Fails if a device of that name
    /// has another UUID, since that device is not ours.
    fn device(&self, id: &DeviceId) -> Result<Option<Device>>;

    /// The state of a live snapshot device that a single ioctl returns; `None` if the device does
    /// not exist, is not a snapshot, or does not report on its store. Fails as
    /// [`device`](Self::device) does.
    fn glance(&self, id: &DeviceId) -> Result<Option<SnapshotGlance>>;

    /// Bytes of the kernel's memory that each snapshot sets aside for copying, if it is made from now on;
    /// `None` if the kernel does not tell.
    fn copy_buffer(&self) -> Result<Option<u64>>;

    /// Sets that, in whole KiB, for everything on this machine that copies through device-mapper.
    fn set_copy_buffer(&self, bytes: u64) -> Result<()>;

    /// Names of all device-mapper devices, ours or not: a single ioctl.
    fn device_names(&self) -> Result<BTreeSet<String>>;

    /// Name and UUID of the device with this name; `None` if it does not exist, or has no UUID.
    fn device_id(&self, name: &str) -> Result<Option<DeviceId>>;

    /// The UUID of the device-mapper device with this number; `None` for any other device.
    fn device_uuid(&self, number: DeviceNumber) -> Result<Option<String>>;

    /// Makes an empty device, whose minor number no device had in this boot, as long as the kernel has
    /// such numbers. `AlreadyExists` if the name or UUID is taken.
    fn create_device(&self, id: &DeviceId) -> Result<DeviceNumber>;

    /// Makes such a device that has a name but no UUID, and thus no owner yet, and loads a table into its
    /// inactive slot. `AlreadyExists` if the name is taken. A failure may leave the device.
    fn create_spare(&self, name: &str, table: &Table) -> Result<DeviceNumber>;

    /// Makes the table of a device that [`create_spare`](Self::create_spare) made live.
    fn start_spare(&self, name: &str) -> Result<()>;

    /// Permanently gives the device of this name, which has no UUID, the UUID of `id`, and then the
    /// name of `id`: from then on it is an ordinary device. A device that already has the UUID gets
    /// the name. `NotFound` if there is no device of that name; `AlreadyExists` if it has another
    /// UUID, or if another device has the new UUID or name.
    fn adopt(&self, name: &str, id: &DeviceId) -> Result<()>;

    /// Loads a table into the inactive slot, which must be empty: the kernel refuses a third
    /// snapshot over one COW store.
    fn load_table(&self, id: &DeviceId, table: &Table) -> Result<()>;

    /// Empties the inactive slot. Succeeds if it is empty.
    fn clear_table(&self, id: &DeviceId) -> Result<()>;

    /// Suspends a device: waits for I/O in flight and queues what comes later.
    fn suspend(&self, id: &DeviceId, quiesce: Quiesce) -> Result<()>;

    /// Makes the inactive table live, if there is one, and lets I/O flow. A live device need not be
    /// suspended first: the kernel suspends it to exchange the tables.
    fn resume(&self, id: &DeviceId) -> Result<()>;

    /// Removes a device. `InUse` if it is open; `NotFound` if it does not exist.
    fn remove_device(&self, id: &DeviceId) -> Result<()>;

    /// What keeps a block device, or a mount of it, busy: processes, mounts, loop and other block
    /// devices. Reads much of `/proc`, so it is for error messages only.
    fn holders(&self, busy: Busy<'_>) -> Vec<Holder>;
}

/// Nodes, mounts, and the paths that the orchestrator names. Part of [`Host`].
pub trait Mounts {
    /// Makes (or remakes) a block device node.
    fn make_node(&self, path: &Path, number: DeviceNumber, owner: NodeOwner) -> Result<()>;

    // The walk to a path that the orchestrator named never follows a symlink that a user other than
    // root may have put there, and fails with `InvalidArgument` instead. It never follows a symlink
    // at the end of the path.

    /// The target at a path that the orchestrator named.
    fn target(&self, path: &Path) -> Result<Target>;

    /// Size and usage of the file system that is mounted at a path that the orchestrator named.
    fn target_usage(&self, path: &Path) -> Result<FileSystemUsage>;

    /// Makes an empty directory or file at `path`, whose parent must exist. Succeeds if one of the
    /// same kind exists.
    fn create_target(&self, path: &Path, kind: TargetKind) -> Result<()>;

    /// Makes the missing directories above `path`. `NotFound` where a symlink leads to a missing one.
    fn make_parents(&self, path: &Path) -> Result<()>;

    /// Removes an empty directory or file. Succeeds if it does not exist; fails if it has content.
    fn remove_target(&self, path: &Path) -> Result<()>;

    /// Refuses, as [`mount`](Self::mount) would, options that file systems of this type do not take.
    /// What depends on the device is not looked at.
    fn check_mount_options(&self, fs_type: &str, options: &[String]) -> Result<()>;

    /// Mounts a file system.
    fn mount(&self, spec: &MountSpec) -> Result<()>;

    /// Bind-mounts a path at another path.
    fn bind(&self, spec: &BindSpec) -> Result<()>;

    /// Mounts an empty file system at `path`, an existing directory, that refuses writes for as long as
    /// it lives. `owner`, which starts as calf's UUIDs do, says whose it is.
    fn seal(&self, path: &Path, owner: &str) -> Result<()>;

    /// Unmounts the topmost mount on `path`. `InUse` if it is busy; `NotFound` if nothing is
    /// mounted there.
    fn unmount(&self, path: &Path) -> Result<()>;

    /// A path as the mount table shows it: follows symlinks in its parent, but not a symlink at its
    /// end. Returns a path that cannot be resolved as it is.
    fn resolve(&self, path: &Path) -> PathBuf;

    /// Every place in this mount namespace where the file system on device `number` or a node of
    /// that device is mounted. `is_other` returns, for the file that a mount shows (by its path
    /// from the root of its file system), whether it is the node of another device. Such a mount is
    /// skipped, since checking it would make it briefly busy, and there may be thousands.
    fn mounts_of(
        &self,
        number: DeviceNumber,
        is_other: &dyn Fn(&Path) -> bool,
    ) -> Result<Vec<MountedAt>>;

    /// Writes everything that is dirty in the file system mounted at `path` to its device, while it goes on
    /// being used.
    fn sync_file_system(&self, path: &Path) -> Result<()>;

    /// Grows the file system mounted at `path` to `size` bytes, or to fill its device if that is smaller.
    /// Does nothing if it is as large. Cannot be interrupted, and takes long if `size` adds much. The
    /// kernel may go on writing to it until [`end_background_writes`](Self::end_background_writes).
    fn grow_file_system(&self, path: &Path, fs_type: &str, size: u64) -> Result<()>;

    /// Has the kernel write to the file system mounted at `path` only what its users cause. Without
    /// it, the kernel initialises unused parts in the background after a mount and after growing.
    /// `InUse` if the file system is frozen. Leaves one that is read-only or failed alone.
    fn end_background_writes(&self, path: &Path, fs_type: &str) -> Result<()>;

    /// Thaws the file system that the kernel still has on device `number`, if it is frozen and no mount
    /// of it is left in any mount namespace that this process can see. Returns whether it did. Cheap if
    /// there is no such file system.
    fn thaw_abandoned(&self, number: DeviceNumber) -> Result<bool>;
}
