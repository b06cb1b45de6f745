//! Templates from a web server that fails in every way.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use calf::{
    Cancel, Digest, DownloadOptions, ErrorKind, ImageUrl, ImportSpec, Pool, Progress, Result,
    TemplateRecord,
};
use calf_test_kit::http_server::{HttpServer, Reply, Request};
use calf_test_kit::simulated_pool::Environment;
use sha2::{Digest as _, Sha256};

const MIB: usize = 1 << 20;

/// An image of 3.5 MiB in which all pages differ.
fn image() -> Vec<u8> {
    let mut bytes = vec![0x5A; 896 * 4096];
    for (number, page) in bytes.chunks_mut(4096).enumerate() {
        page[..8].copy_from_slice(&number.to_le_bytes());
    }
    bytes
}

fn digest(content: &[u8]) -> Digest {
    Digest::parse(&hex::encode(Sha256::digest(content))).expect("a digest")
}

fn pool(environment: &Environment) -> Pool {
    impatient_pool(environment, DownloadOptions::default().stall)
}

/// A pool that gives up on a server that sends nothing for this long.
fn impatient_pool(environment: &Environment, stall: Duration) -> Pool {
    let options = DownloadOptions::default().stall(stall).pause(Duration::from_millis(5));
    let path = environment.directory.path().join("pool");
    environment.options().downloads(options).open(path).expect("a pool")
}

fn spec(web: &HttpServer, name: &str, content: &[u8]) -> ImportSpec {
    let url = ImageUrl::parse(&web.url("/base.img?token=secret")).expect("a URL");
    ImportSpec::new(url, name).digest(digest(content))
}

fn import(pool: &Pool, spec: &ImportSpec) -> Result<TemplateRecord> {
    pool.import_template(spec, &mut |_| ())
}

/// The content of a template in the pool.
fn content(pool: &Pool, record: &TemplateRecord) -> Vec<u8> {
    fs::read(pool.root().join("images").join(record.digest.as_str()).join("image"))
        .expect("content")
}

/// Names in the pool's directory of content.
fn images(pool: &Pool) -> Vec<String> {
    let Ok(entries) = fs::read_dir(pool.root().join("images")) else { return Vec::new() };
    let names = entries.map(|entry| entry.expect("an entry").file_name().into_string());
    names.map(|name| name.expect("text")).collect()
}

/// Imports from a server with these answers, and compares the content.
fn succeeds(
    answer: impl Fn(usize, &Request, &[u8]) -> Reply + Send + Sync + 'static,
) -> Vec<Request> {
    let environment = Environment::new();
    let pool = pool(&environment);
    let web = HttpServer::start(move |n, request| answer(n, request, &image()));
    let record = import(&pool, &spec(&web, "base", &image())).expect("an import");
    assert!(content(&pool, &record) == image(), "the content differs");
    assert_eq!(record.size, image().len() as u64);
    web.requests()
}

/// Imports from a server with these answers, which must fail and leave nothing behind.
fn fails(
    kind: ErrorKind,
    word: &str,
    answer: impl Fn(usize, &Request, &[u8]) -> Reply + Send + Sync + 'static,
) -> Vec<Request> {
    let environment = Environment::new();
    let pool = pool(&environment);
    let before = images(&pool);
    let web = HttpServer::start(move |n, request| answer(n, request, &image()));
    let error = import(&pool, &spec(&web, "base", &image())).expect_err("a failure");
    assert_eq!(error.kind(), kind, "{}", error.report());
    assert!(error.report().contains(word), "{}", error.report());
    assert!(!error.report().contains("secret"), "{}", error.report());
    assert_eq!(
        pool.template("base")
            .and_then(|template| template.record())
            .expect_err("no template")
            .kind(),
        ErrorKind::NotFound
    );
    assert_eq!(images(&pool), before);
    web.requests()
}

#[test]
fn content_that_is_there_is_not_asked_for_again() {
    let environment = Environment::new();
    let pool = pool(&environment);
    let web = HttpServer::start(|_, request| Reply::range(&image(), request));
    let mut seen = Vec::new();
    let record = pool
        .import_template(&spec(&web, "base", &image()), &mut |progress| seen.push(progress))
        .expect("an import");
    assert!(content(&pool, &record) == image());
    assert_eq!(record.source, web.url("/base.img?…"));
    let total = image().len() as u64;
    assert!(seen.windows(2).all(|pair| pair[0].done <= pair[1].done), "{seen:?}");
    assert_eq!(seen.last().map(|last| (last.done, last.total)), Some((total, Some(total))));
    assert_eq!(web.requests().len(), 1);
    assert_eq!(web.requests()[0].header("accept-encoding"), Some("identity"));

    import(&pool, &spec(&web, "base", &image())).expect("the same again");
    let other = import(&pool, &spec(&web, "other", &image())).expect("under another name");
    assert_eq!((other.digest, other.size), (record.digest, record.size));
    assert_eq!(web.requests().len(), 1);
}

#[test]
fn a_name_moves_to_other_content() {
    let environment = Environment::new();
    let pool = pool(&environment);
    let mut newer = image();
    newer[0] = 1;
    let web = HttpServer::start({
        let newer = newer.clone();
        move |n, _| Reply::body(if n == 0 { &[7; 4096] } else { newer.as_slice() })
    });
    let old = import(&pool, &spec(&web, "base", &[7; 4096])).expect("an import");
    let new = import(&pool, &spec(&web, "base", &newer)).expect("an import");
    assert_ne!(old.digest, new.digest);
    assert_eq!(
        pool.template("base").and_then(|template| template.record()).expect("a template").digest,
        new.digest
    );
    assert!(!images(&pool).contains(&old.digest.to_string()), "content without a name goes");
}

#[test]
fn a_cut_connection_is_taken_up_where_it_ended() {
    // Each connection delivers at most 600 KiB; every answer is a part of the same file.
    let requests = succeeds(|_, request, content| {
        let reply = Reply::range(content, request).header("ETag", "\"v1\"");
        let left = reply.body.len();
        if left > 600 << 10 { reply.cut(600 << 10) } else { reply }
    });
    assert!(requests.len() >= 6, "{}", requests.len());
    let starts: Vec<usize> = requests.iter().map(|request| request.from().unwrap_or(0)).collect();
    assert!(starts.windows(2).all(|pair| pair[0] < pair[1]), "{starts:?}");
    assert!(requests[1..].iter().all(|request| request.header("if-range") == Some("\"v1\"")));
}

#[test]
fn a_server_without_ranges_is_read_from_the_start_again() {
    let requests = succeeds(|n, _, content| match n {
        0 => Reply::body(content).cut(2 * MIB),
        _ => Reply::body(content),
    });
    assert_eq!(requests.len(), 2);
}

#[test]
fn a_file_that_was_replaced_meanwhile_is_read_from_the_start_again() {
    // The first half came from another file.
    let requests = succeeds(|n, _, content| match n {
        0 => Reply::body(&vec![9; content.len()]).header("ETag", "\"v1\"").cut(2 * MIB),
        _ => Reply::body(content).header("ETag", "\"v2\""),
    });
    assert_eq!(requests[1].header("if-range"), Some("\"v1\""));
}

#[test]
fn a_mixture_of_two_files_is_not_a_template() {
    fails(ErrorKind::InvalidArgument, "was expected", |n, request, content| match n {
        0 => Reply::body(&vec![9; content.len()]).cut(2 * MIB),
        _ => Reply::range(content, request),
    });
}

#[test]
fn an_interrupted_command_is_resumed_by_the_next() {
    let environment = Environment::new();
    let pool = pool(&environment);
    let web = HttpServer::start(|n, request| match n {
        0 => Reply::range(&image(), request).cut(2 * MIB),
        1..=5 => Reply::range(&image(), request).cut(0),
        _ => Reply::range(&image(), request),
    });
    let error = import(&pool, &spec(&web, "base", &image())).expect_err("no progress");
    assert!(error.report().contains("goes on from where it was"), "{}", error.report());
    let asked = web.requests().len();
    let record = import(&pool, &spec(&web, "base", &image())).expect("an import");
    assert!(content(&pool, &record) == image());
    let again = &web.requests()[asked..];
    assert!(again[0].from().is_some_and(|from| from > MIB), "{again:?}");
}

#[test]
fn a_server_that_is_busy_is_asked_again() {
    let requests = succeeds(|n, _, content| match n {
        0 => Reply::status(503),
        1 => Reply::status(429),
        _ => Reply::body(content),
    });
    assert_eq!(requests.len(), 3);
}

#[test]
fn a_server_that_falls_silent_is_given_up() {
    let environment = Environment::new();
    let pool = impatient_pool(&environment, Duration::from_secs(8));
    let web = HttpServer::start(|n, request| {
        let reply = Reply::range(&image(), request);
        match n {
            0 => Reply { hang: Duration::from_secs(600), ..reply.cut(2 * MIB) },
            _ => reply,
        }
    });
    let record = import(&pool, &spec(&web, "base", &image())).expect("an import");
    assert!(content(&pool, &record) == image());
    assert!(web.requests()[1].from().is_some_and(|from| from >= MIB), "{:?}", web.requests());
}

#[test]
fn a_server_that_is_too_slow_is_given_up_with_its_rate() {
    let environment = Environment::new();
    let pool = demanding_pool(&environment, 100 << 20, Duration::from_secs(2));
    let web = HttpServer::start(|n, request| {
        let reply = Reply::range(&image(), request);
        match n {
            // The first 128 KiB are looked at before any is kept.
            0 => Reply { drip: Some((64 << 10, Duration::from_millis(100))), ..reply },
            _ => reply,
        }
    });
    let error = import(&pool, &spec(&web, "base", &image())).expect_err("a slow server");
    for words in ["per second for", "100 MiB is the least", "--min-download-rate"] {
        assert!(error.report().contains(words), "{words}: {}", error.report());
    }
    assert_eq!(web.requests().len(), 1, "it is not asked again at once");
    let record = import(&pool, &spec(&web, "base", &image())).expect("an import");
    assert!(content(&pool, &record) == image());
    assert!(web.requests()[1].from().is_some_and(|from| from > 0), "what came is not lost");
}

#[test]
fn a_server_that_is_slow_by_cutting_connections_is_given_up_too() {
    let environment = Environment::new();
    let pool = demanding_pool(&environment, 100 << 20, Duration::from_millis(300));
    let web = HttpServer::start(|n, request| {
        let reply = Reply::range(&image(), request);
        reply.cut(if n == 0 { 256 << 10 } else { 1 << 10 })
    });
    let error = import(&pool, &spec(&web, "base", &image())).expect_err("a slow server");
    assert!(error.report().contains("100 MiB is the least"), "{}", error.report());
}

/// A pool that gives up on a server that sends less per second for this long.
fn demanding_pool(environment: &Environment, least_rate: u64, patience: Duration) -> Pool {
    let options = DownloadOptions::default().pause(Duration::from_millis(5));
    let options = options.least_rate(least_rate).patience(patience);
    let path = environment.directory.path().join("pool");
    environment.options().downloads(options).open(path).expect("a pool")
}

/// A server that needs 22 seconds for the image.
fn slow_server() -> HttpServer {
    let drip = Some((16 << 10, Duration::from_millis(100)));
    HttpServer::start(move |_, request| Reply { drip, ..Reply::range(&image(), request) })
}

/// An import on a thread of its own, and what ends it.
struct Running {
    cancel: Arc<AtomicBool>,
    thread: JoinHandle<Result<TemplateRecord>>,
}

impl Running {
    /// Starts an import, and waits until it has room for the content.
    fn start(pool: &Pool, spec: &ImportSpec) -> Self {
        let (started, begun) = mpsc::channel();
        let running = Self::spawn(pool, spec, move |_| {
            let _ = started.send(());
        });
        begun.recv_timeout(Duration::from_secs(60)).expect("the import begins");
        running
    }

    fn spawn(
        pool: &Pool,
        spec: &ImportSpec,
        mut progress: impl FnMut(Progress) + Send + 'static,
    ) -> Self {
        let cancel = Arc::new(AtomicBool::new(false));
        let (pool, spec) = (pool.clone(), spec.clone().cancel(Cancel::from(Arc::clone(&cancel))));
        let thread = thread::spawn(move || pool.import_template(&spec, &mut progress));
        Self { cancel, thread }
    }

    fn cancel(self) -> calf::Error {
        self.cancel.store(true, Ordering::Release);
        self.thread.join().expect("no panic").expect_err("it was cancelled")
    }
}

#[test]
fn imports_at_once_do_not_count_on_the_same_room() {
    let environment = Environment::new();
    let pool = pool(&environment);
    // Room for one of two images of 3.5 MiB.
    environment.host.set_free((256 << 20) + (5 << 20));
    let (slow, fast) = (slow_server(), HttpServer::start(|_, _| Reply::body(&[7; 3 * MIB])));
    let running = Running::start(&pool, &spec(&slow, "slow", &image()));
    let other = spec(&fast, "fast", &[7; 3 * MIB]);
    let error = import(&pool, &other).expect_err("no room for both");
    assert_eq!(error.kind(), ErrorKind::NoSpace);
    assert!(error.report().contains("running imports need"), "{}", error.report());
    assert_eq!(running.cancel().kind(), ErrorKind::Cancelled);
    import(&pool, &other).expect("there is room now");
}

#[test]
fn an_import_ends_at_once_though_its_server_is_slow_or_another_one_runs() {
    let environment = Environment::new();
    let pool = pool(&environment);
    let web = slow_server();
    let reading = Running::start(&pool, &spec(&web, "base", &image()));
    let waiting = Running::spawn(&pool, &spec(&web, "other", &image()), |_| ());
    thread::sleep(Duration::from_millis(500));
    for running in [waiting, reading] {
        let start = Instant::now();
        assert_eq!(running.cancel().kind(), ErrorKind::Cancelled);
        assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    }
    assert_eq!(web.requests().len(), 1);
}

#[test]
fn servers_that_never_do_it_are_not_asked_for_ever() {
    let requests = fails_with_rest(|_| Reply::status(500));
    assert_eq!(requests, 5);
    let requests = fails_with_rest(|_| Reply::body(&image()).cut(100));
    assert_eq!(requests, 5);
    // Each answer is from another file, so no progress lasts.
    let requests = fails_with_rest(|n| Reply::body(&image()).cut((1 + n % 2) * MIB));
    assert!(requests <= 12, "{requests}");
}

/// How many requests a server got before the import failed. A resumable import may be left.
fn fails_with_rest(answer: impl Fn(usize) -> Reply + Send + Sync + 'static) -> usize {
    let environment = Environment::new();
    let pool = pool(&environment);
    let web = HttpServer::start(move |n, _| answer(n));
    import(&pool, &spec(&web, "base", &image())).expect_err("a failure");
    web.requests().len()
}

#[test]
fn what_will_not_get_better_is_told_at_once() {
    for (status, kind) in [
        (404, ErrorKind::NotFound),
        (410, ErrorKind::NotFound),
        (401, ErrorKind::Permission),
        (403, ErrorKind::Permission),
        (418, ErrorKind::Internal),
    ] {
        let requests = fails(kind, &status.to_string(), move |_, _, _| Reply::status(status));
        assert_eq!(requests.len(), 1, "{status}");
    }
}

#[test]
fn redirects_are_followed_to_a_limit() {
    let requests = succeeds(|_, request, content| match request.path.as_str() {
        "/elsewhere" => Reply::body(content),
        _ => Reply::status(302).header("Location", "/elsewhere"),
    });
    assert_eq!(requests.len(), 2);
    let requests = fails(ErrorKind::Internal, "redirected more than 5 times", |_, _, _| {
        Reply::status(302).header("Location", "/again")
    });
    assert!(requests.len() <= 7, "{}", requests.len());
}

#[test]
fn another_digest_leaves_nothing() {
    let requests = fails(ErrorKind::InvalidArgument, "was expected", |_, _, content| {
        let mut other = content.to_vec();
        other[MIB] ^= 1;
        Reply::body(&other)
    });
    assert_eq!(requests.len(), 1);
}

#[test]
fn what_is_no_raw_image_is_refused_before_it_is_read() {
    let kind = ErrorKind::InvalidArgument;
    fails(kind, "lz4 -dc", |_, _, _| {
        let mut packed = vec![0; 4097];
        packed[..4].copy_from_slice(b"\x04\x22\x4D\x18");
        Reply::body(&packed)
    });
    fails(kind, "HTML", |_, _, _| Reply::body(b"<html>log in first</html>"));
    fails(kind, "HTML", |_, _, _| Reply {
        endless: true,
        ..Reply::body(b"<!doctype html>\n<title>Log in</title>")
    });
    fails(kind, "it is a text", |_, _, _| Reply::body(b"{\"error\": \"expired\"}"));
    fails(kind, "multiple of 512", |_, _, content| Reply::body(&content[..MIB + 1]));
    fails(kind, "unzip", |_, _, _| {
        let mut zip = vec![0; 4096];
        zip[..4].copy_from_slice(b"PK\x03\x04");
        Reply::body(&zip)
    });
    // An ext4 of 4 MiB, of which the server has only 2 MiB.
    fails(kind, "4 MiB (4194304 bytes), but the image ends at 2 MiB", |_, _, _| {
        let mut cut = vec![0; 2 * MIB];
        cut[1024 + 0x05] = 4;
        cut[1024 + 0x18] = 2;
        cut[1024 + 0x38..1024 + 0x3A].copy_from_slice(&[0x53, 0xEF]);
        Reply::body(&cut)
    });
    fails(kind, "empty", |_, _, _| Reply::body(b""));
    fails(kind, "Content-Length", |_, _, content| Reply { endless: true, ..Reply::body(content) });
    fails(kind, "gzip-encoded", |_, _, content| {
        Reply::body(content).header("Content-Encoding", "gzip")
    });
}

#[test]
fn a_footer_is_refused_though_it_comes_last() {
    let environment = Environment::new();
    let pool = pool(&environment);
    let before = images(&pool);
    let mut vhd = [image(), vec![0; 512]].concat();
    let footer = image().len();
    vhd[footer..footer + 8].copy_from_slice(b"conectix");
    vhd[footer + 12..footer + 16].copy_from_slice(&[0, 1, 0, 0]);
    let web = HttpServer::start({
        let vhd = vhd.clone();
        move |_, _| Reply::body(&vhd)
    });
    let error = import(&pool, &spec(&web, "base", &vhd)).expect_err("a refusal");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{}", error.report());
    assert!(error.report().contains("VHD"), "{}", error.report());
    assert_eq!(images(&pool), before);
}

#[test]
fn an_image_larger_than_the_pool_is_not_begun() {
    let environment = Environment::new();
    let pool = pool(&environment);
    environment.host.set_free((256 << 20) + (3 << 20));
    let before = images(&pool);
    let web = HttpServer::start(|_, _| Reply::body(&image()));
    let error = import(&pool, &spec(&web, "base", &image())).expect_err("no space");
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{}", error.report());
    assert_eq!(images(&pool), before);
    environment.host.set_free(1 << 40);
    import(&pool, &spec(&web, "base", &image())).expect("there is room now");
}

#[test]
fn a_range_that_was_not_asked_for_is_not_believed() {
    let requests = succeeds(|n, request, content| match n {
        0 => Reply::body(content).cut(2 * MIB),
        1 => Reply {
            headers: vec![("Content-Range", format!("bytes 0-9/{}", content.len()))],
            ..Reply::range(content, request)
        },
        2 => Reply::body(content).cut(2 * MIB),
        3 => Reply::status(416),
        _ => Reply::body(content),
    });
    assert_eq!(requests.len(), 5);
}

#[test]
fn a_url_needs_a_digest_and_a_server() {
    let environment = Environment::new();
    let pool = pool(&environment);
    let url = ImageUrl::parse("http://127.0.0.1:1/x").expect("a URL");
    let error = import(&pool, &ImportSpec::new(url.clone(), "x")).expect_err("no digest");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.report().contains("--sha256"), "{}", error.report());
    let spec = ImportSpec::new(url, "x").digest(digest(b""));
    let error = import(&pool, &spec).expect_err("nobody listens");
    assert!(error.report().contains("check the URL"), "{}", error.report());
}

#[test]
fn a_file_is_held_to_its_digest_too() {
    let environment = Environment::new();
    let pool = pool(&environment);
    let path = environment.directory.path().join("file.img");
    fs::write(&path, image()).expect("a file");
    let wrong = ImportSpec::new(path.as_path(), "f").digest(digest(b"x"));
    let error = import(&pool, &wrong).expect_err("another digest");
    assert!(error.report().contains("was expected"), "{}", error.report());
    assert_eq!(
        pool.template("f").and_then(|template| template.record()).expect_err("no template").kind(),
        ErrorKind::NotFound
    );
    let mut right = wrong.digest(digest(&image()));
    import(&pool, &right).expect("an import");
    // The pool has the content, so the file no longer matters.
    fs::remove_file(&path).expect("removed");
    right.name = "g".into();
    import(&pool, &right).expect("an import");
}
