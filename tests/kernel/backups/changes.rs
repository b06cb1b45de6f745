//! Changed and allocated ranges against what the devices show.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;

use calf::{Blocks, SnapshotSpec, VolumeSource, VolumeSpec};
use calf_test_kit::kernel;
use calf_test_kit::real_pool::{Page, Random, Rig, TEMPLATE_SIZE, read_page, run};

/// Where the pool is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Xfs,
    Btrfs,
    /// Its stores have encoded extents.
    CompressedBtrfs,
    /// Its files share no blocks.
    Ext4,
}

impl Place {
    fn rig(self) -> Rig {
        let rig = Rig::new(match self {
            Self::Xfs => kernel::Fs::Xfs,
            Self::Btrfs | Self::CompressedBtrfs => kernel::Fs::Btrfs,
            Self::Ext4 => kernel::Fs::Ext4,
        });
        if self == Self::CompressedBtrfs {
            for name in ["snapshots", "volumes"] {
                let directory = rig.pool.root().join(name);
                fs::create_dir_all(&directory).expect("a directory");
                run("chattr", &["+c"], &[&directory]);
            }
        }
        rig
    }
}

/// The chunks that were written or discarded since the last snapshot.
type Touched = BTreeSet<u64>;

/// Writes, rewrites and discards parts of the device, of `size` bytes, in steps of sectors.
pub(crate) fn scribble(
    rig: &Rig,
    device: &File,
    size: u64,
    chunk: u64,
    random: &mut Random,
) -> Touched {
    let mut touched = Touched::new();
    let mut touch = |at: u64, length: u64| touched.extend(at / chunk..=(at + length - 1) / chunk);
    for _ in 0..150 {
        let at = random.below(size / 4096) * 4096;
        device.write_all_at(&Page::random(random).0, at).expect("write");
        touch(at, 4096);
    }
    // Parts of chunks.
    for _ in 0..30 {
        let at = random.below(size / 512) * 512;
        device.write_all_at(&Page::random(random).0[..512], at).expect("write");
        touch(at, 512);
    }
    // A run that is worth compressing, half of it rewritten each time with what it held.
    for n in 0..256 {
        let at = (1 << 20) + n * 4096;
        let byte = if n % 2 == 0 { 7 } else { random.below(200) as u8 };
        device.write_all_at(&Page([byte; 4096]).0, at).expect("write");
        touch(at, 4096);
    }
    for _ in 0..6 {
        let at = random.below(size / chunk - 16) * chunk;
        let length = (1 + random.below(15)) * chunk;
        let options = ["-o", &format!("{at}"), "-l", &format!("{length}")];
        run("blkdiscard", &options, &[&rig.node("v")]);
        touch(at, length);
    }
    touched
}

/// All that a volume of the snapshot shows.
fn shown(rig: &Rig, snapshot: &str, size: u64) -> Vec<u8> {
    let spec = VolumeSpec::from_source("copy", VolumeSource::Snapshot(snapshot.to_owned()));
    let device = rig.open(&spec);
    let bytes = (0..size).step_by(4096).flat_map(|at| read_page(&device, at).0).collect();
    drop(device);
    rig.pool.volume("copy").and_then(|volume| volume.delete()).expect("delete");
    bytes
}

fn chunks(blocks: &Blocks, chunk: u64) -> BTreeSet<u64> {
    let ranges = blocks.ranges().iter();
    ranges.flat_map(|it| it.offset / chunk..(it.offset + it.length).div_ceil(chunk)).collect()
}

pub(crate) fn nothing_is_missed(place: Place, chunk: u64) {
    const GROWTH: u64 = 4 << 20;
    let rig = place.rig();
    rig.import_random("random", 3);
    let mut random = Random(chunk + 17);
    let mut size = TEMPLATE_SIZE;
    let mut device = rig.open(&VolumeSpec::new("v", "random").chunk_size(chunk));
    let volume = rig.pool.volume("v").expect("an id");
    let mut rounds: Vec<(String, u64, Vec<u8>, Touched)> = Vec::new();
    for n in 0..4 {
        if n == 2 {
            size += GROWTH;
            volume.expand(size).expect("expand");
        }
        let touched = match n {
            // Two snapshots between which nothing happens.
            3 => Touched::new(),
            _ => scribble(&rig, &device, size, chunk, &mut random),
        };
        let name = format!("s{n}");
        if place == Place::Ext4 {
            drop(device);
            volume.deactivate().expect("deactivate");
        }
        volume.take_snapshot(&SnapshotSpec::new(&name)).expect("a snapshot");
        device = rig.activate("v");
        rounds.push((name, size, Vec::new(), touched));
    }
    for (name, size, content, _) in &mut rounds {
        *content = shown(&rig, name, *size);
    }
    let handle = |name: &str| rig.pool.snapshot(name).expect("a name");
    for (i, (base, base_size, before, _)) in rounds.iter().enumerate() {
        for (j, (name, size, after, _)) in rounds.iter().enumerate() {
            let blocks = handle(name).changed_since(&handle(base)).expect("a comparison");
            assert_eq!((blocks.size, blocks.chunk_size), (*size, chunk));
            let told = chunks(&blocks, chunk);
            let step = usize::try_from(chunk).expect("a size");
            let parts = |bytes: &'_ [u8], n: u64| {
                let at = usize::try_from(n * chunk).expect("an offset");
                bytes.get(at..at + step).map(<[u8]>::to_vec)
            };
            let differ: BTreeSet<u64> =
                (0..size / chunk).filter(|n| parts(before, *n) != parts(after, *n)).collect();
            let missed: Vec<_> = differ.difference(&told).collect();
            assert!(missed.is_empty(), "{base} to {name}: missed {missed:?}");
            let rounds_between = &rounds[i.min(j) + 1..=i.max(j)];
            let written: Touched = rounds_between.iter().flat_map(|it| &it.3).copied().collect();
            let extra: Vec<_> = told
                .difference(&differ)
                .filter(|n| !written.contains(n) && **n < base_size / chunk)
                .collect();
            assert!(extra.is_empty() || i == j, "{base} to {name}: nobody wrote {extra:?}");
            if i == j || (i.max(j), i.min(j)) == (3, 2) {
                assert!(told.is_empty(), "{base} to {name}: {told:?}");
            }
            println!("{base} to {name}: {} differ, {} told", differ.len(), told.len());
        }
    }
    for (name, size, content, _) in &rounds {
        let blocks = handle(name).allocated().expect("ranges");
        let mut restored = vec![0; usize::try_from(*size).expect("a size")];
        for range in blocks {
            let at = usize::try_from(range.offset).expect("an offset");
            let part = at..at + usize::try_from(range.length).expect("a length");
            restored[part.clone()].copy_from_slice(&content[part]);
        }
        assert!(restored == *content, "{name}: what is not allocated is zeros");
    }
    drop(device);
    volume.delete().expect("delete");
}
