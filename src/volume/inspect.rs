//! What volumes there are, and how they do.

use std::path::Path;

use super::plan::Observed;
use super::{Volume, VolumeState, VolumeStatistics, direct, lifecycle, observe, spec, target};
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;
use crate::pool::Pool;
use crate::pool::record::VolumeRecord;
use crate::sys::{SnapshotUsage, Target};

impl Pool {
    /// The volume with this id, as it is now. `NotFound` if there is none.
    pub fn volume(&self, id: &str) -> Result<Volume> {
        spec::check_id(id)?;
        volume(self, &Key::of(id), id)
    }

    /// All volumes, ordered by id.
    pub fn volumes(&self) -> Result<Vec<Volume>> {
        let mut volumes = Vec::new();
        for record in self.volume_records()? {
            match volume(self, &Key::of(&record.id), &record.id) {
                Ok(volume) => volumes.push(volume),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(volumes)
    }

    /// The records of all volumes, ordered by id: cheaper than [`volumes`](Self::volumes), as
    /// the kernel is not asked.
    pub fn volume_records(&self) -> Result<Vec<VolumeRecord>> {
        let mut records = Vec::new();
        for key in observe::keys(self)? {
            records.extend(observe::read_record(self, &key)?);
        }
        records.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(records)
    }

    /// Size and use of a volume; `path` is where it is staged or published, here or (as kubelet
    /// does) bound once more elsewhere. `NotFound` if the volume is not at `path`.
    pub fn statistics(&self, id: &str, path: &Path) -> Result<VolumeStatistics> {
        spec::check_id(id)?;
        let key = Key::of(id);
        let volume = volume(self, &key, id)?;
        if direct::is_at(self, &key, path)? {
            return Ok(VolumeStatistics { volume, file_system: None });
        }
        let (device, mounted) = match self.host().target(path)? {
            Target::FileSystem { device, .. } => (device, true),
            Target::Node { device } => (device, false),
            Target::Missing | Target::Plain(_) | Target::Foreign(_) => {
                return Err(elsewhere(id, path));
            }
        };
        if !target::is_device_of(self, &key, device)? {
            return Err(elsewhere(id, path));
        }
        let file_system = if mounted { Some(self.host().file_system_usage(path)?) } else { None };
        Ok(VolumeStatistics { volume, file_system })
    }
}

fn elsewhere(id: &str, path: &Path) -> Error {
    Error::new(
        ErrorKind::NotFound,
        "find volume",
        id,
        format!("it is not staged or published at {}", path.display()),
    )
    .remedy("give a path where the volume is staged or published")
}

/// The volume with this key, as it is now.
pub(super) fn volume(pool: &Pool, key: &Key, id: &str) -> Result<Volume> {
    let record = lifecycle::existing(pool, key, id)?;
    let observed = observe::observe(pool, key)?;
    let store = pool.host().file(&pool.layout().store(key, record.backing))?;
    let cow = match observed.snapshot.as_ref().and_then(|device| device.usage) {
        Some(SnapshotUsage::Valid { used, total, .. }) => Some((used, total)),
        _ => None,
    };
    Ok(Volume {
        state: state(&observed),
        device: observed.device(false),
        allocated: store.map_or(0, |file| file.allocated),
        cow,
        record,
    })
}

fn state(observed: &Observed) -> VolumeState {
    let Some(device) = &observed.snapshot else {
        let active = observed.copies.iter().any(|copy| !copy.read_only);
        return if active { VolumeState::Active } else { VolumeState::Inactive };
    };
    match device.usage {
        Some(SnapshotUsage::Invalid) => VolumeState::Invalid,
        Some(SnapshotUsage::Overflow) => VolumeState::Overflow,
        _ if device.suspended || device.inactive_table || device.table.is_none() => {
            VolumeState::Interrupted
        }
        _ => VolumeState::Active,
    }
}
