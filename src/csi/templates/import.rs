//! One required template: is it in the pool, and how it gets there. Blocks.

use crate::api::Pool;
use crate::error::{ErrorKind, Result};
use crate::metrics::{ImportOutcome, Metrics};
use crate::model::digest::Digest;
use crate::model::units::format_size;
use crate::pool::record::TemplateRecord;
use crate::template::spec::{ImportSource, ImportSpec, Progress};

/// Whether this process has seen a template in the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Never,
    Before,
}

/// The digest of the template, if the pool has what is required.
pub(super) fn find(pool: &Pool, spec: &ImportSpec, seen: Seen) -> Result<Option<Digest>> {
    let found = record(pool, &spec.name)?;
    Ok(found.filter(|record| is_it(pool, record, spec, seen)).map(|record| record.digest))
}

/// Imports the template. Returns whether its content was new, and its digest.
pub(super) fn import(
    pool: &Pool,
    spec: &ImportSpec,
    metrics: &Metrics,
) -> Result<(ImportOutcome, Digest)> {
    let before = record(pool, &spec.name)?;
    tracing::info!(
        target: "calf::csi", template = spec.name, source = %spec.source, "importing a template"
    );
    let mut told = Told::new(&spec.name);
    let over_http = matches!(spec.source, ImportSource::Url(_) | ImportSource::Registry(_));
    let mut last = None;
    let record = pool.import_template(spec, &mut |progress| {
        if let Some(last) = last.replace(progress.done).filter(|_| over_http) {
            metrics.downloaded(progress.done.saturating_sub(last));
        }
        told.update(progress);
    })?;
    let outcome = match before {
        Some(before) if before.digest == record.digest => ImportOutcome::Present,
        _ => ImportOutcome::Imported,
    };
    Ok((outcome, record.digest))
}

fn record(pool: &Pool, name: &str) -> Result<Option<TemplateRecord>> {
    match pool.template(name).and_then(|template| template.record()) {
        Ok(record) => Ok(Some(record)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Without a digest, a file is checked once per start: it may be replaced at any time, without notice.
fn is_it(pool: &Pool, record: &TemplateRecord, spec: &ImportSpec, seen: Seen) -> bool {
    match &spec.digest {
        Some(_) => pool.is_template_of(record, spec),
        None => seen == Seen::Before,
    }
}

/// Logs a line for each quarter of an import.
struct Told<'a> {
    template: &'a str,
    quarter: u64,
}

impl<'a> Told<'a> {
    fn new(template: &'a str) -> Self {
        Self { template, quarter: 0 }
    }

    fn update(&mut self, Progress { done, total }: Progress) {
        // No list names standard input.
        let Some(total) = total else { return };
        let quarter = done.saturating_mul(4) / total.max(1);
        if quarter > self.quarter && quarter < 4 {
            tracing::info!(
                target: "calf::csi",
                template = self.template,
                done = format_size(done),
                total = format_size(total),
                "importing"
            );
        }
        self.quarter = quarter;
    }
}
