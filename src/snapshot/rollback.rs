//! Rollback: a volume that nobody uses returns to what one of its snapshots holds.
//!
//! The new store is made complete in a directory like that of a snapshot, without a record. Then one rename puts it in
//! the place of the old. If the process dies before, the next rollback or reconciliation removes that directory,
//! as after an interrupted fork.

use std::path::Path;

use crate::error::{Error, ErrorKind, Result};
use crate::model::key::Key;
use crate::model::policy::{Backing, Reserve};
use crate::model::snapshot::VolumeSource;
use crate::model::units::exact_size;
use crate::pool::PoolDir;
use crate::pool::locks::VolumeGuard;
use crate::pool::record::VolumeRecord;
use crate::pool::snapshots::SnapshotRecord;
use crate::snapshot::remove;
use crate::sys::lock::Mode;
use crate::volume::activate::Found;
use crate::volume::machine::converge::reach;
use crate::volume::machine::{duplicate, observe};
use crate::volume::plan::Goal;
use crate::volume::plan::step::store_length;
use crate::volume::space::{AdmissionControl, Present};
use crate::volume::status::{self, VolumeStatus};
use crate::volume::{lifecycle, lock, overlay, start};

const OPERATION: &str = "roll back volume";

/// Returns the volume `id` to what the snapshot `name` holds.
pub(crate) fn roll_back(pool: &PoolDir, id: &str, name: &str) -> Result<VolumeStatus> {
    let guard = lock::take(pool, id, OPERATION)?;
    let Found { record, before, .. } = Found::look(pool, &guard, id)?;
    check_volume(&record)?;
    let before = overlay::end(pool, &guard, &record, before)?;
    let (start, _snapshot) = start::hold(pool, name, Mode::Shared)?;
    check_snapshot(&record, &start.content)?;
    let key = key_of(id);
    let subject = format!("the rollback of volume {id}");
    let _lock = lock::snapshot(pool, &key, &subject, OPERATION, Mode::Exclusive)?;
    // An interrupted call may have left a store.
    remove::clear(pool, &key)?;
    let allocated = before.store.map_or(0, |store| store.allocated);
    let admission = AdmissionControl::begin(pool)?;
    admission.admit_rollback(Present { record: &record, allocated }, &start.store)?;
    lifecycle::take_down(pool, &guard, id)?;
    let store = pool.layout().snapshot_store(&key);
    let replaced = replace(pool, &guard, &record, &start.store, &store);
    if let Err(error) = remove::clear(pool, &key) {
        let error = error.report();
        tracing::warn!(volume = id, error, "could not end a rollback; reconciliation will retry");
    }
    replaced?;
    tracing::info!(volume = id, snapshot = name, "rolled back");
    status::look(pool, guard.key(), id)
}

/// The key of the directory in which the store is made: that of no snapshot, since a name has no control
/// characters, and of no fork, which names volumes.
fn key_of(id: &str) -> Key {
    Key::of(&format!("{id}\n"))
}

/// Makes the copy, and puts it in the place of the volume's store.
fn replace(
    pool: &PoolDir,
    guard: &VolumeGuard,
    record: &VolumeRecord,
    from: &Path,
    store: &Path,
) -> Result<()> {
    duplicate::copy_of(pool, record, from, store)?;
    let observed = observe::observe(pool, guard.key())?;
    reach(pool, guard, Goal::RolledBack { record, store }, &observed)
}

/// Refuses a volume that cannot have the content of any snapshot.
fn check_volume(record: &VolumeRecord) -> Result<()> {
    let (why, remedy) = match (record.backing, record.reserve) {
        (Backing::Snapshot, Reserve::None) => return Ok(()),
        (Backing::Snapshot, Reserve::Full) => (
            "its space is reserved, and it would share blocks with the snapshot",
            "make a template of the snapshot (`calf template commit`), and a volume of that",
        ),
        (Backing::Reflink | Backing::Copy, _) => (
            "it is a private copy of its template (fallback), without a COW store",
            "use a kernel with dm-snapshot: new volumes then have COW stores",
        ),
    };
    Err(Error::new(ErrorKind::Unsupported, OPERATION, &record.id, why).remedy(remedy))
}

/// Refuses a snapshot that is not of this volume, or holds more than the volume may.
fn check_snapshot(record: &VolumeRecord, content: &SnapshotRecord) -> Result<()> {
    let name = &content.name;
    let foreign = |why: String| {
        let remedy = format!("make a new volume of it: `calf volume create ID --snapshot {name}`");
        Err(Error::new(ErrorKind::InvalidArgument, OPERATION, &record.id, why).remedy(remedy))
    };
    let started_from_it = record.source == Some(VolumeSource::Snapshot(name.clone()))
        && content.since() <= record.created;
    if !started_from_it && content.imported.is_some() {
        return foreign(format!(
            "snapshot {name} was imported, and the volume did not start from it"
        ));
    }
    if !started_from_it && content.volume != record.id {
        return foreign(format!(
            "snapshot {name} is of volume {}, and the volume did not start from it",
            content.volume
        ));
    }
    if !started_from_it && content.created < record.created {
        return foreign(format!("snapshot {name} is of an earlier volume with this id"));
    }
    let is_alike = content.digest == record.digest
        && content.template_size == record.template_size
        && content.chunk_size == record.chunk_size
        && content.size <= record.size;
    if !is_alike {
        return foreign(format!(
            "snapshot {name} has another template, chunk size or larger size than the volume"
        ));
    }
    if store_length(record) < content.stored {
        let held = exact_size(content.chunks.saturating_mul(content.chunk_size));
        let why = format!("its limit is lower than what snapshot {name} holds, {held}");
        return Err(Error::new(ErrorKind::OutOfRange, OPERATION, &record.id, why).remedy(format!(
            "give it a higher limit first: `calf volume recover {} --cow-limit SIZE`",
            record.id
        )));
    }
    Ok(())
}
