//! Long life: the same driver takes volumes through their lives, over and over. Anything that it or
//! the kernel leaks shows as growth between the end of the warm-up and the end of the run.

use std::fmt;
use std::fs;
use std::path::Path;

use calf_test_kit::driver_process::{Client, Driver, Usage};
use calf_test_kit::fault_run::{Inventory, Tally, count, seed};
use calf_test_kit::kernel;
use calf_test_kit::real_pool::Rig;
use rustix::fs::statvfs;

/// Samples that a run takes.
const SAMPLES: u64 = 20;

/// The samples that count as warm-up, in which allocators and caches reach their size.
const WARM_UP: usize = 6;

/// Allowed growth of the process's memory: an allocator keeps what a burst needed.
const MEMORY_TOLERANCE: u64 = 2 << 20;

/// Allowed growth of the kernel's memory: per-CPU caches of slabs fill and drain. In the full run,
/// this is less than 64 bytes per cycle.
const SLAB_TOLERANCE: u64 = 2 << 20;

/// Allowed difference in threads: the runtime ends idle threads and starts new ones.
const THREAD_TOLERANCE: u64 = 4;

pub(crate) fn cycles() {
    let cycles = count(200, 50_000);
    let tally = Tally::new("long life: cycles of one driver", seed());
    let rig = Rig::new(kernel::Fs::Xfs);
    rig.import_file_system("root", "ext4");
    let driver = Driver::start(rig.pool.root(), &kernel::work_dir(), &[]);
    let client = driver.client();
    let directory = rig.path("");
    // The first volume makes the pool's directories.
    client.create("first", "root").and_then(|()| client.delete("first")).expect("a volume");
    let at_rest = Inventory::take(rig.pool.root());
    println!("{}", Sample::HEADER);
    let mut samples = Vec::new();
    for cycle in 1..=cycles {
        // Ids do not repeat, like those of an orchestrator.
        let usage = Usage::new(&format!("volume-{cycle}"), &directory, cycle % 2 == 0);
        fs::create_dir_all(&usage.staging).expect("as kubelet does");
        if let Err(error) = live(&client, &usage) {
            tally.found(format!("cycle {cycle}: {error:?}\n{}", driver.last_words()));
            break;
        }
        fs::remove_dir(&usage.staging).expect("as kubelet does");
        tally.tried();
        if cycle % (cycles / SAMPLES) == 0 {
            let sample = Sample::take(cycle, driver.pid(), rig.pool.root());
            println!("{sample}");
            samples.push(sample);
        }
    }
    for left in at_rest.left(rig.pool.root()) {
        tally.leaked(left);
    }
    if samples.len() > WARM_UP {
        compare(&tally, &samples);
    }
    assert!(driver.stop().success());
    tally.finish();
}

fn live(client: &Client, usage: &Usage) -> Result<(), tonic::Status> {
    client.create(&usage.volume, "root")?;
    client.stage(usage)?;
    client.publish(usage)?;
    client.unpublish(usage)?;
    client.unstage(usage)?;
    client.delete(&usage.volume)
}

/// Compares the last sample with the largest of the second half of the warm-up.
fn compare(tally: &Tally, samples: &[Sample]) {
    let warm = &samples[WARM_UP / 2..WARM_UP];
    let last = samples.last().expect("some");
    let check = |what: &str, of: fn(&Sample) -> u64, tolerance: u64| {
        let before = warm.iter().map(of).max().unwrap_or(0);
        if of(last) > before + tolerance {
            tally.leaked(format!("{what}: {before} after the warm-up, {} at the end", of(last)));
        }
    };
    check("the driver's memory", |sample| sample.memory, MEMORY_TOLERANCE);
    check("the driver's open files", |sample| sample.open_files, 0);
    check("the driver's threads", |sample| sample.threads, THREAD_TOLERANCE);
    check("device-mapper devices", |sample| sample.mapped, 0);
    check("attached loop devices", |sample| sample.loops, 0);
    check("files in the pool", |sample| sample.files, 0);
    check("blocks in use on the pool's file system", |sample| sample.blocks, 64);
    check("the kernel's slabs", |sample| sample.slab, SLAB_TOLERANCE);
}

/// What is in use between two cycles.
struct Sample {
    cycle: u64,
    memory: u64,
    open_files: u64,
    threads: u64,
    mapped: u64,
    loops: u64,
    files: u64,
    blocks: u64,
    slab: u64,
}

impl Sample {
    const HEADER: &str =
        "  cycle  mem KiB  fds  threads  dm  loops  pool files  pool blocks  slab KiB";

    fn take(cycle: u64, pid: u32, pool: &Path) -> Self {
        // Memory that the kernel could free is not a leak.
        rustix::fs::sync();
        fs::write("/proc/sys/vm/drop_caches", "3").expect("drop caches");
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the driver lives");
        let memory = fs::read_to_string("/proc/meminfo").expect("meminfo");
        let open_files = fs::read_dir(format!("/proc/{pid}/fd")).expect("the driver lives").count();
        let inventory = Inventory::take(pool);
        let space = statvfs(pool).expect("statvfs");
        Self {
            cycle,
            memory: field(&status, "RssAnon:") << 10,
            open_files: open_files as u64,
            threads: field(&status, "Threads:"),
            mapped: inventory.mapped.len() as u64,
            loops: inventory.loops.len() as u64,
            files: inventory.files.len() as u64,
            blocks: space.f_blocks - space.f_bfree,
            slab: field(&memory, "SUnreclaim:") << 10,
        }
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>7}  {:>7}  {:>3}  {:>7}  {:>2}  {:>5}  {:>10}  {:>11}  {:>8}",
            self.cycle,
            self.memory >> 10,
            self.open_files,
            self.threads,
            self.mapped,
            self.loops,
            self.files,
            self.blocks,
            self.slab >> 10,
        )
    }
}

/// The number after `name` in a file of `/proc`.
fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.unwrap_or_else(|| panic!("no {name} in {text}"))
}
