//! Disks in qcow2 images that the usual programs made.

mod files;
mod refused;
mod sources;

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use calf::{Digest, Error, ErrorKind, ImportSpec, Pool, Result, TemplateRecord};
use calf_test_kit::simulated_pool::{Environment, ext4_image};
use sha2::{Digest as _, Sha256};

use calf_test_kit::programs::{run, text};

const MIB: u64 = 1 << 20;
/// Size of the disk: its last cluster is not whole.
const DISK: u64 = 9 * MIB + 512;

/// A raw disk: an ext4 superblock, data that does not compress, text that does, and holes between them.
fn raw(environment: &Environment) -> PathBuf {
    let path = environment.directory.path().join("disk.raw");
    let file = File::create(&path).expect("a disk");
    file.set_len(DISK).expect("a disk");
    let write = |at: u64, bytes: &[u8]| file.write_all_at(bytes, at).expect("written");
    write(0, &ext4_image(0xca));
    let mut seed = 0x2545_F491_4F6C_DD1D_u64;
    let noise: Vec<u8> = (0..MIB / 8)
        .flat_map(|_| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed.to_le_bytes()
        })
        .collect();
    write(3 * MIB, &noise);
    let lines: String = (0..30_000).map(|number| format!("line {number:10}\n")).collect();
    write(6 * MIB + 300, lines.as_bytes());
    write(DISK - 700, &noise[..700]);
    path
}

/// An image of that disk, made with these arguments.
fn image(environment: &Environment, arguments: &[&str]) -> PathBuf {
    let (raw, path) = (raw(environment), environment.directory.path().join("disk.qcow2"));
    let form = ["convert", "-f", "raw", "-O", "qcow2"];
    run("qemu-img", &[&form, arguments, &[text(&raw), text(&path)]].concat());
    path
}

/// What `qemu-img` takes the disk in an image for.
fn converted(image: &Path) -> Vec<u8> {
    let path = image.with_extension("converted");
    run("qemu-img", &["convert", "-f", "qcow2", "-O", "raw", text(image), text(&path)]);
    fs::read(path).expect("a disk")
}

fn digest(content: &[u8]) -> Digest {
    Digest::parse(&hex::encode(Sha256::digest(content))).expect("a digest")
}

fn images(pool: &Pool) -> usize {
    fs::read_dir(pool.root().join("images")).expect("images").count()
}

fn import(pool: &Pool, source: &Path, digest: Option<Digest>) -> Result<TemplateRecord> {
    pool.import_template(&ImportSpec::new(source, "disk").digest(digest), &mut |_| ())
}

fn content(pool: &Pool, record: &TemplateRecord) -> PathBuf {
    pool.root().join("images").join(record.digest.as_str()).join("image")
}

/// Imports an image and compares its disk with what `qemu-img` makes of it, and the space that it takes up.
fn becomes_its_disk(environment: &Environment, image: &Path, most_held: u64, context: &str) {
    let pool = environment.pool();
    let record =
        import(&pool, image, None).unwrap_or_else(|error| panic!("{context}: {}", error.report()));
    let (made, expected) = (content(&pool, &record), converted(image));
    assert!(fs::read(&made).expect("content") == expected, "{context}: another content");
    assert_eq!((&record.digest, record.size), (&digest(&expected), expected.len() as u64));
    let held = made.metadata().expect("content").blocks() * 512;
    assert!(held <= most_held, "{context}: holes are kept: {held}");
}

/// Imports what must be refused, and leaves nothing.
fn refused(image: &Path, environment: &Environment) -> Error {
    let pool = environment.pool();
    let before = images(&pool);
    let error = import(&pool, image, None).expect_err("a refusal");
    assert_eq!(images(&pool), before, "nothing is left");
    error
}

/// Checks that an image is refused in these words.
fn refuses(image: &Path, environment: &Environment, words: &[&str]) {
    let error = refused(image, environment);
    let report = error.report();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{report}");
    for words in words {
        assert!(report.contains(words), "{words}: {report}");
    }
    assert!(!error.remedies().is_empty(), "{report}");
}
