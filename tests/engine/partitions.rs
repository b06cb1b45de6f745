//! Templates of one partition of a disk, whose table the usual programs made.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use calf::{Digest, Error, ErrorKind, ImageUrl, ImportSpec, Pool, Result, TemplateRecord};
use calf_test_kit::http_server::{HttpServer, Reply};
use calf_test_kit::simulated_pool::{Environment, ext4_image};
use sha2::{Digest as _, Sha256};

const MIB: u64 = 1 << 20;
/// Size of every disk.
const DISK: u64 = 16 * MIB;

/// Runs a program with this text as its standard input; returns what it prints.
fn run(program: &str, arguments: &[&str], input: &str) -> String {
    let mut child = Command::new(program)
        .args(arguments)
        .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{program}: {e} (tests/deps.sh test installs it)"));
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("input");
    let output = child.wait_with_output().expect("a program");
    assert!(output.status.success(), "{program}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// An empty disk.
fn empty(environment: &Environment) -> PathBuf {
    let path = environment.directory.path().join("disk");
    File::create(&path).and_then(|file| file.set_len(DISK)).expect("a disk");
    path
}

/// A disk as cloud images are: boot loader, EFI and root, numbered out of order. The root file system is
/// the kit's image, and fills its partition.
fn cloud_disk(environment: &Environment) -> PathBuf {
    let path = empty(environment);
    let disk = path.to_str().expect("a path");
    run(
        "sgdisk",
        &[
            "--new=14:2048:+1M",
            "--typecode=14:ef02",
            "--new=15:0:+4M",
            "--typecode=15:ef00",
            "--change-name=15:EFI",
            "--new=1:0:+1M",
            "--typecode=1:8304",
            "--change-name=1:cloudimg-rootfs",
            disk,
        ],
        "",
    );
    let shown = run("sgdisk", &["--info=1", disk], "");
    let first =
        shown.lines().find_map(|line| line.strip_prefix("First sector: ")).expect("a start");
    let first: u64 = first.split(' ').next().expect("a number").parse().expect("a number");
    write(&path, first * 512, &ext4_image(0xca));
    path
}

fn write(path: &Path, at: u64, bytes: &[u8]) {
    let file = File::options().write(true).open(path).expect("a disk");
    file.write_all_at(bytes, at).expect("written");
}

fn digest(content: &[u8]) -> Digest {
    Digest::parse(&hex::encode(Sha256::digest(content))).expect("a digest")
}

fn images(pool: &Pool) -> usize {
    fs::read_dir(pool.root().join("images")).expect("images").count()
}

fn spec(source: &Path, partition: &str) -> ImportSpec {
    let partition: calf::Partition = partition.parse().expect("a partition");
    ImportSpec::new(source, "part").partition(partition)
}

fn import(pool: &Pool, spec: &ImportSpec) -> Result<TemplateRecord> {
    pool.import_template(spec, &mut |_| ())
}

fn refused(pool: &Pool, spec: &ImportSpec) -> Error {
    let before = images(pool);
    let error = import(pool, spec).expect_err("a refusal");
    assert_eq!(images(pool), before, "nothing is left");
    error
}

#[test]
fn the_root_of_a_gpt_disk_is_found_by_type_number_and_label() {
    for wanted in ["root", "1", "cloudimg-rootfs"] {
        let environment = Environment::new();
        let pool = environment.pool();
        let record = import(&pool, &spec(&cloud_disk(&environment), wanted))
            .unwrap_or_else(|error| panic!("{wanted}: {}", error.report()));
        assert_eq!(record.digest, digest(&ext4_image(0xca)), "{wanted}");
        assert_eq!((record.size, record.fs_type.as_deref()), (MIB, Some("ext4")), "{wanted}");
        assert!(record.source.ends_with(&format!("disk, partition {wanted}")), "{}", record.source);
    }
}

#[test]
fn a_digest_may_be_that_of_the_disk_or_of_the_partition() {
    let environment = Environment::new();
    let pool = environment.pool();
    let disk = cloud_disk(&environment);
    let whole = digest(&fs::read(&disk).expect("a disk"));
    // The whole disk is a template as well, and is not taken for its partition.
    let all = ImportSpec::new(disk.as_path(), "all").digest(whole.clone());
    assert_eq!(import(&pool, &all).expect("the disk").digest, whole);
    for given in [whole.clone(), digest(&ext4_image(0xca))] {
        let record = import(&pool, &spec(&disk, "root").digest(given)).expect("an import");
        assert_eq!(record.digest, digest(&ext4_image(0xca)));
    }
    assert_eq!(import(&pool, &all).expect("the disk").digest, whole);
    let error = refused(&pool, &spec(&disk, "root").digest(digest(b"other")));
    assert!(error.report().contains("was expected"), "{}", error.report());
    // What was made of the disk is known by it.
    fs::remove_file(&disk).expect("removed");
    import(&pool, &spec(&disk, "root").digest(whole.clone())).expect("known");
    let error = refused(&pool, &spec(&disk, "15").digest(whole));
    assert_eq!(error.kind(), ErrorKind::NotFound, "{}", error.report());
}

#[test]
fn a_compressed_disk_and_a_url_have_partitions_too() {
    let environment = Environment::new();
    let pool = environment.pool();
    let disk = cloud_disk(&environment);
    let raw = fs::read(&disk).expect("a disk");
    run("zstd", &["-q", "-f", disk.to_str().expect("a path")], "");
    let packed = fs::read(disk.with_extension("zst")).expect("a file");
    for served in [packed, raw] {
        let given = digest(&served);
        let web = HttpServer::start(move |_, request| Reply::range(&served, request));
        let url = ImageUrl::parse(&web.url("/disk")).expect("a URL");
        let spec = ImportSpec::new(url, "part").digest(given).partition(calf::Partition::Root);
        let record = import(&pool, &spec).expect("an import");
        assert_eq!(record.digest, digest(&ext4_image(0xca)));
    }
}

#[test]
fn the_root_of_an_mbr_disk_is_its_linux_partition() {
    let environment = Environment::new();
    let pool = environment.pool();
    let disk = empty(&environment);
    let table = "label: dos\nstart=2048, size=2048, type=ef\nstart=4096, size=2048, type=83\n\
                 start=8192, size=8192, type=5\nstart=10240, size=2048, type=83\n";
    run("sfdisk", &["-q", disk.to_str().expect("a path")], table);
    write(&disk, 4096 * 512, &ext4_image(0xca));
    for wanted in ["root", "2"] {
        let record = import(&pool, &spec(&disk, wanted)).expect("an import");
        assert_eq!(record.digest, digest(&ext4_image(0xca)), "{wanted}");
    }
    let error = refused(&pool, &spec(&disk, "5"));
    assert!(error.report().contains("no partition of it is `5`"), "{}", error.report());
}

#[test]
fn what_does_not_name_one_partition_is_refused_with_what_there_is() {
    let environment = Environment::new();
    let pool = environment.pool();
    let disk = cloud_disk(&environment);
    let error = refused(&pool, &spec(&disk, "data"));
    for words in ["\"cloudimg-rootfs\", Linux root, 1 MiB", "15 (\"EFI\"", "--partition NUMBER"] {
        assert!(error.report().contains(words), "{words}: {}", error.report());
    }
    run("sgdisk", &["--new=2:0:+1M", "--typecode=2:8304", disk.to_str().expect("a path")], "");
    let error = refused(&pool, &spec(&disk, "root"));
    assert!(error.report().contains("several partitions"), "{}", error.report());
    // A byte of an entry: its checksum does not fit any more.
    write(&disk, 1024 + 60, b"X");
    let error = refused(&pool, &spec(&disk, "1"));
    assert!(error.report().contains("is damaged"), "{}", error.report());
    let plain = environment.directory.path().join("plain");
    fs::write(&plain, ext4_image(1)).expect("an image");
    let error = refused(&pool, &spec(&plain, "root"));
    assert!(error.report().contains("no partition table"), "{}", error.report());
    assert!(error.report().contains("leave out --partition"), "{}", error.report());
}

#[test]
fn a_disk_that_ends_before_its_partition_is_refused() {
    let environment = Environment::new();
    let pool = environment.pool();
    let disk = cloud_disk(&environment);
    File::options().write(true).open(&disk).and_then(|f| f.set_len(6 * MIB)).expect("cut");
    let error = refused(&pool, &spec(&disk, "root"));
    assert!(error.report().contains("cut short"), "{}", error.report());
    // Where only the end of the stream tells.
    run("zstd", &["-q", disk.to_str().expect("a path")], "");
    let error = refused(&pool, &spec(&disk.with_extension("zst"), "root"));
    assert!(error.report().contains("cut short"), "{}", error.report());
}
