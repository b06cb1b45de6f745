//! Recovers a volume on request.

use crate::error::{Error, ErrorKind, Result};
use crate::model::units::format_size;
use crate::model::volume::VolumeState;
use crate::pool::PoolDir;
use crate::pool::record::VolumeRecord;
use crate::volume::activate::Found;
use crate::volume::plan::step::store_length;
use crate::volume::revive::{OPERATION, cause, revive};
use crate::volume::status::{self, VolumeStatus};
use crate::volume::{lifecycle, lock, overlay};

/// How a volume is to be recovered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecoverOptions {
    /// A higher limit on what the volume writes, in bytes; `None` keeps the limit.
    pub cow_limit: Option<u64>,
}

impl RecoverOptions {
    /// Sets a higher limit on what the volume writes, in bytes.
    #[must_use]
    pub fn cow_limit(mut self, limit: impl Into<Option<u64>>) -> Self {
        self.cow_limit = limit.into();
        self
    }
}

/// What was recovered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovery {
    /// The volume as it is now.
    pub volume: VolumeStatus,
    /// Why the kernel had given it up; `None` if it had not.
    pub from: Option<VolumeState>,
    /// Number of chunks in its COW store, all of which were acknowledged; 0 if it needed no recovery.
    pub chunks: u64,
}

/// Recovers the volume `id`. A volume that needs no recovery stays as it is, apart from its limit.
pub(crate) fn recover_volume(
    pool: &PoolDir,
    id: &str,
    options: &RecoverOptions,
) -> Result<Recovery> {
    let guard = lock::take(pool, id, OPERATION)?;
    let mut found = Found::look(pool, &guard, id)?;
    found.before = overlay::end(pool, &guard, &found.record, found.before)?;
    let mut record = found.record.clone();
    if let Some(limit) = options.cow_limit {
        raise_limit(&mut record, limit)?;
    }
    let from = cause(&found.record, &found.before);
    let chunks = match from {
        Some(_) => {
            let _admission = lifecycle::admit_change(pool, &record, &found.before)?;
            revive(pool, &guard, &record, &found.before)?
        }
        None if record == found.record => 0,
        None => {
            lifecycle::change(pool, &guard, &record, &found.before)?;
            0
        }
    };
    let volume = status::look(pool, guard.key(), id)?;
    Ok(Recovery { volume, from, chunks })
}

fn raise_limit(record: &mut VolumeRecord, limit: u64) -> Result<()> {
    let raised = VolumeRecord { cow_limit: Some(limit), ..record.clone() };
    if record.cow_limit.is_none() || store_length(&raised) < store_length(record) {
        let has = record.cow_limit.map_or("none".to_owned(), format_size);
        let why = format!("its limit is {has}, and {} is lower", format_size(limit));
        return Err(Error::new(ErrorKind::OutOfRange, OPERATION, &record.id, why)
            .remedy("give it a higher limit, or leave the limit out"));
    }
    *record = raised;
    Ok(())
}
