//! What do a snapshot of a disk in use, a fork of a warm disk, a template of what was written, and a backup of what
//! changed cost?
//!
//! The rivals' snapshots are in the page cache when their commands return, calf's is on the disk. So the time
//! until it is on the disk is measured too. qcow2 has no row: while `qemu-nbd` serves an image, `qemu-img`
//! can take no snapshot of it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use calf::{CommitSpec, Pool, VolumeSource};
use calf_test_kit::real_pool;

use super::buffer::{Buffer, LARGE, PAGE};
use super::deltas::deltas;
use super::memory::free_of_caches;
use super::{since, workload};
use crate::contender::{self, Caller, Contender, Disk, Library, Snapshots};
use crate::series::emit;
use crate::world::World;

pub(super) const ROOM: &str = "snapshots";
/// How long the writer writes before a snapshot is taken.
const BEFORE: Duration = Duration::from_millis(50);
const BURST: usize = 1 << 20;

pub(super) fn snapshots() {
    let world = World::new();
    let _loops = world.make_loops();
    let pool = world.pool();
    let calf = Library::new(pool.clone());
    let rivals = contender::rivals(&world, &["dm-thin", "LVM thin", "reflink+loop"]);
    let contenders: Vec<&dyn Contender> =
        std::iter::once(&calf as &dyn Contender).chain(rivals.iter().map(Box::as_ref)).collect();
    for round in 0..world.scale.rounds.min(3) {
        for contender in &contenders {
            let snapshots = contender.snapshots().expect("it takes snapshots");
            for mebibytes in world.scale.dirty {
                under_load(&world, *contender, snapshots, *mebibytes, round);
            }
            forks(&world, *contender, snapshots, round);
        }
        commits(&world, &pool, &calf, round);
        deltas(&world, &pool, &calf, round);
        println!("{ROOM}: round {round} done");
    }
}

/// A snapshot of a disk to which so much was written, and on which a guest goes on writing.
fn under_load(
    world: &World,
    contender: &dyn Contender,
    snapshots: &dyn Snapshots,
    mebibytes: usize,
    round: usize,
) {
    let case = format!("{mebibytes} MiB just written");
    let report = |metric, value: f64| emit(ROOM, &case, contender.name(), (metric, "ms"), &[value]);
    let mut caller = contender.caller();
    let made = caller.create(&format!("s{round}-{mebibytes}"));
    let device = real_pool::open(&made.device);
    let buffer = Buffer::random();
    for offset in (0..(mebibytes as u64) << 20).step_by(LARGE) {
        device.write_all_at(&buffer.0, offset).expect("write");
    }
    let end = world.scale.template - PAGE as u64;
    let (snapshot, longest) = longest_write(&device, end, || {
        let start = Instant::now();
        let snapshot = snapshots.take(&made, &format!("s{round}"));
        report("a snapshot", since(start));
        rustix::fs::syncfs(File::open(world.path()).expect("the pool")).expect("sync");
        report("a snapshot that is on the disk", since(start));
        snapshot
    });
    report("longest write of the guest meanwhile", longest);
    drop(device);
    caller.delete(made);
    snapshots.forget(&snapshot);
}

/// The longest write of a guest, in milliseconds, while `work` runs.
fn longest_write<T>(device: &File, offset: u64, work: impl FnOnce() -> T) -> (T, f64) {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let (buffer, mut longest) = (Buffer::random(), 0.0_f64);
            while !done.load(Ordering::Acquire) {
                let start = Instant::now();
                device.write_all_at(&buffer.0[..PAGE], offset).expect("write");
                longest = longest.max(since(start));
                thread::sleep(Duration::from_millis(1));
            }
            longest
        });
        thread::sleep(BEFORE);
        let result = work();
        done.store(true, Ordering::Release);
        (result, writer.join().expect("the writer"))
    })
}

/// Many disks from what a warm disk holds, against as many fresh ones of the same contender.
fn forks(world: &World, contender: &dyn Contender, snapshots: &dyn Snapshots, round: usize) {
    let count = world.scale.forks.min(world.scale.most[contender.weight() as usize]);
    let case = format!("{count} disks of a disk with {} chunks written", world.scale.warm_chunks);
    let report = |metric, value: f64| emit(ROOM, &case, contender.name(), metric, &[value]);
    let ids = |word: &str| (0..count).map(|n| format!("{word}{round}-{n}")).collect::<Vec<_>>();
    let mut caller = contender.caller();
    let warm = caller.create(&format!("w{round}"));
    let device = real_pool::open(&warm.device);
    let bytes = (world.scale.warm_chunks * PAGE) as u64;
    let pages = workload::offsets(0..world.scale.template, bytes);
    write(&device, &pages, PAGE);
    rustix::fs::sync();

    let start = Instant::now();
    let fresh: Vec<Disk> = ids("n").iter().map(|id| caller.create(id)).collect();
    report(("a fresh disk", "ms"), since(start) / count as f64);
    remove(&mut *caller, fresh);

    let (memory, space) = (free_of_caches(), world.free());
    let start = Instant::now();
    let forks = snapshots.fork(&warm, &ids("f"));
    report(("a fork", "ms"), since(start) / count as f64);
    let each = |kib: f64| kib / count as f64;
    report(("kernel memory per fork", "KiB"), each(memory.saturating_sub(free_of_caches()) as f64));
    report(("disk per fork", "KiB"), each(space.saturating_sub(world.free()) as f64 / 1024.0));
    remove(&mut *caller, forks);
    drop(device);
    caller.delete(warm);
}

fn remove(caller: &mut dyn Caller, disks: Vec<Disk>) {
    disks.into_iter().for_each(|disk| caller.delete(disk));
}

/// A template of a disk of which one percent was written, against a copy of the disk.
fn commits(world: &World, pool: &Pool, calf: &Library, round: usize) {
    let percent = world.scale.template / 100;
    for (word, burst) in [("in bursts of 1 MiB", BURST), ("scattered", PAGE)] {
        let case = format!("1 % written, {word}");
        let report =
            |contender: &str, ms: f64| emit(ROOM, &case, contender, ("a template", "ms"), &[ms]);
        let mut caller = calf.caller();
        let made = caller.create(&format!("c{round}"));
        let device = real_pool::open(&made.device);
        let bursts = percent.div_ceil(burst as u64) * PAGE as u64;
        let starts = workload::offsets(0..world.scale.template - BURST as u64, bursts);
        write(&device, &starts, burst);
        rustix::fs::sync();
        let start = Instant::now();
        let spec = CommitSpec::new(VolumeSource::Volume(made.id.clone()), "committed");
        pool.commit_template(&spec, &mut |_| ()).expect("a template");
        report(calf.name(), since(start));
        pool.template("committed").and_then(|template| template.remove()).expect("delete");
        let copy = world.path().join("copy");
        let start = Instant::now();
        copy_of(&made.device, &copy).expect("a copy");
        report("copy", since(start));
        fs::remove_file(copy).expect("unlink");
        drop(device);
        caller.delete(made);
    }
}

/// Copies a device into a file, and waits until that is on the disk.
fn copy_of(device: &Path, path: &Path) -> io::Result<()> {
    let mut file = File::create(path)?;
    io::copy(&mut File::open(device)?, &mut file)?;
    file.sync_all()
}

/// Writes so many bytes at each place.
pub(super) fn write(device: &File, places: &[u64], length: usize) {
    let buffer = Buffer::random();
    let part = length.min(LARGE);
    for place in places {
        for offset in (0..length).step_by(part) {
            device.write_all_at(&buffer.0[..part], place + offset as u64).expect("write");
        }
    }
}
