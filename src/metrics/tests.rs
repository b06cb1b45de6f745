//! The figures follow the pool, the endpoint withstands bad requests, and the documentation is
//! true.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

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
    host.set_usage(a, SnapshotUsage::Valid { used: 8 << 10, total: 12 << 10, metadata: 0 });
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
        "calf_volume_cow_used_bytes{template=\"base\"} 8192",
        "calf_volume_cow_limit_bytes{template=\"base\"} 12288",
        "calf_volume_cow_used_ratio_max{template=\"base\"} 0.6666666666666666",
        "calf_volume_kernel_memory_bytes{template=\"base\"} 66",
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
    /// Where only probes are answered.
    probes: SocketAddr,
    health: Arc<Health>,
    _tasks: tokio::task::JoinSet<()>,
}

impl Endpoint {
    async fn start() -> Self {
        let fixture = Fixture::new();
        let pool = fixture.pool.clone();
        let (metrics, health) = (Arc::new(Metrics::new()), Arc::new(Health::new(pool.clone())));
        let exporter = Exporter::new(pool, metrics, Arc::clone(&health), Arc::new(required()));
        let mut tasks = tokio::task::JoinSet::new();
        let (listener, address) = listen().await;
        tasks.spawn(serve(listener, Arc::new(exporter)));
        let (listener, probes) = listen().await;
        tasks.spawn(serve(listener, Arc::new(Probes(Arc::clone(&health)))));
        Self { fixture, address, probes, health, _tasks: tasks }
    }

    /// The endpoint's answer to these bytes.
    async fn send(&self, request: &[u8]) -> String {
        Self::send_to(self.address, request).await
    }

    async fn send_to(address: SocketAddr, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        // A reset after the answer is equivalent to an end.
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    async fn get(&self, path: &str) -> String {
        Self::get_from(self.address, path).await
    }

    async fn get_from(address: SocketAddr, path: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nHost: calf\r\n\r\n");
        Self::send_to(address, request.as_bytes()).await
    }
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = bind("127.0.0.1:0".parse().unwrap(), "--metrics-address").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Connections from this address that never send a whole request.
async fn half_open(to: SocketAddr, from: [u8; 4], count: usize) -> Vec<TcpStream> {
    let mut streams = Vec::new();
    for _ in 0..count {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from((from, 0))).unwrap();
        let mut stream = socket.connect(to).await.unwrap();
        stream.write_all(b"GET /metrics HTT").await.unwrap();
        streams.push(stream);
    }
    streams
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
async fn half_open_connections_keep_nobody_out() {
    let endpoint = Endpoint::start().await;
    endpoint.health.enter(Phase::Serving);
    for port in [endpoint.address, endpoint.probes] {
        let mut open = half_open(port, [127, 0, 0, 1], 64).await;
        for peer in 2..20 {
            open.extend(half_open(port, [127, 0, 0, peer], 8).await);
        }
        let start = Instant::now();
        assert!(Endpoint::get_from(port, "/readyz").await.starts_with("HTTP/1.1 200"));
        // Much less than a client may take to send its request.
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    }
}

#[tokio::test]
async fn a_client_that_sends_nothing_is_shown_the_door() {
    let endpoint = Endpoint::start().await;
    let mut open = half_open(endpoint.probes, [127, 0, 0, 1], 1).await;
    let ended = tokio::time::timeout(Duration::from_secs(30), open[0].read(&mut [0; 64])).await;
    // An answer that the request took too long, or an end.
    ended.expect("the connection ends").unwrap();
}

#[tokio::test]
async fn probes_have_a_port_without_metrics() {
    let endpoint = Endpoint::start().await;
    endpoint.health.enter(Phase::Serving);
    for (path, status) in [("/healthz", 200), ("/readyz", 200), ("/", 200), ("/metrics", 404)] {
        let answer = Endpoint::get_from(endpoint.probes, path).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {answer}");
        assert!(!answer.contains("calf_"), "{path}: {answer}");
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_told() {
    let endpoint = Endpoint::start().await;
    let error = bind(endpoint.address, "--probe-address").await.unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::InUse);
    assert!(error.report().contains("--probe-address"), "{}", error.report());
}
