//! Listing volumes and reporting their state.

use std::path::Path;

use crate::error::{Error, ErrorKind, Result};
use crate::model::device_id::DeviceId;
#[cfg(feature = "driver")]
use crate::model::device_id::Role;
use crate::model::key::Key;
use crate::model::policy::Backing;
use crate::model::volume::VolumeState;
use crate::pool::record::VolumeRecord;
use crate::pool::{PoolDir, index};
use crate::sys::{Device, DeviceNumber, FileSystemUsage, SnapshotUsage, Target};
use crate::volume::machine::observe;
#[cfg(feature = "driver")]
use crate::volume::plan::health::Health;
use crate::volume::plan::state::Observed;
use crate::volume::usage::{elsewhere, is_device_of};
use crate::volume::{activate, kata};

/// The present state of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VolumeStatus {
    /// The volume's record: the properties that were requested.
    pub record: VolumeRecord,
    /// The state of the volume in the kernel.
    pub state: VolumeState,
    /// The volume's block device, while it is active.
    pub device: Option<DeviceNumber>,
    /// Bytes that the volume occupies in the pool.
    pub allocated: u64,
    /// Bytes of the COW store in use and in total, metadata included, while active.
    pub cow: Option<(u64, u64)>,
}

/// Size and usage of a volume, as NodeGetVolumeStats requires.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VolumeStatistics {
    /// The volume.
    pub volume: VolumeStatus,
    /// Usage of the file system, if the path is a mount point of one that still answers.
    pub file_system: Option<FileSystemUsage>,
    /// The file system at the path was mounted for writing, and an error has made it read-only.
    pub file_system_failed: bool,
}

/// Returns the present state of the volume with this id. `NotFound` if there is none.
pub(crate) fn volume(pool: &PoolDir, id: &str) -> Result<VolumeStatus> {
    let key = Key::of(id);
    let volume = look(pool, &key, id)?;
    pool.losses().notice(&key, &volume.record, volume.state);
    Ok(volume)
}

/// Lists all volumes that can be looked at, sorted by id.
pub(crate) fn volumes(pool: &PoolDir) -> Result<Vec<VolumeStatus>> {
    Ok(examine(pool)?.0)
}

/// Lists all volumes that can be looked at, sorted by id, and the errors of the others.
pub(crate) fn examine(pool: &PoolDir) -> Result<(Vec<VolumeStatus>, Vec<Error>)> {
    let (records, mut errors) = survey(pool)?;
    let mut volumes = Vec::new();
    for record in records {
        match look(pool, &record.key(), &record.id) {
            // It was deleted since its record was read.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::InUse) => {
                errors.push(error);
            }
            volume => volumes.push(volume?),
        }
    }
    Ok((volumes, errors))
}

/// What a list says of a volume.
#[cfg(feature = "driver")]
pub(crate) struct Listed {
    pub(crate) record: VolumeRecord,
    /// The state, or why the volume cannot be looked at.
    pub(crate) state: Result<VolumeState>,
}

/// Looks at the volume with this key for a list; `None` if there is none. A volume that works costs one
/// request to the kernel.
///
/// # Errors
///
/// Those of reading the volume's record.
#[cfg(feature = "driver")]
pub(crate) fn list_entry(pool: &PoolDir, key: &Key) -> Result<Option<Listed>> {
    let Some(record) = observe::read_record(pool, key)? else { return Ok(None) };
    let state = match works(pool, key, &record) {
        true => Ok(VolumeState::Active),
        false => observe::of_record(pool, key, record.clone()).map(|seen| seen.state(&record)),
    };
    if let Ok(state) = state {
        pool.losses().notice(key, &record, state);
    }
    Ok(Some(Listed { record, state }))
}

/// Whether a single request shows that the volume is active and well. Where it does not, only the full look
/// tells why.
#[cfg(feature = "driver")]
fn works(pool: &PoolDir, key: &Key, record: &VolumeRecord) -> bool {
    let id = DeviceId::new(pool.id(), key, Role::Snapshot);
    record.backing == Backing::Snapshot
        && matches!(pool.host().glance(&id), Ok(Some(device))
            if Health::at_a_glance(&device, record).is_well())
}

/// Returns the id of the volume that owns the device with this number; `None` if no volume of this
/// pool does.
pub(crate) fn volume_of_device(pool: &PoolDir, number: DeviceNumber) -> Result<Option<String>> {
    let record = match pool.host().device_uuid(number)? {
        Some(uuid) => match DeviceId::parse_uuid(pool.id(), &uuid) {
            Some((key, _)) => observe::read_record(pool, &key)?,
            None => None,
        },
        None => record_of_copy(pool, number)?,
    };
    Ok(record.map(|record| record.id))
}

/// Returns the record of the volume whose private copy has the loop device with this number.
fn record_of_copy(pool: &PoolDir, number: DeviceNumber) -> Result<Option<VolumeRecord>> {
    for record in volume_records(pool)? {
        if record.backing != Backing::Snapshot
            && observe::observe(pool, &record.key())?.devices().contains(&number)
        {
            return Ok(Some(record));
        }
    }
    Ok(None)
}

/// Lists all readable records of volumes, sorted by id. Cheaper than [`volumes`], since it does not
/// query the kernel.
pub(crate) fn volume_records(pool: &PoolDir) -> Result<Vec<VolumeRecord>> {
    Ok(survey(pool)?.0)
}

/// Returns size and usage of a volume. `path` is where the volume is staged or published, or a bind
/// mount of that, as kubelet makes it. `NotFound` if the volume is not at `path`.
pub(crate) fn statistics(pool: &PoolDir, id: &str, path: &Path) -> Result<VolumeStatistics> {
    let key = Key::of(id);
    let volume = volume(pool, id)?;
    if kata::is_at(pool, &key, path)? {
        return Ok(VolumeStatistics { volume, file_system: None, file_system_failed: false });
    }
    let (device, mounted, failed) = match pool.host().target(path)? {
        Target::FileSystem { device, failed, .. } => (device, true, failed),
        Target::Node { device } => (device, false, false),
        Target::Missing | Target::Plain(_) | Target::Sealed { .. } | Target::Foreign(_) => {
            return Err(elsewhere("find volume", id, path));
        }
    };
    if !is_device_of(pool, &key, device)? {
        return Err(elsewhere("find volume", id, path));
    }
    // A file system that was shut down after an error does not report even its size.
    let file_system = match pool.host().target_usage(path) {
        _ if !mounted => None,
        Err(_) if failed => None,
        usage => Some(usage?),
    };
    Ok(VolumeStatistics { volume, file_system, file_system_failed: failed })
}

/// Lists all readable records of volumes, sorted by id, and the errors of the others.
pub(crate) fn survey(pool: &PoolDir) -> Result<(Vec<VolumeRecord>, Vec<Error>)> {
    let (mut records, damaged) =
        index::survey(index::keys(pool)?, |key| observe::read_record(pool, key))?;
    records.sort_by(|a, b| a.id.cmp(&b.id));
    Ok((records, damaged))
}

/// Returns the present state of the volume with this key.
pub(crate) fn look(pool: &PoolDir, key: &Key, id: &str) -> Result<VolumeStatus> {
    let observed = observe::observe(pool, key)?;
    match &observed.record {
        Some(record) => Ok(describe(record.clone(), &observed)),
        None => Err(activate::unknown(id)),
    }
}

/// Takes note of the volume's state. Returns whether the kernel stopped the volume.
pub(crate) fn is_stopped(
    pool: &PoolDir,
    key: &Key,
    record: &VolumeRecord,
    observed: &Observed,
) -> bool {
    let state = observed.state(record);
    pool.losses().notice(key, record, state);
    state.is_stopped()
}

fn describe(record: VolumeRecord, observed: &Observed) -> VolumeStatus {
    let usage = |device: Option<&Device>| match device.and_then(|device| device.usage) {
        Some(SnapshotUsage::Valid { used, total, .. }) => Some((used, total)),
        _ => None,
    };
    let (own, below) = (usage(observed.snapshot.as_ref()), usage(observed.base()));
    let cow = own.map(|(used, total)| match below {
        Some((base, total)) if observed.is_over_base() => (base + used, total),
        _ => (used, total),
    });
    let overlay = observed.overlay.as_ref().map(|overlay| overlay.store);
    let stores = [observed.store, overlay];
    VolumeStatus {
        state: observed.state(&record),
        device: observed.device(false),
        allocated: stores.iter().flatten().map(|store| store.allocated).sum(),
        cow,
        record,
    }
}
