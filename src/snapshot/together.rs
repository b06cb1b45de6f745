//! The cut of several volumes as of one instant.
//!
//! The stores are copied one after the other. So the volumes that are in use are all suspended until the last copy
//! is there; a mounted file system is frozen meanwhile. What is dirty is written back before, while writers
//! go on. If the process dies in between, each volume goes on with the next call for it, or with
//! reconciliation.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::model::snapshot::Consistency;
use crate::snapshot::cut::{Cut, Method, Source};
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
        let consistency = match method {
            // Nobody writes to it as long as its lock is held.
            Method::AtRest => {
                cuts.push(source.at_rest(to)?);
                continue;
            }
            Method::Live(_) => Consistency::Crash,
            Method::Frozen(..) => Consistency::FileSystem,
        };
        source.write_ahead(method)?;
        in_use.push((source, to, method));
        cuts.push(Cut { consistency, waited: Duration::ZERO, copied: false });
    }
    let start = Instant::now();
    let shared = in_use
        .iter()
        .try_for_each(|(source, _, method)| suspend(source, method))
        .and_then(|()| in_use.iter().try_for_each(|(source, to, _)| source.share(to)));
    let resumed = in_use.iter().map(|(source, ..)| resume(source)).fold(Ok(()), Result::and);
    let waited = start.elapsed();
    shared.and(resumed)?;
    for (cut, method) in cuts.iter_mut().zip(&methods) {
        if !matches!(method, Method::AtRest) {
            cut.waited = waited;
        }
    }
    Ok(cuts)
}

fn suspend(source: &Source<'_>, method: &Method) -> Result<()> {
    let quiesce = match method {
        Method::Frozen(..) => Quiesce::FileSystem,
        Method::Live(_) | Method::AtRest => Quiesce::Device,
    };
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
