//! A simulated kernel for tests: it keeps loop devices, device-mapper devices and mounts in memory,
//! keeps files in the real file system, and fails at the call that a test chooses.
//!
//! It represents the kernel, so it outlives a dropped [`Pool`](crate::Pool), as the kernel outlives
//! a driver. It panics on what must never happen: unlinking a file while a loop device is attached
//! to it, a table over a loop device that is not attached, or I/O on a suspended device.

mod faults;
mod files;
mod image;
mod kernel;
mod merge;

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::cow::extents::Extent;
use crate::cow::header::StoreHeader;
use crate::cow::pieces::Piece;
use crate::error::{Error, ErrorKind, Result};
use crate::model::device_id::DeviceId;
use crate::model::policy::NodeOwner;
use crate::sys::fake::faults::Faults;
use crate::sys::fake::image::FakeImage;
use crate::sys::fake::kernel::{Kernel, Start};
use crate::sys::image as images;
use crate::sys::lock::{Lock, Mode};
use crate::sys::{
    BindSpec, Busy, Capabilities, CopyMode, Device, DeviceNumber, FileStatus, FileSystemUsage,
    FileTree, Files, Flush, Holder, Host, ImageFile, LoopDevice, LoopHandle, LoopSpec, Loops,
    Mapper, MountSpec, MountedAt, Mounts, OpenMode, Process, Quiesce, SnapshotGlance,
    SnapshotUsage, Table, Target, TargetKind, Usage,
};
use crate::sys::{file, lock, tree};

pub use crate::sys::fake::faults::{Crash, Failure};

/// A simulated machine. Clones share it.
#[derive(Clone)]
pub struct FakeHost {
    state: Arc<Mutex<State>>,
    faults: Faults,
}

struct State {
    kernel: Kernel,
    snapshot_missing: bool,
    reflink_missing: bool,
    /// The size of the blocks that files can share, in bytes.
    shared_block: u64,
    /// How files were copied, to where, and which devices were suspended then.
    copied: Vec<Copied>,
    free: u64,
    file_system_root: bool,
    started: Instant,
    /// By how much the time since the boot exceeds the time since the start.
    uptime: Duration,
    /// How often the pool's file system was mounted.
    mounts: u64,
    confined: Option<PathBuf>,
    /// What each snapshot sets aside for copying.
    copy_buffer: u64,
    /// How long the kernel takes to grow a file system.
    growing_takes: Duration,
    /// The status of files whose status does not change any more.
    frozen: HashMap<PathBuf, FileStatus>,
}

impl Default for FakeHost {
    fn default() -> Self {
        Self::new()
    }
}

impl FakeHost {
    /// A machine with dm-snapshot and a terabyte of free space in its pool.
    pub fn new() -> Self {
        Self {
            state: Arc::new(Mutex::new(State {
                kernel: Kernel::new(),
                snapshot_missing: false,
                reflink_missing: false,
                shared_block: 4096,
                copied: Vec::new(),
                free: 1 << 40,
                file_system_root: false,
                started: Instant::now(),
                uptime: Duration::from_secs(60),
                mounts: 1,
                confined: None,
                copy_buffer: 512 << 10,
                growing_takes: Duration::ZERO,
                frozen: HashMap::new(),
            })),
            faults: Faults::default(),
        }
    }

    /// Makes the `n`-th call from now fail (the first is 1).
    pub fn fail_at(&self, n: u64, failure: Failure) {
        self.faults.fail_at(n, failure);
    }

    /// Runs `interruption` before the `n`-th call from now (the first is 1), as another process would. It may
    /// use the machine.
    pub fn interrupt_at(&self, n: u64, interruption: impl FnOnce() + Send + 'static) {
        self.faults.interrupt_at(n, Box::new(interruption));
    }

    /// Makes every call succeed again. Returns whether the failing call was reached.
    pub fn heal(&self) -> bool {
        self.faults.heal()
    }

    /// The number of calls since [`fail_at`](Self::fail_at), or since the start.
    pub fn calls(&self) -> u64 {
        self.faults.calls()
    }

    /// Restarts the machine: devices and mounts are gone, files stay.
    pub fn reboot(&self) {
        self.state().kernel.reboot();
    }

    /// Removes dm-snapshot from the kernel, or adds it again.
    pub fn without_snapshot(&self, missing: bool) {
        self.state().snapshot_missing = missing;
    }

    /// Has files of the pool share no blocks from now on, as on ext4, or share them again.
    pub fn without_reflink(&self, missing: bool) {
        self.state().reflink_missing = missing;
    }

    /// From now on, files share only pieces that are made of blocks of so many bytes.
    pub fn share_blocks_of(&self, bytes: u64) {
        self.state().shared_block = bytes;
    }

    /// The copies of files since the last call: how each was made, to where, and which devices were suspended
    /// then.
    pub fn take_copies(&self) -> Vec<(CopyMode, PathBuf, Vec<DeviceNumber>)> {
        std::mem::take(&mut self.state().copied)
    }

    /// From now on, panics if a path outside `root` is touched.
    pub fn confine(&self, root: &Path) {
        self.state().confined = Some(root.to_owned());
    }

    /// Sets the free space of the pool's file system, in bytes.
    pub fn set_free(&self, bytes: u64) {
        self.state().free = bytes;
    }

    /// The free space of the pool's file system, in bytes.
    pub fn free(&self) -> u64 {
        self.state().free
    }

    /// Mounts the pool's file system anew. Devices and mounts stay, which a real machine would not
    /// allow: a test takes them down first.
    pub fn remount(&self) {
        self.state().mounts += 1;
    }

    /// Lets time pass.
    pub fn advance(&self, time: Duration) {
        self.state().uptime += time;
    }

    /// Makes the pool's directory the root of a file system, or a directory within one.
    pub fn set_file_system_root(&self, is_root: bool) {
        self.state().file_system_root = is_root;
    }

    /// Where file systems are mounted to which the kernel writes although nobody uses them: since
    /// they were mounted for writing, or grown.
    pub fn background_writes(&self) -> Vec<PathBuf> {
        self.state().kernel.background_writes()
    }

    /// The size in bytes to which the file system that is mounted at a path has grown; `None` if it has
    /// not.
    pub fn grown_to(&self, path: &Path) -> Option<u64> {
        let state = self.state();
        match state.kernel.mounted(&files::resolve(path))? {
            Target::FileSystem { device, .. } => state.kernel.grown(device),
            _ => None,
        }
    }

    /// Makes each growth of a file system take so long.
    pub fn set_growing_takes(&self, time: Duration) {
        self.state().growing_takes = time;
    }

    /// Opens a device, as a process or a guest would, until [`close`](Self::close).
    pub fn open(&self, number: DeviceNumber) {
        self.state().kernel.opened.push(number);
    }

    /// Closes a device again.
    pub fn close(&self, number: DeviceNumber) {
        let mut state = self.state();
        if let Some(at) = state.kernel.opened.iter().position(|opened| *opened == number) {
            state.kernel.opened.remove(at);
        }
    }

    /// Makes the COW store of a snapshot device full or invalid, or sets how much of it is used.
    pub fn set_usage(&self, number: DeviceNumber, usage: SnapshotUsage) {
        self.state().kernel.set_usage(number, usage);
    }

    /// The files behind loop devices to which the kernel does not merge requests.
    pub fn unmerged(&self) -> Vec<PathBuf> {
        self.state().kernel.unmerged()
    }

    /// Writes to chunks of a volume that were not written before, whose copies take so many bytes of its COW
    /// store. Returns whether that succeeds: otherwise the store is full.
    pub fn write_new(&self, number: DeviceNumber, bytes: u64) -> bool {
        self.state().kernel.write_new(number, bytes)
    }

    /// How long the COW store of a volume was, in bytes, when the kernel made the tables for its exceptions.
    pub fn sized_by(&self, number: DeviceNumber) -> Option<u64> {
        self.state().kernel.sized_by(number)
    }

    /// Makes the file system on a device read-only, as an error does.
    pub fn fail_file_system(&self, number: DeviceNumber) {
        self.state().kernel.fail_file_system(number);
    }

    /// Freezes the file system on a device, as `fsfreeze` does.
    pub fn freeze(&self, number: DeviceNumber) {
        self.state().kernel.frozen.insert(number);
    }

    /// Whether the file system on a device is frozen.
    pub fn is_frozen(&self, number: DeviceNumber) -> bool {
        self.state().kernel.frozen.contains(&number)
    }

    /// Has a process work in the directory that is mounted at `path`, until [`leave`](Self::leave).
    pub fn occupy(&self, path: &Path) {
        self.state().kernel.occupied.insert(files::resolve(path));
    }

    /// Has no process work in the directory that is mounted at `path`.
    pub fn leave(&self, path: &Path) {
        self.state().kernel.occupied.remove(&files::resolve(path));
    }

    /// Overwrites the start of a device, as a guest can that has the device as its disk.
    pub fn write_start(&self, number: DeviceNumber, bytes: &[u8]) {
        self.state().kernel.write_start(number, bytes);
    }

    /// Freezes the status that calf sees of the file at `path`: the present inode, size and times, but an
    /// hour old and on another device. Later writes do not change it. So the file can stand for a file of
    /// another file system, and for the one that replaces it when another file system is mounted there.
    ///
    /// # Panics
    ///
    /// If there is no such file.
    pub fn freeze_status(&self, path: &Path) {
        let found = FileStatus::at(path).ok().flatten().expect("a file");
        let device = found.device.wrapping_add(1);
        let changed = [found.changed[0] - 3600, found.changed[1]];
        self.state().frozen.insert(path.to_owned(), FileStatus { device, changed, ..found });
    }

    /// Descriptions of everything that is left in the kernel; empty if nothing leaked.
    pub fn leftovers(&self) -> Vec<String> {
        self.state().kernel.leftovers()
    }

    /// The sizes of the live device-mapper devices, by name.
    pub fn sizes(&self) -> Vec<(String, u64)> {
        self.state().kernel.sizes()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// # Panics
    ///
    /// If a confined machine would touch another path.
    fn check(&self, path: &Path) {
        let state = self.state();
        let Some(root) = &state.confined else { return };
        let up = path.components().any(|part| part == Component::ParentDir);
        assert!(path.starts_with(root) && !up, "{} is outside", path.display());
    }

    /// Runs one call, or makes it fail.
    fn call<T>(
        &self,
        name: &'static str,
        action: impl FnOnce(&mut State) -> Result<T>,
    ) -> Result<T> {
        self.faults.run(name, || action(&mut self.state()))
    }

    /// Opens a loop device, with the lock held.
    fn hold(&self, state: &mut State, number: DeviceNumber) -> LoopHandle {
        state.kernel.opened.push(number);
        LoopHandle::new(number, Hold { host: self.clone(), number })
    }
}

/// A copy of a file: how it was made, to where, and which devices were suspended then.
type Copied = (CopyMode, PathBuf, Vec<DeviceNumber>);

/// An open file of this process on a loop device.
struct Hold {
    host: FakeHost,
    number: DeviceNumber,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.host.close(self.number);
        self.host.state().kernel.autoclear();
    }
}

impl Host for FakeHost {
    fn boot_id(&self) -> Result<String> {
        self.call("boot_id", |state| Ok(state.kernel.boot_id()))
    }

    fn uptime(&self) -> Result<Duration> {
        self.call("uptime", |state| Ok(state.uptime + state.started.elapsed()))
    }

    fn kernel_version(&self) -> Result<(u32, u32)> {
        self.call("kernel_version", |_| Ok((6, 1)))
    }

    fn capabilities(&self) -> Result<Capabilities> {
        self.call("capabilities", |state| {
            let snapshot = if state.snapshot_missing {
                Err("the kernel has no snapshot target".to_owned())
            } else {
                Ok((1, 16, 0))
            };
            Ok(Capabilities { snapshot, linear: Ok((1, 4, 0)), loop_control: Ok(()) })
        })
    }

    /// Sleeps for real: meanwhile, a test may remove what the caller waits for.
    fn pause(&self, duration: Duration) {
        std::thread::sleep(duration);
    }
}

impl Files for FakeHost {
    fn file_system_usage(&self, _path: &Path) -> Result<FileSystemUsage> {
        self.call("file_system_usage", |state| {
            let total = state.free.max(1 << 40);
            Ok(FileSystemUsage {
                total,
                used: total - state.free,
                available: state.free,
                inodes: 1 << 20,
                inodes_used: 1,
                inodes_free: (1 << 20) - 1,
            })
        })
    }

    fn is_file_system_root(&self, path: &Path) -> Result<bool> {
        self.check(path);
        self.call("is_file_system_root", |state| Ok(state.file_system_root))
    }

    fn file_system_instance(&self, path: &Path) -> Result<Option<u64>> {
        self.check(path);
        self.call("file_system_instance", |state| Ok(Some(state.mounts)))
    }

    fn file(&self, path: &Path) -> Result<Option<FileStatus>> {
        self.check(path);
        self.call("file", |state| match state.frozen.get(path) {
            Some(frozen) => Ok(Some(*frozen)),
            None => FileStatus::at(path),
        })
    }

    fn list(&self, directory: &Path) -> Result<Vec<OsString>> {
        self.check(directory);
        self.call("list", |_| file::list(directory))
    }

    fn read_file(&self, path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
        self.check(path);
        self.call("read_file", |_| file::read(path, limit))
    }

    fn lock(&self, path: &Path, subject: &str, mode: Mode) -> Result<Lock> {
        self.check(path);
        self.faults.run("lock", || lock::lock(path, subject, mode))
    }

    fn try_lock(&self, path: &Path, subject: &str, mode: Mode) -> Result<Option<Lock>> {
        self.check(path);
        self.faults.run("try_lock", || lock::try_lock(path, subject, mode))
    }

    fn make_private_directory(&self, path: &Path) -> Result<()> {
        self.check(path);
        self.call("make_private_directory", |_| file::make_private_directory(path))
    }

    fn write_record(&self, path: &Path, content: &[u8]) -> Result<()> {
        self.check(path);
        self.call("write_record", |_| files::write_record(path, content))
    }

    fn write_first_record(&self, path: &Path, content: &[u8]) -> Result<()> {
        self.check(path);
        self.call("write_first_record", |_| files::write_record(path, content))
    }

    fn write_hint(&self, path: &Path, content: &[u8]) -> Result<()> {
        self.check(path);
        self.call("write_hint", |_| file::write_hint(path, content))
    }

    fn create_file(&self, path: &Path, length: u64, _flush: Flush) -> Result<()> {
        self.check(path);
        self.call("create_file", |_| files::create(path, length))
    }

    fn copy_file(
        &self,
        from: &Path,
        path: &Path,
        length: u64,
        mode: CopyMode,
        _flush: Flush,
    ) -> Result<()> {
        self.check(from);
        self.check(path);
        self.call("copy_file", |state| {
            if mode == CopyMode::Reflink && state.reflink_missing {
                let why = "the file system cannot";
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    "share blocks",
                    from.display(),
                    why,
                ));
            }
            state.copied.push((mode, path.to_owned(), state.kernel.suspended()));
            files::copy(from, path, length)
        })
    }

    fn share_pieces(&self, from: &Path, to: &Path, pieces: &[Piece]) -> Result<Vec<Piece>> {
        self.check(from);
        self.check(to);
        self.call("share_pieces", |state| {
            let block = state.shared_block;
            let is_shared = |piece: &&Piece| {
                let Piece { from, to, length } = piece;
                let whole = [from, to, length].into_iter().all(|it| it.is_multiple_of(block));
                whole && !state.reflink_missing
            };
            let (shared, left): (Vec<Piece>, Vec<Piece>) = pieces.iter().partition(is_shared);
            files::copy_pieces(from, to, &shared)?;
            Ok(left)
        })
    }

    fn extents(&self, path: &Path) -> Result<Option<Vec<Extent>>> {
        self.check(path);
        // Which blocks the files of the machine below share is not simulated.
        self.call("extents", |_| Ok(None))
    }

    fn open_image(&self, path: &Path, mode: OpenMode) -> Result<Box<dyn ImageFile>> {
        self.check(path);
        let file = self.call("open_image", |_| images::open(path, mode))?;
        let frozen = self.state().frozen.get(path).copied();
        Ok(Box::new(FakeImage::new(self.faults.clone(), file, frozen)))
    }

    fn open_tree(&self, path: &Path) -> Result<Box<dyn FileTree>> {
        self.check(path);
        self.call("open_tree", |_| Ok(Box::new(tree::open(path)?) as Box<dyn FileTree>))
    }

    fn canonical_path(&self, path: &Path) -> Result<PathBuf> {
        self.check(path);
        self.call("canonical_path", |_| file::canonical_path(path))
    }

    fn allocate_file(&self, path: &Path, length: u64) -> Result<()> {
        self.check(path);
        self.call("allocate_file", |state| {
            if length > state.free {
                return Err(Error::new(ErrorKind::NoSpace, "allocate", path.display(), "ENOSPC"));
            }
            files::allocate(path, length)
        })
    }

    fn store_header(&self, path: &Path) -> Result<StoreHeader> {
        self.check(path);
        self.call("store_header", |_| files::store_header(path))
    }

    fn extend_file(&self, path: &Path, length: u64) -> Result<()> {
        self.check(path);
        self.call("extend_file", |_| files::extend(path, length))
    }

    fn shorten_file(&self, path: &Path, least: u64, after_content: u64) -> Result<()> {
        self.check(path);
        self.call("shorten_file", |state| {
            state.kernel.check_no_device_over(path);
            file::shorten(path, least, after_content)
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.check(from);
        self.check(to);
        self.call("rename", |state| {
            state.kernel.check_unused(to);
            files::rename(from, to)?;
            state.kernel.follow(from, to);
            Ok(())
        })
    }

    fn sync_directory(&self, path: &Path) -> Result<()> {
        self.check(path);
        self.call("sync_directory", |_| Ok(()))
    }

    fn remove_file(&self, path: &Path) -> Result<()> {
        self.check(path);
        self.call("remove_file", |state| {
            state.kernel.check_unused(path);
            files::remove(path)
        })
    }

    fn remove_directory(&self, path: &Path) -> Result<()> {
        self.check(path);
        self.call("remove_directory", |state| {
            state.kernel.check_unused(path);
            files::remove_directory(path)
        })
    }

    fn discard_directory(&self, path: &Path) -> Result<()> {
        self.check(path);
        self.call("discard_directory", |state| {
            state.kernel.check_unused(path);
            files::remove_directory(path)
        })
    }
}

impl Loops for FakeHost {
    fn attach_loop(&self, spec: &LoopSpec) -> Result<LoopHandle> {
        self.call("attach_loop", |state| {
            let number = state.kernel.attach_loop(spec)?;
            Ok(self.hold(state, number))
        })
    }

    fn open_loop(&self, number: DeviceNumber, path: &Path) -> Result<Option<LoopHandle>> {
        self.call("open_loop", |state| {
            let attached = state.kernel.loop_file(number) == Some(path);
            Ok(attached.then(|| self.hold(state, number)))
        })
    }

    fn loop_file(&self, number: DeviceNumber) -> Result<Option<PathBuf>> {
        self.call("loop_file", |state| Ok(state.kernel.shown_file(number)))
    }

    fn find_loops(&self, path: &Path) -> Result<Vec<LoopDevice>> {
        self.call("find_loops", |state| Ok(state.kernel.find_loops(path)))
    }

    fn loops_below(&self, directory: &Path) -> Result<u64> {
        self.call("loops_below", |state| Ok(state.kernel.loops_below(directory)))
    }

    fn refresh_loop(&self, number: DeviceNumber) -> Result<()> {
        self.call("refresh_loop", |state| state.kernel.refresh_loop(number))
    }

    fn merge_requests(&self, number: DeviceNumber, merge: bool) -> Result<()> {
        self.call("merge_requests", |state| {
            state.kernel.merge_requests(number, merge);
            Ok(())
        })
    }

    fn hand_back_loop(&self, number: DeviceNumber) {
        self.state().kernel.merge_requests(number, true);
    }

    fn refresh_attached(&self, handle: &LoopHandle) -> Result<()> {
        self.call("refresh_attached", |state| state.kernel.refresh_loop(handle.number))
    }

    fn detach_loop(&self, number: DeviceNumber, path: &Path) -> Result<()> {
        self.call("detach_loop", |state| state.kernel.detach_loop(number, path))
    }

    fn sync_device(&self, number: DeviceNumber) -> Result<()> {
        self.call("sync_device", |state| state.kernel.sync(number))
    }

    fn device_node(&self, number: DeviceNumber) -> Result<PathBuf> {
        self.call("device_node", |_| Ok(PathBuf::from(format!("/dev/block/{number}"))))
    }

    fn device_size(&self, number: DeviceNumber) -> Result<u64> {
        self.call("device_size", |state| state.kernel.size(number))
    }

    fn device_start(&self, number: DeviceNumber, length: usize) -> Result<Vec<u8>> {
        self.call("device_start", |state| {
            let mut start = match state.kernel.start(number)? {
                Start::Written(bytes) => bytes[..bytes.len().min(length)].to_owned(),
                Start::File(path) => files::start(path, length)?,
            };
            if let Some(size) = state.kernel.grown(number) {
                image::set_ext4_size(&mut start, size);
            }
            Ok(start)
        })
    }
}

impl Mapper for FakeHost {
    fn device(&self, id: &DeviceId) -> Result<Option<Device>> {
        self.call("device", |state| Ok(state.kernel.device(id)))
    }

    fn glance(&self, id: &DeviceId) -> Result<Option<SnapshotGlance>> {
        self.call("glance", |state| Ok(state.kernel.glance(id)))
    }

    fn copy_buffer(&self) -> Result<Option<u64>> {
        self.call("copy_buffer", |state| Ok(Some(state.copy_buffer)))
    }

    fn set_copy_buffer(&self, bytes: u64) -> Result<()> {
        self.call("set_copy_buffer", |state| {
            state.copy_buffer = bytes;
            Ok(())
        })
    }

    fn device_names(&self) -> Result<BTreeSet<String>> {
        self.call("device_names", |state| Ok(state.kernel.device_names()))
    }

    fn device_id(&self, name: &str) -> Result<Option<DeviceId>> {
        self.call("device_id", |state| Ok(state.kernel.device_id(name)))
    }

    fn device_uuid(&self, number: DeviceNumber) -> Result<Option<String>> {
        self.call("device_uuid", |state| Ok(state.kernel.uuid(number)))
    }

    fn create_device(&self, id: &DeviceId) -> Result<DeviceNumber> {
        self.call("create_device", |state| state.kernel.create_device(id))
    }

    fn create_spare(&self, name: &str, table: &Table) -> Result<DeviceNumber> {
        let id = DeviceId { name: name.to_owned(), uuid: String::new() };
        let number = self.create_device(&id)?;
        self.load_table(&id, table)?;
        Ok(number)
    }

    fn start_spare(&self, name: &str) -> Result<()> {
        self.resume(&DeviceId { name: name.to_owned(), uuid: String::new() })
    }

    /// Counts as two calls, since it makes two changes.
    fn adopt(&self, name: &str, id: &DeviceId) -> Result<()> {
        self.call("adopt: UUID", |state| state.kernel.give_uuid(name, &id.uuid))?;
        self.call("adopt: name", |state| state.kernel.give_name(name, &id.name))
    }

    fn load_table(&self, id: &DeviceId, table: &Table) -> Result<()> {
        self.call("load_table", |state| state.kernel.load_table(id, table))
    }

    fn clear_table(&self, id: &DeviceId) -> Result<()> {
        self.call("clear_table", |state| state.kernel.clear_table(id))
    }

    fn suspend(&self, id: &DeviceId, _quiesce: Quiesce) -> Result<()> {
        self.call("suspend", |state| state.kernel.suspend(id))
    }

    fn resume(&self, id: &DeviceId) -> Result<()> {
        self.call("resume", |state| state.kernel.resume(id))
    }

    fn remove_device(&self, id: &DeviceId) -> Result<()> {
        self.call("remove_device", |state| state.kernel.remove_device(id))
    }

    fn holders(&self, busy: Busy<'_>) -> Vec<Holder> {
        let process = Process { pid: 1, command: "guest".to_owned(), pod: None };
        let usage = match busy {
            Busy::Device(number) if self.state().kernel.opened.contains(&number) => None,
            Busy::Mount { path, .. } if self.state().kernel.is_occupied(&files::resolve(path)) => {
                Some(Usage::WorkingDirectory(path.to_owned()))
            }
            _ => return Vec::new(),
        };
        vec![Holder::Process { process, usage }]
    }
}

impl Mounts for FakeHost {
    fn make_node(&self, path: &Path, number: DeviceNumber, _owner: NodeOwner) -> Result<()> {
        self.check(path);
        self.call("make_node", |state| {
            files::write_record(path, number.to_string().as_bytes())?;
            state.kernel.nodes.insert(files::resolve(path), number);
            Ok(())
        })
    }

    fn target(&self, path: &Path) -> Result<Target> {
        self.check(path);
        self.call("target", |state| match state.kernel.mounted(&files::resolve(path)) {
            Some(target) => Ok(target),
            None => files::target(path),
        })
    }

    fn target_usage(&self, path: &Path) -> Result<FileSystemUsage> {
        self.file_system_usage(path)
    }

    fn create_target(&self, path: &Path, kind: TargetKind) -> Result<()> {
        self.check(path);
        self.call("create_target", |_| files::create_target(path, kind))
    }

    fn make_parents(&self, path: &Path) -> Result<()> {
        self.check(path);
        self.call("make_parents", |_| files::make_parent(path))
    }

    fn remove_target(&self, path: &Path) -> Result<()> {
        self.check(path);
        self.call("remove_target", |state| {
            state.kernel.check_not_mounted(&files::resolve(path));
            files::remove_target(path)
        })
    }

    fn check_mount_options(&self, fs_type: &str, options: &[String]) -> Result<()> {
        self.call("check_mount_options", |_| kernel::check_options(fs_type, options))
    }

    fn mount(&self, spec: &MountSpec) -> Result<()> {
        self.check(&spec.target);
        self.call("mount", |state| state.kernel.mount(spec))
    }

    fn bind(&self, spec: &BindSpec) -> Result<()> {
        self.check(&spec.source);
        self.check(&spec.target);
        self.call("bind", |state| {
            let (source, target) = (files::resolve(&spec.source), files::resolve(&spec.target));
            state.kernel.bind(&source, &target, spec.read_only)
        })
    }

    fn seal(&self, path: &Path, owner: &str) -> Result<()> {
        self.check(path);
        self.call("seal", |state| state.kernel.seal(&files::resolve(path), owner))
    }

    fn unmount(&self, path: &Path) -> Result<()> {
        self.check(path);
        self.call("unmount", |state| state.kernel.unmount(&files::resolve(path)))
    }

    fn resolve(&self, path: &Path) -> PathBuf {
        files::resolve(path)
    }

    fn mounts_of(
        &self,
        number: DeviceNumber,
        _is_other: &dyn Fn(&Path) -> bool,
    ) -> Result<Vec<MountedAt>> {
        self.call("mounts_of", |state| Ok(state.kernel.mounts_of(number)))
    }

    fn sync_file_system(&self, path: &Path) -> Result<()> {
        self.check(path);
        self.call("sync_file_system", |state| match state.kernel.mounted(&files::resolve(path)) {
            Some(Target::FileSystem { device, .. }) => state.kernel.sync(device),
            _ => Err(Error::new(ErrorKind::NotFound, "sync", path.display(), "not mounted")),
        })
    }

    fn grow_file_system(&self, path: &Path, _fs_type: &str, size: u64) -> Result<()> {
        let takes = self.state().growing_takes;
        std::thread::sleep(takes);
        self.call("grow_file_system", |state| state.kernel.grow(&files::resolve(path), size))
    }

    fn end_background_writes(&self, path: &Path, _fs_type: &str) -> Result<()> {
        self.call("end_background_writes", |state| {
            state.kernel.check_not_frozen(&files::resolve(path))?;
            state.kernel.set_background_writes(&files::resolve(path), false);
            Ok(())
        })
    }

    fn thaw_abandoned(&self, number: DeviceNumber) -> Result<bool> {
        self.call("thaw_abandoned", |state| Ok(state.kernel.thaw_abandoned(number)))
    }
}
