//! Snapshots on a real device-mapper and on real file systems: one instant of a volume in use, file systems
//! that are frozen for it, what a crash leaves, and what it costs.

mod cost;
mod device;
mod handover;
mod instant;
mod killed;
mod lasting;
mod mounted;
mod overlay;
mod rollback;

use std::fs::File;
use std::process::ExitCode;
use std::time::Duration;

use calf::{Pool, SnapshotSpec, Taken, VolumeSource, VolumeSpec};
use calf_test_kit::kernel;
use calf_test_kit::real_pool::Rig;

fn main() -> ExitCode {
    let victims =
        [killed::be_a_victim, rollback::be_a_victim, device::be_a_victim, overlay::be_a_victim];
    if let Some(code) = victims.iter().find_map(|victim| victim()) {
        return code;
    }
    let long = Duration::from_secs(900);
    kernel::main(vec![
        kernel::test("a_snapshot_of_a_busy_volume_is_one_instant_on_xfs", || {
            instant::one_instant(kernel::Fs::Xfs);
        })
        .timeout(Duration::from_secs(300)),
        kernel::test("a_snapshot_of_a_busy_volume_is_one_instant_on_ext4", || {
            instant::one_instant(kernel::Fs::Ext4);
        })
        .timeout(Duration::from_secs(300)),
        kernel::test("a_snapshot_of_a_busy_volume_is_one_instant_on_btrfs", || {
            instant::one_instant(kernel::Fs::Btrfs);
        })
        .timeout(Duration::from_secs(300)),
        kernel::test(
            "what_the_node_wrote_through_its_page_cache_is_in_a_snapshot",
            instant::buffered,
        ),
        kernel::test("forks_of_a_busy_volume_are_of_one_instant", instant::forks),
        kernel::test("a_group_of_busy_volumes_is_of_one_instant_on_xfs", || {
            instant::groups(kernel::Fs::Xfs);
        }),
        kernel::test("a_group_of_busy_volumes_is_of_one_instant_on_ext4", || {
            instant::groups(kernel::Fs::Ext4);
        }),
        kernel::test("a_group_of_busy_volumes_is_of_one_instant_on_btrfs", || {
            instant::groups(kernel::Fs::Btrfs);
        }),
        kernel::test("volumes_of_one_snapshot_are_isolated", instant::isolation),
        kernel::test(
            "a_snapshot_without_shared_blocks_of_a_limited_volume_is_refused",
            instant::unshared,
        ),
        kernel::test("exceptions_go_over_to_another_device_and_back", handover::there_and_back),
        kernel::test("a_handover_loses_nothing_of_a_writer", handover::under_a_writer),
        kernel::test("an_interrupted_handover_can_be_undone", handover::undone),
        kernel::test("a_snapshot_of_a_mounted_ext4_is_clean", || mounted::ext4(kernel::Fs::Xfs)),
        kernel::test("a_snapshot_of_a_mounted_ext4_is_clean_without_shared_blocks", || {
            mounted::ext4(kernel::Fs::Ext4);
        }),
        kernel::test("a_snapshot_of_a_mounted_xfs_mounts_with_what_was_written", mounted::xfs),
        kernel::test("a_snapshot_survives_a_crash_at_once", || lasting::crash(kernel::Fs::Xfs)),
        kernel::test("a_snapshot_without_shared_blocks_survives_a_crash_at_once", || {
            lasting::crash(kernel::Fs::Ext4);
        }),
        kernel::test(
            "a_live_snapshot_without_shared_blocks_survives_a_kill_between_any_two_steps",
            || {
                killed::survives(kernel::Fs::Ext4, killed::Use::Block);
            },
        )
        .timeout(long),
        kernel::test(
            "a_mounted_volume_without_shared_blocks_survives_a_kill_between_any_two_steps",
            || {
                killed::survives(kernel::Fs::Ext4, killed::Use::Mounted);
            },
        )
        .timeout(long),
        kernel::test("a_durable_volume_keeps_what_it_synced_over_an_overlay", overlay::crash),
        kernel::test("a_volume_stopped_over_an_overlay_comes_back_once_it_was_down", overlay::full),
        kernel::test("an_overlay_gives_the_kernels_memory_back", overlay::memory),
        kernel::test("a_snapshot_of_a_block_volume_survives_a_kill_between_any_two_steps", || {
            killed::survives(kernel::Fs::Xfs, killed::Use::Block);
        })
        .timeout(long),
        kernel::test(
            "a_snapshot_of_a_mounted_volume_survives_a_kill_between_any_two_steps",
            || {
                killed::survives(kernel::Fs::Xfs, killed::Use::Mounted);
            },
        )
        .timeout(long),
        kernel::test("a_snapshots_device_shows_it_and_changes_nothing_on_xfs", || {
            device::shows(kernel::Fs::Xfs);
        }),
        kernel::test("a_snapshots_device_shows_it_and_changes_nothing_on_btrfs", || {
            device::shows(kernel::Fs::Btrfs);
        }),
        kernel::test("the_device_of_an_unwritten_snapshot_writes_no_header", device::unwritten),
        kernel::test("a_snapshots_device_survives_a_kill_between_any_two_steps", device::killed),
        kernel::test("a_rolled_back_volume_has_all_that_its_snapshot_has_on_xfs", || {
            rollback::content(kernel::Fs::Xfs);
        }),
        kernel::test("a_rolled_back_volume_has_all_that_its_snapshot_has_on_ext4", || {
            rollback::content(kernel::Fs::Ext4);
        }),
        kernel::test("a_rolled_back_file_system_is_sound_and_grows_again", rollback::file_system),
        kernel::test("a_rollback_survives_a_kill_between_any_two_steps", rollback::killed)
            .timeout(long),
        kernel::test("snapshots_cost_what_is_printed", cost::print).timeout(long),
        kernel::test("snapshots_without_shared_blocks_cost_what_is_printed", cost::print_unshared)
            .timeout(long),
    ])
}

fn take(pool: &Pool, volume: &str, name: &str) -> Taken {
    let volume = pool.volume(volume).expect("a volume id");
    volume.take_snapshot(&SnapshotSpec::new(name)).expect("a snapshot")
}

fn from_snapshot(id: &str, name: &str) -> VolumeSpec {
    VolumeSpec::from_source(id, VolumeSource::Snapshot(name.to_owned()))
}

/// Opens a new volume of a snapshot.
fn open_copy(rig: &Rig, id: &str, name: &str) -> File {
    rig.open(&from_snapshot(id, name))
}

fn delete(rig: &Rig, volumes: &[&str], snapshots: &[&str]) {
    for id in volumes {
        rig.pool.volume(id).expect("a volume id").delete().expect("delete");
    }
    for name in snapshots {
        rig.pool.snapshot(name).expect("a name").delete().expect("delete");
    }
}
