//! The contenders: each makes a writable disk from one template, and removes it again.
//!
//! | contender | how a disk is made |
//! | --- | --- |
//! | `calf (gRPC)` | CreateVolume, NodeStageVolume, NodePublishVolume over the unix socket |
//! | `calf (library)` | the same engine in this process: create, activate |
//! | `floor` | the ioctls of a snapshot and nothing else: no record, no lock, no check |
//! | `losetup+dmsetup` | the two programs, a persistent store (`P 8`): what sandbox managers do |
//! | `dm-thin` | `dmsetup message … create_snap`, as containerd's devmapper snapshotter does |
//! | `LVM thick`, `LVM thin` | `lvcreate --snapshot` |
//! | `qcow2` | an overlay on the image, served by `qemu-nbd` |
//! | `reflink+loop` | `cp --reflink` and `losetup` |
//! | `copy+loop` | `cp` and `losetup` |

mod calf;
mod copy;
mod floor;
mod lvm;
mod qcow2;
mod script;
mod thin;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::thread;

pub(crate) use calf::{Grpc, Library, Published};
use calf_test_kit::real_pool::run;
pub(crate) use copy::Copy;
pub(crate) use floor::Floor;
pub(crate) use lvm::Lvm;
pub(crate) use qcow2::Qcow2;
pub(crate) use script::Script;
pub(crate) use thin::Thin;

use crate::series;
use crate::world::{World, has};

/// How much one disk costs, which limits how many are made: an index into
/// [`crate::scale::Scale::most`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weight {
    /// System calls.
    Light,
    /// A few processes.
    Middle,
    /// Large processes.
    Heavy,
    /// The whole image.
    Copy,
}

/// A disk that is ready.
pub(crate) struct Disk {
    pub(crate) id: String,
    pub(crate) device: PathBuf,
    /// What the contender needs to remove it.
    pub(crate) below: String,
}

/// One way to make disks.
pub(crate) trait Contender: Sync {
    fn name(&self) -> &str;

    fn weight(&self) -> Weight;

    /// Most disks that can exist at once.
    fn most(&self) -> usize {
        usize::MAX
    }

    /// Starts a caller; several callers may work at once.
    fn caller(&self) -> Box<dyn Caller + '_>;

    /// How it takes snapshots of disks that are in use, if it can.
    fn snapshots(&self) -> Option<&dyn Snapshots> {
        None
    }
}

/// A caller, which makes disks one after the other.
pub(crate) trait Caller: Send {
    /// Makes a disk, which can be opened when this returns.
    fn create(&mut self, id: &str) -> Disk;

    /// Removes the disk without a trace.
    fn delete(&mut self, disk: Disk);
}

/// A contender that takes snapshots of disks that are in use.
pub(crate) trait Snapshots {
    /// Keeps what a disk holds at one instant. Returns what the contender calls the snapshot.
    fn take(&self, disk: &Disk, name: &str) -> String;

    /// Makes a disk that starts from a snapshot.
    fn start(&self, snapshot: &str, id: &str) -> Disk;

    /// Deletes a snapshot.
    fn forget(&self, snapshot: &str);

    /// Makes disks that start from what a disk holds at one instant.
    fn fork(&self, disk: &Disk, ids: &[String]) -> Vec<Disk> {
        let snapshot = self.take(disk, "forked");
        let disks = ids.iter().map(|id| self.start(&snapshot, id)).collect();
        self.forget(&snapshot);
        disks
    }
}

/// A requirement of a contender that calf itself does not have.
enum Need {
    /// A program, and the package that it is in.
    Program(&'static str, &'static str),
    /// A device-mapper target, and its module.
    Target(&'static str, &'static str),
    /// Another kernel module.
    Module(&'static str),
    /// A file system whose files can share blocks.
    Reflink,
}

impl Need {
    /// Returns why the requirement is not met; `None` if it is.
    fn unmet(&self, world: &World) -> Option<String> {
        match *self {
            Self::Program(name, package) => (!has(name))
                .then(|| format!("the program {name} is missing (Debian package {package})")),
            Self::Target(target, module) => {
                let targets = run("dmsetup", &["targets"], &[]);
                let there = targets.lines().any(|line| line.split(' ').next() == Some(target));
                (!there)
                    .then(|| format!("the kernel has no device-mapper target {target} ({module})"))
            }
            Self::Module(name) => {
                let there = Path::new("/sys/module").join(name).exists();
                (!there).then(|| format!("the kernel module {name} is not loaded"))
            }
            Self::Reflink => world.reflink().err(),
        }
    }
}

/// A contender that a user might choose instead of calf.
struct Rival {
    name: &'static str,
    needs: &'static [Need],
    make: fn(&World) -> Box<dyn Contender>,
}

const THIN_POOL: Need = Need::Target("thin-pool", "dm-thin-pool");
const LVM: Need = Need::Program("lvm", "lvm2");

const RIVALS: [Rival; 7] = [
    Rival { name: "losetup+dmsetup", needs: &[], make: |world| Box::new(script(world)) },
    Rival { name: "dm-thin", needs: &[THIN_POOL], make: |world| Box::new(Thin::new(world)) },
    Rival {
        name: "reflink+loop",
        needs: &[Need::Reflink],
        make: |world| Box::new(Copy::new(world, true)),
    },
    Rival { name: "copy+loop", needs: &[], make: |world| Box::new(Copy::new(world, false)) },
    Rival { name: "LVM thick", needs: &[LVM], make: |world| Box::new(Lvm::new(world, false)) },
    Rival {
        name: "LVM thin",
        needs: &[LVM, THIN_POOL],
        make: |world| Box::new(Lvm::new(world, true)),
    },
    Rival {
        name: "qcow2",
        needs: &[
            Need::Program("qemu-nbd", "qemu-utils"),
            Need::Program("qemu-img", "qemu-utils"),
            Need::Module("nbd"),
        ],
        make: |world| Box::new(Qcow2::new(world)),
    },
];

/// Takes a contender down. During a panic, a second panic would end the process and hide the first
/// message.
fn take_down(work: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(work))
        && !thread::panicking()
    {
        resume_unwind(panic);
    }
}

/// What sandbox managers do today.
pub(crate) fn script(world: &World) -> Script {
    Script::new(world, "losetup+dmsetup", "P 8")
}

/// The rivals of these names that this machine supports; for the others, reports why not.
pub(crate) fn rivals(world: &World, names: &[&str]) -> Vec<Box<dyn Contender>> {
    let mut found = Vec::new();
    for Rival { name, needs, make } in RIVALS.iter().filter(|rival| names.contains(&rival.name)) {
        match needs.iter().find_map(|need| need.unmet(world)) {
            None => found.push(make(world)),
            Some(why) => series::absent(name, &why),
        }
    }
    found
}

/// The rivals of a room that does not need all of them: a smoke run covers each rival in another
/// room.
pub(crate) fn rivals_again(world: &World) -> Vec<Box<dyn Contender>> {
    match world.scale.all_rivals_everywhere {
        true => rivals(world, &RIVALS.map(|rival| rival.name)),
        false => rivals(world, &["losetup+dmsetup"]),
    }
}

/// The floor, calf, and all rivals.
pub(crate) fn all(world: &World) -> Vec<Box<dyn Contender>> {
    let mut all = ours(world);
    all.extend(rivals(world, &RIVALS.map(|rival| rival.name)));
    all
}

/// The floor and calf.
pub(crate) fn ours(world: &World) -> Vec<Box<dyn Contender>> {
    let pool = world.pool();
    vec![
        Box::new(Floor::new(world)),
        Box::new(Grpc::new(world, &pool, &[])),
        Box::new(Library::new(pool)),
    ]
}
