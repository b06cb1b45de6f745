//! The fault runs: they break calf in every way that its makers could think of, and count broken
//! promises. docs/reliability.md lists the promises, and has the tables.
//!
//! Each file is one fault, or code that faults share. A fault runs at two scales: short, in `make
//! test`, and full, in `make torture`. It counts into a [`Tally`](calf_test_kit::fault_run::Tally),
//! which prints one line of the table and fails the test if a promise was broken.

mod bystander;
mod crash;
mod disks;
mod full;
mod holders;
mod importer;
mod isolation;
mod log_writes;
mod longlife;
mod power;
mod subject;
mod udev;

use std::process::ExitCode;
use std::time::Duration;

use calf_test_kit::fault_run::count;
use calf_test_kit::kernel;

/// The time limit of a short run on a slow machine. A full run may take hours.
fn limit() -> Duration {
    Duration::from_secs(count(600, 6 * 3600))
}

fn main() -> ExitCode {
    let tests = [
        kernel::test("kills_at_random_instants_lose_and_leak_nothing", crash::kills),
        kernel::test("a_power_loss_costs_what_was_not_synced", power::loss),
        kernel::test("a_pool_below_its_reserve_admits_nothing_new", full::reserve),
        kernel::test("a_cow_limit_is_never_exceeded", full::cow_limit),
        kernel::test("a_pool_without_a_byte_left_harms_who_writes", full::exhausted),
        kernel::test("a_faulty_disk_concerns_its_pool_alone", disks::faults),
        kernel::test("a_scanner_delays_and_breaks_nothing", holders::scanner),
        kernel::test("a_holder_is_named_and_waited_for", holders::named),
        kernel::test("bytes_of_deleted_volumes_never_show", isolation::remanence),
        kernel::test("a_template_never_changes", isolation::template),
        kernel::test("udev_lvm_and_multipath_keep_their_hands_off", udev::hands_off),
        kernel::test("long_life_leaves_nothing_behind", longlife::cycles),
    ];
    let tests = tests.into_iter().map(|test| test.timeout(limit())).collect();
    kernel::Suite::new(tests).module("dm-log-writes").run()
}
