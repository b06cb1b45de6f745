//! What calf itself costs, on the real processor: its calls over a real socket, with a simulated kernel.
//!
//! ```text
//! callers, a thread and a connection each ──unix socket──▸ a driver in a process of its own
//!                                                            │          │
//!                                      files of a real disk ─┘          └─ devices and mounts in memory
//! ```
//!
//! `make cost` runs it and writes `docs/benchmarks/cost.md` and `.json`. The kernel's own share of a volume is
//! therefore missing, on purpose: see the room `parts` of the other benchmark. The baseline, in the same run, is
//! what no driver can avoid: as many calls that do nothing, and a wait for the disk. A second pool, in memory,
//! where nothing waits for a disk, shows what calf computes.
//!
//! `CALF_COST_OUT` is the directory of the report (`target/tmp/cost` by default), `CALF_COST_POOL` where the
//! pool is made (`target/tmp`), `CALF_COST_ROUNDS` the number of rounds.

mod callers;
mod driver;
mod host;
mod report;
mod work;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::callers::measure;
use crate::report::{About, Medium, Report};
use crate::work::Work;

/// Callers at once, in each case.
const CALLERS: [usize; 2] = [1, 32];
/// Volumes that all callers of one round take through their life together: few, so that what else the machine
/// does meets all kinds of work alike.
const VOLUMES: usize = 32;

/// Where a directory is that no disk has.
const MEMORY: &str = "/dev/shm";

/// The directories of one driver and its callers.
pub(crate) struct Places<'a> {
    /// What is on the pool's disk: the pool, and the files of the baseline.
    pub(crate) pool: &'a Path,
    /// What is on other disks of a node: socket, log, kubelet's directory. In memory, so that it costs nothing.
    pub(crate) rest: &'a Path,
}

fn main() -> ExitCode {
    if let [Some(pool), Some(rest)] = driver::SERVE.map(std::env::var_os) {
        return driver::serve(&Places { pool: Path::new(&pool), rest: Path::new(&rest) });
    }
    // `cargo test --benches` runs it, too: then it only shows that it works.
    let rounds = match std::env::args().any(|argument| argument == "--bench") {
        true => number("CALF_COST_ROUNDS").unwrap_or(40),
        false => 1,
    };
    let disk = directory("CALF_COST_POOL", "");
    let mut report = Report::new(About::this_machine(&disk, rounds));
    for (medium, directory) in [(Medium::Disk, disk), (Medium::Memory, MEMORY.into())] {
        let places = [directory.as_path(), Path::new(MEMORY)]
            .map(|directory| tempfile::tempdir_in(directory).expect("a directory"));
        let places = Places { pool: places[0].path(), rest: places[1].path() };
        let driver = driver::Driver::start(&places);
        for round in 0..rounds {
            for callers in CALLERS {
                for work in Work::rotated(round) {
                    let done = measure(&driver, &places, work, callers, VOLUMES);
                    report.add((medium, callers, work), done);
                }
            }
        }
    }
    let out = directory("CALF_COST_OUT", "cost");
    report.write(&out);
    println!("report: {}", out.display());
    ExitCode::SUCCESS
}

fn number(name: &str) -> Option<usize> {
    std::env::var(name).ok()?.parse().ok()
}

/// The directory that a variable names, or one below the build directory; made if it is missing.
fn directory(variable: &str, usual: &str) -> PathBuf {
    let directory = match std::env::var_os(variable) {
        Some(given) => PathBuf::from(given),
        None => Path::new(env!("CARGO_TARGET_TMPDIR")).join(usual),
    };
    std::fs::create_dir_all(&directory).expect("a directory");
    directory
}
