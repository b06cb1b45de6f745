//! Images from a web server, compressed once more, and with partitions.

use std::fs;
use std::time::Duration;

use calf::{DownloadOptions, ImageUrl, ImportSpec, Partition};
use calf_test_kit::http_server::{HttpServer, Reply};
use calf_test_kit::simulated_pool::Environment;

use super::*;

fn downloading(environment: &Environment) -> Pool {
    let options = DownloadOptions::default().pause(Duration::from_millis(5));
    let path = environment.directory.path().join("pool");
    environment.options().downloads(options).open(path).expect("a pool")
}

fn url_spec(web: &HttpServer, digest: Digest) -> ImportSpec {
    ImportSpec::new(ImageUrl::parse(&web.url("/disk")).expect("a URL"), "disk").digest(digest)
}

fn get(pool: &Pool, spec: &ImportSpec) -> Result<TemplateRecord> {
    pool.import_template(spec, &mut |_| ())
}

#[test]
fn a_url_may_name_an_image_and_either_digest() {
    let made = Environment::new();
    let image = image(&made, &["-c"]);
    let (file, disk) = (fs::read(&image).expect("an image"), digest(&converted(&image)));
    for given in [digest(&file), disk.clone()] {
        let environment = Environment::new();
        let pool = downloading(&environment);
        let served = file.clone();
        let web = HttpServer::start(move |_, request| Reply::range(&served, request));
        let spec = url_spec(&web, given);
        let mut seen = Vec::new();
        let record = pool.import_template(&spec, &mut |now| seen.push(now)).expect("an import");
        assert_eq!(record.digest, disk);
        assert!(seen.windows(2).all(|pair| pair[0].done <= pair[1].done), "{seen:?}");
        let all = file.len() as u64 + DISK;
        assert_eq!(seen.last().map(|now| (now.done, now.total)), Some((all, Some(all))));
        get(&pool, &spec).expect("the same again");
        assert_eq!(web.requests().len(), 1);
        assert_eq!(images(&pool), 2);
        let files = fs::read_dir(content(&pool, &record).parent().expect("a directory"));
        assert_eq!(files.expect("a directory").count(), 2, "the copy of the image is gone");
    }
    let environment = Environment::new();
    let pool = downloading(&environment);
    let web = HttpServer::start(move |_, request| Reply::range(&file, request));
    let error = get(&pool, &url_spec(&web, digest(b"another"))).expect_err("another digest");
    assert!(error.report().contains("was expected"), "{}", error.report());
    assert_eq!(images(&pool), 1, "nothing is left");
}

#[test]
fn a_download_goes_on_where_it_was_in_this_process_and_in_the_next() {
    let made = Environment::new();
    let image = image(&made, &[]);
    let (file, disk) = (fs::read(&image).expect("an image"), digest(&converted(&image)));
    let served = file.clone();
    let environment = Environment::new();
    let web = HttpServer::start(move |n, request| match n {
        // More often than anybody asks in vain.
        0..5 if request.from().is_none() => {
            Reply::range(&served, request).header("ETag", "\"v1\"").cut(900 << 10)
        }
        5 => Reply::range(&served, request).header("ETag", "\"v1\""),
        _ => Reply::status(503),
    });
    let spec = url_spec(&web, digest(&file)).partition(None);
    get(&downloading(&environment), &spec).expect_err("the server fails");
    let before = web.requests().len();
    assert!(before >= 5, "{before}");
    // What came is kept for the next command.
    let record = match get(&downloading(&environment), &spec) {
        Ok(record) => record,
        Err(error) => panic!("{}: {:?}", error.report(), web.requests().len()),
    };
    assert_eq!(record.digest, disk);
}

#[test]
fn an_interrupted_conversion_does_not_download_again() {
    let made = Environment::new();
    let image = image(&made, &["-c"]);
    let (file, disk) = (fs::read(&image).expect("an image"), digest(&converted(&image)));
    let served = file.clone();
    let environment = Environment::new();
    let web = HttpServer::start(move |_, request| Reply::range(&served, request));
    let cancel = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let spec = url_spec(&web, digest(&file));
    let cancelled = spec.clone().cancel(calf::Cancel::from(std::sync::Arc::clone(&cancel)));
    let error = downloading(&environment)
        .import_template(&cancelled, &mut |now| {
            let stop = now.done > file.len() as u64;
            cancel.fetch_or(stop, std::sync::atomic::Ordering::AcqRel);
        })
        .expect_err("it was cancelled");
    assert_eq!(error.kind(), ErrorKind::Cancelled, "{}", error.report());
    assert_eq!(get(&downloading(&environment), &spec).expect("an import").digest, disk);
    assert_eq!(web.requests().len(), 1, "the copy in the pool was used");
    assert_eq!(images(&environment.pool()), 2);
}

#[test]
fn an_image_may_be_compressed_as_a_file() {
    let made = Environment::new();
    let image = image(&made, &[]);
    let disk = digest(&converted(&image));
    for (program, ending) in [("zstd", "zst"), ("gzip", "gz"), ("xz", "xz"), ("bzip2", "bz2")] {
        run(program, &["-k", "-f", text(&image)]);
        let packed = image.with_extension(format!("qcow2.{ending}"));
        let file = fs::read(&packed).expect("a file");
        for given in [None, Some(digest(&file)), Some(disk.clone())] {
            let environment = Environment::new();
            let pool = environment.pool();
            let record = import(&pool, &packed, given)
                .unwrap_or_else(|error| panic!("{program}: {}", error.report()));
            assert_eq!(record.digest, disk, "{program}");
            assert_eq!(images(&pool), 2, "{program}: nothing else is left");
        }
        let environment = Environment::new();
        let web = HttpServer::start({
            let file = file.clone();
            move |_, request| Reply::range(&file, request)
        });
        let record = get(&downloading(&environment), &url_spec(&web, digest(&file)));
        assert_eq!(record.expect("an import").digest, disk, "{program} by URL");
        fs::write(&packed, &file[..file.len() / 2]).expect("half a file");
        refuses(&packed, &environment, &["cut short"]);
    }
    // What is in an image must be a disk, not an image.
    let twice = environment_with_image_of(&image);
    refuses(&twice.1, &twice.0, &["as a disk", "qcow2"]);
}

/// An image whose disk begins with another image.
fn environment_with_image_of(image: &Path) -> (Environment, PathBuf) {
    let environment = Environment::new();
    let path = environment.directory.path().join("twice.qcow2");
    run("qemu-img", &["convert", "-f", "raw", "-O", "qcow2", text(image), text(&path)]);
    (environment, path)
}

#[test]
fn a_partition_of_the_disk_in_an_image_is_a_template() {
    let environment = Environment::new();
    let disk = environment.directory.path().join("disk.raw");
    File::create(&disk).and_then(|file| file.set_len(16 * MIB)).expect("a disk");
    let table = ["--new=15:0:+4M", "--typecode=15:ef00", "--new=1:0:+1M", "--typecode=1:8304"];
    run(
        "/usr/sbin/sgdisk",
        &[&table[..], &["--change-name=1:cloudimg-rootfs", text(&disk)]].concat(),
    );
    let file = File::options().write(true).open(&disk).expect("a disk");
    // Behind the first 2,048 sectors and the other partition.
    file.write_all_at(&ext4_image(0xca), 5 * MIB).expect("a file system");
    let image = environment.directory.path().join("disk.qcow2");
    run("qemu-img", &["convert", "-c", "-f", "raw", "-O", "qcow2", text(&disk), text(&image)]);
    run("zstd", &["-q", "-k", text(&image)]);
    let file = fs::read(&image).expect("an image");
    let packed = image.with_extension("qcow2.zst");
    let web = HttpServer::start({
        let file = file.clone();
        move |_, request| Reply::range(&file, request)
    });
    for wanted in ["root", "1", "cloudimg-rootfs"] {
        let partition: Partition = wanted.parse().expect("a partition");
        let by_url = url_spec(&web, digest(&file));
        for spec in [
            ImportSpec::new(image.as_path(), "disk"),
            ImportSpec::new(packed.as_path(), "disk"),
            by_url,
        ] {
            let environment = Environment::new();
            let pool = downloading(&environment);
            let record = get(&pool, &spec.partition(partition.clone())).expect("an import");
            assert_eq!(record.digest, digest(&ext4_image(0xca)), "{wanted}");
            assert_eq!((record.size, record.fs_type.as_deref()), (MIB, Some("ext4")), "{wanted}");
            assert_eq!(
                images(&pool),
                1,
                "{wanted}: the same content as the kit's, and nothing else"
            );
        }
    }
    let spec = ImportSpec::new(image.as_path(), "disk").partition(Partition::Number(3));
    let error = get(&environment.pool(), &spec).expect_err("no such partition");
    assert!(error.report().contains("no partition of it is `3`"), "{}", error.report());
    assert_eq!(images(&environment.pool()), 1, "nothing is left");
}
