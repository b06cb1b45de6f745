//! Disk images in images of a registry: containerDisks, which have one in `/disk`, and artifacts of one file.

use std::fs::{self, File};
use std::path::PathBuf;

use calf::{ErrorKind, ImportSpec, Partition, TemplateRecord};
use calf_test_kit::simulated_pool::ext4_image;
use serde_json::{Value, json};
use tar::{Builder, Header};

use crate::oci::layout::{Layout, architecture, layer, packed};
use crate::oci::{MIB, pool, refused};
use calf_test_kit::programs::{hex_of, run, text};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const DISK: usize = 3 * MIB as usize;

/// A disk, raw.
fn raw() -> Vec<u8> {
    let mut disk = ext4_image(0xd1);
    let text: String = (0..40_000).map(|number| format!("line {number:10}\n")).collect();
    disk.extend(text.bytes());
    disk.resize(DISK, 0);
    disk
}

/// The same as qcow2.
fn qcow2(disk: &[u8]) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let (from, to) = (directory.path().join("raw"), directory.path().join("qcow2"));
    fs::write(&from, disk).unwrap();
    run("qemu-img", &["convert", "-f", "raw", "-O", "qcow2", "-c", text(&from), text(&to)]);
    fs::read(to).unwrap()
}

/// A disk of two partitions, of which the second holds `content`.
fn partitioned(content: &[u8]) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk");
    File::create(&path).unwrap().set_len(16 * MIB).unwrap();
    run(
        "sgdisk",
        &["-n", "1:2048:4095", "-n", "2:4096:+4M", "-t", "2:8304", "-c", "2:system", text(&path)],
    );
    let mut disk = fs::read(path).unwrap();
    disk[4096 * 512..][..content.len()].copy_from_slice(content);
    disk
}

/// A layer with these files.
fn files(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = Header::new_gnu();
        header.set_mode(0o440);
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, name, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

/// The manifest of an artifact with these files.
fn artifact(layout: &Layout, files: &[&[u8]]) -> Value {
    let config = layout.blob("application/vnd.oci.empty.v1+json", b"{}");
    let layers: Vec<Value> = files
        .iter()
        .map(|file| layout.blob("application/vnd.oci.image.layer.v1.tar", file))
        .collect();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "application/vnd.example.disk",
        "config": config, "layers": layers
    });
    layout.document(MANIFEST, &manifest)
}

fn layout_of_artifact(files: &[&[u8]]) -> Layout {
    let layout = Layout::new();
    let manifest = artifact(&layout, files);
    layout.index(&[manifest]);
    layout
}

fn content(pool: &calf::Pool, record: &TemplateRecord) -> Vec<u8> {
    let directory = pool.root().join("images").join(record.digest.as_str());
    let mut names: Vec<PathBuf> =
        fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.retain(|path| !path.ends_with("config.json"));
    names.sort();
    assert_eq!(names, [directory.join("image"), directory.join("import.json")]);
    fs::read(directory.join("image")).unwrap()
}

#[test]
fn the_disk_of_a_container_disk_is_the_template() {
    let disk = raw();
    let (as_qcow2, as_gzip) = (qcow2(&disk), packed("gzip", &disk));
    for (name, file) in [("raw", &disk), ("qcow2", &as_qcow2), ("gzip", &as_gzip)] {
        let (_environment, pool) = pool();
        // As `ADD`, `COPY`, and a later layer that replaces an earlier disk leave it.
        for layers in [
            vec![files(&[("disk/disk.img", file)])],
            vec![layer(&["disk/"]), files(&[("./disk/disk.img", file)])],
            vec![layer(&["disk/old=x"]), layer(&["disk/.wh.old="]), files(&[("disk/new", file)])],
        ] {
            let layout = Layout::of(&layers);
            let spec = ImportSpec::new(layout.path(), "vm");
            let record = pool.import_template(&spec, &mut |_| ()).unwrap();
            assert!(content(&pool, &record) == disk, "{name}");
        }
    }
}

#[test]
fn a_container_disk_comes_in_archives_as_well() {
    let disk = raw();
    let layout = Layout::old(&[files(&[("disk/disk.qcow2", &qcow2(&disk))])]);
    let (_environment, pool) = pool();
    let archive = layout.path().join("docker.tar");
    let from = format!("oci:{}:latest", text(layout.path()));
    run("skopeo", &["copy", "--quiet", &from, &format!("docker-archive:{}", text(&archive))]);
    let compressed = layout.path().join("docker.tar.zst");
    fs::write(&compressed, packed("zstd", &fs::read(&archive).unwrap())).unwrap();
    for source in [archive, compressed] {
        let source_digest = hex_of(&fs::read(&source).unwrap());
        let spec = ImportSpec::new(source.as_path(), "vm");
        let record = pool.import_template(&spec, &mut |_| ()).unwrap();
        assert!(content(&pool, &record) == disk);
        // By either digest, it is known.
        for digest in [source_digest.as_str(), record.digest.as_str()] {
            let known = spec.clone().digest(calf::Digest::parse(digest).unwrap());
            pool.import_template(&known, &mut |_| ()).unwrap();
        }
    }
}

#[test]
fn an_artifact_of_one_file_is_a_disk() {
    let disk = raw();
    for file in [disk.clone(), qcow2(&disk), packed("zstd", &disk), packed("xz", &qcow2(&disk))] {
        let (_environment, pool) = pool();
        let layout = layout_of_artifact(&[&file]);
        let record =
            pool.import_template(&ImportSpec::new(layout.path(), "vm"), &mut |_| ()).unwrap();
        assert!(content(&pool, &record) == disk);
    }
    // In an index, for one platform of two.
    let layout = Layout::new();
    let mut ours = artifact(&layout, &[&disk]);
    ours["platform"] = json!({ "os": "linux", "architecture": architecture() });
    let mut other = artifact(&layout, &[&ext4_image(0xee)]);
    other["platform"] = json!({ "os": "linux", "architecture": "riscv64" });
    layout.index(&[other, ours]);
    let (_environment, pool) = pool();
    let record = pool.import_template(&ImportSpec::new(layout.path(), "vm"), &mut |_| ()).unwrap();
    assert!(content(&pool, &record) == disk);
}

#[test]
fn a_partition_is_cut_out_of_such_disks() {
    let system = ext4_image(0xd2);
    let disk = partitioned(&system);
    let (_environment, pool) = pool();
    for layout in [
        Layout::of(&[files(&[("disk/disk.img", &disk)])]),
        Layout::of(&[files(&[("disk/disk.img", &qcow2(&disk))])]),
        layout_of_artifact(&[&disk]),
    ] {
        let spec = ImportSpec::new(layout.path(), "vm").partition(Partition::Number(2));
        let record = pool.import_template(&spec, &mut |_| ()).unwrap();
        assert_eq!(content(&pool, &record)[..system.len()], system);
        assert_eq!(record.size, 4 * MIB);
    }
    let files = Layout::of(&[layer(&["etc/", "etc/a=1"])]);
    let spec = ImportSpec::new(files.path(), "vm").partition(Partition::Number(2));
    refused(&pool, &spec, "leave out --partition");
}

#[test]
fn what_is_no_single_disk_is_refused_or_has_files() {
    let (_environment, pool) = pool();
    let disk = raw();
    let two = Layout::of(&[files(&[("disk/a", &disk), ("disk/b", &disk)])]);
    refused(&pool, &ImportSpec::new(two.path(), "vm"), "2 files in its /disk");
    refused(
        &pool,
        &ImportSpec::new(layout_of_artifact(&[&disk, &disk]).path(), "vm"),
        "artifact of type application/vnd.example.disk with 2 files",
    );
    let one = Layout::of(&[files(&[("disk/a", &disk)])]);
    for layout in [&one, &layout_of_artifact(&[&disk])] {
        let spec = ImportSpec::new(layout.path(), "vm");
        refused(&pool, &spec.clone().size(64 * MIB), "leave out --size");
        refused(&pool, &spec.init(PathBuf::from("/bin/busybox")), "leave out --init");
    }
    // Such as a chart, or a signature.
    for (other, words) in [
        (packed("gzip", &layer(&["chart/", "chart/Chart.yaml=a"])), "tar archive"),
        (br#"{"critical": {}}"#.to_vec(), "raw"),
        (Vec::new(), "it is empty"),
    ] {
        let layout = layout_of_artifact(&[&other]);
        refused(&pool, &ImportSpec::new(layout.path(), "vm"), words);
    }
    // A root file system that happens to have a /disk.
    let files = Layout::of(&[layer(&["disk/", "disk/a=1", "etc/", "etc/b=2"])]);
    pool.import_template(&ImportSpec::new(files.path(), "vm"), &mut |_| ()).unwrap();
}

#[test]
fn an_artifact_with_another_digest_is_refused() {
    let (_environment, pool) = pool();
    let (disk, mut other) = (raw(), raw());
    other[DISK - 1] = 1;
    let layout = layout_of_artifact(&[&disk]);
    fs::write(layout.blob_path(&disk), &other).unwrap();
    refused(&pool, &ImportSpec::new(layout.path(), "vm"), &format!("sha256:{}", hex_of(&other)));
    fs::write(layout.blob_path(&disk), &disk[..DISK - 512]).unwrap();
    refused(&pool, &ImportSpec::new(layout.path(), "vm"), "bytes instead of");
    fs::remove_file(layout.blob_path(&disk)).unwrap();
    let error =
        pool.import_template(&ImportSpec::new(layout.path(), "vm"), &mut |_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{}", error.report());
}
