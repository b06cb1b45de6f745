//! What volumes there are, and how they do.

use std::path::Path;

use super::plan::Observed;
use super::{
    Losses, Volume, VolumeState, VolumeStatistics, direct, existing, observe, spec, target,
};
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;
use crate::pool::Pool;
use crate::pool::record::VolumeRecord;
use crate::sys::{SnapshotUsage, Target};

impl Pool {
    /// The volume with this id, as it is now. `NotFound` if there is none.
    pub fn volume(&self, id: &str) -> Result<Volume> {
        spec::check_id(id)?;
        let key = Key::of(id);
        let volume = volume(self, &key, id)?;
        self.health().notice(&key, &volume.record, volume.state);
        Ok(volume)
    }

    /// How many volumes were seen to be given up by the kernel since the pool was opened: each once,
    /// by [`volume`](Self::volume), [`statistics`](Self::statistics) or a reconciliation.
    pub fn losses(&self) -> Losses {
        self.health().losses()
    }

    /// All volumes whose records can be read, ordered by id; [`damage`](Self::damage) tells of the
    /// others.
    pub fn volumes(&self) -> Result<Vec<Volume>> {
        let mut volumes = Vec::new();
        for record in self.volume_records()? {
            match volume(self, &record.key(), &record.id) {
                Err(error) if is_passed_over(&error) => {}
                volume => volumes.push(volume?),
            }
        }
        Ok(volumes)
    }

    /// The records of all volumes, as far as they can be read, ordered by id: cheaper than
    /// [`volumes`](Self::volumes), as the kernel is not asked.
    pub fn volume_records(&self) -> Result<Vec<VolumeRecord>> {
        Ok(survey(self)?.0)
    }

    /// Size and use of a volume; `path` is where it is staged or published, here or (as kubelet
    /// does) bound once more elsewhere. `NotFound` if the volume is not at `path`.
    pub fn statistics(&self, id: &str, path: &Path) -> Result<VolumeStatistics> {
        spec::check_id(id)?;
        let key = Key::of(id);
        let volume = self.volume(id)?;
        if direct::is_at(self, &key, path)? {
            return Ok(VolumeStatistics { volume, file_system: None, file_system_failed: false });
        }
        let (device, mounted, failed) = match self.host().target(path)? {
            Target::FileSystem { device, failed, .. } => (device, true, failed),
            Target::Node { device } => (device, false, false),
            Target::Missing | Target::Plain(_) | Target::Foreign(_) => {
                return Err(elsewhere(id, path));
            }
        };
        if !target::is_device_of(self, &key, device)? {
            return Err(elsewhere(id, path));
        }
        // One that is shut down tells nothing any more, not even its size.
        let file_system = match self.host().target_usage(path) {
            _ if !mounted => None,
            Err(_) if failed => None,
            usage => Some(usage?),
        };
        Ok(VolumeStatistics { volume, file_system, file_system_failed: failed })
    }
}

/// The records of all volumes that can be read, ordered by id, and why the others cannot.
pub(crate) fn survey(pool: &Pool) -> Result<(Vec<VolumeRecord>, Vec<Error>)> {
    let (mut records, mut damaged) = (Vec::new(), Vec::new());
    for key in observe::keys(pool)? {
        match observe::read_record(pool, &key) {
            Err(error) if error.kind() == ErrorKind::Corrupt => damaged.push(error),
            record => records.extend(record?),
        }
    }
    records.sort_by(|a, b| a.id.cmp(&b.id));
    Ok((records, damaged))
}

/// Whether a list goes on without this volume: it is gone since, or cannot be understood.
fn is_passed_over(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Corrupt)
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

/// A volume that this call has made: nobody can have activated it yet.
pub(super) fn fresh(pool: &Pool, key: &Key, record: VolumeRecord) -> Result<Volume> {
    let store = pool.host().file(&pool.layout().store(key, record.backing))?;
    Ok(Volume {
        state: VolumeState::Inactive,
        device: None,
        allocated: store.map_or(0, |file| file.allocated),
        cow: None,
        record,
    })
}

/// The volume with this key, as it is now.
pub(super) fn volume(pool: &Pool, key: &Key, id: &str) -> Result<Volume> {
    let observed = observe::observe(pool, key)?;
    match &observed.record {
        Some(record) => Ok(describe(record.clone(), &observed)),
        None => Err(existing::unknown(id)),
    }
}

/// Takes note of the volume's state; returns whether the kernel gave it up.
pub(super) fn is_lost(pool: &Pool, key: &Key, record: &VolumeRecord, observed: &Observed) -> bool {
    let state = state(observed);
    pool.health().notice(key, record, state);
    state.is_lost()
}

fn describe(record: VolumeRecord, observed: &Observed) -> Volume {
    let cow = match observed.snapshot.as_ref().and_then(|device| device.usage) {
        Some(SnapshotUsage::Valid { used, total, .. }) => Some((used, total)),
        _ => None,
    };
    Volume {
        state: state(observed),
        device: observed.device(false),
        allocated: observed.store.map_or(0, |store| store.allocated),
        cow,
        record,
    }
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
