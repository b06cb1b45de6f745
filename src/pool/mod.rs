//! The pool's directory: its layout, its records, its locks, and the space in its file system.
//!
//! A pool keeps no state in memory: each call finds out what exists from the directory and the
//! kernel.

#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
pub(crate) mod groups;
pub(crate) mod image_config;
pub(crate) mod index;
pub mod layout;
pub(crate) mod locks;
pub(crate) mod losses;
pub(crate) mod moment;
pub mod record;
pub(crate) mod room;
#[cfg(test)]
pub(crate) mod sample;
pub(crate) mod snapshots;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;

use crate::error::{Error, ErrorKind, Result};
use crate::model::download::DownloadOptions;
use crate::model::key::PoolId;
use crate::model::limits::MAX_SIZE;
use crate::model::policy::Backing;
use crate::model::ratio::OvercommitRatio;
use crate::model::units::format_size;
use crate::pool::layout::Layout;
use crate::pool::losses::LossLog;
use crate::pool::record::{FORMATS, PoolRecord};
use crate::pool::room::{Room, RoomClaim};
use crate::sys::lock::Mode;
use crate::sys::{FileSystemUsage, Host};

/// Default path where Kata's runtimes look for direct-assigned volumes.
pub(crate) const DEFAULT_KATA_ROOT: &str = "/run/kata-containers/shared/direct-volumes";

/// The remedy for a pool that is full.
pub(crate) const MORE_ROOM: &str =
    "remove templates or volumes that are not needed, or enlarge the pool's file system";

/// How volumes are made if the kernel has no dm-snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// A reflink copy of the template; needs a pool on XFS with reflink or on Btrfs.
    Reflink,
    /// A full copy of the template's data.
    Copy,
}

/// What to do where there is no pool yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// Make one.
    Create,
    /// Fail.
    Refuse,
}

/// Settings of a pool, given when it is opened.
#[derive(Clone)]
pub(crate) struct Settings {
    /// Bytes of the pool's file system that new objects must leave free.
    pub(crate) reserve: u64,
    /// How long to wait for another operation on the same volume.
    pub(crate) wait: Duration,
    /// What to do where there is no pool yet.
    pub(crate) missing: Missing,
    /// Whether the pool's directory must be the root of a file system.
    pub(crate) mounted: bool,
    /// The largest volume that a call may ask for, in bytes.
    pub(crate) max_volume_size: u64,
    /// What volumes may still write, in relation to the free space; `None` for no bound.
    pub(crate) overcommit_ratio: Option<OvercommitRatio>,
    /// Kernel memory that the exceptions of all volumes may come to take, in bytes; `None` for no bound.
    pub(crate) max_kernel_memory: Option<u64>,
    /// How to make volumes if the kernel has no dm-snapshot; `None` to refuse.
    pub(crate) fallback: Option<Fallback>,
    /// How images are downloaded.
    pub(crate) downloads: DownloadOptions,
    /// Where Kata's runtimes look for direct-assigned volumes.
    pub(crate) kata_root: PathBuf,
}

impl Settings {
    /// Default number of bytes that new objects must leave free.
    pub(crate) const DEFAULT_RESERVE: u64 = 256 << 20;
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            reserve: Self::DEFAULT_RESERVE,
            wait: Duration::ZERO,
            missing: Missing::Create,
            mounted: false,
            max_volume_size: MAX_SIZE,
            overcommit_ratio: None,
            max_kernel_memory: None,
            fallback: None,
            downloads: DownloadOptions::default(),
            kata_root: DEFAULT_KATA_ROOT.into(),
        }
    }
}

/// Size and free space of a pool, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capacity {
    /// Size of the pool's file system.
    pub total: u64,
    /// Free space, the reserve included.
    pub free: u64,
    /// Free space that new volumes may use: `free` without the reserve.
    pub available: u64,
    /// Space that must stay free.
    pub reserve: u64,
}

/// The pool's directory, its identity and its host. Everything below `api` works on this value.
pub(crate) struct PoolDir {
    host: Arc<dyn Host>,
    layout: Layout,
    id: PoolId,
    /// The format in the pool's record when it was last read. It only ever rises.
    format: AtomicU32,
    losses: LossLog,
    claims: AtomicU64,
    room: Room,
    settings: Settings,
}

impl PoolDir {
    /// Opens the pool in directory `root`. A missing or empty directory becomes a new pool.
    pub(crate) fn open(host: Arc<dyn Host>, root: &Path, settings: Settings) -> Result<Self> {
        let root =
            std::path::absolute(root).map_err(|e| Error::io("open pool", root.display(), e))?;
        let layout = Layout::new(root);
        if settings.mounted {
            require_mount(&*host, layout.root())?;
        }
        let record = open_or_create(&*host, &layout, settings.missing)?;
        Ok(Self {
            host,
            layout,
            id: record.id,
            format: AtomicU32::new(record.format),
            losses: LossLog::default(),
            claims: AtomicU64::new(0),
            room: Room::default(),
            settings,
        })
    }

    /// The pool's identity, part of each of its devices' UUIDs.
    pub(crate) fn id(&self) -> &PoolId {
        &self.id
    }

    /// The pool's directory.
    pub(crate) fn root(&self) -> &Path {
        self.layout.root()
    }

    /// Size and free space.
    pub(crate) fn capacity(&self) -> Result<Capacity> {
        let FileSystemUsage { total, available: free, .. } =
            self.host().file_system_usage(self.root())?;
        let reserve = self.settings.reserve;
        Ok(Capacity { total, free, available: free.saturating_sub(reserve), reserve })
    }

    /// An identifier of the time since the pool's file system was mounted, in this boot. Writes that
    /// nobody synced are known to be there within it only.
    pub(crate) fn incarnation(&self) -> Result<String> {
        let boot = self.host().boot_id()?;
        Ok(match self.host().file_system_instance(self.root())? {
            Some(instance) => format!("{boot}/{instance}"),
            None => boot,
        })
    }

    /// What the pool has free, in words, if that is less than `needed` bytes above its reserve.
    pub(crate) fn lacks_free(&self, needed: u64) -> Result<Option<String>> {
        let Capacity { available, reserve, .. } = self.capacity()?;
        Ok((needed > available).then(|| {
            format!(
                "the pool at {} has {} free above its reserve of {}",
                self.root().display(),
                format_size(available),
                format_size(reserve),
            )
        }))
    }

    /// Fails if another `needed` bytes would use up part of the reserve, which running volumes
    /// depend on.
    pub(crate) fn require_free(
        &self,
        operation: &'static str,
        subject: impl fmt::Display,
        needed: u64,
    ) -> Result<()> {
        let Some(has) = self.lacks_free(needed)? else {
            return self.require_unguarded(operation, subject);
        };
        let why = format!("{has}, and {} is needed", format_size(needed));
        Err(Error::new(ErrorKind::NoSpace, operation, subject, why).remedy(MORE_ROOM))
    }

    /// Fails while a guard keeps volumes suspended.
    pub(crate) fn require_unguarded(
        &self,
        operation: &'static str,
        subject: impl fmt::Display,
    ) -> Result<()> {
        if !self.is_guarded()? {
            return Ok(());
        }
        let why = format!(
            "the pool at {} is nearly full ({} free), and its guard lets nothing new write",
            self.root().display(),
            format_size(self.capacity()?.free),
        );
        Err(Error::new(ErrorKind::NoSpace, operation, subject, why).remedy(MORE_ROOM))
    }

    /// Claims `needed` bytes for an import that begins.
    ///
    /// # Errors
    ///
    /// `NoSpace` if there is no room for them beside what other imports have claimed.
    pub(crate) fn claim_room(
        &self,
        operation: &'static str,
        subject: impl fmt::Display,
        needed: u64,
    ) -> Result<RoomClaim<'_>> {
        self.room.claim(needed, |claimed| {
            self.require_free(operation, &subject, needed.max(1))?;
            let available = self.capacity()?.available;
            if needed <= available.saturating_sub(claimed) {
                return Ok(());
            }
            let why = format!(
                "the pool at {} has {} free above its reserve, of which running imports need {}, and \
                 {} is needed",
                self.root().display(),
                format_size(available),
                format_size(claimed),
                format_size(needed),
            );
            Err(Error::new(ErrorKind::NoSpace, operation, &subject, why).remedy(
                "import it again when they are done, or enlarge the pool's file system",
            ))
        })
    }

    /// Returns how new volumes are made on this kernel.
    ///
    /// # Errors
    ///
    /// `Unsupported` if the kernel lacks dm-snapshot and no fallback was chosen.
    pub(crate) fn backing(&self) -> Result<Backing> {
        let capabilities = self.host().capabilities()?;
        if let Err(reason) = capabilities.loop_control {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "use loop devices in pool",
                self.root().display(),
                reason,
            )
            .remedy("load the `loop` module, and make /dev/loop-control available to calf"));
        }
        let missing = match (capabilities.snapshot, capabilities.linear) {
            (Ok(_), Ok(_)) => return Ok(Backing::Snapshot),
            (Err(reason), _) | (_, Err(reason)) => reason,
        };
        match self.settings.fallback {
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

    /// The losses of volumes, as far as they were noticed.
    pub(crate) fn losses(&self) -> &LossLog {
        &self.losses
    }

    /// The number of spares that became volumes' devices since the pool was opened.
    pub(crate) fn claimed_spares(&self) -> u64 {
        self.claims.load(Ordering::Relaxed)
    }

    /// Counts a spare that became a volume's device.
    pub(crate) fn count_claim(&self) {
        self.claims.fetch_add(1, Ordering::Relaxed);
    }

    /// What running imports have still to write.
    pub(crate) fn room(&self) -> &Room {
        &self.room
    }

    /// The host that the pool is on.
    pub(crate) fn host(&self) -> &dyn Host {
        &*self.host
    }

    /// The largest volume that a call may ask for, in bytes.
    pub(crate) fn max_volume_size(&self) -> u64 {
        self.settings.max_volume_size
    }

    /// What volumes may still write, in relation to the free space; `None` for no bound.
    pub(crate) fn overcommit_ratio(&self) -> Option<OvercommitRatio> {
        self.settings.overcommit_ratio
    }

    /// Kernel memory that the exceptions of all volumes may come to take; `None` for no bound.
    pub(crate) fn max_kernel_memory(&self) -> Option<u64> {
        self.settings.max_kernel_memory
    }

    /// How long to wait for another operation on the same volume.
    pub(crate) fn wait(&self) -> Duration {
        self.settings.wait
    }

    /// The options for downloads of images.
    #[cfg(feature = "http")]
    pub(crate) fn download_options(&self) -> &DownloadOptions {
        &self.settings.downloads
    }

    /// Where Kata's runtimes look for direct-assigned volumes.
    pub(crate) fn kata_root(&self) -> &Path {
        &self.settings.kata_root
    }

    /// The layout of the pool's directory.
    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Raises the pool's format durably. Call this before writing a record that needs `format`.
    pub(crate) fn require_format(&self, format: u32) -> Result<()> {
        if self.format.load(Ordering::Acquire) >= format {
            return Ok(());
        }
        let layout = self.layout();
        let path = layout.pool_record();
        let _lock = self.host().lock(&layout.lock_file(), "pool", Mode::Exclusive)?;
        let record = record::read::<PoolRecord>(self.host(), &path)?.ok_or_else(|| {
            Error::new(ErrorKind::Corrupt, "raise the format of", path.display(), "it is missing")
                .remedy("restore it: it carries the pool's identity")
        })?;
        let record = check_format(record, &path)?;
        if record.format < format {
            self.host().write_record(&path, &record::to_bytes(&PoolRecord { format, ..record }))?;
            tracing::info!(pool = %self.root().display(), format, "raised the pool's format");
        }
        self.format.fetch_max(format, Ordering::AcqRel);
        Ok(())
    }
}

fn open_or_create(host: &dyn Host, layout: &Layout, missing: Missing) -> Result<PoolRecord> {
    const OPERATION: &str = "open pool";
    let root = layout.root();
    let path = layout.pool_record();
    if let Some(record) = record::read::<PoolRecord>(host, &path)? {
        return check_format(record, &path);
    }
    if missing == Missing::Refuse {
        return Err(Error::new(ErrorKind::NotFound, OPERATION, root.display(), "there is no pool")
            .remedy(
                "mount its file system, or name the pool with --pool or CALF_POOL; `calf pool create` \
                 makes a new one",
            ));
    }
    let stranger = host.list(root)?.into_iter().find(|name| {
        !matches!(name.to_str(), Some("lost+found" | "lock"))
            && !name.to_string_lossy().starts_with("pool.json")
    });
    if let Some(name) = stranger {
        // Another process may have made the pool between the read and the listing.
        if let Some(record) = record::read::<PoolRecord>(host, &path)? {
            return check_format(record, &path);
        }
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            OPERATION,
            root.display(),
            format!("it contains {name:?} but no pool.json"),
        )
        .remedy("give an empty directory, or one that calf made"));
    }
    // The directory contains tenants' disks.
    host.make_private_directory(root)?;
    let _lock = host.lock(&layout.lock_file(), "pool", Mode::Exclusive)?;
    if let Some(record) = record::read::<PoolRecord>(host, &path)? {
        return check_format(record, &path);
    }
    let format = *FORMATS.start();
    let record = PoolRecord { format, id: PoolId::random(), created: Timestamp::now() };
    host.write_record(&path, &record::to_bytes(&record))?;
    Ok(record)
}

/// Fails unless something is mounted at the pool's directory.
fn require_mount(host: &dyn Host, root: &Path) -> Result<()> {
    let refused = |why: &'static str| {
        Error::new(ErrorKind::NotFound, "open pool", root.display(), why)
            .remedy("mount the pool's file system there")
    };
    if host.file(root)?.is_none() {
        return Err(refused("the directory does not exist"));
    }
    match host.is_file_system_root(root)? {
        true => Ok(()),
        false => Err(refused("no file system is mounted there, and one is required")),
    }
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
            "it has format {}; this calf knows {} to {}",
            record.format,
            FORMATS.start(),
            FORMATS.end()
        ),
    )
    .remedy("use the calf version that wrote it, or a newer one"))
}
