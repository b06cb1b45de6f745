//! Opening a pool, and the properties of a pool as a whole.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::model::download::DownloadOptions;
use crate::model::key::PoolId;
use crate::model::limits::MAX_SIZE;
use crate::model::policy::Backing;
use crate::model::ratio::OvercommitRatio;
use crate::pool::{
    Capacity, DEFAULT_KATA_ROOT, Fallback, Missing, PoolDir, Settings, groups, snapshots,
};
use crate::sys::{Host, LinuxHost};
use crate::template::catalog;
use crate::volume::commitment::{self, Commitment};
use crate::volume::machine::place;
use crate::volume::status;

/// The options for opening a pool.
#[derive(Clone, Default)]
pub struct PoolOptions {
    host: Option<Arc<dyn Host>>,
    pub(super) settings: Settings,
}

impl PoolOptions {
    /// Bytes of the pool's file system that new volumes leave free by default.
    pub const DEFAULT_RESERVE: u64 = Settings::DEFAULT_RESERVE;

    /// Where Kata's runtimes look for direct-assigned volumes by default.
    pub const DEFAULT_KATA_ROOT: &str = DEFAULT_KATA_ROOT;

    /// Bytes of the pool's file system that must stay free when a volume is created: the space that
    /// existing volumes continue to write into.
    #[must_use]
    pub fn reserve(mut self, bytes: u64) -> Self {
        self.settings.reserve = bytes;
        self
    }

    /// How long a call waits for another call on the same volume, in this process or another,
    /// before it fails with [`InProgress`](crate::ErrorKind::InProgress). By default, it does not
    /// wait; [`create_volume`](Pool::create_volume) waits two seconds in any case.
    #[must_use]
    pub fn wait(mut self, wait: Duration) -> Self {
        self.settings.wait = wait;
        self
    }

    /// The largest volume in bytes that may be made, or that a volume may grow to, at most
    /// [`MAX_SIZE`], which is the default. Larger volumes that exist stay as they are.
    #[must_use]
    pub fn max_volume_size(mut self, bytes: u64) -> Self {
        self.settings.max_volume_size = bytes.min(MAX_SIZE);
        self
    }

    /// Bounds what all volumes together may still write, in relation to the space that is free above the
    /// reserve: calls that would make it more fail with [`NoSpace`](crate::ErrorKind::NoSpace). By
    /// default, nothing is bounded. All processes on a pool should use the same ratio.
    #[must_use]
    pub fn overcommit_ratio(mut self, ratio: impl Into<Option<OvercommitRatio>>) -> Self {
        self.settings.overcommit_ratio = ratio.into();
        self
    }

    /// Bounds the kernel's memory that the exceptions of all volumes together may come to take, in bytes, as
    /// [`Commitment::kernel_memory`] counts it. By default, nothing is bounded. All processes on a
    /// pool should use the same bound.
    #[must_use]
    pub fn max_kernel_memory(mut self, bytes: impl Into<Option<u64>>) -> Self {
        self.settings.max_kernel_memory = bytes.into();
        self
    }

    /// How to make volumes if the kernel has no dm-snapshot. By default, calf then refuses to make
    /// them.
    #[must_use]
    pub fn fallback(mut self, fallback: Option<Fallback>) -> Self {
        self.settings.fallback = fallback;
        self
    }

    /// How images are downloaded.
    #[must_use]
    pub fn downloads(mut self, downloads: DownloadOptions) -> Self {
        self.settings.downloads = downloads;
        self
    }

    /// Where Kata's runtimes look for direct-assigned volumes. All processes on a pool should use
    /// the same directory, since calf looks there for volumes in use.
    #[must_use]
    pub fn kata_root(mut self, directory: impl Into<PathBuf>) -> Self {
        self.settings.kata_root = directory.into();
        self
    }

    /// The machine to work on; by default, the running Linux.
    #[must_use]
    pub fn host(mut self, host: Arc<dyn Host>) -> Self {
        self.host = Some(host);
        self
    }

    /// Whether a missing or empty directory becomes a new pool, which is the default. A service should
    /// not make pools: while the pool's file system is not mounted yet, it would make one below.
    #[must_use]
    pub fn create(mut self, create: bool) -> Self {
        self.settings.missing = if create { Missing::Create } else { Missing::Refuse };
        self
    }

    /// Whether the pool's directory must be the root of a file system (or of a Btrfs subvolume): then
    /// calf refuses to work below a mount point at which nothing is mounted. By default, it need not.
    #[must_use]
    pub fn require_mount(mut self, required: bool) -> Self {
        self.settings.mounted = required;
        self
    }

    /// Opens the pool in directory `root`.
    ///
    /// # Errors
    ///
    /// `Unsupported` if a newer calf made the pool; `InvalidArgument` if the directory holds
    /// something else; `NotFound` if there is no pool and none may be [created](Self::create), or a
    /// [required](Self::require_mount) mount is missing; `InUse` if devices of another pool are over
    /// files at this path: then the file system that is usually there is not mounted.
    pub fn open(self, root: impl AsRef<Path>) -> Result<Pool> {
        let pool = PoolDir::open(self.machine(), root.as_ref(), self.settings)?;
        place::refuse_covered(&pool)?;
        Ok(Pool(Arc::new(pool)))
    }

    /// The machine to work on.
    pub(super) fn machine(&self) -> Arc<dyn Host> {
        self.host.clone().unwrap_or_else(|| Arc::new(LinuxHost::new()))
    }
}

/// A directory of templates and volumes. Cheap to clone.
///
/// A pool keeps no state of its own: each call reads the pool's directory and the kernel. Any
/// number of processes may use one pool at once. Operations on one volume exclude each other across
/// all of them ([`InProgress`](crate::ErrorKind::InProgress)). Operations on different volumes run
/// side by side: one waits only while another attaches, extends or removes the template that both
/// use.
///
/// All methods block; call them from a thread that may block.
#[derive(Clone)]
pub struct Pool(pub(super) Arc<PoolDir>);

impl Pool {
    /// Opens the pool in directory `root` with the default [`PoolOptions`].
    pub fn open(root: impl AsRef<Path>) -> Result<Self> {
        PoolOptions::default().open(root)
    }

    /// The pool's identity, part of each of its devices' UUIDs.
    pub fn id(&self) -> &PoolId {
        self.0.id()
    }

    /// The pool's directory.
    pub fn root(&self) -> &Path {
        self.0.root()
    }

    /// Size and free space.
    pub fn capacity(&self) -> Result<Capacity> {
        self.0.capacity()
    }

    /// What volumes and spares may still come to take. Reads each volume's record.
    pub fn commitment(&self) -> Result<Commitment> {
        commitment::of_pool(&self.0)
    }

    /// The bound of [`PoolOptions::overcommit_ratio`].
    pub fn overcommit_ratio(&self) -> Option<OvercommitRatio> {
        self.0.overcommit_ratio()
    }

    /// The bound of [`PoolOptions::max_kernel_memory`].
    pub fn max_kernel_memory(&self) -> Option<u64> {
        self.0.max_kernel_memory()
    }

    /// How new volumes are made on this kernel.
    ///
    /// # Errors
    ///
    /// `Unsupported` if the kernel lacks dm-snapshot and no fallback was chosen.
    pub fn backing(&self) -> Result<Backing> {
        self.0.backing()
    }

    /// Sets how much of the kernel's memory each snapshot of this machine, if it is made from now on, sets
    /// aside for copying, in bytes: whole KiB, 512 of them by default. A snapshot copies no more than a chunk at
    /// a time. This changes the parameter `kcopyd_subjob_size_kb` of `dm-mod`, which holds for everything that
    /// copies through device-mapper, so calf never does it unasked. Does nothing if volumes are private copies
    /// here.
    pub fn set_copy_buffer(&self, bytes: u64) -> Result<()> {
        match self.0.backing()? {
            Backing::Snapshot => self.0.host().set_copy_buffer(bytes),
            Backing::Reflink | Backing::Copy => Ok(()),
        }
    }

    /// What lists leave out: records that were edited, corrupted or moved to another's place, and
    /// volumes whose device is over a file of another pool. Everything else continues to work.
    pub fn damage(&self) -> Result<Vec<Error>> {
        let mut damage = catalog::survey(&self.0)?.1;
        damage.extend(status::examine(&self.0)?.1);
        damage.extend(snapshots::survey(&self.0)?.1);
        damage.extend(groups::survey(&self.0)?.1);
        Ok(damage)
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pool").field(&self.root()).finish()
    }
}
