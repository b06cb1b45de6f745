//! Keeps the required templates of this node in the pool.
//!
//! The keeper runs beside the driver once the driver serves: other templates are usable meanwhile.
//! One import runs at a time, since each keeps a disk or a network busy. A failed import is retried
//! for as long as the driver runs, at growing and randomized intervals, so that a thousand nodes do
//! not return to a server at once. Templates in the pool are checked periodically, and imported
//! again if they were removed.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::api::Pool;
use crate::error::{Error, ErrorKind, Result};
use crate::kubernetes::Events;
use crate::metrics::{ImportOutcome, Metrics};
use crate::model::digest::Digest;
use crate::model::units::format_size;
use crate::pool::record::TemplateRecord;
use crate::template::required::{RequiredTemplate, RequiredTemplates};
use crate::template::spec::{ImportSource, ImportSpec, Progress};

/// Pause after the first failure; each further failure doubles it.
const FIRST_RETRY: Duration = Duration::from_secs(5);
const LONGEST_RETRY: Duration = Duration::from_secs(300);
/// Time between checks of a template that is in the pool.
const LOOK: Duration = Duration::from_secs(600);

/// Keeps the templates of a list.
pub(super) struct Keeper {
    pub(super) pool: Pool,
    pub(super) metrics: Arc<Metrics>,
    pub(super) events: Events,
    /// Notified when a template arrives or asks for another number of spares.
    pub(super) changed: Arc<Notify>,
}

struct Task {
    spec: ImportSpec,
    warm: u32,
    due: Instant,
    failures: u32,
    /// Whether this process has seen the template in the pool.
    seen: bool,
}

impl Keeper {
    /// Runs until it is dropped. An import in progress then continues until it or the process ends;
    /// the next start resumes it.
    pub(super) async fn run(self, required: RequiredTemplates) {
        let task = |RequiredTemplate { import, warm }: &RequiredTemplate| Task {
            spec: import.clone(),
            warm: *warm,
            due: Instant::now(),
            failures: 0,
            seen: false,
        };
        let mut tasks: Vec<Task> = required.templates().iter().map(task).collect();
        while let Some(task) = tasks.iter_mut().min_by_key(|task| task.due) {
            tokio::time::sleep_until(task.due).await;
            self.see_to(task).await;
        }
    }

    async fn see_to(&self, task: &mut Task) {
        let (pool, metrics) = (self.pool.clone(), Arc::clone(&self.metrics));
        let (spec, warm, seen) = (task.spec.clone(), task.warm, task.seen);
        let ensured = tokio::task::spawn_blocking(move || {
            let ensured = ensure(&pool, &spec, seen, &metrics)?;
            pool.template(&spec.name)?.set_warm(warm)?;
            Ok(ensured)
        });
        let ensured = ensured.await.unwrap_or_else(|panic| {
            Err(Error::new(ErrorKind::Internal, "import", "a template", panic))
        });
        let name = &task.spec.name;
        match ensured {
            Ok((outcome, digest)) => {
                if outcome == ImportOutcome::Imported || !task.seen {
                    self.metrics.template_import(name, outcome);
                    tracing::info!(target: "calf::csi", template = name, digest = digest.as_str(), "template ready");
                    self.changed.notify_one();
                }
                if outcome == ImportOutcome::Imported {
                    self.events.template_imported(name, &digest);
                }
                (task.seen, task.failures) = (true, 0);
                task.due = Instant::now() + LOOK;
            }
            Err(error) => {
                let pause = retry(task.failures);
                task.failures = task.failures.saturating_add(1);
                task.due = Instant::now() + pause;
                self.metrics.template_import(name, ImportOutcome::Failed);
                self.events.template_import_failed(name, &error);
                tracing::warn!(
                    target: "calf::csi",
                    template = name,
                    error = error.report(),
                    again_in = ?Duration::from_secs(pause.as_secs()),
                    "cannot import a required template"
                );
            }
        }
    }
}

/// How long to wait after this many failures.
fn retry(failures: u32) -> Duration {
    let pause = FIRST_RETRY.saturating_mul(2_u32.saturating_pow(failures)).min(LONGEST_RETRY);
    pause.mul_f64(rand::random_range(0.75..1.25))
}

/// Brings the template into the pool. Returns whether it was imported or present, and its digest.
fn ensure(
    pool: &Pool,
    spec: &ImportSpec,
    seen: bool,
    metrics: &Metrics,
) -> Result<(ImportOutcome, Digest)> {
    let before = match pool.template(&spec.name).and_then(|template| template.record()) {
        Ok(record) => Some(record),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    // Without a digest, a file is checked once per start: it may be replaced at any time, without
    // notice.
    if let Some(record) = before.as_ref().filter(|record| is_it(record, spec, seen)) {
        return Ok((ImportOutcome::Present, record.digest.clone()));
    }
    tracing::info!(
        target: "calf::csi", template = spec.name, source = %spec.source, "importing a template"
    );
    let mut told = Told::new(&spec.name);
    let over_http = matches!(spec.source, ImportSource::Url(_));
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

fn is_it(record: &TemplateRecord, spec: &ImportSpec, seen: bool) -> bool {
    match &spec.digest {
        Some(digest) => *digest == record.digest,
        None => seen,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_grow_to_a_limit() {
        for failures in 0..100 {
            let pause = retry(failures);
            assert!(pause >= FIRST_RETRY.mul_f64(0.75), "{pause:?}");
            assert!(pause <= LONGEST_RETRY.mul_f64(1.25), "{pause:?}");
        }
        assert!(retry(0) < retry(3) && retry(3) < retry(10));
    }
}
