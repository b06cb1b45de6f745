//! Empty file systems: of the form that is made of files, in order, and the same everywhere.

#![allow(clippy::unwrap_used, reason = "it is for tests only")]

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use calf::{
    Cancel, Digest, EmptyFileSystem, ErrorKind, ImportFormat, ImportSpec, Pool, TemplateRecord,
};
use calf_test_kit::simulated_pool::Environment;

use calf_test_kit::programs::{run, text};

const MIB: u64 = 1 << 20;
/// The SHA-256 of an empty ext4 of 64 MiB, on every machine. With another one, nodes of two versions of calf
/// have different content under one name: the changelog must say so.
const OF_64_MIB: &str = "d4f9a9ba7cba875a58773e12dbb2c2adf281d33ffc5ad0b27287c19a73d3be1a";

fn spec(size: u64) -> ImportSpec {
    ImportSpec::new(EmptyFileSystem::Ext4, "scratch").size(size)
}

fn make(pool: &Pool, spec: &ImportSpec) -> TemplateRecord {
    pool.import_template(spec, &mut |_| ()).expect("a template")
}

fn content(pool: &Pool, record: &TemplateRecord) -> PathBuf {
    pool.root().join("images").join(record.digest.as_str()).join("image")
}

/// How many directories of images and imports there are.
fn images(pool: &Pool) -> usize {
    fs::read_dir(pool.root().join("images")).unwrap().count()
}

/// Lines of the superblock that tell the form of a file system.
fn form(image: &Path) -> Vec<String> {
    let shown = String::from_utf8(run("dumpe2fs", &["-h", text(image)])).expect("UTF-8");
    let names = ["Filesystem features", "Block size", "Inode size", "Block count", "Inode count"];
    let names =
        [&names[..], &["Reserved block count", "Journal size", "Total journal size"]].concat();
    let is_of_form = |line: &&str| names.iter().any(|name| line.starts_with(name));
    shown.lines().filter(is_of_form).map(str::to_owned).collect()
}

#[test]
fn an_empty_file_system_is_in_order_and_the_same_everywhere() {
    let environments = [Environment::new(), Environment::new()];
    let pools = environments.each_ref().map(Environment::pool);
    for size in [16, 64, 1024] {
        let records = pools.each_ref().map(|pool| make(pool, &spec(size * MIB)));
        let [record, elsewhere] = &records;
        assert_eq!(record.digest, elsewhere.digest, "{size} MiB");
        assert_eq!((record.size, record.fs_type.as_deref()), (size * MIB, Some("ext4")));
        assert_eq!(record.source, "empty ext4");
        let image = content(&pools[0], record);
        run("e2fsck", &["-fn", text(&image)]);
        let listed = String::from_utf8(run("debugfs", &["-R", "ls -p /", text(&image)])).unwrap();
        let names = listed.lines().filter_map(|line| line.split('/').nth(5));
        let names: Vec<&str> = names.filter(|name| !name.is_empty()).collect();
        assert_eq!(names, [".", "..", "lost+found"], "{size} MiB");
        let allocated = image.metadata().unwrap().blocks() * 512;
        assert!(allocated < MIB, "{size} MiB take up {allocated} bytes");
        if size == 64 {
            assert_eq!(record.digest.as_str(), OF_64_MIB);
        }
    }
}

#[test]
fn its_form_is_that_of_a_file_system_made_of_files() {
    let environment = Environment::new();
    let pool = environment.pool();
    let empty = make(&pool, &spec(64 * MIB));
    let directory = tempfile::tempdir().unwrap();
    let files = ImportSpec::new(directory.path(), "files").format(ImportFormat::RootFs);
    let files = make(&pool, &files.size(64 * MIB));
    let form_of_empty = form(&content(&pool, &empty));
    assert!(form_of_empty.len() >= 7, "{form_of_empty:?}");
    assert_eq!(form_of_empty, form(&content(&pool, &files)));
}

#[test]
fn it_is_made_once_and_made_again_if_it_was_removed() {
    let environment = Environment::new();
    let pool = environment.pool();
    let before = images(&pool);
    let record = make(&pool, &spec(64 * MIB));
    let made = content(&pool, &record).metadata().unwrap().ino();
    let mut told = Vec::new();
    let same = ImportSpec::new(EmptyFileSystem::Ext4, "other").size(64 * MIB);
    let same = pool.import_template(&same, &mut |progress| told.push(progress.done)).unwrap();
    assert_eq!((&same.digest, told), (&record.digest, vec![64 * MIB]));
    assert_eq!(content(&pool, &same).metadata().unwrap().ino(), made);
    // The name moves to another size, and the digest of the first one still finds it.
    let large = make(&pool, &spec(128 * MIB));
    assert_ne!(large.digest, record.digest);
    let pinned = spec(64 * MIB).digest(record.digest.clone());
    assert_eq!(make(&pool, &pinned).digest, record.digest);
    for name in ["scratch", "other"] {
        pool.template(name).unwrap().remove().unwrap();
    }
    assert_eq!(images(&pool), before);
    assert_eq!(make(&pool, &spec(64 * MIB)).digest, record.digest);
}

#[test]
fn what_has_no_meaning_for_it_is_refused() {
    let environment = Environment::new();
    let pool = environment.pool();
    let (good, before) = (spec(64 * MIB), images(&pool));
    let other = Digest::parse(&"0".repeat(64)).unwrap();
    let partition = "root".parse::<calf::Partition>().unwrap();
    let platform = "linux/amd64".parse::<calf::Platform>().unwrap();
    let invalid = ErrorKind::InvalidArgument;
    for (spec, kind, words) in [
        (good.clone().size(None), invalid, "size is not given"),
        (good.clone().size(MIB), ErrorKind::OutOfRange, "16 MiB"),
        (good.clone().size(64 * MIB + 512), ErrorKind::OutOfRange, "multiple"),
        (good.clone().size(16 << 40), ErrorKind::OutOfRange, "15 TiB"),
        (good.clone().size(u64::MAX), ErrorKind::OutOfRange, "15 TiB"),
        (good.clone().partition(partition), invalid, "partition"),
        (good.clone().platform(platform), invalid, "platform"),
        (good.clone().format(ImportFormat::Oci), invalid, "format"),
        (good.clone().layer("/nowhere"), invalid, "not empty"),
        (good.clone().init(PathBuf::from("/nowhere")), invalid, "not empty"),
        (good.clone().digest(other), invalid, "was expected"),
        (good.cancel(Cancel::when(|| true)), ErrorKind::Cancelled, "again"),
    ] {
        let error = pool.import_template(&spec, &mut |_| ()).unwrap_err();
        let said = error.report();
        assert!(error.kind() == kind && said.contains(words), "{words}: {said}");
        assert!(!error.remedies().is_empty(), "{said}");
        assert_eq!(images(&pool), before, "{said}");
    }
}
