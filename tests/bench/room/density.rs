//! What do many volumes cost: memory of the kernel and of the driver, disk, the driver's restart,
//! and its idling?

use std::fs;
use std::thread;
use std::time::Instant;

use calf::sys::{DeviceId, Role};
use calf::{Key, Pool};

use super::memory::{free_of_caches, memory};
use super::since;
use crate::contender::{Contender, Disk, Grpc, Library};
use crate::raw::Controls;
use crate::series::emit;
use crate::world::World;

pub(super) const ROOM: &str = "density";
const GRPC: &str = "calf (gRPC)";
/// Milliseconds of a clock tick, as the kernel shows processor time (`USER_HZ`).
const TICK: u64 = 10;
/// Volumes of each chunk size.
const OF_EACH_CHUNK: usize = 20;

pub(super) fn density() {
    let world = World::new();
    let pool = world.pool();
    memory(&world, &pool);
    chunks(&world, &pool);
    let count = world.scale.dense;
    let case = format!("{count} volumes");
    let report = |metric, value: f64| emit(ROOM, &case, GRPC, metric, &[value]);
    let controls = Controls::open().expect("the control devices");

    let rounds = world.scale.rounds.min(3);
    let start = |metric| {
        let start = Instant::now();
        let grpc = Grpc::new(&world, &pool, &[]);
        report((metric, "ms"), since(start));
        grpc
    };
    for _ in 0..rounds {
        start("start without volumes").kill();
    }
    let grpc = Grpc::new(&world, &pool, &[]);
    let empty = resident(grpc.driver().pid());
    let (kernel, space) = (free_of_caches(), world.free());
    let mut caller = grpc.caller();
    let ids: Vec<String> = (0..count).map(|number| format!("d{number}")).collect();
    let mut disks: Vec<Disk> = Vec::new();
    let created = in_blocks(&ids, |id| disks.push(caller.create(id)));
    drop(caller);
    emit(ROOM, &case, GRPC, ("creation", "ms"), &created);
    let listing = Instant::now();
    assert_eq!(pool.volumes().expect("a list").len(), count);
    report(("list of all volumes", "ms"), since(listing));
    let disk = space.saturating_sub(world.free()) as f64 / count as f64 / 1024.0;
    report(("disk per fresh volume", "KiB"), disk);
    // The driver's own memory is in it.
    let each = kernel.saturating_sub(free_of_caches()) as f64 / count as f64;
    report(("kernel memory per volume", "KiB"), each);
    report(("driver memory without volumes", "KiB"), empty.all as f64);
    let full = resident(grpc.driver().pid());
    report(("driver memory with all volumes", "KiB"), full.all as f64);
    report(("driver memory with all volumes, anonymous", "KiB"), full.anonymous as f64);
    let before = processor_time(grpc.driver().pid());
    thread::sleep(world.scale.idle);
    let idle = processor_time(grpc.driver().pid()) - before;
    report(
        ("processor time of the idle driver", "ms/s"),
        idle as f64 / world.scale.idle.as_secs_f64(),
    );

    grpc.kill();
    let mut restarted = None;
    for _ in 0..rounds {
        drop(restarted.take());
        let listing = Instant::now();
        for disk in &disks {
            let id = DeviceId::new(pool.id(), &Key::of(&disk.id), Role::Snapshot);
            controls.status(&id.name).expect("status");
        }
        report(("listing, one ioctl per volume", "ms"), since(listing));
        restarted = Some(start("restart"));
    }
    let grpc = restarted.expect("a driver");
    report(("driver memory after restart", "KiB"), resident(grpc.driver().pid()).all as f64);
    let mut caller = grpc.caller();
    disks.reverse();
    let deleted = in_blocks(&ids, |_| disks.pop().into_iter().for_each(|disk| caller.delete(disk)));
    emit(ROOM, &case, GRPC, ("deletion", "ms"), &deleted);
    report(("driver memory after deletion", "KiB"), resident(grpc.driver().pid()).all as f64);
}

/// Does `work` for each id, and returns its mean milliseconds in each tenth of them: whether it becomes slower
/// the more there are.
fn in_blocks(ids: &[String], mut work: impl FnMut(&str)) -> Vec<f64> {
    let block = |ids: &[String]| {
        let start = Instant::now();
        ids.iter().for_each(|id| work(id));
        since(start) / ids.len() as f64
    };
    ids.chunks(ids.len().div_ceil(10)).map(block).collect()
}

/// Kernel memory and ready time by chunk size.
fn chunks(world: &World, pool: &Pool) {
    for &kib in world.scale.chunks {
        let name = format!("calf, {kib} KiB chunks");
        let variant =
            Library::with_shape(pool.clone(), name, move |spec| spec.chunk_size(kib << 10));
        let mut caller = variant.caller();
        let count = OF_EACH_CHUNK.min(world.scale.dense);
        let before = free_of_caches();
        let mut times = Vec::new();
        let disks: Vec<Disk> = (0..count)
            .map(|number| {
                let start = Instant::now();
                let disk = caller.create(&format!("k{kib}-{number}"));
                times.push(since(start));
                disk
            })
            .collect();
        let each = before.saturating_sub(free_of_caches()) as f64 / count as f64;
        emit(ROOM, "chunk sizes", variant.name(), ("kernel memory per volume", "KiB"), &[each]);
        emit(ROOM, "chunk sizes", variant.name(), ("ready", "ms"), &times);
        disks.into_iter().for_each(|disk| caller.delete(disk));
    }
}

/// Resident memory of a process, in kibibytes.
struct Resident {
    all: u64,
    /// Memory that the process has written to, without pages of its program or libraries.
    anonymous: u64,
}

fn resident(pid: u32) -> Resident {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
    let field = |name: &str| {
        let rest = text.lines().find_map(|line| line.strip_prefix(name)).expect("a field");
        rest.split_whitespace().next().and_then(|word| word.parse().ok()).expect("a number")
    };
    Resident { all: field("VmRSS:"), anonymous: field("RssAnon:") }
}

/// Milliseconds that a process has used a processor for: fields 14 and 15 of its `stat`.
fn processor_time(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).expect("stat");
    let fields: Vec<&str> = text.rsplit_once(") ").expect("a name").1.split(' ').collect();
    let ticks = |index: usize| fields[index].parse::<u64>().expect("ticks");
    (ticks(11) + ticks(12)) * TICK
}
