//! What are the minimum costs of any driver on this machine?
//!
//! The floor is the kernel's share of a volume's cost. A driver that keeps its promises pays more:
//! three calls that wake it and its caller, a wait for the disk, a system call for each check. This
//! room measures each of these in isolation; the sum shows how close to the floor a driver can get. It tells
//! the floor's ioctls apart too.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use super::since;
use crate::contender::{Contender, Floor, Grpc};
use crate::raw::Controls;
use crate::series::emit;
use crate::world::World;

const ROOM: &str = "parts";
const TIME: (&str, &str) = ("time", "ms");
/// The calls that bring a volume to a pod.
const CALLS: usize = 3;
/// System calls in one measurement: one alone is too short for the clock.
const MANY: usize = 100;

pub(super) fn parts() {
    let world = World::new();
    let floor = Floor::new(&world);
    let grpc = Grpc::new(&world, &world.pool(), &[]);
    let client = grpc.driver().client();
    let controls = Controls::open().expect("the control devices");
    let records = world.directory("records");
    let (mut maker, mut echo) = (floor.caller(), Echo::new());
    let names = [
        "the floor",
        "3 empty calls over gRPC",
        "3 round trips to another process",
        "a small new file, synced",
        "100 empty system calls",
        "100 status queries to device-mapper",
    ];
    let mut times = names.map(|_| Vec::new());
    for number in 0..world.scale.repeats {
        let mut measure = |part: usize, work: &mut dyn FnMut()| {
            let start = Instant::now();
            work();
            times[part].push(since(start));
        };
        let mut made = None;
        measure(0, &mut || made = Some(maker.create(&format!("p{number}"))));
        let disk = made.expect("a disk");
        let name = floor.device_name(&disk.id);
        measure(1, &mut || (0..CALLS).for_each(|_| client.node_info().expect("an answer")));
        measure(2, &mut || (0..CALLS).for_each(|_| echo.ask()));
        measure(3, &mut || record(&records.join(number.to_string())));
        measure(4, &mut || {
            (0..MANY).for_each(|_| {
                let _ = rustix::process::getppid();
            })
        });
        measure(5, &mut || (0..MANY).for_each(|_| controls.status(&name).expect("a state")));
        maker.delete(disk);
    }
    for (ioctl, times) in floor.times() {
        emit(ROOM, ioctl, "floor", TIME, &times);
    }
    for (name, times) in names.iter().zip(times) {
        emit(ROOM, name, "this machine", TIME, &times);
    }
}

/// The minimum that makes a promise survive a power loss.
fn record(path: &Path) {
    let mut file = File::create_new(path).expect("a file");
    file.write_all(&[b'x'; 512]).expect("write");
    file.sync_all().expect("sync");
    drop(file);
    fs::remove_file(path).expect("unlink");
}

/// A process that answers.
struct Echo(Child);

impl Echo {
    fn new() -> Self {
        let piped = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        Self(piped.expect("cat"))
    }

    fn ask(&mut self) {
        let mut word = *b"?";
        self.0.stdin.as_mut().expect("a pipe").write_all(&word).expect("write");
        self.0.stdout.as_mut().expect("a pipe").read_exact(&mut word).expect("read");
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}
