//! Copies the stores of volumes in use where files cannot share blocks: each volume goes on over an
//! [overlay](crate::volume::overlay) meanwhile.

use std::path::Path;
use std::time::Duration;

use crate::error::Result;
use crate::snapshot::source::{OPERATION, Source};
use crate::sys::{CopyMode, Quiesce};
use crate::volume::overlay::{self, Subject};

/// A volume in use, where the copy of its store goes, and what comes to rest for it.
pub(super) type Part<'a> = (&'a Source<'a>, &'a Path, Quiesce);

/// Copies the stores of the volumes as of one instant, and merges what was written meanwhile. Returns for how long
/// writers waited.
///
/// # Errors
///
/// `Unsupported` if a volume cannot have an overlay; `NoSpace`. The volumes go on.
pub(super) fn copy(parts: &[Part<'_>]) -> Result<Duration> {
    let Some((Source { pool, record, .. }, ..)) = parts.first() else { return Ok(Duration::ZERO) };
    let sizes = parts.iter().map(|(source, ..)| source.allocated());
    pool.require_free(OPERATION, &record.id, sizes.sum::<Result<u64>>()?)?;
    let subjects: Vec<Subject<'_>> = parts
        .iter()
        .map(|&(Source { guard, record, .. }, _, quiesce)| Subject { guard, record, quiesce })
        .collect();
    let copied = overlay::cut(pool, &subjects).and_then(|waited| {
        parts.iter().try_for_each(|(source, to, _)| source.copy(to, CopyMode::Sparse))?;
        Ok(waited)
    });
    for (source, ..) in parts {
        finish(source);
    }
    copied
}

/// The copy is there even if the merge has to wait.
fn finish(source: &Source<'_>) {
    let Source { pool, guard, record, .. } = source;
    if let Err(error) = overlay::finish(pool, guard, record) {
        tracing::warn!(
            volume = record.id,
            error = error.report(),
            "could not merge what was written during a snapshot; reconciliation will retry"
        );
    }
}
