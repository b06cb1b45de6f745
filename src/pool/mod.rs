//! A pool: the directory that holds templates and volumes, and the entry to everything else.
//!
//! A [`Pool`] keeps no state of its own: what exists is told by the pool's directory and the
//! kernel at each call. Any number of processes may use one pool at once; operations on one
//! volume exclude each other across all of them (`ErrorKind::InProgress`). Operations on
//! different volumes run side by side: they meet only while one attaches, extends or removes the
//! template that both use.
//!
//! All methods block; call them from a thread that may.

#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
pub mod layout;
pub mod record;
#[cfg(test)]
pub(crate) mod sample;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use jiff::Timestamp;

use crate::error::{Error, ErrorKind, Result};
use crate::key::{Key, PoolId};
use crate::sys::lock::{self, Lock, Mode};
use crate::sys::{FileSystemUsage, Host, LinuxHost};
use crate::template::{self, DownloadOptions};
use crate::volume::{self, DEFAULT_KATA_ROOT, Health};
use layout::Layout;
use record::{Backing, FORMATS, PoolRecord};

/// How volumes are made where the kernel has no dm-snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// A reflink copy of the template; needs a pool on XFS with reflink or on Btrfs.
    Reflink,
    /// A full copy of the template's data.
    Copy,
}

/// How a pool is to be opened.
#[derive(Clone)]
pub struct PoolOptions {
    host: Option<Arc<dyn Host>>,
    reserve: u64,
    fallback: Option<Fallback>,
    downloads: DownloadOptions,
    kata_root: PathBuf,
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self {
            host: None,
            reserve: Self::DEFAULT_RESERVE,
            fallback: None,
            downloads: DownloadOptions::default(),
            kata_root: DEFAULT_KATA_ROOT.into(),
        }
    }
}

impl PoolOptions {
    /// Bytes of the pool's file system that new volumes leave free, unless told otherwise.
    pub const DEFAULT_RESERVE: u64 = 256 << 20;

    /// Bytes of the pool's file system that must stay free when a volume is created: the room in
    /// which existing volumes go on writing.
    #[must_use]
    pub fn reserve(mut self, bytes: u64) -> Self {
        self.reserve = bytes;
        self
    }

    /// What to do where the kernel has no dm-snapshot. Without it, volumes are refused there.
    #[must_use]
    pub fn fallback(mut self, fallback: Option<Fallback>) -> Self {
        self.fallback = fallback;
        self
    }

    /// How images are downloaded.
    #[must_use]
    pub fn downloads(mut self, downloads: DownloadOptions) -> Self {
        self.downloads = downloads;
        self
    }

    /// Where Kata's runtimes look for direct-assigned volumes. All processes on a pool should use
    /// the same directory: what is published there is in use.
    #[must_use]
    pub fn kata_root(mut self, directory: impl Into<PathBuf>) -> Self {
        self.kata_root = directory.into();
        self
    }

    /// The machine to work on; the running Linux unless a test says otherwise.
    #[must_use]
    pub fn host(mut self, host: Arc<dyn Host>) -> Self {
        self.host = Some(host);
        self
    }

    /// Opens the pool in directory `root`. A missing or empty directory becomes a new pool.
    ///
    /// # Errors
    ///
    /// `Unsupported` if a newer calf made the pool; `InvalidArgument` if the directory holds
    /// something else.
    pub fn open(self, root: impl AsRef<Path>) -> Result<Pool> {
        let host = match self.host {
            Some(host) => host,
            None => Arc::new(LinuxHost::new()),
        };
        let root = std::path::absolute(root.as_ref())
            .map_err(|e| Error::io("open pool", root.as_ref().display(), e))?;
        let layout = Layout::new(root);
        let record = open_or_create(&*host, &layout)?;
        Ok(Pool(Arc::new(Inner {
            host,
            layout,
            id: record.id,
            format: AtomicU32::new(record.format),
            health: Health::default(),
            claims: AtomicU64::new(0),
            reserve: self.reserve,
            fallback: self.fallback,
            downloads: self.downloads,
            kata_root: self.kata_root,
        })))
    }
}

/// A directory of templates and volumes. Cheap to clone. See the [module](self).
#[derive(Clone)]
pub struct Pool(Arc<Inner>);

struct Inner {
    host: Arc<dyn Host>,
    layout: Layout,
    id: PoolId,
    /// What the pool's record said when it was last read: it only ever rises.
    format: AtomicU32,
    health: Health,
    claims: AtomicU64,
    reserve: u64,
    fallback: Option<Fallback>,
    downloads: DownloadOptions,
    kata_root: PathBuf,
}

/// Size and free space of a pool, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Size of the pool's file system.
    pub total: u64,
    /// Free space, the reserve included.
    pub free: u64,
    /// Free space that new volumes may use: what is free less the reserve.
    pub available: u64,
    /// What must stay free.
    pub reserve: u64,
}

impl Pool {
    /// Opens the pool in directory `root` with the default [`PoolOptions`].
    pub fn open(root: impl AsRef<Path>) -> Result<Self> {
        PoolOptions::default().open(root)
    }

    /// The pool's identity, part of each of its devices' UUIDs.
    pub fn id(&self) -> &PoolId {
        &self.0.id
    }

    /// The pool's directory.
    pub fn root(&self) -> &Path {
        self.0.layout.root()
    }

    /// Size and free space.
    pub fn capacity(&self) -> Result<Capacity> {
        let FileSystemUsage { total, available: free, .. } =
            self.host().file_system_usage(self.root())?;
        let reserve = self.0.reserve;
        Ok(Capacity { total, free, available: free.saturating_sub(reserve), reserve })
    }

    /// What in the pool cannot be understood: records that were edited, damaged or put in another's
    /// place. Lists leave it out; everything else goes on beside it.
    pub fn damage(&self) -> Result<Vec<Error>> {
        let (_, mut damage) = template::survey(self)?;
        damage.extend(volume::survey(self)?.1);
        Ok(damage)
    }

    /// How new volumes are made on this kernel.
    ///
    /// # Errors
    ///
    /// `Unsupported` where the kernel lacks dm-snapshot and no fallback was chosen.
    pub fn backing(&self) -> Result<Backing> {
        let capabilities = self.host().capabilities()?;
        if let Err(reason) = capabilities.loop_control {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "use loop devices in pool",
                self.root().display(),
                reason,
            )
            .remedy("load the `loop` module and give calf /dev/loop-control"));
        }
        let missing = match (capabilities.snapshot, capabilities.linear) {
            (Ok(_), Ok(_)) => return Ok(Backing::Snapshot),
            (Err(reason), _) | (_, Err(reason)) => reason,
        };
        match self.0.fallback {
            Some(Fallback::Reflink) => Ok(Backing::Reflink),
            Some(Fallback::Copy) => Ok(Backing::Copy),
            None => Err(Error::new(
                ErrorKind::Unsupported,
                "make copy-on-write volumes in pool",
                self.root().display(),
                missing,
            )
            .remedy(
                "run `modprobe dm-snapshot`, or choose private copies with \
                         `--fallback reflink` or `--fallback copy`",
            )),
        }
    }

    /// What was told of volumes that were given up.
    pub(crate) fn health(&self) -> &Health {
        &self.0.health
    }

    /// How many spares became volumes' devices since the pool was opened.
    pub fn claimed_spares(&self) -> u64 {
        self.0.claims.load(Ordering::Relaxed)
    }

    /// Counts a spare that became a volume's device.
    pub(crate) fn count_claim(&self) {
        self.0.claims.fetch_add(1, Ordering::Relaxed);
    }

    /// The machine that the pool works on.
    pub(crate) fn host(&self) -> &dyn Host {
        &*self.0.host
    }

    /// How images are downloaded.
    pub(crate) fn download_options(&self) -> &DownloadOptions {
        &self.0.downloads
    }

    /// Where Kata's runtimes look for direct-assigned volumes.
    pub(crate) fn kata_root(&self) -> &Path {
        &self.0.kata_root
    }

    /// Where the pool's files are.
    pub(crate) fn layout(&self) -> &Layout {
        &self.0.layout
    }

    /// Raises the pool's format, durably, before something that needs it is written.
    pub(crate) fn require_format(&self, format: u32) -> Result<()> {
        if self.0.format.load(Ordering::Acquire) >= format {
            return Ok(());
        }
        let layout = self.layout();
        let path = layout.pool_record();
        let _lock = lock::lock(&layout.lock_file(), "pool", Mode::Exclusive)?;
        let record = record::read::<PoolRecord>(&path)?.ok_or_else(|| {
            Error::new(ErrorKind::Corrupt, "raise the format of", path.display(), "it is missing")
                .remedy("restore it: it carries the pool's identity")
        })?;
        let record = check_format(record, &path)?;
        if record.format < format {
            self.host().write_record(&path, &record::to_bytes(&PoolRecord { format, ..record }))?;
            tracing::info!(pool = %self.root().display(), format, "raised the pool's format");
        }
        self.0.format.fetch_max(format, Ordering::AcqRel);
        Ok(())
    }

    /// Takes the lock of a volume, and completes what a crash left of its claim for a spare.
    ///
    /// # Errors
    ///
    /// `InProgress` if another operation on the volume is running, here or in another process.
    pub(crate) fn lock_volume(&self, id: &str, operation: &'static str) -> Result<Lock> {
        let key = Key::of(id);
        let lock = self.try_lock_key(&key)?.ok_or_else(|| {
            Error::new(
                ErrorKind::InProgress,
                operation,
                id,
                "another operation on this volume is running",
            )
            .remedy("repeat the call when it has ended")
        })?;
        volume::settle(self, &key)?;
        Ok(lock)
    }

    /// Takes the lock of the volume with this key; `None` if it is held elsewhere.
    pub(crate) fn try_lock_key(&self, key: &Key) -> Result<Option<Lock>> {
        let subject = format!("volume/{key}");
        lock::try_lock(&self.layout().lock_file(), &subject, Mode::Exclusive)
    }

    /// Takes the lock of a spare; `None` while it is made, claimed or removed elsewhere.
    pub(crate) fn try_lock_spare(&self, token: &Key) -> Result<Option<Lock>> {
        let subject = format!("spare/{token}");
        lock::try_lock(&self.layout().lock_file(), &subject, Mode::Exclusive)
    }

    /// Takes the lock of who makes and removes spares; `None` if somebody does.
    pub(crate) fn try_lock_spares(&self) -> Result<Option<Lock>> {
        lock::try_lock(&self.layout().lock_file(), "spares", Mode::Exclusive)
    }

    /// Takes the lock of a template's content, waiting for its holder: shared to use the
    /// content, exclusive to make or to remove it.
    pub(crate) fn lock_image(&self, digest: &str, mode: Mode) -> Result<Lock> {
        lock::lock(&self.layout().lock_file(), &format!("image/{digest}"), mode)
    }

    /// Takes the lock of who attaches a template's content or extends its file, waiting for its holder.
    /// That of the content is held too, shared, and taken first.
    pub(crate) fn lock_origin(&self, digest: &str) -> Result<Lock> {
        lock::lock(&self.layout().lock_file(), &format!("origin/{digest}"), Mode::Exclusive)
    }

    /// Takes the lock of an import by the id of its source; `None` while another process or
    /// thread imports from that source.
    pub(crate) fn try_lock_import(&self, id: &str) -> Result<Option<Lock>> {
        lock::try_lock(&self.layout().lock_file(), &format!("import/{id}"), Mode::Exclusive)
    }

    /// Takes the lock of an import, waiting for its holder.
    pub(crate) fn lock_import(&self, id: &str) -> Result<Lock> {
        lock::lock(&self.layout().lock_file(), &format!("import/{id}"), Mode::Exclusive)
    }

    /// Takes the lock of a template's name, waiting for its holder.
    pub(crate) fn lock_template(&self, name: &str) -> Result<Lock> {
        lock::lock(&self.layout().lock_file(), &format!("template/{name}"), Mode::Exclusive)
    }
}

fn open_or_create(host: &dyn Host, layout: &Layout) -> Result<PoolRecord> {
    const OPERATION: &str = "open pool";
    let root = layout.root();
    let path = layout.pool_record();
    if let Some(record) = record::read::<PoolRecord>(&path)? {
        return check_format(record, &path);
    }
    if let Ok(entries) = root.read_dir() {
        let stranger = entries.flatten().find(|entry| {
            !matches!(entry.file_name().to_str(), Some("lost+found" | "lock"))
                && !entry.file_name().to_string_lossy().starts_with("pool.json")
        });
        if let Some(entry) = stranger {
            // Another process may have made the pool between the two looks.
            if let Some(record) = record::read::<PoolRecord>(&path)? {
                return check_format(record, &path);
            }
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                OPERATION,
                root.display(),
                format!("it holds {:?} but no pool.json", entry.file_name()),
            )
            .remedy("give an empty directory or one that calf made"));
        }
    }
    std::fs::create_dir_all(root).map_err(|e| Error::io(OPERATION, root.display(), e))?;
    restrict(root)?;
    let _lock = lock::lock(&layout.lock_file(), "pool", Mode::Exclusive)?;
    if let Some(record) = record::read::<PoolRecord>(&path)? {
        return check_format(record, &path);
    }
    let format = *FORMATS.start();
    let record = PoolRecord { format, id: PoolId::random(), created: Timestamp::now() };
    host.write_record(&path, &record::to_bytes(&record))?;
    Ok(record)
}

fn check_format(record: PoolRecord, path: &Path) -> Result<PoolRecord> {
    if FORMATS.contains(&record.format) {
        return Ok(record);
    }
    Err(Error::new(
        ErrorKind::Unsupported,
        "open pool",
        path.display(),
        format!(
            "its format is {}, this calf knows {} to {}",
            record.format,
            FORMATS.start(),
            FORMATS.end()
        ),
    )
    .remedy("use the calf version that wrote it, or a newer one"))
}

/// Only root may look into a pool: it holds tenants' disks.
fn restrict(root: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(root, std::fs::Permissions::from_mode(0o700))
        .map_err(|e| Error::io("restrict access to", root.display(), e))
}
