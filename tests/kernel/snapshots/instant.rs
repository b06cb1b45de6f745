//! What a snapshot of a block volume has.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use calf::{ErrorKind, GroupSnapshotSpec, SnapshotSpec, VolumeSource, VolumeSpec, VolumeState};
use calf_test_kit::kernel;
use calf_test_kit::real_pool::{Page, Random, Rig, TEMPLATE_SIZE, first_difference, read_page};

use crate::{delete, open_copy, take};

/// How many blocks the writer writes in turn: half of them again and again.
const BLOCKS: u64 = 512;

/// The block of the `n`-th write, which writes `n` into it: scattered, and some more often than others.
fn block_of(n: u64) -> u64 {
    let scattered = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    if n.is_multiple_of(2) { scattered % BLOCKS } else { scattered % 8 }
}

fn page_of(n: u64) -> Box<Page> {
    let mut page = Box::new(Page([0; 4096]));
    page.0.as_chunks_mut::<8>().0.fill(n.to_le_bytes());
    page
}

/// Writes go on while snapshots are taken. Each must have exactly the first so many of them: all that were
/// acknowledged before the call, none that began after it, and none torn.
pub(crate) fn one_instant(fs: kernel::Fs) {
    const SNAPSHOTS: usize = 8;
    let rig = Rig::new(fs);
    let template = rig.import_random("random", 7);
    let device = rig.open(&VolumeSpec::new("v", "random"));
    let (stop, begun, acknowledged) =
        (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let bounds = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for n in 1.. {
                if stop.load(Ordering::Acquire) {
                    break;
                }
                begun.store(n, Ordering::SeqCst);
                device.write_all_at(&page_of(n).0, block_of(n) * 4096).expect("write");
                acknowledged.store(n, Ordering::SeqCst);
            }
        });
        let bounds: Vec<(u64, u64)> = (0..SNAPSHOTS)
            .map(|number| {
                std::thread::sleep(Duration::from_millis(150));
                let least = acknowledged.load(Ordering::SeqCst);
                let taken = take(&rig.pool, "v", &format!("s{number}"));
                println!("writers waited {:?}", taken.waited);
                (least, begun.load(Ordering::SeqCst))
            })
            .collect();
        stop.store(true, Ordering::Release);
        writer.join().expect("the writer");
        bounds
    });
    for (number, (least, most)) in bounds.into_iter().enumerate() {
        assert!(most > least, "nothing was written during snapshot {number}");
        let name = format!("s{number}");
        let copy = open_copy(&rig, "copy", &name);
        let found =
            (0..BLOCKS).map(|block| number_in(&read_page(&copy, block * 4096), &template, block));
        let found: Vec<u64> = found.collect();
        let last = found.iter().copied().max().expect("blocks");
        assert!((least..=most).contains(&last), "{name}: {last}, not in {least}..={most}");
        let mut expected = vec![0; BLOCKS as usize];
        for n in 1..=last {
            expected[block_of(n) as usize] = n;
        }
        assert!(found == expected, "{name}: it has not exactly the first {last} writes");
        drop(copy);
        delete(&rig, &["copy"], &[&name]);
    }
    drop(device);
    delete(&rig, &["v"], &[]);
}

/// Volumes that are forked while writes go on are all of one instant.
pub(crate) fn forks() {
    let rig = Rig::new(kernel::Fs::Xfs);
    let template = rig.import_random("random", 7);
    let device = rig.open(&VolumeSpec::new("v", "random"));
    let ids = ["a", "b", "c"];
    let specs = ids.map(|id| VolumeSpec::from_source(id, VolumeSource::Volume("v".to_owned())));
    let (stop, acknowledged) = (AtomicBool::new(false), AtomicU64::new(0));
    let (least, most) = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for n in 1.. {
                if stop.load(Ordering::Acquire) {
                    break;
                }
                device.write_all_at(&page_of(n).0, block_of(n) * 4096).expect("write");
                acknowledged.store(n, Ordering::SeqCst);
            }
        });
        std::thread::sleep(Duration::from_millis(200));
        let least = acknowledged.load(Ordering::SeqCst);
        let forked = rig.pool.volume("v").and_then(|volume| volume.fork(&specs, None));
        let most = acknowledged.load(Ordering::SeqCst) + 1;
        println!("writers waited {:?}", forked.expect("a fork").waited);
        stop.store(true, Ordering::Release);
        writer.join().expect("the writer");
        (least, most)
    });
    let contents = ids.map(|id| {
        let fork = rig.activate(id);
        let numbers =
            (0..BLOCKS).map(|block| number_in(&read_page(&fork, block * 4096), &template, block));
        numbers.collect::<Vec<u64>>()
    });
    let last = contents[0].iter().copied().max().expect("blocks");
    assert!((least..=most).contains(&last), "{last}, not in {least}..={most}");
    assert!(contents.iter().all(|content| *content == contents[0]), "they differ");
    drop(device);
    delete(&rig, &["v", "a", "b", "c"], &[]);
    assert_eq!(rig.pool.snapshots().expect("a list"), []);
}

/// A writer writes each number to one volume, and then to another. A group of snapshots has both as of one instant:
/// the second is never ahead of the first, and at most one number behind.
pub(crate) fn groups(fs: kernel::Fs) {
    const GROUPS: usize = 8;
    let rig = Rig::new(fs);
    rig.import_random("random", 7);
    let volumes = ["first", "second"];
    let devices = volumes.map(|id| rig.open(&VolumeSpec::new(id, "random")));
    let (stop, acknowledged) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for n in 1.. {
                if stop.load(Ordering::Acquire) {
                    break;
                }
                for device in &devices {
                    device.write_all_at(&page_of(n).0, 0).expect("write");
                }
                acknowledged.store(n, Ordering::SeqCst);
            }
        });
        for number in 0..GROUPS {
            std::thread::sleep(Duration::from_millis(150));
            let least = acknowledged.load(Ordering::SeqCst);
            let spec = GroupSnapshotSpec::new(format!("g{number}"), volumes);
            let taken = rig.pool.take_group_snapshot(&spec).expect("a group");
            let most = acknowledged.load(Ordering::SeqCst) + 1;
            println!("writers waited {:?}", taken.waited);
            let [first, second] = volumes.map(|id| {
                let copy = open_copy(&rig, "copy", &format!("g{number}.{id}"));
                let page = read_page(&copy, 0);
                let (number, _) = page.0.split_first_chunk().expect("a page");
                let number = u64::from_le_bytes(*number);
                drop(copy);
                delete(&rig, &["copy"], &[]);
                number
            });
            assert!((least..=most).contains(&first), "{first}, not in {least}..={most}");
            assert!(second == first || second + 1 == first, "first {first}, second {second}");
        }
        stop.store(true, Ordering::Release);
        writer.join().expect("the writer");
    });
    drop(devices);
    for number in 0..GROUPS {
        let group = rig.pool.group_snapshot(&format!("g{number}")).expect("a name");
        group.delete().expect("delete");
    }
    delete(&rig, &volumes, &[]);
    assert_eq!(rig.pool.snapshots().expect("a list"), []);
}

/// The write that a block holds; 0 for the template's content.
fn number_in(page: &Page, template: &[u8], block: u64) -> u64 {
    let at = block as usize * 4096;
    if page.0 == template[at..at + 4096] {
        return 0;
    }
    let words = page.0.as_chunks::<8>().0;
    assert!(words.iter().all(|word| word == &words[0]), "block {block} is torn");
    u64::from_le_bytes(words[0])
}

/// A VMM without `O_DIRECT` writes into the node's page cache. Nothing is synced here.
pub(crate) fn buffered() {
    let rig = Rig::new(kernel::Fs::Xfs);
    rig.import_random("random", 5);
    rig.pool.create_volume(&VolumeSpec::new("v", "random")).expect("create");
    let device = OpenOptions::new().write(true).open(rig.node("v")).expect("open");
    for round in 1..=5 {
        let content = vec![round; 1 << 20];
        device.write_all_at(&content, 4 << 20).expect("write");
        take(&rig.pool, "v", "s");
        let copy = open_copy(&rig, "copy", "s");
        assert_eq!(read_page(&copy, 4 << 20).0, [round; 4096]);
        assert_eq!(read_page(&copy, (5 << 20) - 4096).0, [round; 4096]);
        drop(copy);
        delete(&rig, &["copy"], &["s"]);
    }
    drop(device);
    delete(&rig, &["v"], &[]);
}

/// Neither the snapshot nor its volumes see what others write, and a deleted one leaves nothing.
pub(crate) fn isolation() {
    let rig = Rig::new(kernel::Fs::Xfs);
    let mut content = rig.import_random("random", 3);
    let source = rig.open(&VolumeSpec::new("v", "random"));
    let mut random = Random(17);
    let mut write = |device: &std::fs::File, content: &mut [u8]| {
        for _ in 0..300 {
            let page = Page::random(&mut random);
            let at = random.below(TEMPLATE_SIZE / 4096) * 4096;
            device.write_all_at(&page.0, at).expect("write");
            content[at as usize..at as usize + 4096].copy_from_slice(&page.0);
        }
    };
    write(&source, &mut content);
    take(&rig.pool, "v", "s");
    let frozen = content.clone();
    let names = ["a", "b", "c"];
    let mut copies: Vec<_> =
        names.iter().map(|id| (open_copy(&rig, id, "s"), frozen.clone())).collect();
    write(&source, &mut content);
    for (device, content) in &mut copies {
        write(device, content);
    }
    for (name, (device, content)) in names.iter().zip(&copies) {
        assert_eq!(first_difference(device, content), None, "{name}");
    }
    assert_eq!(first_difference(&source, &content), None);
    // A snapshot of such a volume, and a larger volume of that.
    take(&rig.pool, "a", "second");
    let large = rig.open(&crate::from_snapshot("large", "second").size(2 * TEMPLATE_SIZE));
    assert_eq!(first_difference(&large, &copies[0].1), None);
    assert_eq!(read_page(&large, 2 * TEMPLATE_SIZE - 4096).0, [0; 4096]);
    large
        .write_all_at(&Page([7; 4096]).0, 2 * TEMPLATE_SIZE - 4096)
        .expect("write behind the source's end");
    drop((copies, source, large));
    delete(&rig, &["v", "a", "b", "large"], &[]);
    let last = open_copy(&rig, "d", "s");
    assert_eq!(first_difference(&last, &frozen), None, "the snapshot is as it was");
    drop(last);
    // An inactive volume keeps its content, over a store that shares blocks.
    let again = rig.activate("c");
    assert!(first_difference(&again, &frozen).is_some(), "it has its own writes");
    drop(again);
    delete(&rig, &["c", "d"], &["s", "second"]);
    assert_eq!(std::fs::read_dir(rig.pool.root().join("snapshots")).expect("a list").count(), 0);
}

/// What has no overlay, and what needs none.
pub(crate) fn unshared() {
    let rig = Rig::new(kernel::Fs::Ext4);
    rig.import_random("random", 3);
    let device = rig.open(&VolumeSpec::new("v", "random"));
    device.write_all_at(&Page([9; 4096]).0, 8192).expect("write");
    let volume = rig.pool.volume("v").expect("a volume id");
    let limited = rig.open(&VolumeSpec::new("limited", "random").cow_limit(1 << 20));
    let spec = SnapshotSpec::new("s");
    let refused = rig.pool.volume("limited").and_then(|volume| volume.take_snapshot(&spec));
    let error = refused.expect_err("it is in use");
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error:?}");
    assert!(error.report().contains("cannot share blocks"), "{}", error.report());
    assert_eq!(volume.status().expect("it is there").state, VolumeState::Active);
    drop((device, limited));
    volume.deactivate().expect("deactivate");
    let taken = take(&rig.pool, "v", "s");
    assert!(taken.copied, "{taken:?}");
    let copy = open_copy(&rig, "copy", "s");
    assert_eq!(read_page(&copy, 8192).0, [9; 4096]);
    drop(copy);
    delete(&rig, &["v", "copy", "limited"], &["s"]);
}
