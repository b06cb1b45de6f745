//! What guests do with their disks, beside booting.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::time::Instant;

use calf_test_kit::real_pool::Random;

use super::buffer::{Buffer, LARGE, PAGE};

/// Commits of the database between two checkpoints, and the pages that a checkpoint writes.
const CHECKPOINT: usize = 32;
/// Bytes of a package that is installed.
const PACKAGE: u64 = 512 << 10;
/// Pages that a package changes elsewhere: directories, inodes, the list of packages.
const ELSEWHERE: usize = 8;

/// Different pages of a part of the disk, `bytes` in total, in random order.
pub(super) fn offsets(part: Range<u64>, bytes: u64) -> Vec<u64> {
    let count = bytes / PAGE as u64;
    let room = (part.end - part.start) / PAGE as u64;
    let stride = room / count;
    let mut random = Random(23);
    let mut offsets: Vec<u64> = (0..count)
        .map(|index| part.start + (index * stride + random.below(stride)) * PAGE as u64)
        .collect();
    random.shuffle(&mut offsets);
    offsets
}

/// A log that is appended to and flushed at each commit, and pages that follow at checkpoints. Returns the
/// seconds it took.
pub(super) fn database(device: &File, pages: &[u64], commits: usize) -> f64 {
    let buffer = Buffer::random();
    let start = Instant::now();
    for commit in 0..commits {
        let offset = (commit * PAGE) as u64;
        device.write_all_at(&buffer.0[..PAGE], offset).expect("write");
        device.sync_data().expect("sync");
        if (commit + 1) % CHECKPOINT == 0 {
            for page in &pages[commit + 1 - CHECKPOINT..=commit] {
                device.write_all_at(&buffer.0[..PAGE], *page).expect("write");
            }
            device.sync_data().expect("sync");
        }
    }
    start.elapsed().as_secs_f64()
}

/// Pages that [`database`] writes.
pub(super) fn database_writes(commits: usize) -> usize {
    commits + commits / CHECKPOINT * CHECKPOINT
}

/// The installation of `count` packages: the files of each in large writes, pages elsewhere, and a flush, as
/// `dpkg` waits for the disk after each. Returns the seconds it took.
pub(super) fn packages(device: &File, size: u64, count: usize) -> f64 {
    let buffer = Buffer::random();
    let files = size / 2;
    let elsewhere = offsets(0..files, (count * ELSEWHERE * PAGE) as u64);
    let start = Instant::now();
    for (number, pages) in elsewhere.chunks(ELSEWHERE).enumerate() {
        let first = files + number as u64 * PACKAGE;
        for offset in (first..first + PACKAGE).step_by(LARGE) {
            device.write_all_at(&buffer.0, offset).expect("write");
        }
        for page in pages {
            device.write_all_at(&buffer.0[..PAGE], *page).expect("write");
        }
        device.sync_data().expect("sync");
    }
    start.elapsed().as_secs_f64()
}

/// Writes of [`packages`].
pub(super) fn package_writes(count: usize) -> usize {
    count * (PACKAGE as usize / LARGE + ELSEWHERE)
}
