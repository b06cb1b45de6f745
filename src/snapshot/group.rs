//! Groups: snapshots of several volumes as of one instant.
//!
//! A group is all or nothing. Before the cut, calf writes down which snapshots it makes; each of them carries the
//! token of the cut. When all are on the disk, it writes down that the group is complete. If the process dies before,
//! the next such call or reconciliation deletes those that exist. The snapshots of a group are deleted together.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use crate::error::{Error, ErrorKind, Result};
use crate::model::key::Key;
use crate::model::snapshot::{Consistency, GroupSnapshotSpec};
use crate::model::volume_id;
use crate::pool::PoolDir;
use crate::pool::groups::{self, GroupMember, GroupRecord};
use crate::pool::locks::VolumeGuard;
use crate::pool::record::{GROUPS_FORMAT, to_bytes};
use crate::pool::snapshots::{self, GroupMembership};
use crate::snapshot::catalog::{self, SnapshotStatus};
use crate::snapshot::create::{admit, keep, prepare};
use crate::snapshot::device;
use crate::snapshot::source::Source;
use crate::snapshot::{remove, together};
use crate::sys::lock::{Lock, Mode};
use crate::volume::lock;

const OPERATION: &str = "make group snapshot";
/// Most volumes of a group: each holds up the writers of all others.
const MOST: usize = 64;

/// A group of snapshots that was made, or that a repeated call found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TakenGroup {
    /// The snapshots, ordered by their volumes.
    pub snapshots: Vec<SnapshotStatus>,
    /// When they were made.
    pub created: Timestamp,
    /// For how long writers of the volumes waited at most; `None` if an earlier call made the group.
    pub waited: Option<Duration>,
}

/// Makes snapshots of the volumes of `spec` as of one instant: all of them, or none. A repeated call finds them.
pub(crate) fn create(pool: &PoolDir, spec: &GroupSnapshotSpec) -> Result<TakenGroup> {
    let volumes = check(spec)?;
    let key = key_of(&spec.name);
    let _group = take_lock(pool, &key, &spec.name, OPERATION)?;
    if let Some(record) = groups::read(pool, &key)?
        && record.complete
    {
        return found(pool, spec, &volumes, &record);
    }
    // An interrupted call may have left some of them.
    undo(pool, &key)?;
    remove::clear(pool, &key)?;
    let made = make(pool, spec, &volumes, &key);
    if made.is_err()
        && let Err(error) = undo(pool, &key).and_then(|()| remove::clear(pool, &key))
    {
        let error = error.report();
        tracing::warn!(
            group = spec.name,
            error,
            "could not undo a group; reconciliation will retry"
        );
    }
    made
}

/// Deletes the group `name` with all of its snapshots and their devices. Succeeds if there is none. What started from
/// them stays as it is.
pub(crate) fn delete(pool: &PoolDir, name: &str) -> Result<()> {
    volume_id::check_snapshot(name)?;
    let key = key_of(name);
    let _group = take_lock(pool, &key, name, "delete group snapshot")?;
    if let Some(record) = groups::read(pool, &key)?
        && record.complete
    {
        // While somebody reads one of them, all stay.
        for member in &record.members {
            device::deactivate(pool, &member.snapshot)?;
        }
        // From now on there is no group; reconciliation removes what is left.
        write(pool, &key, &GroupRecord { complete: false, ..record })?;
    }
    undo(pool, &key)?;
    remove::clear(pool, &key)
}

/// The snapshots of a group.
pub(crate) fn snapshots(pool: &PoolDir, record: &GroupRecord) -> Result<Vec<SnapshotStatus>> {
    record.members.iter().map(|member| catalog::snapshot(pool, &member.snapshot)).collect()
}

/// Deletes the snapshots of a group that is not complete. The caller holds the lock of the group.
pub(super) fn undo(pool: &PoolDir, key: &Key) -> Result<()> {
    let Some(group) = groups::read(pool, key)? else { return Ok(()) };
    for member in &group.members {
        let key = Key::of(&member.snapshot);
        let _snapshot =
            lock::snapshot(pool, &key, &member.snapshot, "delete snapshot", Mode::Exclusive)?;
        match snapshots::read(pool, &key)? {
            Some(record) if record.group.as_ref().is_none_or(|it| it.cut != group.cut) => {}
            record => remove::erase(pool, &key, record.as_ref())?,
        }
    }
    Ok(())
}

fn key_of(name: &str) -> Key {
    groups::directory(&Key::of(name))
}

fn take_lock(pool: &PoolDir, key: &Key, name: &str, operation: &'static str) -> Result<Lock> {
    lock::snapshot(pool, key, &format!("group {name}"), operation, Mode::Exclusive)
}

fn write(pool: &PoolDir, key: &Key, record: &GroupRecord) -> Result<()> {
    pool.host().write_record(&pool.layout().group_record(key), &to_bytes(record))
}

/// Checks the spec, and returns the volumes in order.
fn check(spec: &GroupSnapshotSpec) -> Result<BTreeSet<&str>> {
    volume_id::check_snapshot(&spec.name)?;
    let refused = |why: String, remedy: &'static str| {
        Err(Error::new(ErrorKind::InvalidArgument, OPERATION, &spec.name, why).remedy(remedy))
    };
    let mut volumes = BTreeSet::new();
    for id in &spec.volumes {
        volume_id::check(id)?;
        if !volumes.insert(id.as_str()) {
            return refused(format!("volume {id} is named twice"), "name each volume once");
        }
    }
    match volumes.len() {
        0 => refused("no volume is named".to_owned(), "name at least one"),
        1..=MOST => Ok(volumes),
        count => refused(
            format!(
                "{count} volumes are named; the writers of all of them would wait for each other"
            ),
            "name at most 64",
        ),
    }
}

/// The name of the snapshot of `volume` in `group`.
fn member_name(group: &str, volume: &str) -> String {
    let name = format!("{group}.{volume}");
    match volume_id::is_valid(&name) {
        true => name,
        false => format!("{}.{}", Key::of(group), Key::of(volume)),
    }
}

/// A group that exists, if it is the one that is asked for.
fn found(
    pool: &PoolDir,
    spec: &GroupSnapshotSpec,
    volumes: &BTreeSet<&str>,
    record: &GroupRecord,
) -> Result<TakenGroup> {
    let differs = |why: String| {
        Err(Error::new(ErrorKind::AlreadyExists, OPERATION, &spec.name, why)
            .remedy("use another name, or delete that group"))
    };
    if !record.members.iter().map(|member| member.volume.as_str()).eq(volumes.iter().copied()) {
        let has: Vec<&str> = record.members.iter().map(|member| member.volume.as_str()).collect();
        return differs(format!("it exists, of other volumes: {}", has.join(", ")));
    }
    let snapshots = snapshots(pool, record)?;
    let other = |wanted: Consistency| snapshots.iter().find(|it| it.record.consistency != wanted);
    if let Some((wanted, it)) = spec.consistency.and_then(|wanted| Some((wanted, other(wanted)?))) {
        let (volume, has) = (&it.record.volume, it.record.consistency.as_str());
        return differs(format!(
            "it exists with consistency {has} of volume {volume}, {} was requested",
            wanted.as_str()
        ));
    }
    Ok(TakenGroup { snapshots, created: record.created, waited: None })
}

/// Takes the lock of a snapshot that does not exist yet.
fn lock_new(pool: &PoolDir, name: &str) -> Result<Lock> {
    let key = Key::of(name);
    let lock = lock::snapshot(pool, &key, name, OPERATION, Mode::Exclusive)?;
    if snapshots::read(pool, &key)?.is_some() {
        let why = "it exists, and is not part of this group";
        return Err(Error::new(ErrorKind::AlreadyExists, OPERATION, name, why)
            .remedy("use another name for the group, or delete that snapshot"));
    }
    Ok(lock)
}

fn make(
    pool: &PoolDir,
    spec: &GroupSnapshotSpec,
    volumes: &BTreeSet<&str>,
    key: &Key,
) -> Result<TakenGroup> {
    let guards: Vec<VolumeGuard> =
        volumes.iter().map(|id| lock::take(pool, id, OPERATION)).collect::<Result<_>>()?;
    let members: Vec<GroupMember> = volumes
        .iter()
        .map(|id| GroupMember { volume: (*id).to_owned(), snapshot: member_name(&spec.name, id) })
        .collect();
    let keys: Vec<Key> = members.iter().map(|member| Key::of(&member.snapshot)).collect();
    let _locks: Vec<Lock> =
        members.iter().map(|member| lock_new(pool, &member.snapshot)).collect::<Result<_>>()?;
    let prepared: Vec<_> = volumes
        .iter()
        .zip(&guards)
        .map(|(id, guard)| prepare(pool, guard, id))
        .collect::<Result<_>>()?;
    let stores = prepared.iter().filter_map(|(_, observed)| observed.store);
    let occupied = stores.map(|store| store.allocated).sum();
    // Others need not wait for copies.
    drop(admit(pool, &spec.name, occupied)?);
    pool.require_format(GROUPS_FORMAT)?;
    let group = GroupRecord {
        name: spec.name.clone(),
        cut: Key::random().to_string(),
        members,
        complete: false,
        created: Timestamp::now(),
    };
    let directory = pool.layout().snapshot_directory(key);
    pool.host().make_private_directory(&directory)?;
    write(pool, key, &group)?;
    let mut parts = Vec::new();
    for (((record, observed), guard), key) in prepared.iter().zip(&guards).zip(&keys) {
        // An interrupted call may have left a store.
        remove::clear(pool, key)?;
        pool.host().make_private_directory(&pool.layout().snapshot_directory(key))?;
        let source = Source { pool, guard, record, device: observed.device(false) };
        parts.push((source, pool.layout().snapshot_store(key)));
    }
    let cuts = together::cut(&parts, spec.consistency)?;
    let _admission = admit(pool, &spec.name, occupied)?;
    let mut taken = Vec::new();
    for (((source, _), cut), member) in parts.iter().zip(&cuts).zip(&group.members) {
        let membership = GroupMembership { name: group.name.clone(), cut: group.cut.clone() };
        let record = keep(source, &member.snapshot, *cut, Some(membership))?;
        taken.push(catalog::describe(pool, record)?);
    }
    let group = GroupRecord { complete: true, ..group };
    write(pool, key, &group)?;
    let waited = cuts.iter().map(|cut| cut.waited).max().unwrap_or_default();
    tracing::info!(group = group.name, volumes = taken.len(), ?waited, "made a group of snapshots");
    Ok(TakenGroup { snapshots: taken, created: group.created, waited: Some(waited) })
}
