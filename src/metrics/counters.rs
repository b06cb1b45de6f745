//! Counters of events since the driver started.

use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::{EncodeLabelSet, prometheus_text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::guard::Look;
use crate::reconcile::report::{ReconcileReport, RemovalKind};

/// The prefix of the names of all metrics.
pub(super) const PREFIX: &str = "calf";

/// Bounds of the latency buckets, in seconds: from an answer out of memory, through work on a
/// volume's devices (milliseconds) and a busy device (1.3 s), to times at which kubelet gives up
/// (minutes).
const LATENCIES: [f64; 15] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0];

/// Bounds of the buckets for how long writers wait, in seconds: from the copy of a short mapping, through what an
/// operator may bear (tens of milliseconds), to stores in tens of thousands of pieces.
const WAITS: [f64; 11] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.06, 0.25, 1.0, 2.5, 10.0];

type Seconds = Gauge<f64, AtomicU64>;
type Bytes = Gauge<u64, AtomicU64>;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Method {
    method: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MethodAndCode {
    method: &'static str,
    grpc_code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TemplateAndOutcome {
    template: String,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EventAndOutcome {
    reason: &'static str,
    result: &'static str,
}

impl EventAndOutcome {
    fn new(reason: &'static str, posted: bool) -> Self {
        Self { reason, result: if posted { "posted" } else { "failed" } }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Operation {
    operation: &'static str,
}

/// What made the writers of a volume wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cutting {
    /// A snapshot of the volume.
    Snapshot,
    /// A snapshot of it and of other volumes, as of one instant.
    Group,
    /// A clone of it.
    Clone,
}

impl Cutting {
    const ALL: [Self; 3] = [Self::Snapshot, Self::Group, Self::Clone];

    fn labels(self) -> Operation {
        let operation = match self {
            Self::Snapshot => "snapshot",
            Self::Group => "group",
            Self::Clone => "clone",
        };
        Operation { operation }
    }
}

/// The result of an attempt to bring a required template into the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ImportOutcome {
    /// The content was imported.
    Imported,
    /// The template was already present.
    Present,
    /// The attempt failed, and will be retried.
    Failed,
}

/// The counters of one driver.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<MethodAndCode, Histogram, fn() -> Histogram>,
    in_flight: Family<Method, Gauge>,
    writers_waited: Family<Operation, Histogram, fn() -> Histogram>,
    reconcile_runs: Family<Outcome, Counter>,
    reconcile_repaired: Counter,
    reconcile_removed: Family<Kind, Counter>,
    reconcile_failures: Gauge,
    reconcile_live: Gauge,
    reconcile_last_run: Seconds,
    template_imports: Family<TemplateAndOutcome, Counter>,
    downloaded: Counter,
    events: Family<EventAndOutcome, Counter>,
    guard_at_work: Gauge,
    guard_suspensions: Counter,
    guard_low: Bytes,
    guard_resume: Bytes,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let latency: fn() -> Histogram = || Histogram::new(LATENCIES);
        let waits: fn() -> Histogram = || Histogram::new(WAITS);
        let mut metrics = Self {
            registry: Registry::with_prefix(PREFIX),
            requests: Family::new_with_constructor(latency),
            in_flight: Family::default(),
            writers_waited: Family::new_with_constructor(waits),
            reconcile_runs: Family::default(),
            reconcile_repaired: Counter::default(),
            reconcile_removed: Family::default(),
            reconcile_failures: Gauge::default(),
            reconcile_live: Gauge::default(),
            reconcile_last_run: Seconds::default(),
            template_imports: Family::default(),
            downloaded: Counter::default(),
            events: Family::default(),
            guard_at_work: Gauge::default(),
            guard_suspensions: Counter::default(),
            guard_low: Bytes::default(),
            guard_resume: Bytes::default(),
        };
        // A rate needs a zero before the first event.
        for kind in RemovalKind::ALL {
            drop(metrics.reconcile_removed.get_or_create(&Kind { kind: kind.as_str() }));
        }
        for cutting in Cutting::ALL {
            drop(metrics.writers_waited.get_or_create(&cutting.labels()));
        }
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The running calf", build);
        registry.register_with_unit(
            "csi_request_duration",
            "Duration of CSI calls, by gRPC method and code",
            Unit::Seconds,
            self.requests.clone(),
        );
        registry.register(
            "csi_requests_in_flight",
            "CSI calls in progress, including those whose caller has gone",
            self.in_flight.clone(),
        );
        registry.register_with_unit(
            "writers_waited",
            "How long writers of a volume waited at most, by what made them wait: snapshot, group, clone",
            Unit::Seconds,
            self.writers_waited.clone(),
        );
        registry.register(
            "reconcile_runs",
            "Reconciliations, by result: success, partial (a repair failed), error",
            self.reconcile_runs.clone(),
        );
        registry.register(
            "reconcile_repaired",
            "Volumes whose interrupted operation reconciliations completed or undid",
            self.reconcile_repaired.clone(),
        );
        registry.register(
            "reconcile_removed",
            "What reconciliations removed, by kind: remains, device, inline, expired, import, content, spare",
            self.reconcile_removed.clone(),
        );
        registry.register(
            "reconcile_failures",
            "Leftovers that the last reconciliation could not repair",
            self.reconcile_failures.clone(),
        );
        registry.register(
            "reconcile_live_volumes",
            "Active volumes that the last reconciliation found and left alone",
            self.reconcile_live.clone(),
        );
        registry.register_with_unit(
            "reconcile_last_run_timestamp",
            "When the last reconciliation ended, in Unix time",
            Unit::Seconds,
            self.reconcile_last_run.clone(),
        );
        registry.register(
            "template_imports",
            "Attempts to import a required template, by result: imported, present, failed",
            self.template_imports.clone(),
        );
        registry.register_with_unit(
            "template_import_downloaded",
            "Bytes of template content received over HTTP",
            Unit::Bytes,
            self.downloaded.clone(),
        );
        registry.register(
            "kubernetes_events",
            "Kubernetes Events, by reason and result: posted, failed",
            self.events.clone(),
        );
        registry.register(
            "guard_at_work",
            "Whether the pool is nearly full, so that volumes that write are suspended (1) or not (0)",
            self.guard_at_work.clone(),
        );
        registry.register(
            "guard_suspensions",
            "How often the guard suspended a volume",
            self.guard_suspensions.clone(),
        );
        registry.register_with_unit(
            "guard_low",
            "Free space at which volumes that write are suspended",
            Unit::Bytes,
            self.guard_low.clone(),
        );
        registry.register_with_unit(
            "guard_resume",
            "Free space at which suspended volumes go on",
            Unit::Bytes,
            self.guard_resume.clone(),
        );
    }

    /// Counts a CSI call, which is in progress until the returned value is dropped.
    pub(crate) fn request(&self, method: &'static str) -> Request {
        let in_flight = self.in_flight.get_or_create_owned(&Method { method });
        in_flight.inc();
        Request { method, start: Instant::now(), in_flight, requests: self.requests.clone() }
    }

    /// Counts for how long writers of a volume waited at most.
    pub(crate) fn writers_waited(&self, cutting: Cutting, time: Duration) {
        self.writers_waited.get_or_create(&cutting.labels()).observe(time.as_secs_f64());
    }

    /// Counts a reconciliation; `None` if it failed as a whole.
    pub(crate) fn reconciled(&self, report: Option<&ReconcileReport>) {
        let result = match report {
            None => "error",
            Some(report) if report.failed.is_empty() => "success",
            Some(_) => "partial",
        };
        self.reconcile_runs.get_or_create(&Outcome { result }).inc();
        let Some(report) = report else { return };
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        let level = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        self.reconcile_repaired.inc_by(count(report.repaired.len()));
        for removal in &report.removed {
            let labels = Kind { kind: removal.kind.as_str() };
            self.reconcile_removed.get_or_create(&labels).inc();
        }
        self.reconcile_failures.set(level(report.failed.len()));
        self.reconcile_live.set(level(report.live));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        self.reconcile_last_run.set(now.as_secs_f64());
    }

    /// Counts what the guard saw and did.
    pub(crate) fn guarded(&self, look: &Look) {
        self.guard_at_work.set(look.nearly_full.into());
        self.guard_suspensions.inc_by(u64::try_from(look.suspended.len()).unwrap_or(u64::MAX));
        self.guard_low.set(look.low);
        self.guard_resume.set(look.resume);
    }

    /// Counts an attempt to import the required template `name`.
    pub(crate) fn template_import(&self, name: &str, outcome: ImportOutcome) {
        let result = match outcome {
            ImportOutcome::Imported => "imported",
            ImportOutcome::Present => "present",
            ImportOutcome::Failed => "failed",
        };
        let labels = TemplateAndOutcome { template: name.to_owned(), result };
        self.template_imports.get_or_create(&labels).inc();
    }

    /// Counts `bytes` of a template's content, received over HTTP.
    pub(crate) fn downloaded(&self, bytes: u64) {
        self.downloaded.inc_by(bytes);
    }

    /// Counts a Kubernetes Event that was posted, or could not be posted.
    pub(crate) fn event(&self, reason: &'static str, posted: bool) {
        self.events.get_or_create(&EventAndOutcome::new(reason, posted)).inc();
    }

    /// Registers reasons of Events: a rate needs a zero before the first event.
    pub(crate) fn expect_events(&self, reasons: &[&'static str]) {
        for &reason in reasons {
            for posted in [true, false] {
                drop(self.events.get_or_create(&EventAndOutcome::new(reason, posted)));
            }
        }
    }

    /// The counters in Prometheus' text format.
    pub(crate) fn encode(&self, text: &mut String) -> std::fmt::Result {
        prometheus_text::encode(text, &self.registry)
    }
}

/// A CSI call in progress.
pub(crate) struct Request {
    method: &'static str,
    start: Instant,
    in_flight: Gauge,
    requests: Family<MethodAndCode, Histogram, fn() -> Histogram>,
}

impl Request {
    /// Notes that the call has ended with the gRPC code of this name.
    pub(crate) fn end(self, grpc_code: &'static str) {
        let labels = MethodAndCode { method: self.method, grpc_code };
        self.requests.get_or_create(&labels).observe(self.start.elapsed().as_secs_f64());
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        self.in_flight.dec();
    }
}
