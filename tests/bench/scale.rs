//! How much is measured.

use std::time::Duration;

use calf_test_kit::kernel::Fs;

/// The knobs. Sizes are in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    pub(crate) name: &'static str,
    /// Size of the template.
    pub(crate) template: u64,
    /// How many volumes exist at once, made one after the other.
    pub(crate) counts: &'static [usize],
    /// Maximum number of volumes for a contender, by its cost: light (ioctls), middle (a few
    /// processes), heavy (many processes), copy (the whole image).
    pub(crate) most: [usize; 4],
    /// How often the case of one volume is repeated.
    pub(crate) repeats: usize,
    /// Number of loop devices to create in advance: the kernel keeps free loop devices, so
    /// otherwise the first contender would pay for creating them for the others.
    pub(crate) loops: u32,
    /// Numbers of concurrent callers.
    pub(crate) callers: &'static [usize],
    /// Volumes that concurrent callers make in total.
    pub(crate) together: usize,
    /// How often each of these cases is repeated.
    pub(crate) rounds: usize,
    /// Bytes that each random pattern of the I/O room moves.
    pub(crate) io: u64,
    /// Bytes that each sequential pattern moves.
    pub(crate) stream: u64,
    /// Requests of the recorded boot that are replayed.
    pub(crate) boot: usize,
    /// Chunk sizes that are compared, in KiB.
    pub(crate) chunks: &'static [u64],
    /// Guests that boot from one template.
    pub(crate) guests: usize,
    /// Packages that are installed on a slow disk.
    pub(crate) packages: usize,
    /// Volumes of the density room.
    pub(crate) dense: usize,
    /// Chunks that the room of exceptions writes, and the size of its disks.
    pub(crate) exceptions: usize,
    pub(crate) large: u64,
    /// Mebibytes that were just written when a snapshot is taken.
    pub(crate) dirty: &'static [usize],
    /// Disks that are made of a warm one, and the chunks that this has written.
    pub(crate) forks: usize,
    pub(crate) warm_chunks: usize,
    /// Volumes of the growth room.
    pub(crate) growth: usize,
    /// How long the idle driver is watched.
    pub(crate) idle: Duration,
    /// Whether each room that compares has all rivals; otherwise only the first has.
    pub(crate) all_rivals_everywhere: bool,
}

/// Everything once, as small as possible: part of `make test`.
const SMOKE: Scale = Scale {
    name: "smoke",
    template: 32 << 20,
    counts: &[1],
    most: [2, 1, 1, 1],
    repeats: 1,
    loops: 0,
    callers: &[1, 2],
    together: 2,
    rounds: 1,
    io: 128 << 10,
    stream: 512 << 10,
    boot: 40,
    chunks: &[4],
    guests: 2,
    packages: 2,
    dense: 2,
    exceptions: 200,
    large: 64 << 20,
    dirty: &[0],
    forks: 2,
    warm_chunks: 50,
    growth: 2,
    idle: Duration::from_millis(200),
    all_rivals_everywhere: false,
};

const SHORT: Scale = Scale {
    name: "short",
    template: 256 << 20,
    counts: &[1, 10, 100],
    most: [100, 10, 5, 3],
    repeats: 10,
    loops: 1000,
    callers: &[1, 8, 100],
    together: 100,
    rounds: 2,
    io: 4 << 20,
    stream: 32 << 20,
    boot: usize::MAX,
    chunks: &[4, 16, 64],
    guests: 10,
    packages: 20,
    dense: 100,
    exceptions: 100_000,
    large: 10 << 30,
    dirty: &[0, 64],
    forks: 20,
    warm_chunks: 1000,
    growth: 200,
    idle: Duration::from_secs(3),
    all_rivals_everywhere: true,
};

const FULL: Scale = Scale {
    name: "full",
    template: 1 << 30,
    counts: &[1, 10, 100, 1000],
    most: [1000, 100, 10, 3],
    repeats: 50,
    loops: 2100,
    callers: &[1, 8, 32, 100],
    together: 100,
    rounds: 5,
    io: 4 << 20,
    stream: 32 << 20,
    boot: usize::MAX,
    chunks: &[4, 8, 16, 32, 64],
    guests: 50,
    packages: 100,
    dense: 1000,
    exceptions: 1_000_000,
    large: 100 << 30,
    dirty: &[0, 64, 512],
    forks: 100,
    warm_chunks: 10_000,
    growth: 2000,
    idle: Duration::from_secs(3),
    all_rivals_everywhere: true,
};

/// Ten thousand volumes in one kernel: for the density room alone.
const MANY: Scale = Scale { name: "many", dense: 10_000, ..SHORT };

/// The scale that `CALF_BENCH` names; a smoke run by default.
pub(crate) fn scale() -> Scale {
    match std::env::var("CALF_BENCH").as_deref() {
        Err(_) | Ok("smoke") => SMOKE,
        Ok("short") => SHORT,
        Ok("full") => FULL,
        Ok("many") => MANY,
        Ok(other) => panic!("CALF_BENCH={other} is unknown: use smoke, short, full or many"),
    }
}

/// The file system of the pool, which `CALF_BENCH_FS` may choose. By default XFS, since all
/// contenders can use it, including copies with reflink.
pub(crate) fn file_system() -> Fs {
    match std::env::var("CALF_BENCH_FS").as_deref() {
        Err(_) | Ok("xfs") => Fs::Xfs,
        Ok("ext4") => Fs::Ext4,
        Ok("btrfs") => Fs::Btrfs,
        Ok(other) => panic!("CALF_BENCH_FS={other} is unknown: use xfs, ext4 or btrfs"),
    }
}
