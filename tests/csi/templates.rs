//! Required templates of a node, and the Kubernetes Events that it posts.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use calf::csi::{ServeConfig, v1};
use calf::kubernetes::KubernetesConfig;
use calf::{Digest, DownloadOptions, ImageUrl, ImportSpec, RequiredTemplates};
use calf_test_kit::http_server::{HttpServer, Reply, Request};
use calf_test_kit::simulated_driver::{Server, accepted, create, map};
use calf_test_kit::simulated_pool::Environment;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// Longer than any wait that should end.
const PATIENCE: Duration = Duration::from_secs(60);

/// A driver with metrics, and with the changes of `change`.
struct Node {
    environment: Environment,
    metrics: SocketAddr,
    server: Server,
}

impl Node {
    async fn start(change: impl FnOnce(&Environment, &mut ServeConfig)) -> Self {
        let environment = Environment::new();
        let free = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
        let metrics = free.expect("a free port");
        let downloads = DownloadOptions::default().pause(Duration::from_millis(1));
        let pool = environment
            .options()
            .downloads(downloads)
            .open(environment.directory.path().join("pool"))
            .expect("a pool");
        let socket = environment.directory.path().join("csi.sock");
        let server = Server::start_with(pool, &socket, |config| {
            config.metrics_address = Some(metrics);
            change(&environment, config);
        })
        .await
        .expect("a server");
        Self { environment, metrics, server }
    }

    /// The value in the line of the metrics with this name and these labels.
    async fn metric(&self, series: &str) -> Option<String> {
        let address = self.metrics;
        let scraped = tokio::task::spawn_blocking(move || {
            let mut stream = TcpStream::connect(address).expect("a connection");
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: calf\r\n\r\n").expect("sent");
            let mut text = String::new();
            stream.read_to_string(&mut text).expect("an answer");
            text
        });
        let text = scraped.await.expect("no panic");
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.map(str::to_owned)
    }

    async fn capacity(&self, template: &str) -> v1::GetCapacityResponse {
        let request =
            v1::GetCapacityRequest { parameters: map(&[("template", template)]), ..<_>::default() };
        accepted(self.server.controller().await.get_capacity(request)).await
    }
}

/// Waits for something.
async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "{what} did not come");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn image() -> Vec<u8> {
    vec![0x5A; 64 << 10]
}

fn required(web: &HttpServer, name: &str) -> ImportSpec {
    required_content(web, name, &image())
}

fn required_content(web: &HttpServer, name: &str, content: &[u8]) -> ImportSpec {
    let url = ImageUrl::parse(&web.url("/image")).expect("a URL");
    let digest = Digest::parse(&hex::encode(Sha256::digest(content))).expect("a digest");
    ImportSpec::new(url, name).digest(digest)
}

const SLOW: &[u8] = &[1; 1 << 20];

/// A server that needs half a minute for the first answer with [`SLOW`].
fn slow_server() -> HttpServer {
    HttpServer::start(move |n, request| {
        let drip = (n == 0).then_some((64 << 10, Duration::from_secs(2)));
        Reply { drip, ..Reply::range(SLOW, request) }
    })
}

// === Kubernetes, with the requests that calf makes ===

/// An API server with two classes and waiting claims, one of them made for a pod. `events` answers
/// the requests for Events.
fn api(events: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> HttpServer {
    HttpServer::start(move |_, request| match (request.method.as_str(), request.path.as_str()) {
        ("GET", "/apis/storage.k8s.io/v1/storageclasses?limit=500") => {
            let class = |name: &str, provisioner: &str, template: &str| {
                json!({
                    "metadata": { "name": name },
                    "provisioner": provisioner,
                    "parameters": { "template": template },
                })
            };
            list(
                None,
                json!([
                    class("calf-lost", "calf.csi.dev", "lost"),
                    class("calf-debian", "calf.csi.dev", "debian"),
                    class("other", "other.csi.dev", "lost"),
                    { "metadata": { "name": "plain" }, "provisioner": "plain" },
                ]),
            )
        }
        ("GET", "/api/v1/persistentvolumeclaims?limit=500") => list(
            Some("next"),
            json!([
                claim("bound", "calf-lost", "Bound", OLD),
                claim("a", "calf-lost", "Pending", OLD)
            ]),
        ),
        ("GET", "/api/v1/persistentvolumeclaims?limit=500&continue=next") => {
            let mut owned = claim("b", "calf-lost", "Pending", OLD);
            owned["metadata"]["ownerReferences"] =
                json!([{ "kind": "Pod", "name": "vm", "uid": "uid-vm", "apiVersion": "v1" }]);
            let fresh = jiff::Timestamp::now().to_string();
            list(
                None,
                json!([
                    owned,
                    claim("fresh", "calf-lost", "Pending", &fresh),
                    claim("fine", "calf-debian", "Pending", OLD),
                    claim("elsewhere", "other", "Pending", OLD),
                ]),
            )
        }
        _ => events(request),
    })
}

const OLD: &str = "2026-01-01T00:00:00Z";

fn claim(name: &str, class: &str, phase: &str, created: &str) -> Value {
    json!({
        "metadata": {
            "name": name, "namespace": "team", "uid": format!("uid-{name}"),
            "creationTimestamp": created,
        },
        "spec": { "storageClassName": class },
        "status": { "phase": phase },
    })
}

fn list(next: Option<&str>, items: Value) -> Reply {
    Reply::body(json!({ "metadata": { "continue": next }, "items": items }).to_string().as_bytes())
}

/// How to reach it, with a token in the environment.
fn reach(web: &HttpServer, environment: &Environment) -> Option<KubernetesConfig> {
    let token = environment.directory.path().join("token");
    fs::write(&token, "t0ken\n").expect("a token");
    Some(KubernetesConfig { server: web.url(""), token, certificates: None })
}

/// The Events that were posted: kind, name and the Event.
fn posted(web: &HttpServer) -> Vec<(String, String, Value)> {
    let posts = web.requests().into_iter().filter(|request| request.method == "POST");
    posts
        .map(|request| {
            assert_eq!(request.header("authorization"), Some("Bearer t0ken"));
            let event: Value = serde_json::from_str(&request.body).expect("JSON");
            let namespace = event["metadata"]["namespace"].as_str().expect("a namespace");
            assert_eq!(request.path, format!("/api/v1/namespaces/{namespace}/events"));
            let text =
                |field: &str| event["involvedObject"][field].as_str().unwrap_or("").to_owned();
            (text("kind"), text("name"), event)
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_that_wait_for_a_missing_template_are_told_once() {
    let web = api(|_| Reply::status(201));
    let node =
        Node::start(|environment, config| config.kubernetes = reach(&web, environment)).await;
    assert_eq!(node.capacity("debian").await.maximum_volume_size, Some(calf::MAX_SIZE as i64));
    for _ in 0..3 {
        assert_eq!(node.capacity("lost").await.maximum_volume_size, Some(0));
    }
    let events = eventually("the Events", async || {
        let events = posted(&web);
        (events.len() >= 4).then_some(events)
    })
    .await;
    let mut objects: Vec<(&str, &str)> =
        events.iter().map(|(kind, name, _)| (kind.as_str(), name.as_str())).collect();
    objects.sort_unstable();
    let expected = [
        ("Node", "node-1"),
        ("PersistentVolumeClaim", "a"),
        ("PersistentVolumeClaim", "b"),
        ("Pod", "vm"),
    ];
    assert_eq!(objects, expected);
    for (kind, name, event) in &events {
        assert_eq!(event["reason"], "TemplateMissing");
        assert_eq!(event["type"], "Warning");
        assert_eq!(event["source"], json!({ "component": "calf.csi.dev", "host": "node-1" }));
        let message = event["message"].as_str().expect("a message");
        assert!(message.contains("\"lost\"") && message.contains("node-1"), "{message}");
        let (namespace, uid) = match kind.as_str() {
            "Node" => ("default", "node-1".to_owned()),
            _ => ("team", format!("uid-{name}")),
        };
        assert_eq!(event["metadata"]["namespace"], namespace);
        assert_eq!(event["involvedObject"]["uid"], uid);
    }
    // Repeated requests do not post the same Event again.
    for _ in 0..20 {
        node.capacity("lost").await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(posted(&web).len(), 4);
    let series = "calf_kubernetes_events_total{reason=\"TemplateMissing\",result=\"posted\"}";
    assert_eq!(node.metric(series).await.as_deref(), Some("4"));
    // The counter exists from the start, so that an alert sees the first Event.
    let series = "calf_kubernetes_events_total{reason=\"TemplateMissing\",result=\"failed\"}";
    assert_eq!(node.metric(series).await.as_deref(), Some("0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_is_nearly_full_is_told_and_that_it_has_room_again() {
    let web = api(|_| Reply::status(201));
    let node =
        Node::start(|environment, config| config.kubernetes = reach(&web, environment)).await;
    let told = async |reason: &str| {
        let of_reason = |event: &Value| event["reason"] == reason;
        let find = async || posted(&web).into_iter().find(|(.., event)| of_reason(event));
        let (kind, _, event) = eventually(reason, find).await;
        assert_eq!(kind, "Node");
        event
    };
    let host = &node.environment.host;
    let free = host.free();
    host.set_free(1 << 20);
    let warning = told("PoolNearlyFull").await;
    assert_eq!(warning["type"], "Warning");
    let message = warning["message"].as_str().expect("a message");
    assert!(message.contains("only 1 MiB free"), "{message}");
    host.set_free(free);
    assert_eq!(told("PoolHasRoom").await["type"], "Normal");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_another_node_is_counted_up_when_it_is_old() {
    // The Event of claim `a` is old; all others are recent.
    let web = api(|request| match request.method.as_str() {
        "POST" => Reply::status(409),
        "GET" => {
            let old = request.path.contains("/a.calf-");
            let now = jiff::Timestamp::now().to_string();
            let last = if old { OLD } else { now.as_str() };
            Reply::body(json!({ "count": 7, "lastTimestamp": last }).to_string().as_bytes())
        }
        _ => Reply::body(b"{}"),
    });
    let node =
        Node::start(|environment, config| config.kubernetes = reach(&web, environment)).await;
    node.capacity("lost").await;
    let changes = eventually("the change", async || {
        let requests = web.requests();
        // The node's Event is the last one.
        let done = requests.iter().any(|r| r.method == "GET" && r.path.contains("/node-1.calf-"));
        done.then(|| requests.into_iter().filter(|r| r.method == "PATCH").collect::<Vec<_>>())
    })
    .await;
    let [change] = changes.as_slice() else { panic!("{changes:?}") };
    assert!(change.path.starts_with("/api/v1/namespaces/team/events/a.calf-"), "{change:?}");
    assert_eq!(change.header("content-type"), Some("application/merge-patch+json"));
    let body: Value = serde_json::from_str(&change.body).expect("JSON");
    assert_eq!(body["count"], 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_refuses_or_hangs_hurts_no_call() {
    let web = HttpServer::start(|n, _| match n {
        0 => Reply::status(403),
        _ => Reply { hang: Duration::from_secs(5), ..Reply::body(b"{}").cut(0) },
    });
    let node =
        Node::start(|environment, config| config.kubernetes = reach(&web, environment)).await;
    for _ in 0..200 {
        assert_eq!(node.capacity("lost").await.available_capacity, 0);
    }
    accepted(node.server.controller().await.create_volume(create("volume"))).await;
    let series = "calf_kubernetes_events_total{reason=\"TemplateMissing\",result=\"failed\"}";
    eventually("the failure", async || node.metric(series).await.filter(|n| n != "0")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_in_trouble_is_not_asked_for_each_event() {
    let web = api(|_| Reply::status(500));
    let node =
        Node::start(|environment, config| config.kubernetes = reach(&web, environment)).await;
    node.capacity("lost").await;
    let series = "calf_kubernetes_events_total{reason=\"TemplateMissing\",result=\"failed\"}";
    eventually("the failure", async || node.metric(series).await.filter(|n| n != "0")).await;
    // Four Events are due; the next check is 22 seconds away.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(posted(&web).len(), 1);
    assert_eq!(node.metric(series).await.as_deref(), Some("1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_required_template_comes_while_the_driver_serves() {
    let web = HttpServer::start(|n, _| match n {
        0 => Reply::status(404),
        _ => Reply::body(&image()),
    });
    let events = api(|_| Reply::status(201));
    let node = Node::start(|environment, config| {
        config.templates = RequiredTemplates::from(vec![required(&web, "late")]);
        config.kubernetes = reach(&events, environment);
    })
    .await;
    // Other templates work meanwhile.
    accepted(node.server.controller().await.create_volume(create("volume"))).await;
    let failed = "calf_template_imports_total{template=\"late\",result=\"failed\"}";
    eventually("the failure", async || node.metric(failed).await).await;
    assert_eq!(node.metric("calf_template_ready{template=\"late\"}").await.as_deref(), Some("0"));

    let imported = "calf_template_imports_total{template=\"late\",result=\"imported\"}";
    eventually("the import", async || node.metric(imported).await).await;
    assert_eq!(node.metric("calf_template_ready{template=\"late\"}").await.as_deref(), Some("1"));
    let bytes = node.metric("calf_template_import_downloaded_bytes_total").await;
    assert_eq!(bytes, Some(image().len().to_string()));
    assert!(node.capacity("late").await.available_capacity > 0);
    let told = eventually("the Events", async || {
        let told = posted(&events);
        (told.len() >= 2).then_some(told)
    })
    .await;
    let reasons: Vec<&Value> = told.iter().map(|(_, _, event)| &event["reason"]).collect();
    assert_eq!(reasons, ["TemplateImportFailed", "TemplateImported"]);
    let message = told[0].2["message"].as_str().expect("a message");
    assert!(message.contains("404"), "{message}");
    node.server.stop().await;

    // The next start sends no request.
    let asked = web.requests().len();
    let socket = node.environment.directory.path().join("csi.sock");
    let again = Server::start_with(node.environment.pool(), &socket, |config| {
        config.templates = RequiredTemplates::from(vec![required(&web, "late")]);
    })
    .await
    .expect("a server");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(web.requests().len(), asked);
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_servers_hold_back_no_other_template() {
    let slow = slow_server();
    let fast = HttpServer::start(|_, _| Reply::body(&image()));
    let node = Node::start(|_, config| {
        config.parallel_imports = 2;
        config.templates = RequiredTemplates::from(vec![
            required_content(&slow, "slow", SLOW),
            // The same content once more takes no second slot, and no second download.
            required_content(&slow, "twin", SLOW),
            required(&fast, "fast"),
        ]);
    })
    .await;
    let start = Instant::now();
    let ready = "calf_template_ready{template=\"fast\"}";
    eventually("the fast one", async || node.metric(ready).await.filter(|ready| ready == "1"))
        .await;
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    assert_eq!(slow.requests().len(), 1);
    node.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_ends_with_the_driver_and_goes_on_with_the_next() {
    let web = slow_server();
    let list = RequiredTemplates::from(vec![required_content(&web, "slow", SLOW)]);
    let node = Node::start(|_, config| config.templates = list.clone()).await;
    eventually("the download", async || (!web.requests().is_empty()).then_some(())).await;
    // Long enough for the 128 KiB that are looked at before anything is kept.
    tokio::time::sleep(Duration::from_secs(6)).await;
    node.server.stop().await;

    let socket = node.environment.directory.path().join("csi.sock");
    let again = Server::start_with(node.environment.pool(), &socket, |config| {
        config.templates = list;
    })
    .await
    .expect("a server");
    let pool = node.environment.pool();
    eventually("the template", async || pool.template("slow").and_then(|t| t.record()).ok()).await;
    assert!(web.requests()[1].from().is_some_and(|from| from > 0), "{:?}", web.requests());
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_required_file_is_imported_and_a_moved_name_follows_its_digest() {
    let path = tempfile::NamedTempFile::new().expect("a file");
    fs::write(path.path(), image()).expect("an image");
    let node = Node::start(|_, config| {
        let file = ImportSpec::new(path.path(), "file");
        // The environment has other content under this name.
        let mut moved = file.clone();
        moved.name = "debian".into();
        config.templates = RequiredTemplates::from(vec![file, moved]);
    })
    .await;
    let digest = hex::encode(Sha256::digest(image()));
    for name in ["file", "debian"] {
        eventually(name, async || {
            let found =
                node.environment.pool().template(name).and_then(|template| template.record()).ok();
            found.filter(|record| record.digest.as_str() == digest)
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_by_the_digest_of_its_compressed_file_is_ready() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("image");
    fs::write(&path, image()).expect("an image");
    let packed = std::process::Command::new("gzip").arg("-nc").arg(&path).output().expect("gzip");
    let packed = packed.stdout;
    let source = hex::encode(Sha256::digest(&packed));
    let web = HttpServer::start({
        let packed = packed.clone();
        move |_, _| Reply::body(&packed)
    });
    let node = Node::start(|_, config| {
        config.templates = RequiredTemplates::from(vec![required_content(&web, "packed", &packed)]);
    })
    .await;
    let ready = "calf_template_ready{template=\"packed\"}";
    eventually("the template", async || node.metric(ready).await.filter(|ready| ready == "1"))
        .await;
    let digest = hex::encode(Sha256::digest(image()));
    let info = format!(
        "calf_template_info{{template=\"packed\",digest=\"{digest}\",source_digest=\"{source}\"}}"
    );
    assert_eq!(node.metric(&info).await.as_deref(), Some("1"));
    node.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_may_change_is_looked_at_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let (path, list) = (directory.path().join("image"), directory.path().join("list.json"));
    let first = image();
    fs::write(&path, &first).expect("an image");
    let entry = |name: &str, refresh: &str| {
        let source = path.to_str().expect("UTF-8");
        let mut entry = json!({ "name": name, "source": source });
        if !refresh.is_empty() {
            entry["refresh"] = json!(refresh);
        }
        entry
    };
    let text = json!({ "templates": [entry("once", ""), entry("often", "1s")] });
    fs::write(&list, text.to_string()).expect("a list");
    let events = api(|_| Reply::status(201));
    let node = Node::start(|environment, config| {
        config.templates = RequiredTemplates::read(&list).expect("a list");
        config.kubernetes = reach(&events, environment);
    })
    .await;
    let has = async |name: &str, content: &[u8]| {
        let digest = hex::encode(Sha256::digest(content));
        let record = node.environment.pool().template(name).and_then(|template| template.record());
        record.ok().filter(|record| record.digest.as_str() == digest).map(drop)
    };
    for name in ["once", "often"] {
        eventually(name, async || has(name, &first).await).await;
    }
    let mut second = image();
    second[0] = 1;
    fs::write(&path, &second).expect("another image");
    eventually("the new content", async || has("often", &second).await).await;
    assert_eq!(has("once", &first).await, Some(()));
    // A source that is gone leaves the template.
    fs::remove_file(&path).expect("removed");
    let failed = "calf_template_imports_total{template=\"often\",result=\"failed\"}";
    eventually("a failure", async || node.metric(failed).await).await;
    assert_eq!(node.metric("calf_template_ready{template=\"often\"}").await.as_deref(), Some("1"));
    let reasons: Vec<Value> =
        posted(&events).iter().map(|(_, _, event)| event["reason"].clone()).collect();
    assert!(reasons.contains(&json!("TemplateImported")), "{reasons:?}");
    node.server.stop().await;
}
