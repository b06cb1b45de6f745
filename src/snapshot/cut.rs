//! The cut: copies the COW store of a volume as of one instant, while the volume may be in use.
//!
//! The kernel copies a file's mapping under the file's lock, and writes back what is dirty before. Both hold
//! writers up, so what is dirty is written back ahead, while they go on. A volume whose content only has to
//! be that of a crash needs no suspension: what the copy has is what had been written when it took the
//! lock. A mounted file system is frozen first; its device is suspended only from then until the copy
//! is there. If the process dies in between, the next call for the volume, reconciliation or driver
//! resumes the device, as after each interrupted suspension.
//!
//! Where files cannot share blocks, the store is copied while the volume goes on over an
//! [overlay](crate::volume::overlay), and writers wait only until it is in place.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Result};
use crate::model::device_id::{DeviceId, Role};
use crate::model::policy::Durability;
use crate::model::snapshot::Consistency;
use crate::pool::PoolDir;
use crate::pool::locks::VolumeGuard;
use crate::pool::record::VolumeRecord;
use crate::snapshot::overlaid;
use crate::sys::{CopyMode, DeviceNumber, Flush, MountedAt, OpenMode, Quiesce};
use crate::volume::hold;
use crate::volume::usage::mounts_of_device;

/// How the cut of a volume is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Method {
    /// Nothing is written meanwhile: the volume has no device.
    AtRest,
    /// Of a volume that goes on being written.
    Live(DeviceNumber),
    /// Of a volume whose file system, mounted there, is frozen meanwhile.
    Frozen(DeviceNumber, MountedAt),
}

/// A cut that was made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    /// In which state the content is.
    pub(super) consistency: Consistency,
    /// For how long writers waited at most.
    pub(super) waited: Duration,
    /// Whether the data was copied, since the file system cannot share blocks.
    pub(super) copied: bool,
}

/// A volume to cut. The caller holds its lock, and has found it in order.
pub(super) struct Source<'a> {
    pub(super) pool: &'a PoolDir,
    pub(super) guard: &'a VolumeGuard,
    pub(super) record: &'a VolumeRecord,
    /// Its device, if it is active.
    pub(super) device: Option<DeviceNumber>,
}

impl Source<'_> {
    /// Copies the COW store to `to`, whose directory exists. The copy is not durable yet.
    ///
    /// # Errors
    ///
    /// `Unsupported` if the volume is in use, the file system cannot share blocks, and the volume cannot have an
    /// overlay; `Unprepared` if a
    /// file system is to be consistent and none is mounted; `Corrupt` if the pool's disk lost writes.
    pub(super) fn cut(&self, to: &Path, consistency: Option<Consistency>) -> Result<Cut> {
        let method = self.method(consistency)?;
        let cut = match &method {
            Method::AtRest => self.at_rest(to),
            Method::Live(_) => self.live(&method, to),
            Method::Frozen(..) => self.frozen(&method, to),
        };
        if cut.is_err()
            && !matches!(method, Method::AtRest)
            // A suspension that failed may have taken effect.
            && let Err(error) = hold::release(self.pool, self.guard)
        {
            let error = error.report();
            tracing::warn!(volume = self.record.id, error, "could not resume; the next call will");
        }
        cut
    }

    pub(super) fn method(&self, wanted: Option<Consistency>) -> Result<Method> {
        let mounted = match self.device {
            Some(device) if wanted != Some(Consistency::Crash) => {
                mounts_of_device(self.pool, self.guard.key(), device)?
            }
            _ => Vec::new(),
        };
        let mount = mounted.into_iter().find(|mount| !mount.node);
        match (self.device, mount, wanted) {
            (Some(device), Some(mount), _) => Ok(Method::Frozen(device, mount)),
            (_, None, Some(Consistency::FileSystem)) => {
                let why = "its file system is to be consistent, and none of it is mounted on this machine";
                Err(Error::new(ErrorKind::Unprepared, OPERATION, &self.record.id, why).remedy(
                    "freeze the file system in the guest (`fsfreeze`), and ask for the consistency of a crash",
                ))
            }
            (Some(device), None, _) => Ok(Method::Live(device)),
            (None, ..) => Ok(Method::AtRest),
        }
    }

    pub(super) fn at_rest(&self, to: &Path) -> Result<Cut> {
        self.write_back()?;
        let copied = match self.reflink(to) {
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                self.pool.require_free(OPERATION, &self.record.id, self.allocated()?)?;
                self.copy(to, CopyMode::Sparse)?;
                true
            }
            copied => copied.map(|()| false)?,
        };
        Ok(Cut { consistency: Consistency::Crash, waited: Duration::ZERO, copied })
    }

    fn live(&self, method: &Method, to: &Path) -> Result<Cut> {
        self.write_ahead(method)?;
        let start = Instant::now();
        let (waited, copied) = match self.reflink(to) {
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                (overlaid::copy(&[(self, to, Quiesce::Device)])?, true)
            }
            shared => shared.map(|()| (start.elapsed(), false))?,
        };
        Ok(Cut { consistency: Consistency::Crash, waited, copied })
    }

    fn frozen(&self, method: &Method, to: &Path) -> Result<Cut> {
        self.write_ahead(method)?;
        let host = self.pool.host();
        let id = self.device_id();
        let start = Instant::now();
        host.suspend(&id, Quiesce::FileSystem)?;
        let shared = self.reflink(to);
        host.resume(&id)?;
        let waited = start.elapsed();
        let (waited, copied) = match shared {
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                (waited.max(overlaid::copy(&[(self, to, Quiesce::FileSystem)])?), true)
            }
            shared => shared.map(|()| (waited, false))?,
        };
        Ok(Cut { consistency: Consistency::FileSystem, waited, copied })
    }

    /// Writes back what is dirty, while writers go on.
    pub(super) fn write_ahead(&self, method: &Method) -> Result<()> {
        let host = self.pool.host();
        if let Method::Frozen(_, mount) = method {
            host.sync_file_system(&mount.path)?;
        }
        if let Method::Live(device) | Method::Frozen(device, _) = method {
            // What a process on this machine wrote to the device without O_DIRECT is not in the store yet.
            host.sync_device(*device)?;
        }
        self.write_back()
    }

    /// Makes the store durable, which leaves little to write back during the copy.
    fn write_back(&self) -> Result<()> {
        let (host, path) = (self.pool.host(), self.store());
        let Err(error) = host.open_image(&path, OpenMode::Read)?.sync() else { return Ok(()) };
        let lost = "the pool's file system failed to write data of it to the disk";
        if self.record.durability == Durability::Ephemeral {
            // The kernel reports that once, and recovery must know.
            host.write_record(&self.pool.layout().lost_writes(self.guard.key()), b"")?;
        }
        let why = format!("{lost}: {error}");
        Err(Error::new(ErrorKind::Corrupt, OPERATION, &self.record.id, why).remedy(
            "its content cannot be trusted: look at the pool's disk, and make the volume anew",
        ))
    }

    pub(super) fn reflink(&self, to: &Path) -> Result<()> {
        self.copy(to, CopyMode::Reflink)
    }

    /// Bytes that a copy of the store takes.
    pub(super) fn allocated(&self) -> Result<u64> {
        Ok(self.pool.host().file(&self.store())?.map_or(0, |store| store.allocated))
    }

    pub(super) fn copy(&self, to: &Path, mode: CopyMode) -> Result<()> {
        let (host, path) = (self.pool.host(), self.store());
        let length = host.file(&path)?.map_or(0, |store| store.length);
        host.copy_file(&path, to, length, mode, Flush::Later)
    }

    pub(super) fn device_id(&self) -> DeviceId {
        DeviceId::new(self.pool.id(), self.guard.key(), Role::Snapshot)
    }

    fn store(&self) -> std::path::PathBuf {
        self.pool.layout().store(self.guard.key(), self.record.backing)
    }
}

/// What an error of making a snapshot says.
pub(super) const OPERATION: &str = "make a snapshot of volume";
