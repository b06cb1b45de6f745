//! One volume in a fault run, and its model: the state that it must have by the answers that its
//! caller got, and the states that it may have while an answer is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::ops::RangeInclusive;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use calf::Key;
use calf_test_kit::driver_process::{Client, Usage};
use calf_test_kit::fault_run::Tally;
use calf_test_kit::real_pool::{self, Page, Random, TEMPLATE_SIZE};
use tonic::{Code, Status};

/// The phase of a volume's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Absent,
    Created,
    Staged,
    Published,
}

/// A call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Create,
    Stage,
    Publish,
    Expand(u64),
    Unpublish,
    Unstage,
    Delete,
}

impl Call {
    /// The phase that it leads to.
    fn phase(self) -> Phase {
        match self {
            Self::Delete => Phase::Absent,
            Self::Create | Self::Unstage => Phase::Created,
            Self::Stage | Self::Unpublish => Phase::Staged,
            Self::Publish | Self::Expand(_) => Phase::Published,
        }
    }

    /// The call of an orchestrator that has changed its mind.
    fn reverse(self) -> Self {
        match self {
            Self::Create => Self::Delete,
            Self::Stage => Self::Unstage,
            Self::Publish | Self::Expand(_) => Self::Unpublish,
            Self::Unpublish => Self::Publish,
            Self::Unstage => Self::Stage,
            Self::Delete => Self::Create,
        }
    }
}

/// A volume, its model, and what was written to it.
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) usage: Usage,
    /// The phases that it may be in: one, unless answers are missing.
    phases: RangeInclusive<Phase>,
    /// Sizes that it may have.
    sizes: BTreeSet<u64>,
    /// The last call, if its answer never came.
    unanswered: Option<Call>,
    /// What each block must hold: the seed of its content.
    written: BTreeMap<u64, u64>,
    /// Whether every other block must be the template's.
    clean: bool,
    /// Its COW store.
    store: PathBuf,
    /// Whether the store says that the kernel stopped the volume: staging recovers it.
    stopped: bool,
    random: Random,
}

impl Subject {
    /// A volume of the pool at `pool`, which is staged and published below `directory`.
    pub(crate) fn new(id: &str, pool: &Path, directory: &Path, block: bool, seed: u64) -> Self {
        Self {
            usage: Usage::new(id, directory, block),
            phases: Phase::Absent..=Phase::Absent,
            sizes: BTreeSet::from([TEMPLATE_SIZE]),
            unanswered: None,
            written: BTreeMap::new(),
            clean: true,
            store: pool.join("volumes").join(Key::of(id).as_str()).join("cow"),
            stopped: false,
            random: Random(seed.max(1)),
        }
    }

    /// Makes one call, or writes. An error is the driver's answer, or its death.
    pub(crate) fn step(
        &mut self,
        tally: &Tally,
        client: &Client,
        content: &[u8],
    ) -> Result<(), Status> {
        let Some(call) = self.choose() else {
            match self.phases.end() {
                Phase::Published => self.write(tally),
                _ => self.stop(),
            }
            return Ok(());
        };
        self.asked(call);
        self.send(client, call)?;
        self.answered(call);
        if call == Call::Publish && self.usage.block && self.clean && self.written.is_empty() {
            self.is_clean(tally, content);
        }
        Ok(())
    }

    /// The next call; `None` means to write to a published volume, and to stop one that is not staged.
    fn choose(&mut self) -> Option<Call> {
        let largest = self.sizes.last().copied().unwrap_or(TEMPLATE_SIZE);
        Some(match (self.unanswered, *self.phases.end(), self.random.below(8)) {
            (Some(call), _, 0..4) => call,
            (Some(call), ..) => call.reverse(),
            (None, Phase::Absent, _) => Call::Create,
            (None, Phase::Created, 0..2) => Call::Delete,
            (None, Phase::Created, 2) => return None,
            (None, Phase::Created, _) => Call::Stage,
            (None, Phase::Staged, 0..2) => Call::Unstage,
            (None, Phase::Staged, 2) => Call::Stage,
            (None, Phase::Staged, _) => Call::Publish,
            (None, Phase::Published, 0) if largest < 2 * TEMPLATE_SIZE => {
                Call::Expand(largest + (8 << 20))
            }
            (None, Phase::Published, 1..4) => Call::Unpublish,
            (None, Phase::Published, _) => return None,
        })
    }

    /// From here on, until the answer, the volume may be in any phase on the way.
    fn asked(&mut self, call: Call) {
        self.unanswered = Some(call);
        let (low, high) = (*self.phases.start(), *self.phases.end());
        self.phases = low.min(call.phase())..=high.max(call.phase());
        match call {
            Call::Expand(size) => drop(self.sizes.insert(size)),
            Call::Delete => {
                self.sizes.insert(TEMPLATE_SIZE);
                self.written.clear();
                self.clean = false;
            }
            _ => {}
        }
    }

    fn answered(&mut self, call: Call) {
        self.unanswered = None;
        self.phases = call.phase()..=call.phase();
        match call {
            Call::Expand(size) => self.sizes = BTreeSet::from([size]),
            Call::Delete => {
                self.sizes = BTreeSet::from([TEMPLATE_SIZE]);
                (self.clean, self.stopped) = (true, false);
            }
            Call::Stage => self.stopped = false,
            _ => {}
        }
    }

    fn send(&self, client: &Client, call: Call) -> Result<(), Status> {
        let usage = &self.usage;
        match call {
            Call::Create => {
                client.create(&usage.volume, if usage.block { "random" } else { "root" })
            }
            Call::Stage => {
                fs::create_dir_all(&usage.staging).expect("as kubelet does");
                client.stage(usage)
            }
            Call::Publish => client.publish(usage),
            Call::Expand(size) => client.expand(usage, size),
            Call::Unpublish => client.unpublish(usage),
            Call::Unstage => client.unstage(usage),
            Call::Delete => client.delete(&usage.volume),
        }
    }

    /// Writes a block that is known from its seed.
    fn write(&mut self, tally: &Tally) {
        let (block, seed) = (self.random.below(BLOCKS), self.random.next().max(1));
        let target = &self.usage.target;
        let page = Page::random(&mut Random(seed));
        let written = if self.usage.block {
            real_pool::open(target).write_all_at(&page.0, block * 4096)
        } else {
            OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .open(target.join("data"))
                .and_then(|file| file.write_all_at(&page.0, block * 4096))
        };
        match written {
            Ok(()) => drop(self.written.insert(block, seed)),
            Err(error) => tally.lost(format!("a write to {}: {error}", self.usage.volume)),
        }
    }

    /// Does what the kernel does to a store for which the pool has no room.
    fn stop(&mut self) {
        let store = File::options().read(true).write(true).open(&self.store).expect("a store");
        let mut start = [0; 8];
        store.read_exact_at(&mut start, 0).expect("its header");
        // A store has no header until the volume is first activated.
        if start == *b"SnAp\x01\0\0\0" {
            store.write_all_at(&[0; 4], 4).expect("no longer valid");
            self.stopped = true;
        }
    }

    /// A new block volume shows its template and nothing that an earlier volume wrote.
    fn is_clean(&mut self, tally: &Tally, content: &[u8]) {
        let device = match File::open(&self.usage.target) {
            Ok(device) => device,
            Err(error) => return tally.lost(format!("{}: {error}", self.usage.volume)),
        };
        for _ in 0..8 {
            let offset = self.random.below(BLOCKS) * 4096;
            let mut page = [0; 4096];
            let read = device.read_exact_at(&mut page, offset);
            let clean = read.is_ok() && content[offset as usize..][..4096] == page;
            tally.promise(clean, || format!("{} is not clean at {offset}", self.usage.volume));
        }
    }

    /// Whether the model allows the phase that was observed.
    pub(crate) fn may_be(&self, phase: Phase) -> bool {
        self.phases.contains(&phase)
    }

    /// Whether the model allows that the kernel stopped it.
    pub(crate) fn may_be_stopped(&self) -> bool {
        self.stopped
    }

    pub(crate) fn may_have_size(&self, size: u64) -> bool {
        self.sizes.contains(&size)
    }

    /// Checks that everything that was written is present: `node` is the volume's device.
    pub(crate) fn verify(&self, tally: &Tally, node: &Path, phase: Phase) {
        let file = match (self.usage.block, phase) {
            (true, _) => File::open(node),
            (false, Phase::Published) if !self.written.is_empty() => {
                File::open(self.usage.target.join("data"))
            }
            _ => return,
        };
        let file = match file {
            Ok(file) => file,
            Err(error) => return tally.lost(format!("{}: {error}", self.usage.volume)),
        };
        for (block, seed) in &self.written {
            let mut page = [0; 4096];
            let read = file.read_exact_at(&mut page, block * 4096);
            if read.is_err() || page != Page::random(&mut Random(*seed)).0 {
                let id = &self.usage.volume;
                tally.lost(format!("block {block} of {id} ({read:?}, {phase:?})"));
            }
        }
    }
}

/// Blocks of 4 KiB that are written: few, so that they are overwritten.
const BLOCKS: u64 = 1024;

/// Whether a call failed because the driver no longer answers.
pub(crate) fn is_dead(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled)
        || (status.code() == Code::Internal && status.message().contains("h2 protocol error"))
}
