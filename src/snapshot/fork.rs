//! Forks: several volumes that start from what another holds at one instant, with no snapshot left behind.
//!
//! A fork is all or nothing. Before its first volume, calf writes down which volumes it makes; each of
//! them carries the token of the cut. When all are there, it removes the cut. If the process dies before,
//! the next such call or reconciliation deletes those that exist, unless somebody uses them already.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::model::key::Key;
use crate::model::snapshot::{Consistency, VolumeSource};
use crate::model::volume::VolumeSpec;
use crate::pool::record::{self, SNAPSHOTS_FORMAT, VolumeRecord};
use crate::pool::snapshots::{ForkRecord, SnapshotRecord};
use crate::pool::{PoolDir, snapshots};
use crate::snapshot::create::{describe, prepare, settle};
use crate::snapshot::remove;
use crate::snapshot::source::Source;
use crate::sys::lock::{Lock, Mode};
use crate::volume::machine::observe;
use crate::volume::space;
use crate::volume::start::Start;
use crate::volume::{agreement, lifecycle, lock, provision};

const OPERATION: &str = "fork volume";

/// Volumes that were made of another, or that a repeated call found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Forked {
    /// Their records, in the order of the specs.
    pub(crate) volumes: Vec<VolumeRecord>,
    /// For how long writers of the source waited at most; `None` if an earlier call made the volumes.
    pub(crate) waited: Option<Duration>,
}

/// Makes the volumes of `specs`, whose source is the volume `id`, as of one instant: all of them, or none. A
/// repeated call finds them.
pub(crate) fn fork(
    pool: &PoolDir,
    id: &str,
    specs: &[VolumeSpec],
    consistency: Option<Consistency>,
) -> Result<Forked> {
    check(id, specs)?;
    let key = key_of(id, specs);
    let name = format!("the fork of volume {id}");
    let _fork = lock::snapshot(pool, &key, &name, OPERATION, Mode::Exclusive)?;
    if let Some(volumes) = find(pool, id, specs)? {
        remove::clear(pool, &key)?;
        return Ok(Forked { volumes, waited: None });
    }
    // An interrupted call may have left some of them.
    undo(pool, &key)?;
    remove::clear(pool, &key)?;
    if let Some(taken) = specs.iter().find_map(|spec| exists(pool, &spec.id).transpose()) {
        let why = "it exists, and is not part of this fork";
        return Err(Error::new(ErrorKind::AlreadyExists, OPERATION, taken?, why)
            .remedy("use other ids, or delete that volume"));
    }
    let made = make(pool, id, specs, consistency, &key);
    if made.is_err() {
        undo(pool, &key).unwrap_or_else(|error| not_undone(id, &error));
    }
    if let Err(error) = remove::clear(pool, &key) {
        not_undone(id, &error);
    }
    made
}

fn not_undone(id: &str, error: &Error) {
    let error = error.report();
    tracing::warn!(volume = id, error, "could not end a fork; reconciliation will retry");
}

/// Refuses specs that cannot be a fork of the volume `id`.
fn check(id: &str, specs: &[VolumeSpec]) -> Result<()> {
    let refused = |why: String, remedy: &'static str| {
        Err(Error::new(ErrorKind::InvalidArgument, OPERATION, id, why).remedy(remedy))
    };
    let mut ids = BTreeSet::from([id]);
    for spec in specs {
        provision::check(spec)?;
        if spec.source != Some(VolumeSource::Volume(id.to_owned())) {
            return refused(
                format!("volume {} is to start from something else", spec.id),
                "name it as the source",
            );
        }
        if !ids.insert(&spec.id) {
            return refused(
                format!("{} is named twice", spec.id),
                "give each volume an id of its own",
            );
        }
    }
    match specs.is_empty() {
        true => refused("no new volume is named".to_owned(), "name at least one"),
        false => Ok(()),
    }
}

/// The key of a fork: that of no snapshot, since a name has no control characters.
fn key_of(id: &str, specs: &[VolumeSpec]) -> Key {
    let ids: Vec<&str> = specs.iter().map(|spec| spec.id.as_str()).collect();
    Key::of(&format!("{id}\n{}", ids.join("\n")))
}

/// The volumes of the specs, if all exist and are of one cut of the volume `id`.
fn find(pool: &PoolDir, id: &str, specs: &[VolumeSpec]) -> Result<Option<Vec<VolumeRecord>>> {
    let mut volumes = Vec::new();
    for spec in specs {
        match observe::read_record(pool, &Key::of(&spec.id))? {
            Some(record) => volumes.push(record),
            None => return Ok(None),
        }
    }
    let source = VolumeSource::Volume(id.to_owned());
    let [first, rest @ ..] = volumes.as_slice() else { return Ok(None) };
    let of_one_cut = first.source.as_ref() == Some(&source)
        && rest.iter().all(|record| record.cut == first.cut && record.source == first.source);
    if !of_one_cut {
        return Ok(None);
    }
    for (spec, record) in specs.iter().zip(&volumes) {
        agreement::agrees(spec, record)?;
    }
    Ok(Some(volumes))
}

fn exists(pool: &PoolDir, id: &str) -> Result<Option<String>> {
    Ok(observe::read_record(pool, &Key::of(id))?.map(|record| record.id))
}

/// Makes the cut, and the volumes of it.
fn make(
    pool: &PoolDir,
    id: &str,
    specs: &[VolumeSpec],
    consistency: Option<Consistency>,
    key: &Key,
) -> Result<Forked> {
    let token = Key::random();
    let (content, _image, waited) = cut(pool, id, specs, consistency, key, &token)?;
    let store = pool.layout().snapshot_store(key);
    let start = Start { content, store, cut: Some(token.to_string()) };
    let mut volumes = Vec::new();
    for spec in specs {
        let guard = lock::take_within(pool, &spec.id, OPERATION, pool.wait().max(lock::MOMENT))?;
        let observed = observe::observe(pool, guard.key())?;
        if observed.record.is_some() {
            let why = "another call made it meanwhile";
            return Err(Error::new(ErrorKind::AlreadyExists, OPERATION, &spec.id, why)
                .remedy("use other ids, or delete that volume"));
        }
        volumes.push(lifecycle::create_copy(pool, &guard, spec, &start, &observed)?);
    }
    Ok(Forked { volumes, waited: Some(waited) })
}

/// Writes down what is to be made, and copies the volume's store. Holds the volume's lock only meanwhile. The lock
/// that it returns keeps the template's content.
fn cut(
    pool: &PoolDir,
    id: &str,
    specs: &[VolumeSpec],
    consistency: Option<Consistency>,
    key: &Key,
    token: &Key,
) -> Result<(SnapshotRecord, Lock, Duration)> {
    let guard = lock::take(pool, id, OPERATION)?;
    let (record, observed) = prepare(pool, &guard, id)?;
    space::require_room(pool, id)?;
    pool.require_format(SNAPSHOTS_FORMAT)?;
    let image = pool.lock_image(&record.digest, Mode::Shared)?;
    let intent = ForkRecord {
        volume: id.to_owned(),
        cut: token.to_string(),
        volumes: specs.iter().map(|spec| spec.id.clone()).collect(),
    };
    let path = pool.layout().fork_record(key);
    pool.host().write_record(&path, &record::to_bytes(&intent))?;
    let device = observed.device(false);
    let source = Source { pool, guard: &guard, record: &record, device };
    let store = pool.layout().snapshot_store(key);
    let cut = source.cut(&store, consistency)?;
    let content = settle(&source, &store)?;
    tracing::info!(volume = id, forks = specs.len(), waited = ?cut.waited, "forked");
    Ok((describe(&record, id, content, cut), image, cut.waited))
}

/// Deletes the volumes of a fork that was not completed, except for those that somebody uses. The caller holds
/// the lock of the fork.
pub(super) fn undo(pool: &PoolDir, key: &Key) -> Result<()> {
    let Some(fork) = snapshots::read_fork(pool, key)? else { return Ok(()) };
    let of_this_cut = |id: &String| {
        let record = observe::read_record(pool, &Key::of(id))?;
        Ok(record.is_some_and(|record| record.cut.as_ref() == Some(&fork.cut)))
    };
    let made: Vec<bool> = fork.volumes.iter().map(of_this_cut).collect::<Result<_>>()?;
    if made.iter().all(|made| *made) {
        // Only the cut had to be removed.
        return Ok(());
    }
    for (id, _) in fork.volumes.iter().zip(made).filter(|(_, made)| *made) {
        match lifecycle::delete_inactive_volume(pool, id) {
            Err(error) if error.kind() == ErrorKind::InUse => {
                tracing::warn!(volume = id, "part of an interrupted fork, and in use: it stays");
            }
            deleted => deleted?,
        }
    }
    Ok(())
}
