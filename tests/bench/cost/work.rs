//! What callers do: a volume's life, or the baseline.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use calf_test_kit::driver_process::{Client, Usage};

use crate::Places;

/// What is done once for each volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Work {
    /// What no driver can avoid: three empty calls and a synced file, and the same for the way back.
    Baseline,
    /// The life of a block volume.
    Block,
    /// The life of a mounted volume.
    Mount,
    /// Only the files of a volume, made and flushed as CreateVolume does, and removed as DeleteVolume does.
    Files,
}

/// The parts of a life, in order. A baseline has four: the calls and the file of each way.
pub(crate) const STEPS: [&str; 6] = [
    "CreateVolume",
    "NodeStageVolume",
    "NodePublishVolume",
    "NodeUnpublishVolume",
    "NodeUnstageVolume",
    "DeleteVolume",
];
/// The parts of the baseline.
pub(crate) const BASELINE: [&str; 4] = [
    "3 empty calls",
    "a new file, synced",
    "3 empty calls, on the way back",
    "the file's removal, synced",
];
/// The parts of the files alone.
pub(crate) const FILES: [&str; 2] =
    ["a new file in a new directory, and both directories, synced", "their removal, synced"];
/// The calls of one way.
const CALLS: usize = 3;

impl Work {
    const ALL: [Self; 4] = [Self::Baseline, Self::Block, Self::Mount, Self::Files];

    /// All kinds of work, beginning with another one in each round.
    pub(crate) fn rotated(round: usize) -> [Self; 4] {
        let mut all = Self::ALL;
        let first = round % all.len();
        all.rotate_left(first);
        all
    }

    /// The names of the parts.
    pub(crate) fn parts(self) -> &'static [&'static str] {
        match self {
            Self::Baseline => &BASELINE,
            Self::Files => &FILES,
            Self::Block | Self::Mount => &STEPS,
        }
    }

    /// Does it once; the time that each part took.
    pub(crate) fn once(self, client: &Client, places: &Places<'_>, id: &str) -> Vec<Duration> {
        let block = match self {
            Self::Baseline => return baseline(client, &places.pool.join("baseline"), id),
            Self::Files => return files(&places.pool.join("baseline"), id),
            Self::Block => true,
            Self::Mount => false,
        };
        let usage = Usage::new(id, &places.rest.join("kubelet"), block);
        fs::create_dir_all(&usage.staging).expect("as kubelet does");
        let times = [
            timed(|| client.create_for(&usage, "root").expect("create")),
            timed(|| client.stage(&usage).expect("stage")),
            timed(|| client.publish(&usage).expect("publish")),
            timed(|| client.unpublish(&usage).expect("unpublish")),
            timed(|| client.unstage(&usage).expect("unstage")),
            timed(|| client.delete(id).expect("delete")),
        ];
        fs::remove_dir(&usage.staging).expect("as kubelet does");
        times.into()
    }
}

fn files(directory: &Path, id: &str) -> Vec<Duration> {
    let own = directory.join(id);
    let [new, path] = ["new", "record"].map(|name| own.join(name));
    let sync = |path: &Path| File::open(path).and_then(|found| found.sync_all()).expect("sync");
    let write = || {
        fs::create_dir(&own).expect("a directory");
        File::create_new(own.join("store")).and_then(|file| file.set_len(1 << 20)).expect("a file");
        fs::write(&new, [b'x'; 512]).expect("write");
        fs::rename(&new, &path).expect("rename");
        for path in [path.as_path(), &own, directory] {
            sync(path);
        }
    };
    let remove = || {
        fs::remove_dir_all(&own).expect("remove");
        sync(directory);
    };
    vec![timed(write), timed(remove)]
}

fn baseline(client: &Client, directory: &Path, id: &str) -> Vec<Duration> {
    let calls = || (0..CALLS).for_each(|_| client.node_info().expect("an answer"));
    let path = directory.join(id);
    let write = || {
        let mut file = File::create_new(&path).expect("a file");
        file.write_all(&[b'x'; 512]).expect("write");
        file.sync_all().expect("sync");
    };
    let remove = || {
        fs::remove_file(&path).expect("unlink");
        File::open(directory).and_then(|directory| directory.sync_all()).expect("sync");
    };
    vec![timed(calls), timed(write), timed(calls), timed(remove)]
}

fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}
