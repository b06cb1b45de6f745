//! What changed between snapshots, and what exports have of them, on a real device-mapper and on real file systems:
//! against the truth, which is all that the devices show.

mod changes;
mod cost;
mod transfer;

use std::process::ExitCode;
use std::time::Duration;

use calf_test_kit::kernel;

use crate::changes::{Place, nothing_is_missed};

fn main() -> ExitCode {
    if let Some(code) = transfer::be_a_victim() {
        return code;
    }
    let long = Duration::from_secs(900);
    kernel::main(vec![
        kernel::test("no_change_is_missed_on_xfs", || nothing_is_missed(Place::Xfs, 4096))
            .timeout(long),
        kernel::test("no_change_is_missed_on_xfs_in_chunks_of_16_kib", || {
            nothing_is_missed(Place::Xfs, 16384);
        })
        .timeout(long),
        kernel::test("no_change_is_missed_on_btrfs", || nothing_is_missed(Place::Btrfs, 4096))
            .timeout(long),
        kernel::test("no_change_is_missed_on_btrfs_in_chunks_of_16_kib", || {
            nothing_is_missed(Place::Btrfs, 16384);
        })
        .timeout(long),
        kernel::test("no_change_is_missed_on_compressed_btrfs", || {
            nothing_is_missed(Place::CompressedBtrfs, 4096);
        })
        .timeout(long),
        kernel::test("no_change_is_missed_on_ext4", || nothing_is_missed(Place::Ext4, 4096))
            .timeout(long),
        kernel::test("an_export_from_xfs_is_the_same_on_ext4", || {
            transfer::is_the_same(kernel::Fs::Xfs, kernel::Fs::Ext4, 4096);
        })
        .timeout(long),
        kernel::test("an_export_from_ext4_is_the_same_on_xfs", || {
            transfer::is_the_same(kernel::Fs::Ext4, kernel::Fs::Xfs, 16384);
        })
        .timeout(long),
        kernel::test("an_import_that_is_killed_leaves_nothing", transfer::survives).timeout(long),
        kernel::test("a_comparison_costs_what_is_printed", cost::print).timeout(long),
    ])
}
