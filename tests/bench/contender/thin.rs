//! dm-thin: a pool over two files, one thin volume with the template, a snapshot of it per disk.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use calf_test_kit::real_pool::run;

use super::{Caller, Contender, Disk, Snapshots, Weight, take_down};
use crate::world::{World, text};

/// Sectors per block: 64 KiB, the least.
const BLOCK: u64 = 128;
/// Bytes of the pool's metadata device.
const METADATA: u64 = 64 << 20;
/// The id of the thin volume that is the template.
const BASE: u32 = 0;
const POOL: &str = "bench-thin-pool";

pub(crate) struct Thin {
    loops: [String; 2],
    sectors: u64,
    next: AtomicU32,
}

impl Thin {
    pub(crate) fn new(world: &World) -> Self {
        let directory = world.directory("thin");
        let data = world.scale.template + (1 << 30);
        let loops = [("metadata", METADATA), ("data", data)].map(|(name, length)| {
            let file = directory.join(name);
            run("truncate", &["--size", &length.to_string()], &[&file]);
            run("losetup", &["--find", "--show"], &[&file])
        });
        let [metadata, content] = &loops;
        let table = format!(
            "0 {} thin-pool {metadata} {content} {BLOCK} 0 1 skip_block_zeroing",
            data / 512
        );
        run("dmsetup", &["create", POOL, "--table", &table], &[]);
        let thin =
            Self { loops, sectors: world.scale.template / 512, next: AtomicU32::new(BASE + 1) };
        message(&format!("create_thin {BASE}"));
        let base = thin.activate("bench-thin-base", BASE);
        run(
            "dd",
            &[
                &format!("if={}", text(&world.image)),
                &format!("of={}", text(&base)),
                "bs=4M",
                "conv=fsync",
            ],
            &[],
        );
        run("dmsetup", &["remove", "bench-thin-base"], &[]);
        thin
    }

    fn activate(&self, name: &str, id: u32) -> PathBuf {
        let table = format!("0 {} thin /dev/mapper/{POOL} {id}", self.sectors);
        run("dmsetup", &["create", name, "--table", &table], &[]);
        PathBuf::from(format!("/dev/mapper/{name}"))
    }
}

fn message(text: &str) {
    run("dmsetup", &["message", POOL, "0", text], &[]);
}

impl Drop for Thin {
    fn drop(&mut self) {
        take_down(|| {
            run("dmsetup", &["remove", POOL], &[]);
            for device in &self.loops {
                run("losetup", &["--detach", device], &[]);
            }
        });
    }
}

impl Contender for Thin {
    fn name(&self) -> &str {
        "dm-thin"
    }

    fn weight(&self) -> Weight {
        Weight::Middle
    }

    fn caller(&self) -> Box<dyn Caller + '_> {
        Box::new(ThinCaller(self))
    }

    fn snapshots(&self) -> Option<&dyn Snapshots> {
        Some(self)
    }
}

impl Thin {
    /// Makes a disk that starts from the thin volume `origin`.
    fn snapshot(&self, origin: &str, id: &str) -> Disk {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        message(&format!("create_snap {number} {origin}"));
        let device = self.activate(&format!("thin-{id}"), number);
        Disk { id: id.to_owned(), device, below: number.to_string() }
    }
}

impl Snapshots for Thin {
    /// The kernel's documentation says to suspend a thin volume that is active.
    fn take(&self, disk: &Disk, _name: &str) -> String {
        let (number, device) =
            (self.next.fetch_add(1, Ordering::Relaxed), format!("thin-{}", disk.id));
        run("dmsetup", &["suspend", &device], &[]);
        message(&format!("create_snap {number} {}", disk.below));
        run("dmsetup", &["resume", &device], &[]);
        number.to_string()
    }

    fn start(&self, snapshot: &str, id: &str) -> Disk {
        self.snapshot(snapshot, id)
    }

    fn forget(&self, snapshot: &str) {
        message(&format!("delete {snapshot}"));
    }
}

struct ThinCaller<'a>(&'a Thin);

impl Caller for ThinCaller<'_> {
    fn create(&mut self, id: &str) -> Disk {
        self.0.snapshot(&BASE.to_string(), id)
    }

    fn delete(&mut self, disk: Disk) {
        run("dmsetup", &["remove", &format!("thin-{}", disk.id)], &[]);
        message(&format!("delete {}", disk.below));
    }
}
