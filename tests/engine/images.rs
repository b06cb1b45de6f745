//! Unusual, damaged and hostile images, and volumes that a tenant wrote to before the host mounts them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use calf::sys::fake::Failure;
use calf::{Cancel, Digest, ErrorKind, ImportSource, ImportSpec, Pool, Result, TemplateRecord};
use calf_test_kit::simulated_pool::{Environment, block, ext4_image, mount, publication, spec};
use sha2::{Digest as _, Sha256};

/// Offset of an ext4 superblock.
const SUPERBLOCK: usize = 1024;

/// The kit's image, with `bytes` written into its superblock.
fn with(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut image = ext4_image(0xca);
    image[SUPERBLOCK + at..SUPERBLOCK + at + bytes.len()].copy_from_slice(bytes);
    image
}

fn import(pool: &Pool, image: &Path, name: &str) -> Result<TemplateRecord> {
    pool.import_template(&ImportSpec::new(image, name), &mut |_| ())
}

fn images(pool: &Pool) -> usize {
    fs::read_dir(pool.root().join("images")).expect("images").count()
}

fn digest(content: &[u8]) -> Digest {
    Digest::parse(&hex::encode(Sha256::digest(content))).expect("a digest")
}

#[test]
fn what_a_tenant_wrote_is_looked_at_before_each_mount() {
    let mut xfs = vec![0; 4096];
    xfs[..4].copy_from_slice(b"XFSB");
    for (written, kind, words) in [
        (with(0xE0, &[0]), ErrorKind::Unsupported, "its journal on another device"),
        (with(0xE4, &[7]), ErrorKind::Unsupported, "its journal on another device"),
        (with(0x60, &[0x48]), ErrorKind::Unsupported, "is the journal of another"),
        (with(0x200, b"journal_path=/dev/sda"), ErrorKind::Unsupported, "journal_path=/dev/sda"),
        (with(0x200, b"errors=panic"), ErrorKind::Unsupported, "errors=panic"),
        (with(0x61, &[1]), ErrorKind::Unsupported, "mmp"),
        (with(0x04, &[1, 1]), ErrorKind::Corrupt, "but the volume has only"),
        (with(0x38, &[0, 0]), ErrorKind::Corrupt, "does not contain ext4"),
        (xfs, ErrorKind::Corrupt, "does not contain ext4"),
        (vec![], ErrorKind::Corrupt, "does not contain ext4"),
    ] {
        let environment = Environment::new();
        let pool = environment.pool();
        pool.create_volume(&spec("v")).expect("create");
        let volume = pool.volume("v").expect("a volume id");
        let disk = publication(&environment, "v", block());
        volume.stage(&disk.stage).expect("stage");
        volume.publish(&disk).expect("publish");
        let device = volume.activate().expect("activate").number();
        environment.host.write_start(device, &written);
        volume.unpublish(&disk.target).expect("unpublish");

        for access in [false, true] {
            let mut mounted = publication(&environment, "v", mount());
            mounted.stage.read_only = access;
            let error = volume.stage(&mounted.stage).expect_err(words);
            assert_eq!(error.kind(), kind, "{error:?}");
            assert!(error.report().contains(words), "{words}: {}", error.report());
            assert!(!error.remedies().is_empty(), "{error:?}");
            let left = environment.host.leftovers();
            assert!(!left.iter().any(|what| what.starts_with("mount")), "{words}: {left:?}");
        }

        // It still works as a block device, and as a file system once the superblock is in order.
        volume.publish(&disk).expect("publish");
        environment.host.write_start(device, &ext4_image(0xca));
        volume.unpublish(&disk.target).expect("unpublish");
        let mounted = publication(&environment, "v", mount());
        volume.stage(&mounted.stage).expect("stage");
        volume.unstage(&mounted.stage.path).expect("unstage");
        volume.delete().expect("delete");
        assert_eq!(environment.host.leftovers(), Vec::<String>::new());
    }
}

#[test]
fn an_image_that_no_volume_can_use_is_refused_before_it_is_read() {
    let environment = Environment::new();
    let pool = environment.pool();
    let before = images(&pool);
    let path = environment.path("odd.img");
    for (image, words) in [
        (with(0xE0, &[0]), "tune2fs -O ^has_journal"),
        (with(0x04, &[1, 1]), "it was cut short"),
        (ext4_image(1)[..512 * 1024].to_vec(), "512 KiB (524288 bytes): it was cut short"),
        (b"<html></html>".to_vec(), "HTML"),
    ] {
        fs::write(&path, image).expect("an image");
        let error = import(&pool, &path, "odd").expect_err(words);
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error:?}");
        assert!(error.report().contains(words), "{words}: {}", error.report());
        assert_eq!(images(&pool), before);
    }
    // Mount options matter only to those who mount it.
    fs::write(&path, with(0x200, b"errors=panic")).expect("an image");
    import(&pool, &path, "odd").expect("an import");
}

#[test]
fn a_source_that_calf_does_not_read_is_no_missing_file() {
    for source in ["s3://bucket/a.img", "oci:directory", "file:///a.img"] {
        let error = ImportSource::parse(source).expect_err(source);
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(!error.report().contains("No such file"), "{}", error.report());
        assert!(!error.remedies().is_empty(), "{error:?}");
    }
    let environment = Environment::new();
    let source = ImportSource::parse("docker.io/library/debian:12").expect("it may be a path");
    let import = ImportSpec::new(source, "a");
    let error = environment.pool().import_template(&import, &mut |_| ()).expect_err("no file");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.report().contains("docker://"), "{}", error.report());
}

/// A file on another file system than the pool's. Another one with other content and the same status can
/// replace it.
struct Lookalike {
    environment: Environment,
    path: PathBuf,
}

impl Lookalike {
    fn new() -> Self {
        let environment = Environment::new();
        let path = environment.path("image.img");
        fs::write(&path, ext4_image(1)).expect("an image");
        environment.host.freeze_status(&path);
        Self { environment, path }
    }

    fn replace(&self) {
        fs::write(&self.path, ext4_image(2)).expect("an image");
    }
}

#[test]
fn a_file_that_looks_like_one_that_was_read_is_read() {
    let Lookalike { environment, path } = &Lookalike::new();
    let pool = environment.pool();
    let first = import(&pool, path, "a").expect("an import");
    assert_eq!(first.digest, digest(&ext4_image(1)));
    fs::write(path, ext4_image(2)).expect("an image");
    let second = import(&pool, path, "b").expect("an import");
    assert_eq!(second.digest, digest(&ext4_image(2)));
    let content = pool.root().join("images").join(second.digest.as_str()).join("image");
    assert!(fs::read(content).expect("content") == ext4_image(2));
}

#[test]
fn a_digest_is_compared_with_the_bytes() {
    let lookalike = Lookalike::new();
    let pool = lookalike.environment.pool();
    let path = lookalike.path.as_path();
    import(&pool, path, "a").expect("an import");
    lookalike.replace();
    let spec = ImportSpec::new(path, "b").digest(digest(&ext4_image(2)));
    let record = pool.import_template(&spec, &mut |_| ()).expect("it is what was asked for");
    assert_eq!(record.digest, digest(&ext4_image(2)));
}

#[test]
fn a_file_on_the_pools_file_system_is_not_read_twice() {
    let environment = Environment::new();
    let pool = environment.pool();
    let path = environment.path("image.img");
    // It has several parts, so that reading it can be cancelled.
    fs::write(&path, [ext4_image(1), vec![1; 7 << 20]].concat()).expect("an image");
    // Time stamps that are as recent as the import prove nothing.
    std::thread::sleep(Duration::from_millis(150));
    import(&pool, &path, "a").expect("an import");
    let import = |digest: Option<Digest>| {
        let spec = ImportSpec::new(path.as_path(), "b").digest(digest);
        pool.import_template(&spec.cancel(Cancel::when(|| true)), &mut |_| ())
    };
    let wrong = digest(&ext4_image(2));
    let error = import(Some(wrong)).expect_err("it is read, and that is cancelled");
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    import(None).expect("nothing is read, so nothing is cancelled");
}

#[test]
fn an_interrupted_import_does_not_go_on_in_another_file() {
    for n in 1.. {
        let lookalike = Lookalike::new();
        let (pool, path) = (lookalike.environment.pool(), lookalike.path.as_path());
        lookalike.environment.host.fail_at(n, Failure::ErrorAfter);
        let _ = import(&pool, path, "a");
        if !lookalike.environment.host.heal() {
            assert!(n > 10, "only {n} calls");
            break;
        }
        lookalike.replace();
        let record = import(&pool, path, "a").expect("an import");
        assert_eq!(record.digest, digest(&ext4_image(2)), "after a failure of call {n}");
        let content = pool.root().join("images").join(record.digest.as_str()).join("image");
        assert!(fs::read(content).expect("content") == ext4_image(2), "after call {n}");
    }
}
