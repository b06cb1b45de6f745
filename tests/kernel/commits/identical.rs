//! What a committed template holds, and of which blocks.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use calf::{CommitSpec, SnapshotSpec, VolumeSpec};
use calf_test_kit::kernel;
use calf_test_kit::real_pool::{
    Page, Random, Rig, TEMPLATE_SIZE, first_difference, mount, open_for_reading, read_page, run,
};

use crate::{commit, of_snapshot, of_volume, remove};

/// Everything that a device shows. Its last part may be shorter than a page.
fn shown(path: &Path) -> Vec<u8> {
    // Through the page cache, since the end need not be that of a page.
    let mut device = File::open(path).expect("open");
    let end = std::io::Seek::seek(&mut device, std::io::SeekFrom::End(0)).expect("a size");
    let mut bytes = vec![0; usize::try_from(end).expect("a size")];
    device.read_exact_at(&mut bytes, 0).expect("read");
    bytes
}

/// Writes at random places, in bursts and across chunks.
fn scatter(device: &File, random: &mut Random, size: u64) {
    let pages = size / 4096;
    for _ in 0..60 {
        let page = Page::random(random);
        device.write_all_at(&page.0, random.below(pages) * 4096).expect("write");
    }
    let burst = random.below(pages - 700) * 4096;
    for n in 0..700 {
        let page = Page::random(random);
        device.write_all_at(&page.0, burst + n * 4096).expect("write");
    }
    // Rewritten in place, backwards.
    for n in (0..20).rev() {
        let page = Page::random(random);
        device.write_all_at(&page.0, burst + n * 4096).expect("write");
    }
}

/// Volumes with chunks of each kind, as large as the template and larger, whose size is that of chunks or not.
pub(crate) fn whatever_the_shape(fs: kernel::Fs) {
    let rig = Rig::new(fs);
    rig.import_random("random", 7);
    let mut random = Random(99);
    let chunks = [4 << 10, 16 << 10, 64 << 10, 1 << 20];
    let sizes = [TEMPLATE_SIZE, TEMPLATE_SIZE + (3 << 20), TEMPLATE_SIZE + 512 * 77];
    for (n, (chunk, size)) in
        chunks.iter().flat_map(|chunk| sizes.map(|size| (*chunk, size))).enumerate()
    {
        let context = format!("chunks of {chunk}, {size} bytes");
        let spec = VolumeSpec::new("v", "random").size(size).chunk_size(chunk);
        let device = rig.open(&spec);
        scatter(&device, &mut random, size);
        let node = rig.node("v");
        for (offset, length) in [(0u64, 3u64 << 20), (20 << 20, 2 << 20)] {
            let options = ["-o", &format!("{offset}"), "-l", &format!("{length}")];
            run("blkdiscard", &options, &[&node]);
        }
        device.write_all_at(&Page([5; 4096]).0, 1 << 20).expect("write");
        // The last sectors, which may be a part of a chunk and of a block.
        let end = (size - 1) / 4096 * 4096;
        let tail = Page([n as u8 + 1; 4096]);
        device.write_all_at(&tail.0[..(size - end) as usize], end).expect("write");
        let committed = commit(&rig.pool, of_volume("v"), "made");
        assert_eq!(committed.copied, 0, "{context}: {committed:?}");
        assert_eq!(committed.template.size, size, "{context}");
        // What the volume writes afterwards is not in it.
        let expected = shown(&node);
        device.write_all_at(&Page([99; 4096]).0, 4096).expect("write");
        drop(device);
        rig.pool.create_volume(&VolumeSpec::new("w", "made")).expect("create");
        let found = shown(&rig.node("w"));
        assert_eq!(found.len(), expected.len(), "{context}");
        let wrong = found.iter().zip(&expected).position(|(a, b)| a != b);
        assert_eq!(wrong, None, "{context}");
        remove(&rig.pool, &["v", "w"], &[], &[]);
        // A larger volume has zeros where nobody wrote.
        let larger =
            rig.open(&VolumeSpec::new("w", "made").size(size.next_multiple_of(4096) + 8192));
        let mut last = expected[end as usize..].to_vec();
        last.resize(4096, 0);
        assert!(read_page(&larger, end).0[..] == last[..], "{context}: behind the end");
        assert_eq!(read_page(&larger, end + 4096).0, [0; 4096], "{context}: behind the end");
        drop(larger);
        remove(&rig.pool, &["w"], &[], &["made"]);
    }
    let report = rig.pool.reconcile().expect("reconcile");
    assert!(report.failed.is_empty() && report.removed.is_empty(), "{report:?}");
}

pub(crate) fn of_the_same_blocks() {
    let rig = Rig::new(kernel::Fs::Xfs);
    let mut content = rig.import_random("random", 3);
    let device = rig.open(&VolumeSpec::new("v", "random"));
    for n in 0..512u64 {
        let page = Page([n as u8; 4096]);
        device.write_all_at(&page.0, n * 8192).expect("write");
        content[n as usize * 8192..][..4096].copy_from_slice(&page.0);
    }
    rig.pool
        .volume("v")
        .and_then(|it| it.take_snapshot(&SnapshotSpec::new("s")))
        .expect("a snapshot");
    drop(device);
    let free = || {
        run("sync", &["-f"], &[rig.disk.path()]);
        rig.pool.capacity().expect("a capacity").free
    };
    let before = free();
    let committed = commit(&rig.pool, of_snapshot("s"), "made");
    let taken = before.saturating_sub(free());
    println!("a template of {TEMPLATE_SIZE} bytes takes up {taken}: {committed:?}");
    assert!(taken < 1 << 20, "{taken} bytes");
    assert_eq!(committed.copied, 0);

    remove(&rig.pool, &["v"], &["s"], &["random"]);
    assert_eq!(fs::read_dir(rig.pool.root().join("images")).expect("a list").count(), 1);
    fs::write("/proc/sys/vm/drop_caches", "3").expect("drop caches");
    let copy = rig.open(&VolumeSpec::new("w", "made"));
    assert_eq!(first_difference(&copy, &content), None);
    copy.write_all_at(&Page([1; 4096]).0, 0).expect("write");
    drop(copy);
    let again = rig.open(&VolumeSpec::new("x", "made"));
    assert_eq!(
        first_difference(&again, &content),
        None,
        "what one volume writes, another does not see"
    );
    drop(again);

    // With its digest, it is what `sha256sum` says of the device.
    let spec = CommitSpec::new(of_volume("x"), "read").digest(true);
    let read = rig.pool.commit_template(&spec, &mut |_| ()).expect("a template").template;
    let sum = run("sha256sum", &[], &[&rig.node("x")]);
    assert_eq!(read.digest.sha256(), sum.split_whitespace().next());
    remove(&rig.pool, &["w", "x"], &[], &["made", "read"]);
}

pub(crate) fn copied_on_ext4() {
    let rig = Rig::new(kernel::Fs::Ext4);
    let mut content = rig.import_random("random", 3);
    let device = rig.open(&VolumeSpec::new("v", "random"));
    device.write_all_at(&Page([9; 4096]).0, 8192).expect("write");
    content[8192..][..4096].fill(9);
    let live = commit(&rig.pool, of_volume("v"), "live");
    assert!(live.waited.is_some(), "{live:?}");
    drop(device);
    rig.pool.volume("v").and_then(|volume| volume.deactivate()).expect("deactivate");
    let at_rest = commit(&rig.pool, of_volume("v"), "at-rest");
    for (committed, id) in [(&live, "w"), (&at_rest, "x")] {
        assert_eq!(committed.shared, 0, "{committed:?}");
        assert!(committed.copied > 4096, "{committed:?}");
        let copy = rig.open(&VolumeSpec::new(id, &committed.template.name));
        assert_eq!(first_difference(&copy, &content), None);
    }
    remove(&rig.pool, &["v", "w", "x"], &[], &["live", "at-rest"]);
}

/// Btrfs shares no blocks between a file that is copied on write and one that is not.
pub(crate) fn copied_between_kinds() {
    let rig = Rig::new(kernel::Fs::Btrfs);
    let mut content = rig.import_random("random", 3);
    let snapshots = rig.pool.root().join("snapshots");
    let volumes = rig.pool.root().join("volumes");
    for directory in [&snapshots, &volumes] {
        fs::create_dir_all(directory).expect("a directory");
        run("chattr", &["+C"], &[directory]);
    }
    let device = rig.open(&VolumeSpec::new("v", "random"));
    for n in 0..32u64 {
        device.write_all_at(&Page([n as u8; 4096]).0, n * 65536).expect("write");
        content[n as usize * 65536..][..4096].fill(n as u8);
    }
    rig.pool
        .volume("v")
        .and_then(|it| it.take_snapshot(&SnapshotSpec::new("s")))
        .expect("a snapshot");
    let committed = commit(&rig.pool, of_snapshot("s"), "made");
    println!("{committed:?}");
    assert_eq!(committed.copied, 32 * 4096, "exactly what cannot be shared is copied");
    assert!(committed.shared > 0, "the template's own blocks are");
    let copy = rig.open(&VolumeSpec::new("w", "made"));
    assert_eq!(first_difference(&copy, &content), None);
    drop((copy, device));
    remove(&rig.pool, &["v", "w"], &["s"], &["made"]);
}

pub(crate) fn mounted() {
    let rig = Rig::new(kernel::Fs::Xfs);
    rig.import_file_system("root", "ext4");
    rig.pool.create_volume(&VolumeSpec::new("v", "root")).expect("create");
    let publish = rig.publication("v", mount());
    let volume = rig.pool.volume("v").expect("an id");
    volume.stage(&publish.stage).expect("stage");
    volume.publish(&publish).expect("publish");
    // It is frozen for the cut, so what was not synced is there too.
    fs::write(publish.target.join("file"), "installed").expect("write");
    let committed = commit(&rig.pool, of_volume("v"), "made");
    assert_eq!(committed.template.fs_type.as_deref(), Some("ext4"));
    fs::write(publish.target.join("file"), "changed").expect("write");
    rig.pool.create_volume(&VolumeSpec::new("w", "made")).expect("create");
    let node = rig.node("w");
    run("e2fsck", &["-fn"], &[&node]);
    drop(open_for_reading(&node));
    let other = rig.publication("w", mount());
    let copy = rig.pool.volume("w").expect("an id");
    copy.stage(&other.stage).expect("stage");
    copy.publish(&other).expect("publish");
    assert_eq!(fs::read_to_string(other.target.join("file")).expect("read"), "installed");
    rig.tear_down(&other, "w");
    rig.tear_down(&publish, "v");
    remove(&rig.pool, &[], &[], &["made"]);
}
