//! How does a disk behave that has diverged much from its template: a million chunks written, on a large disk?
//!
//! calf loads its table over a short store, so that the kernel makes a small table for these exceptions
//! (docs/adr/0068-a-table-is-loaded-over-a-short-store.md). The floor's table has the full size. Both have the
//! same sparse template and the same writes; the order of the two changes with each round.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::time::Instant;

use calf::{ImportSpec, Pool};
use calf_test_kit::real_pool;

use super::buffer::{Buffer, LARGE, PAGE};
use super::memory::free_of_caches;
use super::{since, workload};
use crate::contender::{Contender, Disk, Floor, Library};
use crate::scale::Scale;
use crate::series::emit;
use crate::world::World;

const ROOM: &str = "exceptions";
const TEMPLATE: &str = "sparse";
/// Requests of each pattern on a disk that has all its exceptions, and how often each is repeated.
const LOOKS: usize = 20_000;
const PASSES: usize = 5;

pub(super) fn exceptions() {
    let world = World::new();
    let pool = world.pool();
    let image = import(&world, &pool);
    let calf = Library::with_shape(pool.clone(), "calf (library)".to_owned(), |mut spec| {
        TEMPLATE.clone_into(&mut spec.template);
        spec
    });
    let floor = Floor::with_store(&world, "floor", "PO").over(&image, world.scale.large);
    let mut contenders: [&dyn Contender; 2] = [&calf, &floor];
    for round in 0..world.scale.rounds.min(2) {
        for contender in contenders {
            scattered(&world, contender, round);
        }
        contenders.reverse();
    }
    for order in [Order::Scattered, Order::Ascending] {
        activation(&world, &pool, &calf, order);
    }
}

/// A template of holes, as large as the disks.
fn import(world: &World, pool: &Pool) -> PathBuf {
    let image = world.path().join("sparse.img");
    let file = File::create(&image).expect("an image");
    file.set_len(world.scale.large).expect("a length");
    pool.import_template(&ImportSpec::new(&*image, TEMPLATE), &mut |_| ()).expect("an import");
    image
}

fn scattered(world: &World, contender: &dyn Contender, round: usize) {
    let count = world.scale.exceptions;
    let case = case(world, Order::Scattered);
    let mut caller = contender.caller();
    let made = caller.create(&format!("x{round}"));
    let device = real_pool::open(&made.device);
    let pages = Order::Scattered.pages(world);
    let timed = |metric, passes: usize, count: usize, work: &mut dyn FnMut()| {
        let pass = |_| {
            let start = Instant::now();
            work();
            since(start) * 1000.0 / count as f64
        };
        let each: Vec<f64> = (0..passes).map(pass).collect();
        emit(ROOM, &case, contender.name(), (metric, "µs"), &each);
    };
    let before = free_of_caches();
    timed("a first write", 1, count, &mut || write(&device, &pages));
    let taken = before.saturating_sub(free_of_caches()) as f64 * 1024.0 / count as f64;
    emit(ROOM, &case, contender.name(), ("kernel memory per exception", "bytes"), &[taken]);

    let written = &pages[..LOOKS.min(count)];
    let others: Vec<u64> = written.iter().map(|page| neighbour(*page, world.scale.large)).collect();
    timed("a rewrite", PASSES, written.len(), &mut || write(&device, written));
    // The first reading fills the pool's page cache.
    read(&device, written);
    timed("a read of what was written", PASSES, written.len(), &mut || read(&device, written));
    timed("a read of the template", PASSES, others.len(), &mut || read(&device, &others));
    drop(device);
    caller.delete(made);
}

/// The time to activate a volume with all its exceptions, which the kernel reads from the store.
fn activation(world: &World, pool: &Pool, calf: &Library, order: Order) {
    let mut caller = calf.caller();
    let made = caller.create("x-activation");
    write(&real_pool::open(&made.device), &order.pages(world));
    let Disk { id, .. } = &made;
    let volume = pool.volume(id).expect("the volume");
    for _ in 0..world.scale.rounds.min(3) {
        volume.deactivate().expect("deactivate");
        let start = Instant::now();
        volume.activate().expect("activate");
        emit(ROOM, &case(world, order), calf.name(), ("activation", "ms"), &[since(start)]);
    }
    caller.delete(made);
}

/// The order in which a disk's pages are written.
#[derive(Clone, Copy)]
enum Order {
    Scattered,
    Ascending,
}

impl Order {
    fn pages(self, world: &World) -> Vec<u64> {
        let bytes = (world.scale.exceptions * PAGE) as u64;
        match self {
            Self::Scattered => workload::offsets(0..world.scale.large, bytes),
            Self::Ascending => (0..bytes).step_by(PAGE).collect(),
        }
    }
}

fn case(world: &World, order: Order) -> String {
    let word = match order {
        Order::Scattered => "scattered",
        Order::Ascending => "in order",
    };
    let Scale { exceptions, large, .. } = world.scale;
    format!("{exceptions} exceptions on {} MiB, {word}", large >> 20)
}

/// Writes pages; those that follow each other in one request.
fn write(device: &File, pages: &[u64]) {
    let buffer = Buffer::random();
    for run in pages.chunk_by(|one, next| one + PAGE as u64 == *next) {
        for part in run.chunks(LARGE / PAGE) {
            device.write_all_at(&buffer.0[..part.len() * PAGE], part[0]).expect("write");
        }
    }
}

fn read(device: &File, pages: &[u64]) {
    let mut buffer = Buffer::zero();
    for page in pages {
        device.read_exact_at(&mut buffer.0[..PAGE], *page).expect("read");
    }
}

/// The page beside this one, which most likely was not written.
fn neighbour(page: u64, size: u64) -> u64 {
    (page + PAGE as u64) % size
}
