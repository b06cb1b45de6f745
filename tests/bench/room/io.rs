//! How fast is a disk once it is ready?
//!
//! I/O is direct, as most VMMs can issue it for their guests: the page cache that counts is the
//! pool's. One stream is read through the page cache of the disk itself, as Firecracker does. Each
//! round makes a fresh disk with each contender, runs all patterns on it, and removes it. Apart
//! from the times, the counters of the pool's own disk show how many bytes reached it.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::time::Instant;

use calf::{Durability, Pool};
use calf_test_kit::real_pool;
use rustix::fs::Advice;

use super::buffer::{Buffer, LARGE, PAGE};
use super::pool_disk::PoolDisk;
use super::{trace, workload};
use crate::contender::{self, Caller, Contender, Floor, Library, Script};
use crate::raw::Controls;
use crate::scale::Scale;
use crate::series::emit;
use crate::world::World;

const ROOM: &str = "io";
/// Random writes between two flushes.
const FLUSH_EACH: usize = 16;

pub(super) fn input_output() {
    let world = World::new();
    let pool = world.pool();
    let variants = variants(&pool, world.scale.chunks);
    let transient = Floor::with_store(&world, "transient (N), flushes dropped", "N");
    let mut contenders: Vec<Box<dyn Contender>> = vec![Box::new(transient)];
    if world.scale.all_rivals_everywhere {
        contenders.push(Box::new(Script::new(&world, "losetup+dmsetup, N 8", "N 8")));
    }
    contenders.extend(variants.into_iter().map(|variant| Box::new(variant) as Box<dyn Contender>));
    contenders.extend(contender::rivals_again(&world));
    let disk = PoolDisk::of(&world);
    for round in 0..world.scale.rounds.min(3) {
        template_reads(&world);
        for contender in &contenders {
            let mut caller = contender.caller();
            patterns(&world, &disk, contender.name(), &mut *caller, round);
        }
        println!("{ROOM}: round {round} done");
    }
}

/// calf with each chunk size (in KiB) and durability.
fn variants(pool: &Pool, chunks: &[u64]) -> Vec<Library> {
    let durabilities = [(Durability::Ephemeral, "ephemeral"), (Durability::Durable, "durable")];
    let mut variants = Vec::new();
    for (durability, word) in durabilities {
        for &kib in chunks {
            let name = format!("calf {word} {kib} KiB");
            variants.push(Library::with_shape(pool.clone(), name, move |spec| {
                spec.chunk_size(kib << 10).durability(durability)
            }));
        }
    }
    variants
}

/// The template itself, through a loop device: the best possible speed of reading.
fn template_reads(world: &World) {
    let controls = Controls::open().expect("the control devices");
    let image = File::open(&world.image).expect("the image");
    let (index, _held) = controls.attach(&image, true).expect("a loop device");
    let device = real_pool::open_for_reading(&PathBuf::from(format!("/dev/loop{index}")));
    Bench::new(world, &device).reads("template loop");
}

fn patterns(world: &World, disk: &PoolDisk, name: &str, caller: &mut dyn Caller, round: usize) {
    let bytes = world.scale.io;
    let made = caller.create(&format!("io-{round}"));
    let device = real_pool::open(&made.device);
    let bench = Bench::new(world, &device);
    bench.reads(name);
    bench.sequential_writes(name);
    let counted = |case: &str, written: f64, work: &dyn Fn() -> f64| {
        let (done, seconds) = disk.counted(work);
        let amplified = done.written as f64 / written;
        emit(ROOM, case, name, ("bytes to the pool per byte", "×"), &[amplified]);
        let flushes = done.flushes as f64 / seconds;
        emit(ROOM, case, name, ("flushes of the pool's disk", "1/s"), &[flushes]);
    };
    counted("random first write, fsync every 16", bytes as f64, &|| {
        bench.random_writes(name, "random first write, fsync every 16")
    });
    bench.random_writes(name, "random rewrite, fsync every 16");
    drop(device);
    caller.delete(made);
    // A database and a boot start on a disk of their own.
    let made = caller.create(&format!("io-db-{round}"));
    let device = real_pool::open(&made.device);
    let bench = Bench::new(world, &device);
    let commits = bytes as usize / PAGE / 2;
    let pages = workload::database_writes(commits);
    counted("database", (pages * PAGE) as f64, &|| bench.database(name, commits));
    drop(device);
    caller.delete(made);
    let made = caller.create(&format!("io-boot-{round}"));
    let device = real_pool::open(&made.device);
    Bench::new(world, &device).boot(name, world.scale.boot);
    drop(device);
    caller.delete(made);
}

/// One disk under test.
struct Bench<'a> {
    device: &'a File,
    size: u64,
    /// How much each random pattern moves.
    bytes: u64,
    /// How much each sequential pattern moves.
    stream: u64,
}

impl<'a> Bench<'a> {
    fn new(world: &World, device: &'a File) -> Self {
        let Scale { template: size, io: bytes, stream, .. } = world.scale;
        Self { device, size, bytes, stream }
    }

    fn reads(&self, name: &str) {
        let mut buffer = Buffer::zero();
        // If the template was not read for a while, the first read waits for the pool's disk.
        self.read_stream(self.device, &mut buffer);
        self.timed(name, "sequential read", self.stream, || {
            self.read_stream(self.device, &mut buffer);
        });
        self.buffered_read(name);
        let offsets = self.offsets(0);
        self.timed(name, "random read", self.bytes, || {
            for offset in &offsets {
                self.device.read_exact_at(&mut buffer.0[..PAGE], *offset).expect("read");
            }
        });
    }

    /// The kernel reads ahead into the page cache of the disk, which is empty before and after.
    fn buffered_read(&self, name: &str) {
        let path = format!("/proc/self/fd/{}", self.device.as_raw_fd());
        let device = File::open(path).expect("the disk again");
        let mut buffer = Buffer::zero();
        self.timed(name, "sequential read, buffered", self.stream, || {
            self.read_stream(&device, &mut buffer);
        });
        rustix::fs::fadvise(&device, 0, None, Advice::DontNeed).expect("drop the page cache");
    }

    fn read_stream(&self, device: &File, buffer: &mut Buffer) {
        for offset in (0..self.stream).step_by(LARGE) {
            device.read_exact_at(&mut buffer.0, offset).expect("read");
        }
    }

    fn sequential_writes(&self, name: &str) {
        let buffer = Buffer::random();
        for case in ["sequential first write", "sequential rewrite"] {
            self.timed(name, case, self.stream, || {
                for offset in (0..self.stream).step_by(LARGE) {
                    self.device.write_all_at(&buffer.0, offset).expect("write");
                }
                self.device.sync_data().expect("sync");
            });
        }
    }

    /// Uses the same offsets each time: the first call measures first writes, the second rewrites.
    fn random_writes(&self, name: &str, case: &str) -> f64 {
        let buffer = Buffer::random();
        let offsets = self.offsets(self.stream);
        self.timed(name, case, self.bytes, || {
            for (index, offset) in offsets.iter().enumerate() {
                self.device.write_all_at(&buffer.0[..PAGE], *offset).expect("write");
                if (index + 1) % FLUSH_EACH == 0 {
                    self.device.sync_data().expect("sync");
                }
            }
        })
    }

    fn database(&self, name: &str, commits: usize) -> f64 {
        let seconds = workload::database(self.device, &self.offsets(self.stream), commits);
        emit(ROOM, "database", name, ("commits", "1/s"), &[commits as f64 / seconds]);
        seconds
    }

    fn boot(&self, name: &str, most: usize) {
        let time = trace::replay(self.device, self.size, most);
        emit(ROOM, "boot trace", name, ("time", "ms"), &[time]);
    }

    fn timed(&self, name: &str, case: &str, bytes: u64, work: impl FnOnce()) -> f64 {
        let start = Instant::now();
        work();
        let seconds = start.elapsed().as_secs_f64();
        let rate = bytes as f64 / seconds / 1e6;
        emit(ROOM, case, name, ("rate", "MB/s"), &[rate]);
        seconds
    }

    fn offsets(&self, from: u64) -> Vec<u64> {
        workload::offsets(from..self.size, self.bytes)
    }
}
