//! Images in a registry on loopback: names, tokens, credentials, lost connections, and what is recorded.

#![allow(clippy::unwrap_used, reason = "it is for tests only")]

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use calf::{
    Digest, DownloadOptions, ErrorKind, ImageReference, ImportSource, ImportSpec, Platform, Pool,
    TemplateRecord,
};
use calf_test_kit::http_server::{HttpServer, Reply, Request};
use calf_test_kit::simulated_pool::{Environment, ext4_image};
use serde_json::{Value, json};

use calf_test_kit::programs::hex_of;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// What a registry has, by the end of the path.
#[derive(Clone, Default)]
struct Content(Arc<Mutex<HashMap<String, Vec<u8>>>>);

impl Content {
    fn put(&self, name: impl Into<String>, bytes: &[u8]) {
        self.0.lock().unwrap().insert(name.into(), bytes.to_vec());
    }

    fn get(&self, path: &str) -> Option<Vec<u8>> {
        let name = path.strip_prefix("/v2/team/app/")?;
        self.0.lock().unwrap().get(name).cloned()
    }

    fn blob(&self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = format!("sha256:{}", hex_of(bytes));
        let kind = if [MANIFEST, INDEX].contains(&media_type) { "manifests" } else { "blobs" };
        self.put(format!("{kind}/{digest}"), bytes);
        json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() })
    }

    /// An image with one file, whose tag is `latest`. Returns the digest of its index.
    fn image(&self, content: &[u8]) -> Digest {
        let mut layer = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        layer.append_data(&mut header, "etc/content", content).unwrap();
        let layer = layer.into_inner().unwrap();
        let config =
            json!({ "os": "linux", "architecture": "amd64", "config": { "Cmd": ["/bin/app"] } });
        let config =
            self.blob("application/vnd.oci.image.config.v1+json", config.to_string().as_bytes());
        let layer = self.blob("application/vnd.oci.image.layer.v1.tar", &layer);
        let manifest =
            json!({ "schemaVersion": 2, "config": config, "layers": [layer.clone(), layer] });
        let mut manifest = self.blob(MANIFEST, manifest.to_string().as_bytes());
        manifest["platform"] = json!({ "os": "linux", "architecture": "amd64" });
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [manifest] });
        let index = index.to_string().into_bytes();
        self.put("manifests/latest", &index);
        self.blob(INDEX, &index);
        Digest::parse(&hex_of(&index)).unwrap()
    }

    /// A disk, as an artifact whose tag is `latest`. Returns the digest of its manifest.
    fn artifact(&self, disk: &[u8]) -> Digest {
        let config = self.blob("application/vnd.oci.empty.v1+json", b"{}");
        let file = self.blob("application/octet-stream", disk);
        let manifest = json!({ "schemaVersion": 2, "config": config, "layers": [file] });
        let manifest = manifest.to_string().into_bytes();
        self.put("manifests/latest", &manifest);
        self.blob(MANIFEST, &manifest);
        Digest::parse(&hex_of(&manifest)).unwrap()
    }

    fn answer(&self, request: &Request) -> Reply {
        match self.get(&request.path) {
            Some(body) => {
                let tag = format!("\"{}\"", hex_of(&body));
                Reply::range(&body, request).header("ETag", tag)
            }
            None => Reply::status(404),
        }
    }
}

fn reference(server: &HttpServer, end: &str) -> ImageReference {
    let host = server.url("");
    let host = host.trim_start_matches("http://").trim_end_matches('/');
    ImageReference::parse(&format!("docker://{host}/team/app{end}")).unwrap()
}

fn spec(reference: ImageReference) -> ImportSpec {
    let platform: Platform = "linux/amd64".parse().unwrap();
    ImportSpec::new(ImportSource::Registry(reference), "app").platform(platform)
}

fn options() -> DownloadOptions {
    DownloadOptions::default().pause(Duration::from_millis(1)).stall(Duration::from_secs(5))
}

fn pool(auth: Option<PathBuf>) -> (Environment, Pool) {
    let environment = Environment::new();
    let path = environment.directory.path().join("pool");
    let pool = environment.options().downloads(options().registry_auth(auth)).open(path).unwrap();
    (environment, pool)
}

fn import(pool: &Pool, spec: &ImportSpec) -> calf::Result<TemplateRecord> {
    pool.import_template(spec, &mut |_| ())
}

fn paths(server: &HttpServer) -> Vec<String> {
    server.requests().into_iter().map(|request| request.path).collect()
}

fn check_tidy(pool: &Pool) {
    for entry in fs::read_dir(pool.root().join("images")).unwrap() {
        let entry = entry.unwrap();
        assert!(!entry.file_name().into_string().unwrap().starts_with('.'), "{entry:?}");
        for kept in ["source", "parts"] {
            assert!(!entry.path().join(kept).exists(), "{entry:?}");
        }
    }
}

#[test]
fn a_tag_is_resolved_and_the_digest_that_it_led_to_is_recorded() {
    let content = Content::default();
    let first = content.image(b"one");
    let served = content.clone();
    let server = HttpServer::start(move |_, request| served.answer(request));
    let (_environment, pool) = pool(None);
    let record = import(&pool, &spec(reference(&server, ""))).unwrap();
    assert!(
        record.source.ends_with(&format!("/team/app:latest@sha256:{first}")),
        "{}",
        record.source
    );
    let status = pool.template("app").unwrap().status().unwrap();
    assert_eq!(status.image.unwrap().run.cmd, ["/bin/app"]);
    // Index, manifest, configuration, and the layer once, although the image has it twice.
    assert_eq!(server.requests().len(), 4, "{:?}", paths(&server));
    // The same again asks where the tag leads to, and nothing else.
    import(&pool, &spec(reference(&server, ""))).unwrap();
    assert_eq!(server.requests().len(), 5, "{:?}", paths(&server));
    // By a digest that the pool has, nobody is asked.
    let pinned = format!("@sha256:{first}");
    let same = import(&pool, &spec(reference(&server, &pinned))).unwrap();
    assert_eq!((same.digest, server.requests().len()), (record.digest.clone(), 5));
    // The tag moves.
    let second = content.image(b"two");
    let moved = import(&pool, &spec(reference(&server, ":latest"))).unwrap();
    assert!(moved.digest != record.digest && moved.source.ends_with(second.as_str()));
    let old = import(&pool, &spec(reference(&server, &pinned))).unwrap();
    assert_eq!(old.digest, record.digest, "fetched again");
    check_tidy(&pool);
    // A digest beside a tag must be that of the tag's image or of the content.
    let tagged = spec(reference(&server, ":latest"));
    import(&pool, &tagged.clone().digest(second)).unwrap();
    import(&pool, &tagged.clone().digest(moved.digest)).unwrap();
    // That of another image is not.
    let error = import(&pool, &tagged.digest(first)).unwrap_err();
    assert!(error.report().contains("was expected"), "{}", error.report());
    let other = Digest::parse(&"0".repeat(64)).unwrap();
    let error = import(&pool, &spec(reference(&server, ":latest")).digest(other)).unwrap_err();
    assert!(error.report().contains("was expected"), "{}", error.report());
    check_tidy(&pool);
}

#[test]
fn a_disk_that_is_an_artifact_is_fetched_once() {
    let content = Content::default();
    let disk = ext4_image(0xd3);
    let manifest = content.artifact(&disk);
    let served = content.clone();
    let server = HttpServer::start(move |_, request| served.answer(request));
    let (_environment, pool) = pool(None);
    let record = import(&pool, &spec(reference(&server, ""))).unwrap();
    assert_eq!(record.digest.as_str(), hex_of(&disk));
    // The manifest and the file.
    assert_eq!(server.requests().len(), 2, "{:?}", paths(&server));
    check_tidy(&pool);
    let pinned = spec(reference(&server, &format!("@sha256:{manifest}")));
    assert_eq!(import(&pool, &pinned).unwrap().digest, record.digest);
    assert_eq!(server.requests().len(), 2, "{:?}", paths(&server));
}

#[test]
fn a_lost_connection_is_taken_up_and_a_busy_registry_asked_again() {
    let content = Content::default();
    let bytes: Vec<u8> = (0..5_000_000_u32).map(|n| (n >> 3) as u8).collect();
    content.image(&bytes);
    let served = content.clone();
    let server = HttpServer::start(move |number, request| match number {
        0 => Reply::status(503),
        4 => served.answer(request).cut(2_000_000),
        _ => served.answer(request),
    });
    let (_environment, pool) = pool(None);
    import(&pool, &spec(reference(&server, ""))).unwrap();
    let requests = server.requests();
    let from: Vec<_> = requests.iter().filter_map(Request::from).collect();
    assert!(matches!(from[..], [at] if at > 0), "{from:?}");
    check_tidy(&pool);
}

#[test]
fn what_a_registry_changes_is_refused() {
    let content = Content::default();
    let index = content.image(b"one");
    let names: Vec<String> = content.0.lock().unwrap().keys().cloned().collect();
    for name in names.iter().filter(|name| name.contains("sha256:")) {
        let changed = Content(Arc::new(Mutex::new(content.0.lock().unwrap().clone())));
        let mut bytes = changed.0.lock().unwrap()[name].clone();
        let at = if bytes.len() > 1024 { 520 } else { bytes.len() - 1 };
        bytes[at] = if bytes[at] == b' ' { b'x' } else { b' ' };
        changed.put(name, &bytes);
        let server = HttpServer::start(move |_, request| changed.answer(request));
        let (_environment, pool) = pool(None);
        let pinned = spec(reference(&server, &format!("@sha256:{index}")));
        let error = import(&pool, &pinned).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{name}: {}", error.report());
        check_tidy(&pool);
    }
}

/// A registry that gives a token to those who have `a:b` for user name and password.
fn guarded(content: Content) -> HttpServer {
    HttpServer::start(move |_, request| {
        let authorization = request.header("authorization").unwrap_or_default();
        if request.path.starts_with("/token?") {
            assert!(
                request.path.contains("scope=repository%3Ateam%2Fapp%3Apull"),
                "{}",
                request.path
            );
            assert!(request.path.contains("service=a%20registry"), "{}", request.path);
            return match authorization {
                "Basic YTpi" => Reply::body(br#"{"token": "the-token", "expires_in": 60}"#),
                _ => Reply::status(401),
            };
        }
        if authorization == "Bearer the-token" {
            return content.answer(request);
        }
        let host = request.header("host").unwrap_or_default();
        let challenge = format!(
            "Bearer realm=\"http://{host}/token\",service=\"a registry\",scope=\"repository:team/app:pull\""
        );
        Reply::status(401).header("WWW-Authenticate", challenge)
    })
}

#[test]
fn credentials_get_a_token_and_are_shown_nowhere() {
    let content = Content::default();
    content.image(b"one");
    let server = guarded(content);
    let host = server.url("").trim_start_matches("http://").trim_end_matches('/').to_owned();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.json");
    for (auth, is_right) in [("YTpi", true), ("c2VjcmV0OnNlY3JldA==", false)] {
        let auths = json!({ "auths": { host.as_str(): { "auth": auth } } });
        fs::write(&file, auths.to_string()).unwrap();
        let (_environment, pool) = pool(Some(file.clone()));
        match import(&pool, &spec(reference(&server, ""))) {
            Ok(record) => {
                assert!(is_right);
                let image = pool.root().join("images").join(record.digest.as_str());
                for name in ["import.json", "config.json"] {
                    let text = fs::read_to_string(image.join(name)).unwrap();
                    assert!(!text.contains("YTpi") && !text.contains("the-token"), "{text}");
                }
                assert!(!format!("{record:?}").contains("the-token"));
            }
            Err(error) => {
                let said = format!("{} {error:?}", error.report());
                assert!(!is_right && error.kind() == ErrorKind::Permission, "{said}");
                assert!(!said.contains("c2VjcmV0") && said.contains("docker login"), "{said}");
            }
        }
    }
    let (_environment, pool) = pool(None);
    let error = import(&pool, &spec(reference(&server, ""))).unwrap_err();
    assert!(error.report().contains("--registry-auth-file"), "{}", error.report());
}

#[test]
fn credentials_do_not_follow_a_redirect_to_another_server() {
    let content = Content::default();
    content.image(b"one");
    let store = content.clone();
    let elsewhere = HttpServer::start(move |_, request| store.answer(request));
    // Another name of the same machine, so that it is another server.
    let target = elsewhere.url("").replace("127.0.0.1", "localhost");
    let server = HttpServer::start(move |_, request| match request.header("authorization") {
        None => Reply::status(401).header("WWW-Authenticate", "Basic realm=\"x\""),
        Some("Basic YTpi") if request.path.contains("/blobs/") => {
            let to = format!("{}{}", target.trim_end_matches('/'), request.path);
            Reply::status(307).header("Location", to)
        }
        Some("Basic YTpi") => content.answer(request),
        Some(other) => panic!("{other}"),
    });
    let host = server.url("").trim_start_matches("http://").trim_end_matches('/').to_owned();
    let file = tempfile::NamedTempFile::new().unwrap();
    let auths = json!({ "auths": { host: { "username": "a", "password": "b" } } });
    fs::write(file.path(), auths.to_string()).unwrap();
    let (_environment, pool) = pool(Some(file.path().to_owned()));
    import(&pool, &spec(reference(&server, ""))).unwrap();
    let asked = elsewhere.requests();
    assert_eq!(asked.len(), 2, "the configuration and the layer");
    assert!(asked.iter().all(|request| request.header("authorization").is_none()));
}

#[test]
fn what_a_registry_does_not_have_is_said_by_name() {
    let server = HttpServer::start(|_, _| Reply::status(404));
    let (_environment, pool) = pool(None);
    let error = import(&pool, &spec(reference(&server, ":none"))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.report().contains("/team/app:none"), "{}", error.report());
    assert_eq!(server.requests().len(), 1, "it is not asked again");
}
