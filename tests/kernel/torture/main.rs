//! The fault runs, in a real kernel: see tests/torture.

mod driver;
mod kit;
mod rig;
mod torture;

use std::process::ExitCode;
use std::time::Duration;

/// The limit of a short run, on a slow machine. A full one may take hours.
fn limit() -> Duration {
    Duration::from_secs(torture::count(600, 6 * 3600))
}

fn main() -> ExitCode {
    let tests = [
        kit::test("kills_at_random_instants_lose_and_leak_nothing", torture::crash::kills),
        kit::test("a_power_loss_costs_what_was_not_synced", torture::power::loss),
        kit::test("a_pool_below_its_reserve_admits_nothing_new", torture::full::reserve),
        kit::test("a_cow_limit_is_never_exceeded", torture::full::cow_limit),
        kit::test("a_pool_without_a_byte_left_harms_who_writes", torture::full::exhausted),
        kit::test("a_faulty_disk_concerns_its_pool_alone", torture::disks::faults),
        kit::test("a_scanner_delays_and_breaks_nothing", torture::holders::scanner),
        kit::test("a_holder_is_named_and_waited_for", torture::holders::named),
        kit::test("bytes_of_deleted_volumes_never_show", torture::isolation::remanence),
        kit::test("a_template_never_changes", torture::isolation::template),
        kit::test("udev_lvm_and_multipath_keep_their_hands_off", torture::udev::hands_off),
        kit::test("long_life_leaves_nothing_behind", torture::longlife::cycles),
    ];
    let tests = tests.into_iter().map(|test| test.timeout(limit())).collect();
    kit::Suite::new(tests).module("dm-log-writes").run()
}
