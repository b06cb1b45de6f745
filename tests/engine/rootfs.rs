//! Root file systems: archives that the usual programs made, and directories, become an ext4 that the
//! usual programs find in order.

#![allow(clippy::unwrap_used, reason = "it is for tests only")]

use std::fs;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use calf::{
    Cancel, Digest, ErrorKind, ImageUrl, ImportFormat, ImportSpec, Pool, Result, TemplateRecord,
};
use calf_test_kit::http_server::{HttpServer, Reply};
use calf_test_kit::simulated_pool::Environment;
use sha2::{Digest as _, Sha256};

use calf_test_kit::programs::{run, text};

const MIB: u64 = 1 << 20;

fn tar(directory: &Path, to: &Path, options: &[&str]) {
    run("tar", &[&["-C", text(directory), "-cf", text(to)], options, &["."]].concat());
}

/// Files of all kinds that need no privilege to make.
fn root() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path();
    for name in ["etc", "usr/bin", "usr/lib", "var/empty", "lost+found"] {
        fs::create_dir_all(root.join(name)).unwrap();
    }
    symlink("usr/bin", root.join("bin")).unwrap();
    symlink("/".to_owned() + &"x/".repeat(60), root.join("etc/long")).unwrap();
    fs::write(root.join("etc/hostname"), "calf\n").unwrap();
    fs::write(root.join("etc/Übung"), "").unwrap();
    let content: Vec<u8> = (0..3 * MIB + 17).map(|n| ((n * n) >> 7) as u8).collect();
    fs::write(root.join("usr/bin/program"), content).unwrap();
    fs::set_permissions(root.join("usr/bin/program"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::hard_link(root.join("usr/bin/program"), root.join("usr/bin/alias")).unwrap();
    let sparse = fs::File::create(root.join("var/sparse")).unwrap();
    sparse.set_len(20 * MIB + 5).unwrap();
    sparse.write_all_at(b"middle", 10 * MIB + 3).unwrap();
    for number in 0..400 {
        fs::write(root.join(format!("usr/lib/{number:0>90}")), number.to_string()).unwrap();
    }
    rustix::fs::mkfifoat(rustix::fs::CWD, root.join("var/fifo"), 0o620.into()).unwrap();
    fs::set_permissions(root.join("var/fifo"), fs::Permissions::from_mode(0o620)).unwrap();
    directory
}

fn pool() -> (Environment, Pool) {
    let environment = Environment::new();
    let pool = environment.pool();
    (environment, pool)
}

fn import(pool: &Pool, source: &Path) -> Result<TemplateRecord> {
    pool.import_template(&ImportSpec::new(source, "base"), &mut |_| ())
}

fn content(pool: &Pool, record: &TemplateRecord) -> PathBuf {
    pool.root().join("images").join(record.digest.as_str()).join("image")
}

/// No remains of an import: a directory for each image, and nothing else.
fn check_tidy(pool: &Pool) {
    for entry in fs::read_dir(pool.root().join("images")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(!name.starts_with('.'), "{name}");
    }
}

fn check_file_system(image: &Path) {
    run("e2fsck", &["-fn", text(image)]);
}

fn unpack(image: &Path) -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    run("debugfs", &["-R", &format!("rdump / {}", text(directory.path())), text(image)]);
    directory
}

fn check_same(found: &Path, expected: &Path) {
    let (found, expected) = (listing(found), listing(expected));
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found, expected);
    }
    assert_eq!(found.len(), expected.len());
}

/// Paths, kinds, times, sizes and content. `debugfs` does not restore everything: it leaves out set-id bits.
fn listing(root: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut left = vec![root.to_owned()];
    while let Some(path) = left.pop() {
        let found = path.symlink_metadata().unwrap();
        let name = path.strip_prefix(root).unwrap().display().to_string();
        let what = if found.is_dir() {
            let below = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path());
            left.extend(below);
            String::new()
        } else if found.is_symlink() {
            format!("-> {}", fs::read_link(&path).unwrap().display())
        } else if found.is_file() {
            let content = fs::read(&path).unwrap();
            format!("{} {}", content.len(), hex::encode(Sha256::digest(&content)))
        } else {
            // `debugfs` does not make these.
            continue;
        };
        if !name.is_empty() && name != "lost+found" {
            let mode = if found.is_file() || found.is_dir() { found.mode() & 0o170_777 } else { 0 };
            let mtime = if found.is_symlink() || !found.is_file() { 0 } else { found.mtime() };
            lines.push(format!("{name} {mode:o} {mtime} {what}"));
        }
    }
    lines.sort();
    lines
}

fn debugfs(image: &Path, request: &str) -> String {
    String::from_utf8(run("debugfs", &["-R", request, text(image)])).unwrap()
}

#[test]
fn an_archive_and_a_directory_of_the_same_files_become_the_same_template() {
    let root = root();
    let archives = tempfile::tempdir().unwrap();
    let at = |name: &str| archives.path().join(name);
    tar(root.path(), &at("a.tar"), &["--format=pax", "-S"]);
    tar(root.path(), &at("sorted.tar"), &["--format=pax", "-S", "--sort=name"]);
    tar(root.path(), &at("a.tar.gz"), &["--format=pax", "-S", "-z"]);
    tar(root.path(), &at("a.tar.zst"), &["--format=pax", "-S", "--zstd"]);
    tar(root.path(), &at("a.tar.xz"), &["--format=pax", "-S", "-J"]);
    tar(root.path(), &at("a.tar.bz2"), &["--format=pax", "-S", "-j"]);
    let (_environment, pool) = pool();
    let record = import(&pool, &at("a.tar")).unwrap();
    assert_eq!(record.fs_type.as_deref(), Some("ext4"));
    assert_eq!(record.fs_block_size, Some(4096));
    let image = content(&pool, &record);
    check_file_system(&image);
    let unpacked = unpack(&image);
    check_same(unpacked.path(), root.path());
    assert!(image.metadata().unwrap().blocks() * 512 < 12 * MIB, "holes stay holes");
    let inode =
        |path: &str| debugfs(&image, &format!("stat {path}")).lines().next().unwrap().to_owned();
    assert_eq!(inode("/usr/bin/alias"), inode("/usr/bin/program"));
    for (path, mode) in [("/usr/bin/program", "04755"), ("/var/fifo", "0620")] {
        let shown = debugfs(&image, &format!("stat {path}"));
        let shown = shown.split("Mode:").nth(1).unwrap_or_default().split_whitespace().next();
        assert_eq!(shown, Some(mode), "{path}");
    }
    assert!(inode("/var/fifo").contains("FIFO"), "{}", inode("/var/fifo"));
    for source in ["sorted.tar", "a.tar.gz", "a.tar.zst", "a.tar.xz", "a.tar.bz2"] {
        let same = import(&pool, &at(source)).unwrap();
        assert_eq!(same.digest, record.digest, "{source}");
    }
    let same = import(&pool, root.path()).unwrap();
    assert_eq!(same.digest, record.digest, "the directory");
    check_tidy(&pool);
    // The digest of the archive is one to ask for, as publishers give it.
    let digest =
        Digest::parse(&hex::encode(Sha256::digest(fs::read(at("a.tar.gz")).unwrap()))).unwrap();
    let spec = ImportSpec::new(at("a.tar.gz"), "other").digest(digest.clone());
    assert_eq!(pool.import_template(&spec, &mut |_| ()).unwrap().digest, record.digest);
    fs::write(at("a.tar.gz"), "gone").unwrap();
    pool.import_template(&spec, &mut |_| ()).unwrap();
    // With another size, it is another template.
    let spec = ImportSpec::new(at("a.tar"), "large").size(4096 * MIB);
    let large = pool.import_template(&spec, &mut |_| ()).unwrap();
    assert_eq!(large.size, 4096 * MIB);
    check_file_system(&content(&pool, &large));
}

#[test]
fn only_a_source_with_a_digest_of_its_own_has_one() {
    let root = root();
    let archives = tempfile::tempdir().unwrap();
    let archive = archives.path().join("a.tar");
    tar(root.path(), &archive, &["--format=pax"]);
    let of_archive = hex::encode(Sha256::digest(fs::read(&archive).unwrap()));
    for (source, expected) in [(root.path(), None), (&archive, Some(of_archive.as_str()))] {
        let (_environment, pool) = pool();
        import(&pool, source).unwrap();
        let status = pool.template("base").unwrap().status().unwrap();
        assert_eq!(status.source_digest.as_ref().map(Digest::as_str), expected);
    }
}

#[test]
fn an_archive_from_a_server_is_kept_until_it_is_read_twice() {
    let root = root();
    let archives = tempfile::tempdir().unwrap();
    let (_environment, pool) = pool();
    let mut digests = Vec::new();
    for (name, option) in [("a.tar", "-S"), ("a.tar.bz2", "-Sj")] {
        let path = archives.path().join(name);
        tar(root.path(), &path, &["--format=pax", option]);
        let body = fs::read(&path).unwrap();
        let digest = Digest::parse(&hex::encode(Sha256::digest(&body))).unwrap();
        let server = HttpServer::start(move |_, _| Reply::body(&body));
        let url = ImageUrl::parse(&server.url("/a")).unwrap();
        let spec = ImportSpec::new(url, "base").digest(digest);
        digests.push(pool.import_template(&spec, &mut |_| ()).unwrap().digest);
        check_tidy(&pool);
    }
    assert_eq!(digests[0], import(&pool, root.path()).unwrap().digest);
    assert_eq!(digests[0], digests[1]);
    let image = pool.root().join("images").join(digests[0].as_str());
    let mut names: Vec<_> = fs::read_dir(image).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["image", "import.json"]);
}

fn refused(pool: &Pool, spec: &ImportSpec, kind: ErrorKind, words: &str) {
    let error = pool.import_template(spec, &mut |_| ()).unwrap_err();
    let said = error.report();
    assert!(error.kind() == kind && said.contains(words), "{words}: {said}");
    assert!(!error.remedies().is_empty(), "{said}");
    check_tidy(pool);
}

#[test]
fn nothing_is_guessed_silently() {
    let (_environment, pool) = pool();
    let directory = tempfile::tempdir().unwrap();
    let disk = directory.path().join("files");
    fs::create_dir(&disk).unwrap();
    fs::write(disk.join("disk.raw"), [7; 4096]).unwrap();
    let archive = directory.path().join("disk.tar.gz");
    tar(&disk, &archive, &["-z"]);
    for source in [&archive, &disk] {
        let spec = ImportSpec::new(source.as_path(), "a");
        refused(&pool, &spec, ErrorKind::InvalidArgument, "--format rootfs");
        let record = pool.import_template(&spec.format(ImportFormat::RootFs), &mut |_| ()).unwrap();
        assert_eq!(debugfs(&content(&pool, &record), "cat /disk.raw").as_bytes(), [7; 4096]);
    }
    let raw = directory.path().join("raw");
    fs::write(&raw, [7; 4096]).unwrap();
    let spec = ImportSpec::new(raw.as_path(), "a");
    refused(
        &pool,
        &spec.clone().format(ImportFormat::RootFs),
        ErrorKind::InvalidArgument,
        "damaged",
    );
    let spec = ImportSpec::new(archive.as_path(), "a").format(ImportFormat::RootFs);
    for (size, words) in [(4096 * 4096 + 1, "multiple"), (MIB, "16 MiB"), (16 << 40, "15 TiB")] {
        refused(&pool, &spec.clone().size(size), ErrorKind::OutOfRange, words);
    }
    let partition = "root".parse::<calf::Partition>().unwrap();
    refused(&pool, &spec.clone().partition(partition), ErrorKind::InvalidArgument, "--partition");
    let cancelled = spec.clone().cancel(Cancel::when(|| true));
    refused(&pool, &cancelled, ErrorKind::Cancelled, "again");
    let other = Digest::parse(&"0".repeat(64)).unwrap();
    for source in [archive.as_path(), &disk] {
        let spec = ImportSpec::new(source, "b").format(ImportFormat::RootFs).digest(other.clone());
        refused(&pool, &spec, ErrorKind::InvalidArgument, "was expected");
    }
}

#[test]
fn files_that_do_not_fit_are_refused_with_a_size_that_does() {
    let (_environment, pool) = pool();
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("etc")).unwrap();
    let content: Vec<u8> = (0..40 * MIB).map(|n| (n >> 3) as u8 | 1).collect();
    fs::write(root.path().join("etc/large"), content).unwrap();
    let spec = ImportSpec::new(root.path(), "a");
    refused(&pool, &spec.clone().size(32 * MIB), ErrorKind::OutOfRange, "--size");
    let record = pool.import_template(&spec, &mut |_| ()).unwrap();
    assert!((296 * MIB..420 * MIB).contains(&record.size), "{}", record.size);
    check_file_system(&self::content(&pool, &record));
    let record = pool.import_template(&spec.size(72 * MIB), &mut |_| ()).unwrap();
    check_file_system(&self::content(&pool, &record));
}

#[test]
fn an_archive_that_unpacks_to_very_much_is_refused() {
    let (_environment, pool) = pool();
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("etc")).unwrap();
    let large = fs::File::create(root.path().join("etc/large")).unwrap();
    // Bytes that compress and are not zeros.
    for part in 0..400 {
        large.write_all_at(&vec![1; MIB as usize], part * MIB).unwrap();
    }
    let archive = root.path().join("a.tar.zst");
    run("tar", &["-C", text(root.path()), "-I", "zstd -19", "-cf", text(&archive), "etc"]);
    refused(&pool, &ImportSpec::new(archive, "a"), ErrorKind::InvalidArgument, "unpack to");
}

#[test]
fn a_cut_or_damaged_archive_leaves_nothing() {
    let root = root();
    let (_environment, pool) = pool();
    for option in ["-S", "-Sz", "-SJ"] {
        let archive = root.path().join("../").join(format!("{option}.tar"));
        tar(root.path(), &archive, &["--format=pax", option]);
        let whole = fs::read(&archive).unwrap();
        fs::write(&archive, &whole[..whole.len() / 2]).unwrap();
        refused(
            &pool,
            &ImportSpec::new(archive.as_path(), "a"),
            ErrorKind::InvalidArgument,
            "cut short",
        );
        fs::remove_file(&archive).unwrap();
    }
}
