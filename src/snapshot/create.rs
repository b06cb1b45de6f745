//! Makes a snapshot of a volume, which may be in use.

use std::time::Duration;

use jiff::Timestamp;

use crate::cow::exceptions::Content;
use crate::cow::header::StoreHeader;
use crate::error::{Error, ErrorKind, Result};
use crate::model::key::Key;
use crate::model::policy::Backing;
use crate::model::snapshot::SnapshotSpec;
use crate::model::volume::VolumeState;
use crate::model::volume_id;
use crate::pool::record::{SNAPSHOTS_FORMAT, VolumeRecord, to_bytes};
use crate::pool::snapshots::{self, GroupMembership, SnapshotRecord};
use crate::pool::{PoolDir, locks::VolumeGuard};
use crate::snapshot::catalog::{self, SnapshotStatus};
use crate::snapshot::remove;
use crate::snapshot::source::{Cut, OPERATION, Source};
use crate::sys::lock::Mode;
use crate::volume::activate::unknown;
use crate::volume::machine::converge::reach;
use crate::volume::machine::observe;
use crate::volume::machine::store::{self, Evidence};
use crate::volume::plan::state::Observed;
use crate::volume::plan::{self, Goal};
use crate::volume::space::AdmissionControl;
use crate::volume::{lock, overlay};

/// A snapshot that was made, or that a repeated call found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Taken {
    /// The snapshot.
    pub snapshot: SnapshotStatus,
    /// For how long writers of the volume waited at most; `None` if an earlier call made the snapshot.
    pub waited: Option<Duration>,
    /// Whether this call copied the data, since files of the pool cannot share blocks.
    pub copied: bool,
}

/// Makes a snapshot of the volume `id`. A repeated call with the same spec finds the same snapshot, even
/// if the volume is gone.
pub(crate) fn create(pool: &PoolDir, id: &str, spec: &SnapshotSpec) -> Result<Taken> {
    volume_id::check_snapshot(&spec.name)?;
    let guard = lock::take(pool, id, OPERATION)?;
    let key = Key::of(&spec.name);
    let _snapshot = lock::snapshot(pool, &key, &spec.name, OPERATION, Mode::Exclusive)?;
    if let Some(record) = snapshots::read(pool, &key)? {
        agrees(id, spec, &record)?;
        let snapshot = catalog::describe(pool, record)?;
        return Ok(Taken { snapshot, waited: None, copied: false });
    }
    let (record, observed) = prepare(pool, &guard, id)?;
    let occupied = observed.store.map_or(0, |store| store.allocated);
    // Others need not wait for a copy: it is admitted once more before it counts.
    drop(admit(pool, &spec.name, occupied)?);
    pool.require_format(SNAPSHOTS_FORMAT)?;
    // An interrupted call may have left a store.
    remove::clear(pool, &key)?;
    let device = observed.device(false);
    let source = Source { pool, guard: &guard, record: &record, device };
    match write(&source, spec, &key, occupied) {
        Ok((record, cut)) => {
            let snapshot = catalog::describe(pool, record)?;
            Ok(Taken { snapshot, waited: Some(cut.waited), copied: cut.copied })
        }
        Err(error) => {
            if let Err(error) = remove::clear(pool, &key) {
                let error = error.report();
                tracing::warn!(
                    snapshot = spec.name,
                    error,
                    "could not remove a half-made snapshot; reconciliation will retry"
                );
            }
            Err(error)
        }
    }
}

/// Checks that the snapshot of `record` is the one that is asked for.
fn agrees(volume: &str, spec: &SnapshotSpec, record: &SnapshotRecord) -> Result<()> {
    let why = match spec.consistency {
        _ if record.imported.is_some() => "it exists, and was imported".to_owned(),
        _ if record.volume != volume => format!("it exists, of volume {}", record.volume),
        Some(wanted) if wanted != record.consistency => format!(
            "it exists with consistency {}, {} was requested",
            record.consistency.as_str(),
            wanted.as_str()
        ),
        _ => return Ok(()),
    };
    Err(Error::new(ErrorKind::AlreadyExists, "make snapshot", &spec.name, why)
        .remedy("use another name, or delete that snapshot"))
}

/// Looks at the volume, and completes what an interrupted call left of its device.
///
/// # Errors
///
/// `NotFound`; `Unsupported` for a private copy; `Unprepared` if its content is of an earlier boot; `NoSpace`
/// if the kernel stopped it or a guard keeps it suspended; `Corrupt` if its store is not its own.
pub(super) fn prepare(
    pool: &PoolDir,
    guard: &VolumeGuard,
    id: &str,
) -> Result<(VolumeRecord, Observed)> {
    let observed = observe::observe(pool, guard.key())?;
    let record = observed.record.clone().ok_or_else(|| unknown(id))?;
    let refused = |kind, why: &'static str, remedy: &'static str| {
        Err(Error::new(kind, OPERATION, id, why).remedy(remedy))
    };
    if record.backing != Backing::Snapshot {
        let why = "it is a private copy of its template (fallback), without a COW store";
        return refused(
            ErrorKind::Unsupported,
            why,
            "use a kernel with dm-snapshot: new volumes then have COW stores",
        );
    }
    if observed.is_stale(&record) {
        let why = "its content is of an earlier boot, and it starts anew at its next use";
        return refused(ErrorKind::Unprepared, why, "activate the volume first");
    }
    plan::require_running(&record, &observed)?;
    if observed.state(&record) == VolumeState::Invalid {
        return Err(plan::invalid(&record));
    }
    if pool.host().file(&pool.layout().lost_writes(guard.key()))?.is_some() {
        let why = "the pool's file system failed to write data of it to the disk";
        return refused(ErrorKind::Corrupt, why, "delete the volume, and create a new one");
    }
    let observed = overlay::end(pool, guard, &record, observed)?;
    let goal = match &observed.snapshot {
        None => Goal::Stored(&record),
        // A device without a table cannot have been used yet.
        Some(device) if device.table.is_none() => Goal::Inactive,
        Some(_) => Goal::Active { record: &record, view: false },
    };
    reach(pool, guard, goal, &observed)?;
    let now = observe::again(pool, guard.key(), &observed)?;
    Ok((record, now))
}

/// Fails with `NoSpace` unless the pool has room for snapshots of stores that occupy so many bytes. Keep the result
/// until their records are written.
pub(super) fn admit<'a>(
    pool: &'a PoolDir,
    name: &str,
    occupied: u64,
) -> Result<AdmissionControl<'a>> {
    let admission = AdmissionControl::begin(pool)?;
    admission.admit_snapshot(name, occupied)?;
    Ok(admission)
}

/// Makes the cut, then the record. Each is on the disk before the next begins.
fn write(
    source: &Source<'_>,
    spec: &SnapshotSpec,
    key: &Key,
    occupied: u64,
) -> Result<(SnapshotRecord, Cut)> {
    let pool = source.pool;
    let (host, layout) = (pool.host(), pool.layout());
    host.make_private_directory(&layout.snapshot_directory(key))?;
    let cut = source.cut(&layout.snapshot_store(key), spec.consistency)?;
    let _admission = admit(pool, &spec.name, occupied)?;
    let record = keep(source, &spec.name, cut, None)?;
    Ok((record, cut))
}

/// Makes a cut that lies in the directory of the snapshot `name` durable, and then that snapshot.
pub(super) fn keep(
    source: &Source<'_>,
    name: &str,
    cut: Cut,
    group: Option<GroupMembership>,
) -> Result<SnapshotRecord> {
    let (host, layout) = (source.pool.host(), source.pool.layout());
    let key = Key::of(name);
    let content = settle(source, &layout.snapshot_store(&key))?;
    for directory in [&layout.snapshot_directory(&key), &layout.snapshots(), layout.root()] {
        host.sync_directory(directory)?;
    }
    let record = SnapshotRecord { group, ..describe(source.record, name, content, cut) };
    host.write_record(&layout.snapshot_record(&key), &to_bytes(&record))?;
    tracing::info!(
        snapshot = record.name,
        volume = record.volume,
        consistency = record.consistency.as_str(),
        waited = ?cut.waited,
        copied = cut.copied,
        "made a snapshot"
    );
    Ok(record)
}

/// Makes the copied store durable, and checks that it is whole.
pub(super) fn settle(source: &Source<'_>, path: &std::path::Path) -> Result<Content> {
    let (host, volume) = (source.pool.host(), source.record);
    if host.store_header(path)? == StoreHeader::New {
        // No device was ever made over it.
        let synced = host.open_image(path, crate::sys::OpenMode::Read)?.sync();
        synced.map_err(|e| Error::io("write back", path.display(), e))?;
        return Ok(Content { exceptions: 0, stored: 0 });
    }
    let why = match store::examine(host, path, volume.size, volume.chunk_size)? {
        Evidence::Whole(content) => return Ok(content),
        Evidence::LostWrites(error) => {
            return Err(Error::io("write back", path.display(), error));
        }
        Evidence::Damaged(what) => format!("its COW store is damaged: {what}"),
    };
    Err(Error::new(ErrorKind::Corrupt, OPERATION, &volume.id, why)
        .remedy("its content cannot be trusted: delete the volume and create a new one"))
}

/// The record of a snapshot of `volume`.
pub(super) fn describe(
    volume: &VolumeRecord,
    name: &str,
    content: Content,
    cut: Cut,
) -> SnapshotRecord {
    SnapshotRecord {
        name: name.to_owned(),
        volume: volume.id.clone(),
        template: volume.template.clone(),
        digest: volume.digest.clone(),
        template_size: volume.template_size,
        fs_type: volume.fs_type.clone(),
        size: volume.size,
        chunk_size: volume.chunk_size,
        chunks: content.exceptions,
        stored: content.stored,
        consistency: cut.consistency,
        created: Timestamp::now(),
        group: None,
        imported: None,
    }
}
