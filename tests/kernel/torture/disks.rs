//! Slow and failing disks: the disk of one pool delays, fails, or does not answer at all, while
//! another pool on a working disk keeps creating and deleting volumes. When the disk works again,
//! so does the pool.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use calf::{Durability, ErrorKind, ImportSpec, Pool, PoolOptions, VolumeSpec};
use calf_test_kit::fault_run::{Inventory, Tally, count, seed};
use calf_test_kit::kernel;
use calf_test_kit::mapped_disk::{self, Disk};
use calf_test_kit::real_pool::{Page, Random, Rig, TEMPLATE_SIZE, open, read_page};

/// A working disk.
const IN_ORDER: &str = "linear {} 0";

/// Size of the disk that fails; XFS wants at least 300 MiB.
const DISK_SIZE: u64 = 512 << 20;

/// Longer than any call that does not hang takes on a slow machine.
const BOUND: Duration = Duration::from_secs(60);

/// The error of a file system that has shut down.
const EIO: i32 = 5;

/// The disk's temporary behaviour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Each request takes 30 ms more.
    Slow,
    /// All requests fail.
    Dead,
    /// Writes fail every other second.
    Flaky,
    /// The disk answers nothing.
    Hanging,
}

pub(crate) fn faults() {
    let seed = seed();
    let tally = Tally::new("disks: slow, dead, flaky, hanging", seed);
    let mut random = Random(seed);
    let good = Rig::new(kernel::Fs::Xfs);
    good.import_random("random", 5);
    let at_rest = Inventory::of_kernel();
    let (stop, lives, longest) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| watch(&tally, &good.pool, &stop, &lives, &longest));
        let faults = [Fault::Slow, Fault::Dead, Fault::Flaky, Fault::Hanging];
        for n in 0..count(4, 80) as usize {
            let fs = if (n / 4 + seed as usize).is_multiple_of(2) {
                kernel::Fs::Xfs
            } else {
                kernel::Fs::Ext4
            };
            endure(&tally, faults[n % 4], fs, &mut random);
            tally.tried();
            if tally.hopeless() {
                break;
            }
        }
        stop.store(true, Ordering::Release);
    });
    println!(
        "the other pool lived {} lives meanwhile, the longest of {} ms",
        lives.into_inner(),
        longest.into_inner()
    );
    let left = Inventory::of_kernel();
    left.beyond(&at_rest).into_iter().for_each(|left| tally.leaked(left));
    tally.finish();
}

/// Lives of volumes on the pool whose disk works.
fn watch(tally: &Tally, pool: &Pool, stop: &AtomicBool, lives: &AtomicU64, longest: &AtomicU64) {
    while !stop.load(Ordering::Acquire) {
        let begin = Instant::now();
        let lived = life(pool, "bystander");
        tally.expect(lived, || "a life on the other pool".into());
        let took = begin.elapsed();
        tally.promise(took < BOUND, || format!("a life on the other pool took {took:?}"));
        longest.fetch_max(took.as_millis() as u64, Ordering::Relaxed);
        lives.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Create, activate, write, read, delete.
fn life(pool: &Pool, id: &str) -> calf::Result<()> {
    pool.create_volume(&VolumeSpec::new(id, "random"))?;
    let node = pool.volume(id)?.activate()?;
    let page = Page::random(&mut Random(23));
    // calf does not promise what the device answers, but that it can be taken down.
    if let Ok(device) = File::options().read(true).write(true).open(node.path()) {
        let _ = device.write_all_at(&page.0, 4096);
    }
    pool.volume(id).and_then(|volume| volume.delete())
}

/// One fault on a new pool with a live volume: the disk works before and after it.
fn endure(tally: &Tally, fault: Fault, fs: kernel::Fs, random: &mut Random) {
    let disk = Disk::new("faulty", 1, DISK_SIZE, fs, IN_ORDER);
    let pool = open_pool(&disk);
    let mut content = vec![0; TEMPLATE_SIZE as usize];
    Random(29).fill(&mut content);
    let source = kernel::work_dir().join("faulty.img");
    std::fs::write(&source, &content).expect("an image");
    let spec = ImportSpec::new(source.clone(), "random");
    pool.import_template(&spec, &mut |_| ()).expect("import");
    std::fs::remove_file(source).expect("remove the source");
    let mut spec = VolumeSpec::new("live", "random");
    spec.durability = Durability::Durable;
    let live = pool.create_volume(&spec).expect("create");
    let node = live.activate().expect("activate");
    let mut synced = BTreeMap::new();
    let device = open(node.path());
    for _ in 0..20 {
        let (block, page) = (random.below(TEMPLATE_SIZE / 4096), Page::random(random));
        device.write_all_at(&page.0, block * 4096).expect("write");
        synced.insert(block, page);
    }
    device.sync_all().expect("sync");
    let at_rest = Inventory::of_kernel();

    match fault {
        Fault::Slow => {
            disk.becomes("delay {} 0 30");
            for n in 0..2 {
                let lived = life(&pool, &format!("slow-{n}"));
                tally.expect(lived, || format!("{fault:?}: a life"));
            }
            verify(tally, &device, &synced, fault);
            disk.becomes(IN_ORDER);
        }
        Fault::Hanging => hang(tally, &disk, &pool, &device, &content),
        Fault::Dead | Fault::Flaky => {
            let table =
                if fault == Fault::Dead { "error" } else { "flakey {} 0 1 1 1 error_writes" };
            disk.becomes(table);
            let end =
                Instant::now() + Duration::from_secs(if fault == Fault::Dead { 1 } else { 4 });
            let (mut refused, mut n) = (0, 0);
            while Instant::now() < end || n < 3 {
                n += 1;
                let begin = Instant::now();
                if let Err(error) = life(&pool, &format!("unlucky-{n}")) {
                    refused += 1;
                    is_clear(tally, fault, &error);
                }
                let took = begin.elapsed();
                tally.promise(took < BOUND, || format!("{fault:?}: a life took {took:?}"));
                std::thread::sleep(Duration::from_millis(50));
            }
            println!("{fault:?} on {fs:?}: {refused} of {n} lives were refused");
            disk.becomes(IN_ORDER);
        }
    }
    drop(device);
    recover(tally, fault, &disk, pool, &synced);
    at_rest_again(tally, fault, &at_rest);
}

fn open_pool(disk: &Disk) -> Pool {
    PoolOptions::default().reserve(0).open(disk.path().join("pool")).expect("a pool")
}

/// Checks that an error names operation, subject and cause, including the kernel's own message.
fn is_clear(tally: &Tally, fault: Fault, error: &calf::Error) {
    let kind = error.kind();
    let plausible = matches!(
        kind,
        // A half-made or half-deleted volume of an earlier try is reported as such.
        ErrorKind::Internal | ErrorKind::Corrupt | ErrorKind::NotFound | ErrorKind::AlreadyExists
    );
    let named = error.raw_os_error().is_some() || kind == ErrorKind::Corrupt;
    tally.promise(plausible && named, || format!("{fault:?}: unclear error: {error:?}"));
}

/// The disk does not answer. Calls on its pool wait, and succeed later; cached data can be read.
fn hang(tally: &Tally, disk: &Disk, pool: &Pool, device: &File, content: &[u8]) {
    // Reading it once brings it into the page cache of the template's file.
    let cached =
        (0..64).find(|n| read_page(device, n * 4096).0 == content[*n as usize * 4096..][..4096]);
    disk.stall();
    std::thread::scope(|scope| {
        let (done, result) = mpsc::channel();
        scope.spawn(move || done.send(life(pool, "patient")));
        if let Some(block) = cached {
            let (read, answer) = mpsc::channel();
            scope.spawn(move || read.send(read_page(device, block * 4096)));
            let answer = answer.recv_timeout(BOUND);
            let same = answer.is_ok_and(|page| page.0 == content[block as usize * 4096..][..4096]);
            tally.promise(same, || "a cached block cannot be read while the disk hangs".into());
        }
        let waiting = result.recv_timeout(Duration::from_secs(2)).is_err();
        tally.promise(waiting, || "a life ended on a disk that does not answer".into());
        disk.go_on();
        match result.recv_timeout(BOUND) {
            Ok(lived) => drop(tally.expect(lived, || "a life over a hang".into())),
            Err(_) => tally.found("a life does not end after the disk is back"),
        }
    });
}

/// The disk works again: the pool is taken down, mounted again, and holds what was synced.
fn recover(
    tally: &Tally,
    fault: Fault,
    disk: &Disk,
    pool: Pool,
    synced: &BTreeMap<u64, Box<Page>>,
) {
    let ids = match pool.volume_records() {
        Ok(records) => records.into_iter().map(|record| record.id).collect(),
        Err(_) => vec!["live".to_owned()],
    };
    for id in ids {
        // A file system that shut down allows no locks, and calf says what to do.
        let result = pool.volume(&id).and_then(|volume| volume.deactivate());
        let told = match &result {
            Ok(()) => true,
            Err(error) => {
                error.raw_os_error() == Some(EIO) && error.report().contains("dmsetup remove")
            }
        };
        tally.promise(told, || format!("{fault:?}: {id}: {result:?}"));
    }
    // As docs/operations.md describes for a file system that shut down.
    for name in devices_of(&pool) {
        mapped_disk::remove(&name);
    }
    drop(pool);
    disk.unmount();
    if let Err(error) = disk.mount() {
        return tally.lost(format!("{fault:?}: the pool's file system: {error}"));
    }
    let pool = open_pool(disk);
    if let Some(report) = tally.expect(pool.reconcile(), || format!("{fault:?}: reconcile")) {
        tally.promise(report.failed.is_empty(), || format!("{fault:?}: {report:?}"));
    }
    match pool.volume("live").and_then(|volume| volume.activate()) {
        Ok(device) => {
            let device = open(device.path());
            verify(tally, &device, synced, fault);
        }
        Err(error) => tally.lost(format!("{fault:?}: {error:?}")),
    }
    tally.expect(life(&pool, "after"), || format!("{fault:?}: a life once the disk is back"));
    for record in pool.volume_records().expect("records") {
        let deleted = pool.volume(&record.id).and_then(|volume| volume.delete());
        tally.expect(deleted, || format!("{fault:?}: delete {}", record.id));
    }
    let left = std::fs::read_dir(pool.root().join("volumes")).expect("volumes").count();
    if left > 0 {
        tally.leaked(format!("{fault:?}: {left} directories of volumes"));
    }
}

/// The names of the pool's devices, as `dmsetup ls` would show them.
fn devices_of(pool: &Pool) -> Vec<String> {
    let ours = format!("CALF-{}-", pool.id().as_str());
    let read = |path: PathBuf| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let all = std::fs::read_dir("/sys/block").expect("sysfs").flatten().map(|entry| entry.path());
    all.filter(|device| read(device.join("dm/uuid")).starts_with(&ours))
        .map(|device| read(device.join("dm/name")))
        .collect()
}

fn verify(tally: &Tally, device: &File, synced: &BTreeMap<u64, Box<Page>>, fault: Fault) {
    for (block, page) in synced {
        let mut found = Box::new(Page([0; 4096]));
        let read = device.read_exact_at(&mut found.0, block * 4096);
        if read.is_err() || found.0 != page.0 {
            tally.lost(format!("{fault:?}: block {block} ({read:?})"));
        }
    }
}

fn at_rest_again(tally: &Tally, fault: Fault, before: &Inventory) {
    let left = Inventory::of_kernel().beyond(before);
    // The other pool's volume may exist or not.
    for left in left.into_iter().filter(|left| left.contains("faulty")) {
        tally.leaked(format!("{fault:?}: {left}"));
    }
}
