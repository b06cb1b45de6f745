//! The fault run for two CPUs: see tests/torture/concurrency.rs.

mod driver;
mod kit;
mod rig;
mod torture;

use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    let limit = Duration::from_secs(torture::count(600, 3600));
    kit::main(vec![kit::test("a_crowd_breaks_nothing", torture::concurrency::crowd).timeout(limit)])
}
