//! How long does a volume take that finds a spare?
//!
//! Spares are made between the measured calls, as in the idle time between a user's calls.

use std::time::{Duration, Instant};

use calf::{Cancel, Pool, VolumeSpec};

use super::since;
use crate::contender::{Caller, Contender, Floor, Grpc};
use crate::series::emit;
use crate::world::{TEMPLATE, World};

const ROOM: &str = "warm";
const CASE: &str = "1 volumes";
const LIBRARY: &str = "calf (library)";
const READY: (&str, &str) = ("ready", "ms");
const SPARES: u32 = 4;
/// How long a driver may take to make them.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn spares() {
    let world = World::new();
    let pool = world.pool();
    let floor = Floor::new(&world);
    pool.template(TEMPLATE).expect("a template name").set_warm(SPARES).expect("a number");
    let mut times = Times::default();
    for number in 0..world.scale.repeats {
        times.floor(&mut *floor.caller(), number);
        pool.tend_spares(&Cancel::never()).expect("spares");
        times.library(&world, &pool, &format!("l{number}"));
    }
    let grpc = Grpc::new(&world, &pool, &[]);
    let mut caller = grpc.caller();
    for number in 0..world.scale.repeats {
        times.floor(&mut *floor.caller(), world.scale.repeats + number);
        await_spares(&pool);
        let start = Instant::now();
        let disk = caller.create(&format!("g{number}"));
        times.grpc.push(since(start));
        world.check(&disk.device);
        caller.delete(disk);
    }
    drop(caller);
    drop(grpc);
    pool.template(TEMPLATE).expect("a template name").set_warm(0).expect("a number");
    pool.tend_spares(&Cancel::never()).expect("no spares");
    emit(ROOM, CASE, floor.name(), READY, &times.floor);
    emit(ROOM, CASE, LIBRARY, ("claim", "ms"), &times.claim);
    emit(ROOM, CASE, LIBRARY, READY, &times.library);
    emit(ROOM, CASE, "calf (gRPC)", READY, &times.grpc);
    emit(ROOM, "making a spare", LIBRARY, READY, &times.make);
}

/// Milliseconds.
#[derive(Default)]
struct Times {
    floor: Vec<f64>,
    claim: Vec<f64>,
    library: Vec<f64>,
    grpc: Vec<f64>,
    make: Vec<f64>,
}

impl Times {
    fn floor(&mut self, caller: &mut dyn Caller, number: usize) {
        let start = Instant::now();
        let disk = caller.create(&format!("w{number}"));
        self.floor.push(since(start));
        caller.delete(disk);
    }

    fn library(&mut self, world: &World, pool: &Pool, id: &str) {
        let claimed = pool.claimed_spares();
        let start = Instant::now();
        pool.create_volume(&VolumeSpec::new(id, TEMPLATE)).expect("create");
        let created = Instant::now();
        let device = pool.volume(id).expect("a volume id").activate().expect("activate");
        self.claim.push(since(created));
        self.library.push(since(start));
        assert_eq!(pool.claimed_spares(), claimed + 1, "there was no spare");
        world.check(device.path());
        pool.volume(id).expect("a volume id").delete().expect("delete");
        let start = Instant::now();
        let made = pool.tend_spares(&Cancel::never()).expect("spares").made;
        assert_eq!(made, 1);
        self.make.push(since(start));
    }
}

fn await_spares(pool: &Pool) {
    let deadline = Instant::now() + PATIENCE;
    while pool.spares().expect("a count").get(TEMPLATE) != Some(&u64::from(SPARES)) {
        assert!(Instant::now() < deadline, "the driver makes no spares");
        std::thread::sleep(Duration::from_millis(50));
    }
    // The last spare is counted slightly before it is complete.
    std::thread::sleep(Duration::from_millis(100));
}
