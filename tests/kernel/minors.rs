//! The numbers of devices, on a real device-mapper: none is used again while the kernel has others.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use calf::{Access, Pool, Publish, Stage, VolumeSpec};
use calf_test_kit::driver_process::{Driver, Usage};
use calf_test_kit::kernel;
use calf_test_kit::real_pool::{Page, Random, Rig, open, read_page, run};

/// Its length counts the numbers, which begin with 4096.
const NEXT: &str = "/dev/mapper/.calf-minor";

fn main() -> ExitCode {
    kernel::main(vec![
        kernel::test("no_number_is_used_again_by_any_process_or_pool", never_again),
        kernel::test("every_number_works_and_those_of_others_are_passed_over", every_number),
        kernel::test("nodes_of_loop_devices_that_a_static_dev_lacks_are_made", missing_nodes),
        kernel::test("a_copy_of_a_node_leads_nowhere_once_its_volume_is_gone", forgotten_copy),
    ])
}

/// The number of the block device at `path`.
fn minor(path: &Path) -> u32 {
    rustix::fs::minor(fs::metadata(path).expect("a node").rdev())
}

/// The nodes of loop devices in /dev.
fn loop_nodes() -> Vec<PathBuf> {
    let names = fs::read_dir("/dev").expect("/dev").map(|entry| entry.expect("an entry").path());
    let is_loop = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"loop"))
    };
    names.filter(is_loop).collect()
}

fn missing_nodes() {
    let rig = Rig::new(kernel::Fs::Xfs);
    rig.import_random("random", 31);
    for id in ["first", "second"] {
        // The kernel keeps free loop devices, and does not make their nodes again.
        loop_nodes().iter().for_each(|node| fs::remove_file(node).expect("remove a node"));
        let device = rig.open(&VolumeSpec::new(id, "random"));
        let page = Page([7; 4096]);
        device.write_all_at(&page.0, 16 << 20).expect("write");
        assert_eq!(read_page(&device, 16 << 20).0, page.0);
        drop(device);
        let made: Vec<PathBuf> = loop_nodes();
        assert!(made.contains(&PathBuf::from("/dev/loop-control")), "{made:?}");
        assert!(made.len() > 1, "{made:?}");
        rig.pool.volume(id).and_then(|volume| volume.delete()).expect("delete");
    }
    // The origin takes the first device, and the store the second: its node leads elsewhere.
    let store = Path::new("/dev/loop1");
    let number = fs::metadata(store).expect("a node").rdev();
    let make = |device| {
        fs::remove_file(store).expect("remove the node");
        let kind = rustix::fs::FileType::BlockDevice;
        rustix::fs::mknodat(rustix::fs::CWD, store, kind, 0o600.into(), device).expect("mknod");
    };
    make(fs::metadata("/dev/loop0").expect("a node").rdev());
    rig.pool.create_volume(&VolumeSpec::new("third", "random")).expect("create");
    let third = rig.pool.volume("third").expect("a volume id");
    let refused = third.activate().expect_err("the node is wrong");
    assert!(refused.report().contains("/dev/loop1 is block device 7:0"), "{}", refused.report());
    make(number);
    third.activate().expect("activate");
    third.delete().expect("delete");
}

/// Another process brings the volume `id` up.
fn activate(pool: &Path, id: &str) -> PathBuf {
    let mut command = Command::new(env!("CARGO_BIN_EXE_calf"));
    command.arg("--pool").arg(pool).args(["volume", "activate", id]);
    let output = command.output().expect("calf runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("a path").trim().into()
}

fn never_again() {
    let rig = Rig::new(kernel::Fs::Xfs);
    rig.import_random("image", 1);
    let other = Pool::open(rig.disk.path().join("other")).expect("another pool");
    let image = rig.disk.path().join("image");
    fs::write(&image, vec![3; 1 << 20]).expect("an image");
    let spec = calf::ImportSpec::new(image.as_path(), "image");
    other.import_template(&spec, &mut |_| ()).expect("an import");

    let mut used = Vec::new();
    let spec = VolumeSpec::new("volume", "image");
    for n in 0..20 {
        let pool = if n % 2 == 0 { &rig.pool } else { &other };
        let volume = pool.create_volume(&spec).expect("create");
        let node = match n % 4 {
            0 | 1 => volume.activate().expect("activate").path().to_owned(),
            _ => activate(pool.root(), "volume"),
        };
        used.push(minor(&node));
        if n % 5 == 0 {
            // A reader's device has a number, too.
            let target = rig.path("target");
            let stage = Stage::new(&target, Access::Block).read_only(true);
            volume.publish(&Publish::new(&target, stage)).expect("publish");
            used.push(minor(&target));
            volume.unpublish(&target).expect("unpublish");
        }
        volume.delete().expect("delete");
        if n == 10 {
            // Drivers are other processes, and end.
            let driver = Driver::start(rig.pool.root(), &rig.path("work"), &[]);
            let client = driver.client();
            let usage = Usage::new("driven", &rig.path(""), true);
            client.create("driven", "image").expect("create");
            for _ in 0..2 {
                client.stage(&usage).and_then(|()| client.publish(&usage)).expect("publish");
                used.push(minor(&usage.target));
                client.unpublish(&usage).and_then(|()| client.unstage(&usage)).expect("unstage");
            }
            client.delete("driven").expect("delete");
            driver.kill();
        }
    }
    let distinct: BTreeSet<u32> = used.iter().copied().collect();
    assert_eq!(distinct.len(), used.len(), "{used:?}");
}

fn every_number() {
    const LAST: u32 = (1 << 18) - 1;
    let rig = Rig::new(kernel::Fs::Xfs);
    let content = rig.import_random("image", 1);
    // Another owner's device has the last number but one.
    let first = rig.open(&VolumeSpec::new("first", "image"));
    let major = rustix::fs::major(first.metadata().expect("a device").rdev()).to_string();
    drop(first);
    rig.pool.volume("first").and_then(|volume| volume.delete()).expect("delete");
    let number = ["--major", &major, "--minor", "262142"];
    run("dmsetup", &[&["create", "other", "--noudevsync", "--notable"], &number[..]].concat(), &[]);
    let next = fs::File::options().write(true).open(NEXT).expect("it is there");
    next.set_len(262141 - 4096).expect("truncate");
    let mut random = Random(5);
    let volumes: Vec<_> = (0..4)
        .map(|n| {
            let spec = VolumeSpec::new(format!("volume-{n}"), "image");
            let volume = rig.pool.create_volume(&spec).expect("create");
            let node = volume.activate().expect("activate").path().to_owned();
            (volume, node, Page::random(&mut random))
        })
        .collect();
    let numbers: Vec<u32> = volumes.iter().map(|(_, node, _)| minor(node)).collect();
    assert_eq!(numbers, [LAST - 2, LAST, 4096, 4097]);
    for (volume, node, page) in &volumes {
        // The pool's file system must be able to store the published node.
        let target = rig.path("target");
        volume.publish(&Publish::block(&target)).expect("publish");
        assert_eq!(minor(&target), minor(node));
        open(&target).write_all_at(&page.0, 8192).expect("write");
        volume.unpublish(&target).expect("unpublish");
    }
    for (volume, node, page) in volumes {
        assert_eq!(
            node.file_name().and_then(|name| name.to_str()),
            Some(&*format!("dm-{}", minor(&node)))
        );
        assert!(read_page(&open(&node), 8192).0 == page.0 && page.0[..] != content[8192..12288]);
        let status = volume.status().expect("status");
        assert_eq!(status.device.map(|device| device.minor), Some(minor(&node)));
        volume.delete().expect("delete");
        assert!(!node.exists());
    }
    run("dmsetup", &["remove", "--noudevsync", "other"], &[]);

    // The loss of the file does no harm.
    fs::remove_file(NEXT).expect("remove");
    let spec = VolumeSpec::new("volume", "image");
    drop(rig.open(&spec));
    assert!(Path::new(NEXT).exists());
    rig.pool.volume("volume").and_then(|volume| volume.delete()).expect("delete");
}

/// What a jail does: it copies a node for its VMM, and forgets to remove it.
fn forgotten_copy() {
    let rig = Rig::new(kernel::Fs::Xfs);
    rig.import_random("image", 1);
    drop(rig.open(&VolumeSpec::new("tenant", "image")));
    let node = rig.node("tenant");
    let copy = kernel::work_dir().join("copy");
    let device = fs::metadata(&node).expect("a node").rdev();
    let (kind, mode) = (rustix::fs::FileType::BlockDevice, rustix::fs::Mode::RUSR);
    rustix::fs::mknodat(rustix::fs::CWD, &copy, kind, mode, device).expect("mknod");
    drop(fs::File::open(&copy).expect("it is the tenant's"));
    rig.pool.volume("tenant").and_then(|volume| volume.delete()).expect("delete");

    for n in 0..10 {
        let next = rig.open(&VolumeSpec::new(format!("next-{n}"), "image"));
        let error = fs::File::open(&copy).expect_err("it is nobody's");
        assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::NXIO.raw_os_error()), "{error}");
        drop(next);
    }
    fs::remove_file(&copy).expect("remove");
    for n in 0..10 {
        let next = rig.pool.volume(&format!("next-{n}")).expect("a volume id");
        next.delete().expect("delete");
    }
}
