//! The figures follow the pool, the endpoint withstands bad requests, and the documentation is
//! true.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;
use crate::api::{Pool, PoolOptions};
use crate::model::volume::VolumeSpec;
use crate::reconcile::report::ReconcileReport;
use crate::sys::SnapshotUsage;
use crate::sys::fake::{Failure, FakeHost};
use crate::template::required::RequiredTemplates;
use crate::template::spec::ImportSpec;

struct Fixture {
    directory: tempfile::TempDir,
    host: FakeHost,
    pool: Pool,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let host = FakeHost::new();
        let pool = PoolOptions::default()
            .host(Arc::new(host.clone()))
            .reserve(1 << 20)
            .open(directory.path().join("pool"))
            .unwrap();
        let source = directory.path().join("base.img");
        std::fs::write(&source, [7; 4096]).unwrap();
        let spec = ImportSpec::new(source, "base");
        pool.import_template(&spec, &mut |_| ()).unwrap();
        Self { directory, host, pool }
    }

    fn scrape(&self) -> String {
        let mut text = String::new();
        figures::encode(&self.pool, &required(), &mut text).unwrap();
        text
    }
}

/// A list of two templates, one of which every fixture has.
fn required() -> RequiredTemplates {
    let spec = |name: &str| ImportSpec::new(Path::new("/images/x.img"), name);
    RequiredTemplates::from(vec![spec("base"), spec("other")])
}

#[track_caller]
fn has(text: &str, line: &str) {
    assert!(text.lines().any(|found| found == line), "{line} is missing from:\n{text}");
}

/// Every metric that calf has, with a value.
fn everything() -> String {
    let metrics = Metrics::new();
    metrics.request("Probe").end("OK");
    metrics.reconciled(Some(&ReconcileReport::default()));
    metrics.template_import("base", ImportOutcome::Imported);
    metrics.downloaded(1);
    metrics.event("TemplateMissing", true);
    let mut text = Fixture::new().scrape();
    metrics.encode(&mut text).unwrap();
    text
}

#[test]
fn every_metric_is_documented_and_the_documentation_names_no_other() {
    let documentation = include_str!("../../docs/metrics.md");
    let text = everything();
    let exist: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split(' ').next()).collect();
    let rows: BTreeSet<&str> = documentation
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .filter(|name| name.starts_with("calf_"))
        .collect();
    assert_eq!(exist, rows);

    let word = |c: char| !c.is_ascii_alphanumeric() && c != '_';
    for name in documentation.split(word).filter(|word| word.starts_with("calf_")) {
        let base = ["_bucket", "_count", "_sum"].iter().find_map(|end| name.strip_suffix(end));
        assert!(exist.contains(name) || base.is_some_and(|b| exist.contains(b)), "{name}");
    }
}

#[test]
fn figures_follow_the_pool() {
    let fixture = Fixture::new();
    let Fixture { pool, host, .. } = &fixture;
    has(&fixture.scrape(), "calf_volumes{template=\"base\",state=\"active\"} 0");
    for id in ["a", "b", "c"] {
        pool.create_volume(&VolumeSpec::new(id, "base")).unwrap();
    }
    let a = pool.volume("a").and_then(|volume| volume.activate()).unwrap().number();
    let b = pool.volume("b").and_then(|volume| volume.activate()).unwrap().number();
    host.set_usage(a, SnapshotUsage::Valid { used: 12 << 10, total: 48 << 10, metadata: 0 });
    host.set_usage(b, SnapshotUsage::Overflow);
    host.set_free(3 << 20);
    let text = fixture.scrape();
    for line in [
        "calf_volumes{template=\"base\",state=\"inactive\"} 1",
        "calf_volumes{template=\"base\",state=\"active\"} 1",
        "calf_volumes{template=\"base\",state=\"overflow\"} 1",
        "calf_volumes{template=\"base\",state=\"invalid\"} 0",
        "calf_pool_damaged_records 0",
        "calf_volumes_lost_total{state=\"overflow\"} 1",
        "calf_volumes_lost_total{state=\"invalid\"} 0",
        "calf_volume_cow_used_bytes{template=\"base\"} 12288",
        "calf_volume_cow_limit_bytes{template=\"base\"} 49152",
        "calf_volume_cow_used_ratio_max{template=\"base\"} 0.25",
        "calf_volume_kernel_memory_bytes{template=\"base\"} 99",
        "calf_template_size_bytes{template=\"base\"} 4096",
        "calf_template_ready{template=\"base\"} 1",
        "calf_template_ready{template=\"other\"} 0",
        "calf_pool_free_bytes 3145728",
        "calf_pool_available_bytes 2097152",
        "calf_pool_reserve_bytes 1048576",
        // Three volumes of one chunk each: header, table, chunk.
        "calf_pool_committed_bytes 36864",
        "calf_pool_overcommit_ratio 0.0",
        "calf_pool_kernel_memory_committed_bytes 99",
        "calf_pool_kernel_memory_max_bytes 0",
        // Two stores and one shared origin.
        "calf_pool_loop_devices 3",
        "calf_scrape_collector_success{collector=\"volumes\"} 1",
    ] {
        has(&text, line);
    }
    for id in ["a", "b", "c"] {
        pool.volume(id).and_then(|volume| volume.delete()).unwrap();
    }
    let text = fixture.scrape();
    has(&text, "calf_volumes{template=\"base\",state=\"overflow\"} 0");
    has(&text, "calf_pool_loop_devices 0");
}

#[test]
fn what_cannot_be_read_is_told_and_hides_nothing_else() {
    let fixture = Fixture::new();
    fixture.pool.create_volume(&VolumeSpec::new("a", "base")).unwrap();
    let collectors = ["pool", "commitment", "loops", "volumes", "spares"];
    let mut hidden = BTreeSet::new();
    let mut unknown = 0;
    for n in 1.. {
        fixture.host.fail_at(n, Failure::ErrorBefore);
        let text = fixture.scrape();
        if !fixture.host.heal() {
            break;
        }
        let failed = |name: &&&str| {
            text.contains(&format!("calf_scrape_collector_success{{collector=\"{name}\"}} 0"))
        };
        let failed: Vec<&str> = collectors.iter().filter(failed).copied().collect();
        assert!(failed.len() <= 1, "call {n} hides {failed:?}");
        assert_eq!(text.contains("calf_pool_size_bytes"), !failed.contains(&"pool"), "call {n}");
        hidden.extend(failed);
        unknown +=
            usize::from(text.contains("calf_volumes{template=\"base\",state=\"unknown\"} 1"));
    }
    assert_eq!(hidden, BTreeSet::from(collectors));
    assert!(unknown > 0, "a volume that cannot be looked at is still counted");

    let record = fixture.directory.path().join("pool/templates/base.json");
    std::fs::write(record, "{").unwrap();
    let text = fixture.scrape();
    has(&text, "calf_pool_damaged_records 1");
    has(&text, "calf_volumes{template=\"base\",state=\"inactive\"} 1");
}

#[test]
fn calls_are_counted_by_method_and_code_and_while_they_run() {
    let metrics = Metrics::new();
    let text = || {
        let mut text = String::new();
        metrics.encode(&mut text).unwrap();
        text
    };
    let running = metrics.request("CreateVolume");
    has(&text(), "calf_csi_requests_in_flight{method=\"CreateVolume\"} 1");
    running.end("ABORTED");
    drop(metrics.request("CreateVolume"));
    let text = text();
    has(&text, "calf_csi_requests_in_flight{method=\"CreateVolume\"} 0");
    let count =
        "calf_csi_request_duration_seconds_count{method=\"CreateVolume\",grpc_code=\"ABORTED\"} 1";
    has(&text, count);
}

// === HTTP ===

struct Endpoint {
    fixture: Fixture,
    address: SocketAddr,
    health: Arc<Health>,
    _task: tokio::task::JoinSet<()>,
}

impl Endpoint {
    async fn start() -> Self {
        let fixture = Fixture::new();
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (metrics, health) = (Arc::new(Metrics::new()), Arc::new(Health::new()));
        let required = Arc::new(required());
        let exporter = Exporter::new(fixture.pool.clone(), metrics, Arc::clone(&health), required);
        let mut task = tokio::task::JoinSet::new();
        task.spawn(exporter.serve(listener));
        Self { fixture, address, health, _task: task }
    }

    /// The endpoint's answer to these bytes.
    async fn send(&self, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        // A reset after the answer is equivalent to an end.
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    async fn get(&self, path: &str) -> String {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: calf\r\n\r\n").as_bytes()).await
    }
}

#[tokio::test]
async fn readiness_follows_the_driver_and_the_pool() {
    let endpoint = Endpoint::start().await;
    assert!(endpoint.get("/healthz").await.starts_with("HTTP/1.1 200"));
    let starting = endpoint.get("/readyz").await;
    assert!(starting.starts_with("HTTP/1.1 503") && starting.contains("starting"), "{starting}");
    endpoint.health.enter(Phase::Serving);
    assert!(endpoint.get("/readyz").await.starts_with("HTTP/1.1 200"));
    endpoint.fixture.host.without_snapshot(true);
    let missing = endpoint.get("/readyz").await;
    assert!(missing.starts_with("HTTP/1.1 503") && missing.contains("modprobe"), "{missing}");
    endpoint.fixture.host.without_snapshot(false);
    endpoint.health.enter(Phase::Stopping);
    let stopping = endpoint.get("/readyz").await;
    assert!(
        stopping.starts_with("HTTP/1.1 503") && stopping.contains("shutting down"),
        "{stopping}"
    );
    assert!(endpoint.get("/healthz").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_scrape_is_prometheus_text() {
    let endpoint = Endpoint::start().await;
    let answer = endpoint.get("/metrics").await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    has(body, &format!("calf_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION")));
    has(body, "calf_template_size_bytes{template=\"base\"} 4096");
}

#[tokio::test]
async fn bad_requests_are_refused_and_the_next_one_is_served() {
    let endpoint = Endpoint::start().await;
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(20 << 10));
    for (request, status) in [
        ("POST /metrics HTTP/1.1\r\nHost: c\r\nContent-Length: 9999999\r\n\r\n", "405"),
        ("GET /volumes HTTP/1.1\r\nHost: c\r\n\r\n", "404"),
        ("nonsense\r\n\r\n", "400"),
        ("\0\x01\x02", "400"),
        (&long, "4"),
    ] {
        let answer = endpoint.send(request.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request:.60?}: {answer}");
    }
    assert!(endpoint.get("/healthz").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn idle_clients_are_shown_the_door() {
    let endpoint = Endpoint::start().await;
    let mut idle = Vec::new();
    // All slots, and as many clients again that wait for one.
    for _ in 0..32 {
        idle.push(TcpStream::connect(endpoint.address).await.unwrap());
    }
    idle[0].write_all(b"GET /metrics HTT").await.unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(60), endpoint.get("/healthz")).await;
    assert!(answer.unwrap().starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_port_that_is_taken_is_told() {
    let endpoint = Endpoint::start().await;
    let error = bind(endpoint.address).await.unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::InUse);
    assert!(error.report().contains("--metrics-address"), "{}", error.report());
}
