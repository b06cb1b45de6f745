//! A volume whose COW store is copied: how that must be done, and the steps of it.

use std::path::Path;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::model::device_id::{DeviceId, Role};
use crate::model::policy::Durability;
use crate::model::snapshot::Consistency;
use crate::pool::PoolDir;
use crate::pool::locks::VolumeGuard;
use crate::pool::record::VolumeRecord;
use crate::sys::{CopyMode, DeviceNumber, Flush, MountedAt, OpenMode};
use crate::volume::usage::mounts_of_device;

/// What an error of making a snapshot says.
pub(super) const OPERATION: &str = "make a snapshot of volume";

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
    pub(super) fn write_back(&self) -> Result<()> {
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
