//! What happened since the driver started.

use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::{EncodeLabelSet, prometheus_text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::reconcile::report::{ReconcileReport, RemovalKind};

/// What the names of all metrics start with.
pub(super) const PREFIX: &str = "calf";

/// Bounds of the latency buckets, in seconds: from an answer out of memory, over a volume's
/// devices (milliseconds) and a busy one (1.3 s), to what makes kubelet give up (minutes).
const LATENCIES: [f64; 15] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0];

type Seconds = Gauge<f64, AtomicU64>;

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

/// How an attempt to have a required template ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ImportOutcome {
    /// Its content was brought into the pool.
    Imported,
    /// It was there already.
    Present,
    /// It failed, and is tried again.
    Failed,
}

/// The counters of one driver.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<MethodAndCode, Histogram, fn() -> Histogram>,
    in_flight: Family<Method, Gauge>,
    reconcile_runs: Family<Outcome, Counter>,
    reconcile_repaired: Counter,
    reconcile_removed: Family<Kind, Counter>,
    reconcile_failures: Gauge,
    reconcile_live: Gauge,
    reconcile_last_run: Seconds,
    template_imports: Family<TemplateAndOutcome, Counter>,
    downloaded: Counter,
    events: Family<EventAndOutcome, Counter>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let latency: fn() -> Histogram = || Histogram::new(LATENCIES);
        let mut metrics = Self {
            registry: Registry::with_prefix(PREFIX),
            requests: Family::new_with_constructor(latency),
            in_flight: Family::default(),
            reconcile_runs: Family::default(),
            reconcile_repaired: Counter::default(),
            reconcile_removed: Family::default(),
            reconcile_failures: Gauge::default(),
            reconcile_live: Gauge::default(),
            reconcile_last_run: Seconds::default(),
            template_imports: Family::default(),
            downloaded: Counter::default(),
            events: Family::default(),
        };
        // A rate needs the zero before the first.
        for kind in RemovalKind::ALL {
            drop(metrics.reconcile_removed.get_or_create(&Kind { kind: kind.as_str() }));
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
            "Time that CSI calls took, by gRPC method and code",
            Unit::Seconds,
            self.requests.clone(),
        );
        registry.register(
            "csi_requests_in_flight",
            "CSI calls at work now, those whose caller has gone included",
            self.in_flight.clone(),
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
            "What reconciliations removed, by kind: remains, device, inline, expired, import, content",
            self.reconcile_removed.clone(),
        );
        registry.register(
            "reconcile_failures",
            "What the last reconciliation could not put right",
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
            "Attempts to have a required template, by result: imported, present, failed",
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
    }

    /// A CSI call has arrived. It is at work until what is returned is dropped.
    pub(crate) fn request(&self, method: &'static str) -> Request {
        let in_flight = self.in_flight.get_or_create_owned(&Method { method });
        in_flight.inc();
        Request { method, start: Instant::now(), in_flight, requests: self.requests.clone() }
    }

    /// A reconciliation has ended; `None` if it could not be done at all.
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

    /// An attempt to have the required template `name` has ended.
    pub(crate) fn template_import(&self, name: &str, outcome: ImportOutcome) {
        let result = match outcome {
            ImportOutcome::Imported => "imported",
            ImportOutcome::Present => "present",
            ImportOutcome::Failed => "failed",
        };
        let labels = TemplateAndOutcome { template: name.to_owned(), result };
        self.template_imports.get_or_create(&labels).inc();
    }

    /// `bytes` more of some template's content came over HTTP.
    pub(crate) fn downloaded(&self, bytes: u64) {
        self.downloaded.inc_by(bytes);
    }

    /// A Kubernetes Event was posted, or could not be.
    pub(crate) fn event(&self, reason: &'static str, posted: bool) {
        self.events.get_or_create(&EventAndOutcome::new(reason, posted)).inc();
    }

    /// Events of these reasons may come: a rate needs the zero before the first.
    pub(crate) fn expect_events(&self, reasons: &[&'static str]) {
        for &reason in reasons {
            for posted in [true, false] {
                drop(self.events.get_or_create(&EventAndOutcome::new(reason, posted)));
            }
        }
    }

    /// The counters in Prometheus' text format.
    pub(super) fn encode(&self, text: &mut String) -> std::fmt::Result {
        prometheus_text::encode(text, &self.registry)
    }
}

/// A CSI call at work.
pub(crate) struct Request {
    method: &'static str,
    start: Instant,
    in_flight: Gauge,
    requests: Family<MethodAndCode, Histogram, fn() -> Histogram>,
}

impl Request {
    /// It has ended with the gRPC code of this name.
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
