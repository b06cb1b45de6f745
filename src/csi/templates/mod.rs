//! Keeps the required templates of this node in the pool.
//!
//! ```text
//! each template: due ─▸ is it there? ─▸ its source's turn ─▸ one of a few slots ─▸ import ─┐
//!                 ▴                                                                        │
//!                 └──────────── in ten minutes, or soon after a failure ◂──────────────────┘
//! ```
//!
//! The keeper runs beside the driver once the driver serves: other templates are usable meanwhile. A
//! few imports run side by side, so that a slow server does not hold back the images of others; more
//! would only keep a disk or a network busy. A failed import is retried for as long as the driver
//! runs, at growing and randomized intervals, so that a thousand nodes do not return to a server at
//! once. Templates in the pool are checked periodically, and imported again if they were removed. A tag
//! or a file that may lead to something else is asked for again as often as the list says (`refresh`).

mod import;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, Notify, Semaphore};
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;

use crate::api::Pool;
use crate::csi::templates::import::Seen;
use crate::error::{Error, ErrorKind, Result};
use crate::kubernetes::Events;
use crate::metrics::{ImportOutcome, Metrics};
use crate::model::cancel::Cancel;
use crate::model::digest::Digest;
use crate::template::required::{RequiredTemplate, RequiredTemplates};
use crate::template::spec::ImportSpec;

/// Pause after the first failure; each further failure doubles it.
const FIRST_RETRY: Duration = Duration::from_secs(5);
const LONGEST_RETRY: Duration = Duration::from_secs(300);
/// Time between checks of a template that is in the pool.
const LOOK: Duration = Duration::from_secs(600);

/// Keeps the templates of a list. Clones refer to the same keeper.
#[derive(Clone)]
pub(super) struct Keeper {
    pool: Pool,
    metrics: Arc<Metrics>,
    events: Events,
    /// Notified when a template arrives or asks for another number of spares.
    changed: Arc<Notify>,
    /// Set when the driver is stopping.
    stop: Arc<AtomicBool>,
    slots: Arc<Semaphore>,
    imports: TaskTracker,
}

/// A template, and what the keeper knows of it.
struct Task {
    spec: ImportSpec,
    warm: u32,
    /// Held while the source is read, which several templates may have in common.
    turn: Arc<Mutex<()>>,
    failures: u32,
    seen: Seen,
    /// How often the source is asked for again, and when it is next.
    refresh: Option<Duration>,
    next: Option<Instant>,
}

impl Keeper {
    /// Imports at most `slots` templates at a time.
    pub(super) fn new(
        pool: Pool,
        metrics: Arc<Metrics>,
        events: Events,
        changed: Arc<Notify>,
        stop: Arc<AtomicBool>,
        slots: usize,
    ) -> Self {
        let (slots, imports) = (Arc::new(Semaphore::new(slots)), TaskTracker::new());
        Self { pool, metrics, events, changed, stop, slots, imports }
    }

    /// Runs until it is dropped, or until the driver stops.
    pub(super) async fn run(self, required: RequiredTemplates) {
        let mut turns = HashMap::<String, Arc<Mutex<()>>>::new();
        let mut tasks = JoinSet::new();
        for RequiredTemplate { import, refresh, warm } in required.templates() {
            let source = match &import.digest {
                Some(digest) => digest.to_string(),
                None => import.source.to_string(),
            };
            let task = Task {
                spec: import.clone().cancel(Cancel::from(Arc::clone(&self.stop))),
                warm: *warm,
                turn: Arc::clone(turns.entry(source).or_default()),
                failures: 0,
                seen: Seen::Never,
                refresh: *refresh,
                next: None,
            };
            tasks.spawn(self.clone().keep(task));
        }
        while tasks.join_next().await.is_some() {}
    }

    /// Waits until no import runs any more. None begins once the driver stops.
    pub(super) async fn ended(&self) {
        self.imports.close();
        self.imports.wait().await;
    }

    async fn keep(self, mut task: Task) {
        while !self.stop.load(Ordering::Acquire) {
            let pause = match self.ensure(&task).await {
                Ok((outcome, digest)) => self.arrived(&mut task, outcome, &digest),
                Err(error) if error.kind() == ErrorKind::Cancelled => return,
                Err(error) => self.failed(&mut task, &error),
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Brings the template into the pool. Returns whether it was imported or present, and its digest.
    async fn ensure(&self, task: &Task) -> Result<(ImportOutcome, Digest)> {
        let (spec, seen) = (task.spec.clone(), task.seen_lately());
        let found = self.blocking(move |keeper| import::find(&keeper.pool, &spec, seen)).await?;
        let found = match found {
            Some(digest) => (ImportOutcome::Present, digest),
            None => {
                let _turn = task.turn.lock().await;
                let Ok(_slot) = self.slots.acquire().await else { return Err(stopping()) };
                let spec = task.spec.clone();
                let import =
                    move |keeper: &Self| import::import(&keeper.pool, &spec, &keeper.metrics);
                self.blocking(import).await?
            }
        };
        let (name, warm) = (task.spec.name.clone(), task.warm);
        self.blocking(move |keeper| keeper.pool.template(&name)?.set_warm(warm)).await?;
        Ok(found)
    }

    /// Runs `work` on a thread that may block. It outlives its caller.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let keeper = self.clone();
        let work = move || if keeper.is_stopping() { Err(stopping()) } else { work(&keeper) };
        self.imports.spawn_blocking(work).await.unwrap_or_else(|panic| {
            Err(Error::new(ErrorKind::Internal, "import", "a template", panic))
        })
    }

    fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Tells of a template that is in the pool. Returns when to look again.
    fn arrived(&self, task: &mut Task, outcome: ImportOutcome, digest: &Digest) -> Duration {
        let name = &task.spec.name;
        let imported = outcome == ImportOutcome::Imported;
        if imported || task.seen == Seen::Never {
            self.metrics.template_import(name, outcome);
            tracing::info!(target: "calf::csi", template = name, digest = digest.as_str(), "template ready");
            self.changed.notify_one();
        }
        if imported {
            self.events.template_imported(name, digest);
        }
        (task.seen, task.failures) = (Seen::Before, 0);
        let Some(refresh) = task.refresh else { return LOOK };
        let now = Instant::now();
        let next = match task.next {
            Some(next) if now < next => next,
            _ => now + spread(refresh),
        };
        task.next = Some(next);
        LOOK.min(next - now)
    }

    /// Tells of a failure. Returns when to try again.
    fn failed(&self, task: &mut Task, error: &Error) -> Duration {
        let (name, pause) = (&task.spec.name, retry(task.failures));
        self.metrics.template_import(name, ImportOutcome::Failed);
        self.events.template_import_failed(name, error);
        tracing::warn!(
            target: "calf::csi",
            template = name,
            error = error.report(),
            again_in = ?Duration::from_secs(pause.as_secs()),
            "cannot import a required template"
        );
        task.failures = task.failures.saturating_add(1);
        pause
    }
}

impl Task {
    /// Whether the template was seen, and its source need not be asked yet.
    fn seen_lately(&self) -> Seen {
        match self.next {
            Some(next) if Instant::now() >= next => Seen::Never,
            _ => self.seen,
        }
    }
}

/// An interval that is not the same on every node.
fn spread(interval: Duration) -> Duration {
    interval.mul_f64(rand::random_range(0.75..1.25))
}

fn stopping() -> Error {
    Error::new(ErrorKind::Cancelled, "import", "a template", "the driver is stopping")
}

/// How long to wait after this many failures.
fn retry(failures: u32) -> Duration {
    spread(FIRST_RETRY.saturating_mul(2_u32.saturating_pow(failures)).min(LONGEST_RETRY))
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
