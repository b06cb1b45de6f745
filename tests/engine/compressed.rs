//! Images that the usual programs compressed, from files and from a web server.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use calf::{
    Cancel, Digest, DownloadOptions, Error, ErrorKind, ImageUrl, ImportSpec, Pool, Result,
    TemplateRecord,
};
use calf_test_kit::http_server::{HttpServer, Reply};
use calf_test_kit::simulated_pool::{Environment, ext4_image};
use sha2::{Digest as _, Sha256};

const MIB: usize = 1 << 20;

/// The programs, with arguments that make them compress standard input to standard output.
const PROGRAMS: [&[&str]; 8] = [
    &["gzip", "-c"],
    &["zstd", "-q", "-c"],
    &["zstd", "-q", "-c", "--long=27", "-1"],
    &["zstd", "-q", "-c", "--no-check", "-19"],
    &["xz", "-c", "-1"],
    &["xz", "-c", "-9"],
    &["xz", "-c", "-1", "--check=sha256", "--block-size=1MiB"],
    &["bzip2", "-c"],
];

fn run(program: &[&str], input: &[u8]) -> Vec<u8> {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("input");
    fs::write(&path, input).expect("input");
    let output = Command::new(program[0])
        .args(&program[1..])
        .stdin(fs::File::open(&path).expect("input"))
        .stderr(Stdio::inherit())
        .output()
        .unwrap_or_else(|e| panic!("{program:?}: {e} (tests/deps.sh test installs it)"));
    assert!(output.status.success(), "{program:?}: {output:?}");
    output.stdout
}

/// An ext4 superblock, data that does not compress, text that does, and holes: 5 MiB.
fn image() -> Vec<u8> {
    let mut image = ext4_image(0xca);
    image.resize(5 * MIB, 0);
    let mut seed = 0x2545_F491_4F6C_DD1D_u64;
    for word in image[2 * MIB..3 * MIB].chunks_mut(8) {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        word.copy_from_slice(&seed.to_le_bytes());
    }
    for (number, line) in image[4 * MIB..].chunks_mut(16).enumerate() {
        line.copy_from_slice(format!("line {number:10}\n").as_bytes());
    }
    image
}

fn digest(content: &[u8]) -> Digest {
    Digest::parse(&hex::encode(Sha256::digest(content))).expect("a digest")
}

fn content(pool: &Pool, record: &TemplateRecord) -> PathBuf {
    pool.root().join("images").join(record.digest.as_str()).join("image")
}

fn images(pool: &Pool) -> usize {
    fs::read_dir(pool.root().join("images")).expect("images").count()
}

fn import(pool: &Pool, source: &Path, digest: Option<Digest>) -> Result<TemplateRecord> {
    pool.import_template(&ImportSpec::new(source, "base").digest(digest), &mut |_| ())
}

/// Imports a file with these bytes, which must fail and leave nothing.
fn refused(packed: &[u8]) -> Error {
    let environment = Environment::new();
    let pool = environment.pool();
    let before = images(&pool);
    let path = environment.directory.path().join("image");
    fs::write(&path, packed).expect("a file");
    let error = import(&pool, &path, None).expect_err("a refusal");
    assert_eq!(images(&pool), before, "nothing is left");
    error
}

/// Checks that an import of these bytes is refused as invalid, in these words, and leaves nothing behind.
fn refuses(packed: &[u8], words: &str, context: &str) {
    let error = refused(packed);
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{context}: {error:?}");
    let report = error.report();
    assert!(report.contains(words), "{context}: {report}");
}

#[test]
fn what_the_programs_compress_becomes_the_template_that_was_compressed() {
    let image = image();
    for program in PROGRAMS {
        let environment = Environment::new();
        let pool = environment.pool();
        let path = environment.directory.path().join("no-telling-name");
        let packed = run(program, &image);
        fs::write(&path, &packed).expect("a file");
        let mut seen = Vec::new();
        let spec = ImportSpec::new(path.as_path(), "base");
        let record = pool
            .import_template(&spec, &mut |progress| seen.push(progress))
            .unwrap_or_else(|error| panic!("{program:?}: {}", error.report()));
        let made = content(&pool, &record);
        assert!(fs::read(&made).expect("content") == image, "{program:?}");
        assert_eq!((&record.digest, record.size), (&digest(&image), image.len() as u64));
        assert_eq!(record.fs_type.as_deref(), Some("ext4"), "{program:?}");
        let held = made.metadata().expect("content").blocks() * 512;
        assert!(held < 4 * MIB as u64, "{program:?}: holes are kept: {held}");
        let last = seen.iter().rev().nth(1).expect("progress");
        assert_eq!(last.total, Some(packed.len() as u64), "{program:?}");
        assert!(seen.windows(2).all(|pair| pair[0].done <= pair[1].done), "{program:?}: {seen:?}");
    }
}

#[test]
fn every_member_frame_and_stream_is_read() {
    let image = image();
    for program in PROGRAMS {
        let mut packed = Vec::new();
        for part in image.chunks(MIB + 513) {
            packed.extend(run(program, part));
        }
        let environment = Environment::new();
        let pool = environment.pool();
        let path = environment.directory.path().join("image");
        fs::write(&path, &packed).expect("a file");
        let record = import(&pool, &path, Some(digest(&packed)))
            .unwrap_or_else(|error| panic!("{program:?}: {}", error.report()));
        assert_eq!(record.digest, digest(&image), "{program:?}");
    }
}

#[test]
fn frames_to_be_skipped_and_padding_are_no_content() {
    let image = image();
    let skipped =
        [b"\x50\x2A\x4D\x18\x04\0\0\0abcd".as_slice(), &run(&["zstd", "-q", "-c"], &image)];
    let padded = [&run(&["xz", "-c", "-1"], &image)[..], &[0; 8]];
    for packed in [skipped.concat(), padded.concat()] {
        let environment = Environment::new();
        let path = environment.directory.path().join("image");
        fs::write(&path, &packed).expect("a file");
        let record = import(&environment.pool(), &path, None).expect("an import");
        assert_eq!(record.digest, digest(&image));
    }
}

#[test]
fn a_digest_is_that_of_the_file_or_of_the_content() {
    let image = image();
    let packed = run(&["zstd", "-q", "-c"], &image);
    for given in [digest(&packed), digest(&image)] {
        let environment = Environment::new();
        let pool = environment.pool();
        let path = environment.directory.path().join("image");
        fs::write(&path, &packed).expect("a file");
        let record = import(&pool, &path, Some(given.clone())).expect("an import");
        assert_eq!(record.digest, digest(&image));
        // The pool knows both, so that the file is not read again.
        fs::remove_file(&path).expect("removed");
        for known in [digest(&packed), digest(&image)] {
            let again = import(&pool, &path, Some(known)).expect("known content");
            assert_eq!(again.digest, record.digest);
        }
    }
    let environment = Environment::new();
    let pool = environment.pool();
    let before = images(&pool);
    let path = environment.directory.path().join("image");
    fs::write(&path, &packed).expect("a file");
    let error = import(&pool, &path, Some(digest(b"another"))).expect_err("another digest");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    for words in [digest(&packed), digest(&image), digest(b"another")] {
        assert!(error.report().contains(words.as_str()), "{}", error.report());
    }
    assert_eq!(images(&pool), before);
}

#[test]
fn a_known_file_is_not_unpacked_again() {
    let environment = Environment::new();
    let pool = environment.pool();
    let path = environment.directory.path().join("image");
    fs::write(&path, run(&["zstd", "-q", "-c"], &image())).expect("a file");
    std::thread::sleep(Duration::from_millis(150));
    let first = import(&pool, &path, None).expect("an import");
    let mut steps = 0;
    let spec = ImportSpec::new(path.as_path(), "other");
    let second = pool.import_template(&spec, &mut |_| steps += 1).expect("an import");
    assert_eq!((first.digest, steps), (second.digest, 1));
}

#[test]
fn a_file_that_was_cut_short_is_no_template() {
    let image = image();
    for program in PROGRAMS {
        let packed = run(program, &image);
        for length in [packed.len() - 1, packed.len() - 9, packed.len() / 2, 20] {
            refuses(&packed[..length], "cut short", &format!("{program:?}, {length}"));
        }
    }
}

#[test]
fn bytes_after_the_end_are_not_ignored() {
    let image = image();
    for program in PROGRAMS {
        for trail in [&b"garbage that is no header"[..], &[0xFF; 4096]] {
            let packed = [&run(program, &image)[..], trail].concat();
            refuses(&packed, "after the end of its", &format!("{program:?}"));
        }
    }
}

#[test]
fn a_flipped_bit_is_noticed() {
    let image = image();
    for program in PROGRAMS.iter().filter(|program| !program.contains(&"--no-check")) {
        let mut packed = run(program, &image);
        let middle = packed.len() / 2;
        packed[middle] ^= 0x10;
        let error = refused(&packed);
        let report = error.report();
        assert!(
            report.contains("damaged") || report.contains("cut short"),
            "{program:?}: {report}"
        );
    }
}

#[test]
fn what_is_compressed_must_be_a_raw_image() {
    let zstd = |content: &[u8]| run(&["zstd", "-q", "-c"], content);
    for (content, words) in [
        (zstd(&image()), "zstd -dc"),
        (b"QFI\xFB\0\0\0\x03".to_vec(), "qcow2"),
        (vec![7; 1000], "multiple of 512"),
        (vec![], "empty"),
        (b"a message of the server\n".to_vec(), "text file"),
        (image()[..MIB / 2].to_vec(), "cut short"),
    ] {
        refuses(&zstd(&content), words, words);
    }
}

#[test]
fn windows_beyond_the_limit_are_refused_with_the_way_out() {
    // Larger than the window, or the frame would need no more than its content.
    let long = Command::new("sh")
        .args(["-c", "head -c 300000000 /dev/zero | zstd -q -c --ultra --long=28 --zstd=wlog=28"])
        .output()
        .expect("zstd");
    let error = refused(&long.stdout);
    let report = error.report();
    assert!(report.contains("128 MiB") && report.contains("--long=27"), "{report}");
}

#[test]
fn a_bomb_is_refused_by_its_ratio() {
    let bomb = Command::new("sh")
        .args(["-c", "yes 0123456789abcdef | head -c 900M | zstd -q -c -3"])
        .output()
        .expect("zstd");
    assert!(bomb.stdout.len() < MIB / 2, "{}", bomb.stdout.len());
    let error = refused(&bomb.stdout);
    let report = error.report();
    assert!(report.contains("no disk image is like that"), "{report}");
}

#[test]
fn a_pool_without_room_has_its_room_back() {
    let environment = Environment::new();
    let pool = environment.pool();
    let path = environment.directory.path().join("image");
    fs::write(&path, run(&["zstd", "-q", "-c"], &image())).expect("a file");
    environment.host.set_free((256 << 20) + (1 << 20));
    let before = images(&pool);
    let error = import(&pool, &path, None).expect_err("no room");
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{}", error.report());
    assert_eq!(images(&pool), before);
}

// === From a web server ===

fn downloading(environment: &Environment) -> Pool {
    let options = DownloadOptions::default().pause(Duration::from_millis(5));
    let path = environment.directory.path().join("pool");
    environment.options().downloads(options).open(path).expect("a pool")
}

fn url_spec(web: &HttpServer, digest: Digest) -> ImportSpec {
    ImportSpec::new(ImageUrl::parse(&web.url("/base")).expect("a URL"), "base").digest(digest)
}

#[test]
fn a_url_may_name_a_compressed_image_and_either_digest() {
    let image = image();
    for program in PROGRAMS {
        let packed = run(program, &image);
        for given in [digest(&packed), digest(&image)] {
            let environment = Environment::new();
            let pool = downloading(&environment);
            let served = packed.clone();
            let web = HttpServer::start(move |_, request| Reply::range(&served, request));
            let spec = url_spec(&web, given);
            let mut last = None;
            let record = pool
                .import_template(&spec, &mut |progress| {
                    last = Some((progress.done, progress.total))
                })
                .expect("an import");
            assert_eq!(record.digest, digest(&image), "{program:?}");
            let all = packed.len() as u64;
            assert_eq!(last, Some((all, Some(all))), "{program:?}: what was downloaded");
            pool.import_template(&spec, &mut |_| ()).expect("the same again");
            assert_eq!(web.requests().len(), 1, "{program:?}");
        }
    }
}

#[test]
fn a_cut_connection_is_taken_up_under_the_decoder() {
    let image = image();
    let packed = run(&["zstd", "-q", "-c"], &image);
    let environment = Environment::new();
    let pool = downloading(&environment);
    let web = HttpServer::start({
        let packed = packed.clone();
        move |_, request| {
            let reply = Reply::range(&packed, request).header("ETag", "\"v1\"");
            let left = reply.body.len();
            if left > 300 << 10 { reply.cut(300 << 10) } else { reply }
        }
    });
    let spec = url_spec(&web, digest(&packed));
    let record = pool.import_template(&spec, &mut |_| ()).expect("an import");
    assert_eq!(record.digest, digest(&image));
    let starts: Vec<_> = web.requests().iter().map(|request| request.from()).collect();
    assert!(starts.len() >= 4 && starts[1..].iter().all(Option::is_some), "{starts:?}");
}

#[test]
fn a_server_without_the_rest_is_read_from_the_start_again() {
    let image = image();
    let packed = run(&["zstd", "-q", "-c"], &image);
    let environment = Environment::new();
    let pool = downloading(&environment);
    let web = HttpServer::start({
        let packed = packed.clone();
        move |n, _| match n {
            0 => Reply::body(&packed).cut(700 << 10),
            _ => Reply::body(&packed),
        }
    });
    let record = pool.import_template(&url_spec(&web, digest(&packed)), &mut |_| ());
    assert_eq!(record.expect("an import").digest, digest(&image));
}

#[test]
fn a_file_that_was_replaced_under_the_decoder_is_no_template() {
    let packed = run(&["zstd", "-q", "-c"], &image());
    let environment = Environment::new();
    let pool = downloading(&environment);
    let before = images(&pool);
    let web = HttpServer::start({
        let packed = packed.clone();
        move |n, _| match n {
            0 => Reply::body(&packed).header("ETag", "\"v1\"").cut(700 << 10),
            _ => Reply::body(&packed).header("ETag", "\"v2\""),
        }
    });
    let error = pool
        .import_template(&url_spec(&web, digest(&packed)), &mut |_| ())
        .expect_err("another file");
    assert_eq!(error.kind(), ErrorKind::InUse, "{}", error.report());
    assert!(error.report().contains("replaced"), "{}", error.report());
    assert_eq!(images(&pool), before);
}

#[test]
fn a_slow_download_of_a_compressed_image_is_given_up_and_can_be_cancelled() {
    let packed = run(&["zstd", "-q", "-c"], &image());
    let served = packed.clone();
    let web = HttpServer::start(move |_, request| Reply {
        drip: Some((16 << 10, Duration::from_millis(100))),
        ..Reply::range(&served, request)
    });
    let environment = Environment::new();
    let options = DownloadOptions::default().least_rate(100 << 20).patience(Duration::from_secs(2));
    let path = environment.directory.path().join("pool");
    let pool = environment.options().downloads(options).open(path).expect("a pool");
    let before = images(&pool);
    let spec = url_spec(&web, digest(&packed));
    let error = pool.import_template(&spec, &mut |_| ()).expect_err("a slow server");
    assert!(error.report().contains("100 MiB is the least"), "{}", error.report());

    let cancel = Arc::new(AtomicBool::new(false));
    let spec = spec.cancel(Cancel::from(Arc::clone(&cancel)));
    let error = downloading(&environment)
        .import_template(&spec, &mut |_| cancel.store(true, Ordering::Release))
        .expect_err("it was cancelled");
    assert_eq!(error.kind(), ErrorKind::Cancelled, "{}", error.report());
    assert_eq!(images(&pool), before, "nothing is left, since it begins anew");
}
