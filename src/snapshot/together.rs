//! The cut of several volumes as of one instant.
//!
//! The stores are copied one after the other. So the volumes that are in use are all suspended until the last copy
//! is there; a mounted file system is frozen meanwhile. What is dirty is written back before, while writers
//! go on. If the process dies in between, each volume goes on with the next call for it, or with
//! reconciliation.
//!
//! Where files cannot share blocks, all of them get [overlays](crate::snapshot::overlaid) while they are suspended.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::error::{ErrorKind, Result};
use crate::model::snapshot::Consistency;
use crate::snapshot::overlaid;
use crate::snapshot::source::{Cut, Method, Source};
use crate::sys::Quiesce;
use crate::volume::hold;

/// A volume, and where the copy of its store goes.
pub(super) type Part<'a> = (Source<'a>, PathBuf);

/// Copies the COW stores of the volumes, whose locks the caller holds. The copies are not durable yet.
///
/// # Errors
///
/// Those of [`Source::cut`]. No volume is suspended then.
pub(super) fn cut(parts: &[Part<'_>], consistency: Option<Consistency>) -> Result<Vec<Cut>> {
    let methods: Vec<Method> =
        parts.iter().map(|(source, _)| source.method(consistency)).collect::<Result<_>>()?;
    let mut cuts = Vec::new();
    let mut in_use = Vec::new();
    for ((source, to), method) in parts.iter().zip(&methods) {
        let (consistency, quiesce) = match method {
            // Nobody writes to it as long as its lock is held.
            Method::AtRest => {
                cuts.push(source.at_rest(to)?);
                continue;
            }
            Method::Live(_) => (Consistency::Crash, Quiesce::Device),
            Method::Frozen(..) => (Consistency::FileSystem, Quiesce::FileSystem),
        };
        source.write_ahead(method)?;
        in_use.push((source, to.as_path(), quiesce));
        cuts.push(Cut { consistency, waited: Duration::ZERO, copied: false });
    }
    let (waited, copied) = copy(&in_use)?;
    for (cut, method) in cuts.iter_mut().zip(&methods) {
        if !matches!(method, Method::AtRest) {
            (cut.waited, cut.copied) = (waited, copied);
        }
    }
    Ok(cuts)
}

/// Copies the stores of volumes in use, all of which come to rest meanwhile. Returns for how long writers waited, and
/// whether the data was copied.
pub(super) fn copy(parts: &[overlaid::Part<'_>]) -> Result<(Duration, bool)> {
    let start = Instant::now();
    let shared = parts
        .iter()
        .try_for_each(|(source, _, quiesce)| suspend(source, *quiesce))
        .and_then(|()| parts.iter().try_for_each(|(source, to, _)| source.reflink(to)));
    let resumed = parts.iter().map(|(source, ..)| resume(source)).fold(Ok(()), Result::and);
    let waited = start.elapsed();
    resumed?;
    match shared {
        Err(error) if error.kind() == ErrorKind::Unsupported => {
            Ok((waited.max(overlaid::copy(parts)?), true))
        }
        shared => shared.map(|()| (waited, false)),
    }
}

fn suspend(source: &Source<'_>, quiesce: Quiesce) -> Result<()> {
    source.pool.host().suspend(&source.device_id(), quiesce)
}

/// Lets a volume go on that was suspended, or that was to be. A suspension that failed may have taken effect.
fn resume(source: &Source<'_>) -> Result<()> {
    match source.pool.host().resume(&source.device_id()) {
        Ok(()) => Ok(()),
        Err(error) => {
            hold::release(source.pool, source.guard)?;
            tracing::warn!(
                volume = source.record.id,
                error = error.report(),
                "it goes on only at the second try"
            );
            Ok(())
        }
    }
}
