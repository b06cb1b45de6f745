//! How long does it take from the request to a block device that can be opened, and to remove it?
//!
//! Volumes are made in turns: one by each contender, then the next by each, so that a slow moment
//! of the machine affects all alike. Each turn has another order, so that no contender always
//! follows the one that leaves the caches cold. If there are so many volumes that only one
//! contender's fit into memory, contenders take turns in blocks.

use std::fs::OpenOptions;
use std::thread;
use std::time::Instant;

use calf_test_kit::real_pool::Random;

use super::since;
use crate::contender::{self, Caller, Contender, Disk, Weight};
use crate::series::emit;
use crate::world::World;

const READY: (&str, &str) = ("ready", "ms");
const GONE: (&str, &str) = ("gone", "ms");
const READY_EACH: (&str, &str) = ("ready, total time per volume", "ms");
const GONE_EACH: (&str, &str) = ("gone, total time per volume", "ms");

/// How many volumes of all contenders certainly fit into a machine's memory.
const SIDE_BY_SIDE: usize = 100;

/// The measurements of one contender.
#[derive(Default)]
struct Times {
    ready: Vec<f64>,
    gone: Vec<f64>,
}

pub(super) fn alone() {
    let world = World::new();
    let _loops = world.make_loops();
    let contenders = contender::all(&world);
    for &count in world.scale.counts {
        let repeats = if count == 1 { world.scale.repeats } else { 1 };
        let case = format!("{count} volumes");
        let takers: Vec<&dyn Contender> = contenders
            .iter()
            .map(|contender| &**contender)
            .filter(|contender| most(&world, *contender) >= count)
            .collect();
        let groups: Vec<&[&dyn Contender]> =
            if count > SIDE_BY_SIDE { takers.chunks(1).collect() } else { vec![&takers] };
        for group in groups {
            let times = in_turns(&world, group, count, repeats);
            for (contender, times) in group.iter().zip(times) {
                emit("ready", &case, contender.name(), READY, &times.ready);
                emit("ready", &case, contender.name(), GONE, &times.gone);
            }
        }
        println!("ready: {case} done");
    }
}

fn most(world: &World, contender: &dyn Contender) -> usize {
    world.scale.most[contender.weight() as usize].min(contender.most())
}

fn in_turns(
    world: &World,
    contenders: &[&dyn Contender],
    count: usize,
    repeats: usize,
) -> Vec<Times> {
    let mut callers: Vec<Box<dyn Caller + '_>> = contenders.iter().map(|c| c.caller()).collect();
    let mut times: Vec<Times> = contenders.iter().map(|_| Times::default()).collect();
    let mut order: Vec<usize> = (0..contenders.len()).collect();
    let mut random = Random(29);
    for repeat in 0..repeats {
        let mut disks: Vec<Vec<Disk>> = contenders.iter().map(|_| Vec::new()).collect();
        for number in 0..count {
            random.shuffle(&mut order);
            for &index in &order {
                if repeat > 0 && repeat * count >= most(world, contenders[index]) {
                    continue;
                }
                let start = Instant::now();
                let disk = callers[index].create(&format!("n{count}-{repeat}-{number}"));
                open(&disk);
                times[index].ready.push(since(start));
                world.check(&disk.device);
                disks[index].push(disk);
            }
        }
        for _ in 0..count {
            random.shuffle(&mut order);
            for &index in &order {
                if let Some(disk) = disks[index].pop() {
                    let start = Instant::now();
                    callers[index].delete(disk);
                    times[index].gone.push(since(start));
                }
            }
        }
    }
    times
}

/// Proves that the path is a usable block device.
fn open(disk: &Disk) {
    let opened = OpenOptions::new().read(true).write(true).open(&disk.device);
    opened.unwrap_or_else(|error| panic!("cannot open {}: {error}", disk.device.display()));
}

pub(super) fn together() {
    let world = World::new();
    let _loops = world.make_loops();
    let mut contenders = contender::ours(&world);
    contenders.extend(contender::rivals_again(&world));
    for round in 0..world.scale.rounds {
        for &callers in world.scale.callers {
            for contender in &contenders {
                if round >= rounds(contender.weight()) {
                    continue;
                }
                let volumes = volumes(&world, &**contender, callers);
                if volumes < callers {
                    continue;
                }
                let prefix = format!("c{callers}-{round}");
                let (ready, gone) = at_once(&world, &**contender, callers, volumes, &prefix);
                let case = format!("{callers} callers");
                let each = |total: f64| [total / volumes as f64];
                emit("together", &case, contender.name(), READY_EACH, &each(ready));
                emit("together", &case, contender.name(), GONE_EACH, &each(gone));
            }
            println!("together: round {round}, {callers} callers done");
        }
    }
}

/// How many volumes the callers make in total. Programs are slow, so they make only one per caller,
/// but at least a few.
fn volumes(world: &World, contender: &dyn Contender, callers: usize) -> usize {
    const SOME: usize = 10;
    let wanted = match contender.weight() {
        Weight::Light => world.scale.together,
        _ => callers.max(SOME),
    };
    wanted.min(most(world, contender))
}

/// How many rounds are worth their time: operations that take seconds vary little.
fn rounds(weight: Weight) -> usize {
    match weight {
        Weight::Light => usize::MAX,
        Weight::Middle | Weight::Heavy => 2,
        Weight::Copy => 1,
    }
}

/// Total milliseconds in which `callers` together make `volumes`, and remove them.
fn at_once(
    world: &World,
    contender: &dyn Contender,
    callers: usize,
    volumes: usize,
    prefix: &str,
) -> (f64, f64) {
    let mut sessions: Vec<(Box<dyn Caller + '_>, Vec<Disk>)> =
        (0..callers).map(|_| (contender.caller(), Vec::new())).collect();
    let start = Instant::now();
    thread::scope(|scope| {
        for (number, (caller, disks)) in sessions.iter_mut().enumerate() {
            scope.spawn(move || {
                for volume in (number..volumes).step_by(callers) {
                    let disk = caller.create(&format!("{prefix}-{volume}"));
                    open(&disk);
                    disks.push(disk);
                }
            });
        }
    });
    let ready = since(start);
    sessions.iter().flat_map(|(_, disks)| disks).for_each(|disk| world.check(&disk.device));
    let start = Instant::now();
    thread::scope(|scope| {
        for (caller, disks) in &mut sessions {
            scope.spawn(move || disks.drain(..).for_each(|disk| caller.delete(disk)));
        }
    });
    (ready, since(start))
}
