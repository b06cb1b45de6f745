//! calf's promises about volumes, tested on a real device-mapper.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io::{ErrorKind as Io, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use calf::sys::{DeviceId, LinuxHost, Loops as _, Mounts as _, Role};
use calf::{Access, Durability, ErrorKind, NodeOwner, PoolOptions, VolumeSpec, VolumeState};
use calf_test_kit::kernel;
use calf_test_kit::real_pool::{
    self, Page, Random, Rig, TEMPLATE_SIZE, first_difference, open, read_page, run,
};
use rustix::fs::{Mode, OFlags};

fn main() -> ExitCode {
    kernel::main(vec![
        kernel::test("volumes_are_isolated_from_each_other_and_the_template", isolation),
        kernel::test("a_volume_may_be_larger_than_its_template", larger_than_template),
        kernel::test("a_volume_grows_online_under_writes", growth_under_writes),
        kernel::test("a_mounted_file_system_grows_online", mounted_growth),
        kernel::test("trim_gives_space_back_to_the_pool", trim),
        kernel::test("a_read_only_device_refuses_writes", read_only_block),
        kernel::test("a_reader_only_mount_rests_on_a_read_only_device", read_only_mount),
        kernel::test("cow_overflow_keeps_reads_and_is_reported", overflow),
        kernel::test("a_full_store_holds_the_whole_volume", full_rewrite),
        kernel::test("a_reboot_is_healed_by_publish", reboot),
        kernel::test("a_busy_device_is_named_with_its_holder", busy),
        kernel::test("a_target_that_somebody_looks_at_is_unpublished", looked_at),
        kernel::test("three_hundred_volumes_live_at_once", many).timeout(Duration::from_secs(300)),
        kernel::test("xfs_volumes_of_one_template_mount_side_by_side", xfs_side_by_side),
        kernel::test("a_published_node_has_its_jailed_owner", jailed_owner),
        kernel::test("a_pool_on_a_nodev_mount_publishes_usable_nodes", nodev_pool),
        kernel::test("a_directory_behind_a_symlink_is_published_to_and_left", behind_symlink),
        kernel::test("a_volume_keeps_its_content_when_it_is_inactive", deactivated),
        kernel::test("a_guest_of_kata_gets_a_device_that_the_host_does_not_mount", kata),
        kernel::test("a_container_without_kata_cannot_write_to_the_target", without_kata),
        kernel::test("mount_options_are_known_before_there_is_a_volume", mount_options),
        kernel::test("a_foreign_device_is_never_touched", foreign_device),
    ])
}

/// Random writes to four volumes at once; each must hold its own data and nothing else.
fn isolation() {
    let rig = Rig::new(kernel::Fs::Xfs);
    let template = rig.import_random("random", 7);
    let digest = rig
        .pool
        .template("random")
        .and_then(|template| template.record())
        .expect("the template")
        .digest
        .to_string();
    let image = rig.pool.root().join("images").join(&digest).join("image");
    let mut random = Random(11);
    let mut volumes: Vec<(File, BTreeMap<u64, Box<Page>>)> = (0..4)
        .map(|n| (rig.open(&VolumeSpec::new(format!("volume-{n}"), "random")), BTreeMap::new()))
        .collect();
    for _ in 0..2000 {
        let (device, written) = &mut volumes[random.below(4) as usize];
        let offset = random.below(TEMPLATE_SIZE / 4096) * 4096;
        let page = Page::random(&mut random);
        device.write_all_at(&page.0, offset).expect("write");
        written.insert(offset, page);
    }
    for (n, (device, written)) in volumes.iter().enumerate() {
        for (offset, original) in (0..).step_by(4096).zip(template.chunks(4096)) {
            let expected = written.get(&offset).map_or(original, |page| &page.0[..]);
            assert!(read_page(device, offset).0 == expected, "volume-{n} differs at {offset}");
        }
    }
    let image = File::open(&image).expect("the template's content");
    assert_eq!(first_difference(&image, &template), None, "the template was written to");
    drop(volumes);
    for n in 0..4 {
        rig.pool.volume(&format!("volume-{n}")).expect("a volume id").delete().expect("delete");
    }
    // The next volume has none of a deleted volume's data.
    let fresh = rig.open(&VolumeSpec::new("fresh", "random"));
    assert_eq!(first_difference(&fresh, &template), None);
    drop(fresh);
    rig.pool.volume("fresh").expect("a volume id").delete().expect("delete");
}

fn larger_than_template() {
    let rig = Rig::new(kernel::Fs::Ext4);
    rig.import_file_system("root", "ext4");
    let mut spec = VolumeSpec::new("large", "root");
    spec.size = Some(4 * TEMPLATE_SIZE);
    let device = rig.open(&spec);
    let mut random = Random(3);
    let page = Page::random(&mut random);
    assert_eq!(read_page(&device, 3 * TEMPLATE_SIZE).0, [0; 4096], "zeros past the template");
    device.write_all_at(&page.0, 4 * TEMPLATE_SIZE - 4096).expect("write the last block");
    assert_eq!(read_page(&device, 4 * TEMPLATE_SIZE - 4096).0, page.0);
    drop(device);

    let publish = rig.publication("large", real_pool::mount());
    rig.pool.volume("large").expect("a volume id").publish(&publish).expect("publish");
    let space = rustix::fs::statvfs(&publish.target).expect("statvfs");
    assert!(space.f_blocks * space.f_frsize > 3 * TEMPLATE_SIZE, "the file system grew");
    let content = vec![0xca; (2 * TEMPLATE_SIZE) as usize];
    fs::write(publish.target.join("file"), &content).expect("more than the template could hold");
    assert!(fs::read(publish.target.join("file")).expect("read") == content);
    rig.tear_down(&publish, "large");
}

fn growth_under_writes() {
    let rig = Rig::new(kernel::Fs::Xfs);
    rig.import_random("random", 5);
    let device = rig.open(&VolumeSpec::new("volume", "random"));
    let (stop, blocks) = (AtomicBool::new(false), AtomicU64::new(TEMPLATE_SIZE / 4096));
    let mut written = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut random = Random(13);
            let mut written: Vec<(u64, Box<Page>)> = Vec::new();
            let mut seen = HashSet::new();
            while !stop.load(Ordering::Acquire) {
                let block = random.below(blocks.load(Ordering::Acquire));
                if !seen.insert(block) {
                    continue;
                }
                let page = Page::random(&mut random);
                device.write_all_at(&page.0, block * 4096).expect("write");
                written.push((block * 4096, page));
            }
            written
        });
        for factor in 2..=6 {
            std::thread::sleep(Duration::from_millis(100));
            let size = factor * TEMPLATE_SIZE;
            let volume =
                rig.pool.volume("volume").expect("a volume id").expand(size).expect("expand");
            assert_eq!(volume.record.size, size);
            blocks.store(size / 4096, Ordering::Release);
        }
        std::thread::sleep(Duration::from_millis(100));
        stop.store(true, Ordering::Release);
        writer.join().expect("the writer")
    });
    assert!(written.iter().any(|(offset, _)| *offset > 2 * TEMPLATE_SIZE), "new space is used");
    for (offset, page) in written.drain(..) {
        assert!(read_page(&device, offset).0 == page.0, "the block at {offset} was lost");
    }
    drop(device);
    rig.pool.volume("volume").expect("a volume id").delete().expect("delete");
}

fn mounted_growth() {
    for (fs_type, disk) in [("ext4", kernel::Fs::Xfs), ("xfs", kernel::Fs::Ext4)] {
        let rig = Rig::new(disk);
        rig.import_file_system("root", fs_type);
        let publish = rig.publication("volume", real_pool::mount());
        rig.pool.create_volume(&VolumeSpec::new("volume", "root")).expect("create");
        rig.pool.volume("volume").expect("a volume id").stage(&publish.stage).expect("stage");
        rig.pool.volume("volume").expect("a volume id").publish(&publish).expect("publish");
        let size = || {
            let space = rustix::fs::statvfs(&publish.target).expect("statvfs");
            space.f_blocks * space.f_frsize
        };
        let before = size();
        fs::write(publish.target.join("file"), "precious").expect("write");
        rig.pool.volume("volume").expect("a volume id").expand(1 << 30).expect("expand");
        rig.pool
            .volume("volume")
            .expect("a volume id")
            .expand_file_system(&publish.target)
            .expect("grow");
        rig.pool
            .volume("volume")
            .expect("a volume id")
            .expand_file_system(&publish.target)
            .expect("grow again");
        assert!(size() > 2 * before && size() > 900 << 20, "{fs_type}: {before} to {}", size());
        assert_eq!(fs::read(publish.target.join("file")).expect("read"), b"precious");
        rig.tear_down(&publish, "volume");
    }
}

fn trim() {
    let rig = Rig::new(kernel::Fs::Xfs);
    rig.import_file_system("root", "ext4");
    let publish = rig.publication("volume", real_pool::mount());
    rig.pool.create_volume(&VolumeSpec::new("volume", "root")).expect("create");
    rig.pool.volume("volume").expect("a volume id").publish(&publish).expect("publish");
    let allocated = || {
        run("sync", &["-f"], &[rig.disk.path()]);
        rig.pool.volume("volume").and_then(|volume| volume.status()).expect("it is there").allocated
    };
    let file = publish.target.join("file");
    let mut content = File::create(&file).expect("create");
    content.write_all(&vec![0xca; 16 << 20]).and_then(|()| content.sync_all()).expect("write");
    drop(content);
    let full = allocated();
    assert!(full >= 16 << 20, "{full} bytes");
    fs::remove_file(&file).expect("remove");
    // ext4 trims blocks that a committed transaction freed.
    run("sync", &["-f"], &[&publish.target]);
    run("fstrim", &[], &[&publish.target]);
    let trimmed = allocated();
    assert!(trimmed < full / 4, "{trimmed} of {full} bytes are left");
    rig.tear_down(&publish, "volume");
}

fn read_only_block() {
    let rig = Rig::new(kernel::Fs::Ext4);
    let content = rig.import_random("random", 9);
    rig.pool.create_volume(&VolumeSpec::new("volume", "random")).expect("create");
    let mut publish = rig.publication("volume", Access::Block);
    publish.read_only = true;
    rig.pool.volume("volume").expect("a volume id").publish(&publish).expect("publish");
    let reader = File::open(&publish.target).expect("open for reading");
    assert_eq!(first_difference(&reader, &content[..1 << 20]), None);
    let error = File::options()
        .write(true)
        .open(&publish.target)
        .and_then(|mut writer| writer.write_all(b"no"))
        .expect_err("it is read-only");
    assert!(matches!(error.kind(), Io::PermissionDenied | Io::ReadOnlyFilesystem), "{error}");
    assert_eq!(run("blockdev", &["--getro"], &[&publish.target]), "1");
    drop(reader);
    rig.tear_down(&publish, "volume");
}

fn read_only_mount() {
    let rig = Rig::new(kernel::Fs::Ext4);
    rig.import_file_system("root", "ext4");
    rig.pool.create_volume(&VolumeSpec::new("volume", "root")).expect("create");
    let mut publish = rig.publication("volume", real_pool::mount());
    publish.stage.read_only = true;
    rig.pool.volume("volume").expect("a volume id").stage(&publish.stage).expect("stage");
    rig.pool.volume("volume").expect("a volume id").publish(&publish).expect("publish");
    let error = fs::write(publish.target.join("file"), "no").expect_err("it is read-only");
    assert_eq!(error.kind(), Io::ReadOnlyFilesystem);
    let device = fs::metadata(&publish.target).expect("a mount").dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let flag = fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/ro")).expect("sysfs");
    assert_eq!(flag.trim(), "1", "not only the mount, the device refuses writes");
    rig.tear_down(&publish, "volume");
}

fn overflow() {
    let rig = Rig::new(kernel::Fs::Xfs);
    let content = rig.import_random("random", 15);
    let mut spec = VolumeSpec::new("volume", "random");
    spec.cow_limit = Some(4 << 20);
    rig.pool.create_volume(&spec).expect("create");
    let publish = rig.publication("volume", Access::Block);
    rig.pool.volume("volume").expect("a volume id").publish(&publish).expect("publish");
    let device = open(&publish.target);
    let mut random = Random(17);
    let page = Page::random(&mut random);
    let blocks = (0..).take_while(|n| device.write_all_at(&page.0, n * 4096).is_ok()).count();
    assert!((1024..1100).contains(&blocks), "{blocks} blocks of 4 KiB went into 4 MiB");
    assert!(read_page(&device, 0).0 == page.0, "what was written can be read");
    let untouched = 16 << 20;
    assert!(read_page(&device, untouched).0 == content[untouched as usize..][..4096]);
    let statistics = rig
        .pool
        .volume("volume")
        .expect("a volume id")
        .statistics(&publish.target)
        .expect("statistics");
    assert_eq!(statistics.volume.state, VolumeState::Overflow);
    let store = rig
        .pool
        .volume("volume")
        .and_then(|volume| volume.status())
        .expect("it is there")
        .allocated;
    assert!(store < 5 << 20, "cowLimit bounds the store, but it has {store} bytes");
    drop(device);
    rig.tear_down(&publish, "volume");
}

/// Rewrites every block of a volume: the computed size of the store suffices.
fn full_rewrite() {
    let rig = Rig::new(kernel::Fs::Xfs);
    rig.import_random("random", 19);
    for chunk_size in [4096, 16384, 65536] {
        let mut spec = VolumeSpec::new("volume", "random");
        spec.chunk_size = chunk_size;
        let device = rig.open(&spec);
        let mut random = Random(chunk_size);
        let page = Page::random(&mut random);
        for n in 0..TEMPLATE_SIZE / 4096 {
            device.write_all_at(&page.0, n * 4096).expect("write");
        }
        drop(device);
        assert_eq!(
            rig.pool.volume("volume").and_then(|volume| volume.status()).expect("there").state,
            VolumeState::Active
        );
        rig.pool.volume("volume").expect("a volume id").delete().expect("delete");
    }
}

/// The kernel dies under a published volume; directories and the target file stay.
fn reboot() {
    let content = vec![0xca; 8192];
    if kernel::boot_count() == 0 {
        let rig = Rig::new(kernel::Fs::Xfs);
        rig.import_file_system("root", "ext4");
        for (id, durability) in
            [("ephemeral", Durability::Ephemeral), ("durable", Durability::Durable)]
        {
            let mut spec = VolumeSpec::new(id, "root");
            spec.durability = durability;
            let publish = rig.publication(id, real_pool::mount());
            rig.pool.create_volume(&spec).expect("create");
            rig.pool.volume(id).expect("a volume id").stage(&publish.stage).expect("stage");
            rig.pool.volume(id).expect("a volume id").publish(&publish).expect("publish");
            let file = File::create(publish.target.join("file")).expect("create");
            file.write_all_at(&content, 0).expect("write");
            file.sync_all().expect("sync");
            File::open(&publish.target).expect("open").sync_all().expect("sync");
        }
        let publish = rig.publication("block", Access::Block);
        rig.pool.create_volume(&VolumeSpec::new("block", "root")).expect("create");
        rig.pool.volume("block").expect("a volume id").stage(&publish.stage).expect("stage");
        rig.pool.volume("block").expect("a volume id").publish(&publish).expect("publish");
        run("sync", &["-f"], &[rig.disk.path()]);
        kernel::crash_and_reboot();
    }
    let rig = Rig::reopen(kernel::Fs::Xfs);
    let report = rig.pool.reconcile().expect("reconcile");
    assert_eq!(report.failed, Vec::<String>::new());
    let block = rig.publication("block", Access::Block);
    assert!(block.target.is_file(), "the reboot left a regular file");
    rig.pool.volume("block").expect("a volume id").publish(&block).expect("publish without stage");
    open(&block.target);
    rig.tear_down(&block, "block");
    for id in ["ephemeral", "durable"] {
        let publish = rig.publication(id, real_pool::mount());
        rig.pool.volume(id).expect("a volume id").publish(&publish).expect("publish without stage");
        let file = fs::read(publish.target.join("file"));
        match id {
            "durable" => assert!(file.expect("what was synced survives") == content),
            _ => assert_eq!(file.expect_err("it starts from its template").kind(), Io::NotFound),
        }
        rig.tear_down(&publish, id);
    }
}

fn busy() {
    let rig = Rig::new(kernel::Fs::Ext4);
    rig.import_random("random", 21);
    rig.pool.create_volume(&VolumeSpec::new("volume", "random")).expect("create");
    let node = rig.node("volume");

    let device = Stdio::from(File::open(&node).expect("open"));
    let mut guest = Command::new("sleep").arg("600").stdin(device).spawn().expect("sleep");
    let error = rig
        .pool
        .volume("volume")
        .and_then(|volume| volume.deactivate())
        .expect_err("a process has it open");
    assert_eq!(error.kind(), ErrorKind::InUse);
    let named = format!("process {} (sleep)", guest.id());
    assert!(error.report().contains(&named), "{}", error.report());
    assert_eq!(
        rig.pool.volume("volume").and_then(|volume| volume.status()).expect("there").state,
        VolumeState::Active
    );
    guest.kill().and_then(|()| guest.wait()).expect("end the process");

    let over = run("losetup", &["--find", "--show"], &[&node]);
    let error = rig
        .pool
        .volume("volume")
        .and_then(|volume| volume.delete())
        .expect_err("a loop device is on top");
    let named = over.trim_start_matches("/dev/");
    assert!(error.report().contains(named), "{named}: {}", error.report());
    run("losetup", &["--detach", &over], &[]);
    rig.pool.volume("volume").expect("a volume id").delete().expect("delete once it is free");
}

/// Inspecting a mount point keeps the mount busy for that moment, like an open descriptor.
fn looked_at() {
    const LOOK: Duration = Duration::from_millis(100);
    let rig = Rig::new(kernel::Fs::Ext4);
    rig.import_file_system("root", "ext4");
    for (id, access) in [("block", Access::Block), ("mount", real_pool::mount())] {
        rig.pool.create_volume(&VolumeSpec::new(id, "root")).expect("create");
        let publish = rig.publication(id, access);
        rig.pool.volume(id).expect("a volume id").stage(&publish.stage).expect("stage");
        rig.pool.volume(id).expect("a volume id").publish(&publish).expect("publish");
        if id == "block" {
            let number = rig
                .pool
                .volume(id)
                .and_then(|volume| volume.status())
                .expect("it is there")
                .device
                .expect("it is active");
            let shown = |is_other| LinuxHost::new().mounts_of(number, is_other).expect("mounts");
            assert_eq!(shown(&|_| false).len(), 1);
            // The mount table shows the node in the pool.
            assert_eq!(shown(&|root| root.ends_with("node")), Vec::new());
        }
        for path in [&publish.target, &publish.stage.path] {
            let (flags, mode) = (OFlags::PATH | OFlags::NOFOLLOW, Mode::empty());
            // A block volume has nothing at its staging path.
            let Ok(look) = rustix::fs::open(path, flags, mode) else { continue };
            let looking = std::thread::spawn(move || {
                std::thread::sleep(LOOK);
                drop(look);
            });
            match path == &publish.target {
                true => {
                    rig.pool.volume(id).expect("a volume id").unpublish(path).expect("unpublish")
                }
                false => rig.pool.volume(id).expect("a volume id").unstage(path).expect("unstage"),
            }
            looking.join().expect("a look");
        }
        rig.tear_down(&publish, id);
    }
}

fn many() {
    let rig = Rig::new(kernel::Fs::Xfs);
    rig.import_file_system("root", "ext4");
    let ids: Vec<String> = (0..300).map(|n| format!("volume-{n}")).collect();
    let begin = Instant::now();
    let mut nodes = HashSet::new();
    for id in &ids {
        rig.pool.create_volume(&VolumeSpec::new(id, "root")).expect("create");
        nodes.insert(rig.node(id));
    }
    let made = begin.elapsed();
    assert_eq!(nodes.len(), 300);
    for (n, node) in nodes.iter().enumerate() {
        let mut random = Random(n as u64 + 1);
        open(node).write_all_at(&Page::random(&mut random).0, 8192).expect("write");
    }
    for (n, node) in nodes.iter().enumerate() {
        let mut random = Random(n as u64 + 1);
        assert!(read_page(&open(node), 8192).0 == Page::random(&mut random).0);
    }
    let loops = fs::read_dir("/sys/block")
        .expect("sysfs")
        .flatten()
        .filter(|entry| entry.path().join("loop/backing_file").exists());
    assert_eq!(loops.count(), 301, "one for each volume and one for the template");
    let below = LinuxHost::new().loops_below(rig.pool.root()).expect("the same figure");
    assert_eq!(below, 301, "as the metrics tell");
    let begin = Instant::now();
    let volumes = rig.pool.volumes().expect("list");
    println!("300 volumes: looked at in {:?}", begin.elapsed());
    assert!(volumes.iter().all(|volume| volume.state == VolumeState::Active));
    let begin = Instant::now();
    for id in &ids {
        rig.pool.volume(id).expect("a volume id").delete().expect("delete");
    }
    println!("300 volumes: made in {made:?}, deleted in {:?}", begin.elapsed());
}

fn xfs_side_by_side() {
    let rig = Rig::new(kernel::Fs::Ext4);
    rig.import_file_system("root", "xfs");
    let publications = ["first", "second"].map(|id| {
        let publish = rig.publication(id, real_pool::mount());
        rig.pool.create_volume(&VolumeSpec::new(id, "root")).expect("create");
        rig.pool.volume(id).expect("a volume id").publish(&publish).expect("publish");
        fs::write(publish.target.join("file"), id).expect("write");
        (id, publish)
    });
    for (id, publish) in publications {
        assert_eq!(fs::read(publish.target.join("file")).expect("read"), id.as_bytes());
        rig.tear_down(&publish, id);
    }
}

fn jailed_owner() {
    let rig = Rig::new(kernel::Fs::Ext4);
    rig.import_random("random", 23);
    let mut spec = VolumeSpec::new("volume", "random");
    spec.owner = NodeOwner { uid: 1234, gid: 5678, mode: 0o660 };
    rig.pool.create_volume(&spec).expect("create");
    let publish = rig.publication("volume", Access::Block);
    rig.pool.volume("volume").expect("a volume id").publish(&publish).expect("publish");
    let node = fs::metadata(&publish.target).expect("a node");
    assert_eq!((node.uid(), node.gid(), node.mode() & 0o777), (1234, 5678, 0o660));
    rig.tear_down(&publish, "volume");
}

fn nodev_pool() {
    let rig = Rig::new(kernel::Fs::Ext4);
    run("mount", &["-o", "remount,nodev"], &[rig.disk.path()]);
    rig.import_random("random", 25);
    rig.pool.create_volume(&VolumeSpec::new("volume", "random")).expect("create");
    let publish = rig.publication("volume", Access::Block);
    rig.pool.volume("volume").expect("a volume id").publish(&publish).expect("publish");
    open(&publish.target);
    rig.tear_down(&publish, "volume");
}

/// As if /var/lib/kubelet is a symlink: the mount table shows another path than the caller's.
fn behind_symlink() {
    let rig = Rig::new(kernel::Fs::Ext4);
    rig.import_file_system("root", "ext4");
    let link = rig.disk.path().join("link");
    std::os::unix::fs::symlink(rig.path(""), &link).expect("a symlink");
    for access in [Access::Block, real_pool::mount()] {
        let mut publish = rig.publication("volume", access);
        publish.target = link.join("target");
        publish.stage.path = link.join("staging");
        publish.exclusive = true;
        rig.pool.create_volume(&VolumeSpec::new("volume", "root")).expect("create");
        rig.pool.volume("volume").expect("a volume id").stage(&publish.stage).expect("stage");
        rig.pool.volume("volume").expect("a volume id").publish(&publish).expect("publish");
        rig.tear_down(&publish, "volume");
    }
}

fn deactivated() {
    let rig = Rig::new(kernel::Fs::Xfs);
    let mut content = rig.import_random("random", 27);
    for durability in [Durability::Ephemeral, Durability::Durable] {
        let mut spec = VolumeSpec::new("volume", "random");
        spec.durability = durability;
        let device = rig.open(&spec);
        let page = Page::random(&mut Random(29));
        device.write_all_at(&page.0, 12288).expect("write");
        content[12288..16384].copy_from_slice(&page.0);
        drop(device);
        rig.pool.volume("volume").expect("a volume id").deactivate().expect("deactivate");
        assert_eq!(
            rig.pool.volume("volume").and_then(|volume| volume.status()).expect("there").state,
            VolumeState::Inactive
        );
        let device = rig.activate("volume");
        assert_eq!(first_difference(&device, &content[..1 << 20]), None);
        drop(device);
        rig.pool.volume("volume").expect("a volume id").delete().expect("delete");
    }
}

/// A device that has our name but not our UUID belongs to another owner.
fn foreign_device() {
    let rig = Rig::new(kernel::Fs::Ext4);
    rig.import_random("random", 31);
    rig.pool.create_volume(&VolumeSpec::new("volume", "random")).expect("create");
    let key = calf::Key::of("volume");
    let name = DeviceId::new(rig.pool.id(), &key, Role::Snapshot).name;
    let create = ["create", &name, "--noudevsync", "--noudevrules", "--table", "0 2048 zero"];
    run("dmsetup", &create, &[]);
    rig.pool.volume("volume").and_then(|volume| volume.activate()).expect_err("the name is taken");
    rig.pool.volume("volume").and_then(|volume| volume.delete()).expect_err("the name is taken");
    rig.pool.reconcile().expect("reconcile");
    assert!(run("dmsetup", &["table", &name], &[]).contains("zero"), "it was touched");
    run("dmsetup", &["remove", "--noudevsync", &name], &[]);
    rig.pool.volume("volume").expect("a volume id").delete().expect("delete");
}

/// Does what Kata's runtime and its guest do with a direct-assigned volume: reads the file, mounts
/// the device elsewhere, writes, unmounts.
fn kata() {
    let rig = Rig::new(kernel::Fs::Xfs);
    rig.import_file_system("root", "ext4");
    let root = kernel::work_dir().join("kata");
    let pool = PoolOptions::default().kata_root(&root).open(rig.pool.root()).expect("a pool");
    let spec = VolumeSpec::new("volume", "root").kata_direct(true);
    pool.create_volume(&spec).expect("create");
    let publish = rig.publication("volume", real_pool::mount());
    pool.volume("volume").expect("a volume id").stage(&publish.stage).expect("stage");
    pool.volume("volume").expect("a volume id").publish(&publish).expect("publish");

    let told = || {
        let mut entries = fs::read_dir(&root).expect("Kata's directory").flatten();
        let directory = entries.next().expect("one volume").path();
        let file = directory.join("mountInfo.json");
        let mode = |path: &std::path::Path| fs::metadata(path).expect("there").mode() & 0o777;
        assert_eq!((mode(&directory), mode(&file)), (0o700, 0o600));
        let text = fs::read(file).expect("mountInfo.json");
        serde_json::from_slice::<serde_json::Value>(&text).expect("JSON")
    };
    let info = told();
    assert_eq!(
        (info["volume-type"].as_str(), info["fstype"].as_str()),
        (Some("directvol"), Some("ext4"))
    );
    let device = std::path::PathBuf::from(info["device"].as_str().expect("a device"));
    let number = rig
        .pool
        .volume("volume")
        .and_then(|volume| volume.status())
        .expect("it is there")
        .device
        .expect("it is active");
    assert_eq!(LinuxHost::new().mounts_of(number, &|_| false).expect("mounts"), Vec::new());

    let guest = kernel::work_dir().join("guest");
    fs::create_dir(&guest).expect("a directory");
    run("mount", &["-t", "ext4"], &[&device, &guest]);
    fs::write(guest.join("file"), b"of the guest").expect("write");
    // The guest uses the volume, so it can neither be published elsewhere nor removed.
    let block = rig.publication("volume", Access::Block);
    let error = pool
        .volume("volume")
        .and_then(|volume| volume.publish(&block))
        .expect_err("it has a master");
    assert_eq!(error.kind(), ErrorKind::InUse, "{error:?}");
    assert_eq!(
        pool.volume("volume").and_then(|volume| volume.delete()).expect_err("in use").kind(),
        ErrorKind::InUse
    );
    run("umount", &[], &[&guest]);

    pool.volume("volume").expect("a volume id").expand(2 * TEMPLATE_SIZE).expect("expand");
    pool.volume("volume")
        .expect("a volume id")
        .expand_file_system(&publish.target)
        .expect("left to the guest");
    assert_eq!(LinuxHost::new().device_size(number).expect("a size"), 2 * TEMPLATE_SIZE);
    let usage = pool
        .volume("volume")
        .expect("a volume id")
        .statistics(&publish.target)
        .expect("statistics");
    assert!(usage.file_system.is_none() && usage.volume.cow.is_some(), "{usage:?}");

    // After taking it down and publishing it again within this boot, the content is what the guest
    // left.
    pool.volume("volume").expect("a volume id").unpublish(&publish.target).expect("unpublish");
    assert!(!publish.target.exists() && fs::read_dir(&root).expect("it is there").count() == 0);
    pool.volume("volume").expect("a volume id").unstage(&publish.stage.path).expect("unstage");
    pool.volume("volume").expect("a volume id").publish(&publish).expect("publish");
    let device = std::path::PathBuf::from(told()["device"].as_str().expect("a device"));
    run("mount", &["-t", "ext4"], &[&device, &guest]);
    assert_eq!(fs::read(guest.join("file")).expect("read"), b"of the guest");
    run("umount", &[], &[&guest]);
    pool.volume("volume").expect("a volume id").unpublish(&publish.target).expect("unpublish");
    pool.volume("volume").expect("a volume id").unstage(&publish.stage.path).expect("unstage");
    pool.volume("volume").expect("a volume id").delete().expect("delete");
}

/// Does what runc does with the target: binds it in a mount namespace of its own, and makes that mount
/// writable.
fn without_kata() {
    let rig = Rig::new(kernel::Fs::Xfs);
    rig.import_file_system("root", "ext4");
    let root = kernel::work_dir().join("kata");
    let pool = PoolOptions::default().kata_root(&root).open(rig.pool.root()).expect("a pool");
    let spec = VolumeSpec::new("volume", "root").kata_direct(true);
    pool.create_volume(&spec).expect("create");
    let publish = rig.publication("volume", real_pool::mount());
    let volume = pool.volume("volume").expect("a volume id");
    for _ in 0..2 {
        volume.publish(&publish).expect("publish");
    }
    let refused = fs::write(publish.target.join("file"), b"of the container").expect_err("sealed");
    assert_eq!(refused.kind(), Io::ReadOnlyFilesystem);
    let inside = kernel::work_dir().join("inside");
    fs::create_dir(&inside).expect("a directory");
    let script =
        r#"mount --rbind "$1" "$2" && mount -o remount,bind,rw "$2" && echo x > "$2/file""#;
    let container = Command::new("unshare")
        .args(["--mount", "sh", "-c", script, "sh"])
        .args([&publish.target, &inside])
        .output()
        .expect("unshare");
    let said = String::from_utf8_lossy(&container.stderr);
    assert!(!container.status.success() && said.contains("Read-only file system"), "{said}");

    volume.unpublish(&publish.target).expect("unpublish");
    assert!(!publish.target.exists());
    volume.unstage(&publish.stage.path).expect("unstage");
    volume.delete().expect("delete");
}

fn mount_options() {
    let rig = Rig::new(kernel::Fs::Xfs);
    for (fs_type, options, fine) in [
        ("ext4", ["noatime", "commit=30"], true),
        ("ext4", ["noatime", "nonsense"], false),
        ("ext4", ["commit=soon", "noatime"], false),
        ("xfs", ["inode32", "nodev"], true),
        ("xfs", ["nodev", "commit=30"], false),
    ] {
        if rig.pool.template(fs_type).and_then(|template| template.record()).is_err() {
            rig.import_file_system(fs_type, fs_type);
        }
        let options = options.map(str::to_owned).to_vec();
        let known = LinuxHost::new().check_mount_options(fs_type, &options);
        let access = Access::Mount { fs_type: None, options };
        let publish = rig.publication("volume", access);
        let volume = rig.pool.create_volume(&VolumeSpec::new("volume", fs_type)).expect("create");
        let staged = volume.stage(&publish.stage);
        for result in [known, staged] {
            match result {
                Ok(()) => assert!(fine, "{publish:?}"),
                Err(error) => {
                    assert!(!fine, "{publish:?}: {error:?}");
                    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error:?}");
                }
            }
        }
        volume.unstage(&publish.stage.path).expect("unstage");
        volume.delete().expect("delete");
    }
}
