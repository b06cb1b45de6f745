//! Templates of every kind of image, imported by a driver under its system call filter, and mounted by
//! the kernel.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use calf_test_kit::driver_process::{Driver, Usage};
use calf_test_kit::kernel;
use calf_test_kit::real_pool::{Random, Rig, run};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

fn main() -> ExitCode {
    kernel::main(vec![
        kernel::test("a_driver_imports_each_kind_of_image_and_the_kernel_mounts_it", each_kind),
        kernel::test("an_empty_file_system_grows_with_its_volume", empty),
    ])
}

/// How long all imports of a list may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Size of the file system, in MiB.
const SIZE: u32 = 32;

/// Where the partition begins, in MiB.
const START: u32 = 1;

fn each_kind() {
    let rig = Rig::new(kernel::Fs::Xfs);
    let mut content = vec![0; 3 << 20];
    Random(18).fill(&mut content);
    let images = images(&rig, &content);
    let work = kernel::work_dir();
    let driver = Driver::start(rig.pool.root(), &work, &["--templates", &list(&work, &images)]);
    let client = driver.client();
    await_templates(&rig, &driver, images.len());
    for name in images.keys() {
        let usage = Usage::new(name, &rig.path(""), false);
        client.create(name, name).unwrap_or_else(|status| panic!("create {name}: {status:?}"));
        client.stage(&usage).unwrap_or_else(|status| panic!("stage {name}: {status:?}"));
        client.publish(&usage).unwrap_or_else(|status| panic!("publish {name}: {status:?}"));
        let found = fs::read(usage.target.join("content")).expect("a file of the image");
        assert!(found == content, "the content of {name} differs");
        let below = usage.target.join("below");
        assert!(!below.exists(), "{name} has a file that the upper layer removes");
        client.end(&usage).unwrap_or_else(|status| panic!("end {name}: {status:?}"));
    }
    let log = driver.log();
    assert!(driver.stop().success(), "{log}");
}

/// An empty file system of 128 MiB becomes one of 5 GiB while it is in use.
fn empty() {
    const SIZE: u64 = 5 << 30;
    let rig = Rig::new(kernel::Fs::Xfs);
    let work = kernel::work_dir();
    let wanted = json!({"name": "scratch", "empty": "ext4", "size": "128Mi"});
    let driver = Driver::start(rig.pool.root(), &work, &["--templates", &write(&work, &[wanted])]);
    await_templates(&rig, &driver, 1);
    let client = driver.client();
    let usage = Usage::new("volume", &rig.path(""), false);
    client.create("volume", "scratch").expect("create");
    client.stage(&usage).expect("stage");
    client.publish(&usage).expect("publish");
    let fill = |from: u32| {
        for number in from..from + 100 {
            let path = usage.target.join(number.to_string());
            fs::write(path, number.to_le_bytes().repeat(20_000)).expect("a file");
        }
    };
    fill(0);
    client.expand(&usage, SIZE).expect("expand");
    let space = rustix::fs::statvfs(&usage.target).expect("statvfs");
    let size = space.f_blocks * space.f_frsize;
    assert!(size > SIZE / 100 * 97, "it has {size} bytes");
    assert!(space.f_files > SIZE / 16384 / 100 * 97, "it has {} inodes", space.f_files);
    fill(100);
    client.unpublish(&usage).expect("unpublish");
    client.unstage(&usage).expect("unstage");
    drop(rig.activate("volume"));
    run("e2fsck", &["-fn"], &[&rig.node("volume")]);
    client.stage(&usage).expect("stage again");
    client.publish(&usage).expect("publish again");
    for number in 0..200_u32 {
        let found = fs::read(usage.target.join(number.to_string())).expect("a file");
        assert!(found == number.to_le_bytes().repeat(20_000), "file {number} differs");
    }
    client.end(&usage).expect("end");
    let log = driver.log();
    assert!(driver.stop().success(), "{log}");
}

/// The same files in images of different kinds, by the names of their templates: each with its path, and
/// with what else its entry in the list says.
fn images(rig: &Rig, content: &[u8]) -> BTreeMap<&'static str, (PathBuf, Value)> {
    let tree = rig.path("tree");
    fs::create_dir_all(&tree).expect("a directory");
    fs::write(tree.join("content"), content).expect("a file");
    let raw = rig.path("raw.img");
    let size = format!("{SIZE}M");
    run("mkfs.ext4", &["-q", "-b", "4096", "-d", text(&tree), text(&raw), &size], &[]);

    let disk = rig.path("disk.img");
    let (whole, seek) = (format!("{}M", SIZE + 2 * START), format!("seek={START}"));
    run("truncate", &["--size", &whole], &[&disk]);
    let (start, end) = (START * 2048, (START + SIZE) * 2048 - 1);
    run("sgdisk", &["--new", &format!("1:{start}:{end}"), "--change-name=1:system"], &[&disk]);
    let from = [format!("if={}", raw.display()), format!("of={}", disk.display())];
    run("dd", &[&from[0], &from[1], "bs=1M", &seek, "conv=notrunc", "status=none"], &[]);

    run("zstd", &["-q", "-k"], &[&raw]);
    run("gzip", &["-k"], &[&disk]);
    let (cluster, packed) = (rig.path("raw.qcow2"), rig.path("disk.qcow2"));
    run("qemu-img", &["convert", "-O", "qcow2"], &[&raw, &cluster]);
    run("qemu-img", &["convert", "-c", "-O", "qcow2"], &[&disk, &packed]);

    let archive = rig.path("rootfs.tar");
    run("tar", &["-C", text(&tree), "-cf", text(&archive), "."], &[]);
    run("zstd", &["-q", "-k"], &[&archive]);
    let rootfs = json!({"format": "rootfs", "size": "64Mi"});
    let saved = saved(rig, &archive);
    let partition = |wanted: &str| json!({ "partition": wanted });
    BTreeMap::from([
        ("raw", (raw, json!({}))),
        ("zstd", (rig.path("raw.img.zst"), json!({}))),
        ("partition", (disk, partition("1"))),
        ("gzip-partition", (rig.path("disk.img.gz"), partition("root"))),
        ("qcow2", (cluster, json!({}))),
        ("qcow2-partition", (packed, partition("system"))),
        ("directory", (tree, rootfs.clone())),
        ("archive", (rig.path("rootfs.tar.zst"), rootfs)),
        ("container", (saved, json!({}))),
    ])
}

/// A container image as `docker save` writes it. Its upper layer has the files, and removes one of the
/// lower layer.
fn saved(rig: &Rig, files: &Path) -> PathBuf {
    let directory = rig.path("saved");
    let make = |name: &str| fs::create_dir_all(directory.join(name)).expect("a directory");
    make("lower");
    make("upper");
    fs::write(directory.join("lower/below"), "removed").expect("a file");
    fs::write(directory.join("upper/.wh.below"), "").expect("a whiteout");
    let tar = |from: &str, to: &str| {
        let (from, to) = (directory.join(from), directory.join(to));
        run("tar", &["-C", text(&from), "-cf", text(&to), "."], &[]);
    };
    tar("lower", "lower.tar");
    tar("upper", "upper.tar");
    fs::copy(files, directory.join("files.tar")).expect("a copy");
    let layers = ["lower.tar", "files.tar", "upper.tar"];
    let digests: Vec<String> = layers
        .iter()
        .map(|layer| Sha256::digest(fs::read(directory.join(layer)).expect("a layer")))
        .map(|digest| format!("sha256:{}", hex::encode(digest)))
        .collect();
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let config = json!({"os": "linux", "architecture": architecture,
                        "rootfs": {"type": "layers", "diff_ids": digests}});
    let manifest = json!([{"Config": "config.json", "RepoTags": ["app:1"], "Layers": layers}]);
    fs::write(directory.join("config.json"), config.to_string()).expect("a configuration");
    fs::write(directory.join("manifest.json"), manifest.to_string()).expect("a manifest");
    let archive = rig.path("saved.tar");
    let members = ["manifest.json", "config.json", layers[0], layers[1], layers[2]];
    let arguments = [&["-C", text(&directory), "-cf", text(&archive)], &members[..]].concat();
    run("tar", &arguments, &[]);
    archive
}

/// Writes a list of these images, and returns its path.
fn list(work: &Path, images: &BTreeMap<&str, (PathBuf, Value)>) -> String {
    let templates: Vec<_> = images
        .iter()
        .map(|(name, (source, more))| {
            let mut template = more.clone();
            template["name"] = (*name).into();
            template["source"] = text(source).into();
            template
        })
        .collect();
    write(work, &templates)
}

/// Writes a list of templates, and returns its path.
fn write(work: &Path, templates: &[Value]) -> String {
    let path = work.join("templates.json");
    let list = json!({ "templates": templates });
    fs::write(&path, list.to_string()).expect("a list");
    text(&path).to_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn await_templates(rig: &Rig, driver: &Driver, count: usize) {
    let deadline = Instant::now() + PATIENCE;
    while rig.pool.templates().expect("the templates").len() < count {
        assert!(Instant::now() < deadline, "not all {count} templates:\n{}", driver.log());
        thread::sleep(Duration::from_millis(50));
    }
}
