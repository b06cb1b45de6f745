//! Volumes that the fault does not concern: a writer with checksums runs on each the whole time,
//! and must never see a difference.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use calf::VolumeSpec;
use calf_test_kit::fault_run::Tally;
use calf_test_kit::real_pool::{Page, Random, Rig, TEMPLATE_SIZE};

/// How many there are.
const BYSTANDERS: u64 = 2;

/// Pause of the writers, to leave the CPU to the fault.
const PAUSE: Duration = Duration::from_millis(15);

/// The writers, which end when dropped.
pub(crate) struct Bystanders {
    stop: Arc<AtomicBool>,
    writers: Vec<JoinHandle<Result<u64, String>>>,
}

impl Bystanders {
    /// Their volumes' ids.
    pub(crate) fn ids() -> Vec<String> {
        (0..BYSTANDERS).map(|n| format!("bystander-{n}")).collect()
    }

    /// Makes the volumes, from template `root`, and starts to write.
    pub(crate) fn start(rig: &Rig, seed: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let writers = Self::ids().into_iter().zip(seed.wrapping_mul(31)..).map(|(id, seed)| {
            let device = rig.open(&VolumeSpec::new(&id, "root"));
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                write(&device, seed, &stop).map_err(|why| format!("{id}: {why}"))
            })
        });
        Self { writers: writers.collect(), stop }
    }

    /// Ends the writers, which first read everything that they wrote once more.
    pub(crate) fn end(mut self, tally: &Tally) {
        self.stop.store(true, Ordering::Release);
        let mut blocks = 0;
        for writer in self.writers.drain(..) {
            match writer.join().expect("a writer") {
                Ok(written) => blocks += written,
                Err(why) => tally.lost(why),
            }
        }
        println!("bystanders wrote {blocks} blocks");
    }
}

impl Drop for Bystanders {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        for writer in self.writers.drain(..) {
            let _ = writer.join();
        }
    }
}

fn write(device: &File, seed: u64, stop: &AtomicBool) -> Result<u64, String> {
    let mut random = Random(seed.max(1));
    let mut written: BTreeMap<u64, u64> = BTreeMap::new();
    let mut count = 0;
    while !stop.load(Ordering::Acquire) {
        let (block, seed) = (random.below(TEMPLATE_SIZE / 4096), random.next());
        let page = Page::random(&mut Random(seed));
        let result = device.write_all_at(&page.0, block * 4096);
        result.map_err(|error| format!("cannot write block {block}: {error}"))?;
        written.insert(block, seed);
        let known = random.below(block + 1);
        if let Some((block, seed)) = written.range(known..).next() {
            read(device, *block, *seed)?;
        }
        count += 1;
        std::thread::sleep(PAUSE);
    }
    for (block, seed) in written {
        read(device, block, seed)?;
    }
    Ok(count)
}

fn read(device: &File, block: u64, seed: u64) -> Result<(), String> {
    let mut page = Box::new(Page([0; 4096]));
    let result = device.read_exact_at(&mut page.0, block * 4096);
    result.map_err(|error| format!("cannot read block {block}: {error}"))?;
    if page.0 == Page::random(&mut Random(seed)).0 {
        Ok(())
    } else {
        Err(format!("block {block} does not hold what was written"))
    }
}
