//! The benchmark: calf against its alternatives, in one run, on one kernel, over one file system.
//!
//! ```text
//! make bench ── cargo test --release --test kernel_bench ══ the kit's kernel
//!                 │                                           │
//!                 │◂──────── series of numbers, one per line ─┤ room after room
//!                 └─▸ report: JSON, Markdown, SVG             └─ contenders, interleaved
//! ```
//!
//! Each *room* asks one question and is a kernel test of its own, so it starts on a new file system
//! and must leave nothing behind. It prints its measurements as lines on standard output; the outer
//! side collects them, writes the report and reads it again. The benchmark asserts nothing about
//! time, since a machine may be busy and only ratios within one run are meaningful. It asserts that
//! each disk shows the template, and that the report is complete.
//!
//! `CALF_BENCH` sets how much is measured (`smoke`, `short`, `full`, `many`), `CALF_BENCH_OUT` the
//! directory of the report (`target/tmp/bench` by default).

mod contender;
mod raw;
mod report;
mod room;
mod scale;
mod series;
mod world;

use std::process::ExitCode;
use std::time::Duration;

use calf_test_kit::kernel;

/// For a full run of one room on a slow machine.
const LIMIT: Duration = Duration::from_secs(3600);

/// Programs of the contenders, for guests that do not see this machine's programs. Includes
/// programs of coreutils, since busybox's versions have fewer options and compute SHA-256
/// differently.
const PROGRAMS: [&str; 8] = [
    "/usr/sbin/lvm",
    "/usr/bin/qemu-img",
    "/usr/bin/qemu-nbd",
    "/usr/bin/cp",
    "/usr/bin/rm",
    "/usr/bin/sha256sum",
    "/usr/bin/sync",
    "/usr/bin/truncate",
];

fn main() -> ExitCode {
    let tests = room::ALL.map(|(name, body)| kernel::test(name, body).timeout(LIMIT));
    let mut suite = kernel::Suite::new(tests.into())
        .optional_module("dm-thin-pool")
        .optional_module("nbd")
        .alone()
        .listener(series::collect);
    for program in PROGRAMS {
        suite = suite.file(program);
    }
    let inside = kernel::Kernel::from_environment().is_ok_and(kernel::Kernel::is_inside);
    let code = suite.run();
    let collected = series::collected();
    if inside || collected.series.is_empty() {
        return code;
    }
    match report::write(&collected) {
        Ok(directory) => {
            println!("report: {}", directory.display());
            code
        }
        Err(error) => {
            eprintln!("cannot write the report: {error}");
            ExitCode::FAILURE
        }
    }
}
