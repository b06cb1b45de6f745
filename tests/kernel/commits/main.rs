//! Templates made of snapshots and volumes on a real device-mapper and on real file systems: bit for bit what the
//! device shows, of the same blocks, lasting, and whole or absent after a kill at any step.

mod cost;
mod identical;
mod killed;
mod lasting;

use std::process::ExitCode;
use std::time::Duration;

use calf::{CommitSpec, Committed, Pool, VolumeSource};
use calf_test_kit::kernel;

fn main() -> ExitCode {
    if let Some(code) = killed::be_a_victim() {
        return code;
    }
    let long = Duration::from_secs(900);
    kernel::main(vec![
        kernel::test("a_template_of_a_volume_is_bit_for_bit_its_device_on_xfs", || {
            identical::whatever_the_shape(kernel::Fs::Xfs);
        })
        .timeout(long),
        kernel::test("a_template_of_a_volume_is_bit_for_bit_its_device_on_btrfs", || {
            identical::whatever_the_shape(kernel::Fs::Btrfs);
        })
        .timeout(long),
        kernel::test("a_committed_template_takes_up_no_space_and_needs_nothing_else", || {
            identical::of_the_same_blocks();
        }),
        kernel::test("a_commit_copies_where_blocks_cannot_be_shared", identical::copied_on_ext4),
        kernel::test(
            "a_commit_copies_a_store_that_is_not_copied_on_write",
            identical::copied_between_kinds,
        ),
        kernel::test("a_mounted_volume_becomes_a_template_that_mounts", identical::mounted),
        kernel::test("a_committed_template_survives_a_crash_at_once", lasting::crash),
        kernel::test("a_commit_survives_a_kill_between_any_two_steps", killed::survives)
            .timeout(long),
        kernel::test("commits_cost_what_is_printed", cost::print).timeout(long),
    ])
}

fn commit(pool: &Pool, source: VolumeSource, name: &str) -> Committed {
    pool.commit_template(&CommitSpec::new(source, name), &mut |_| ()).expect("a template")
}

fn of_volume(id: &str) -> VolumeSource {
    VolumeSource::Volume(id.to_owned())
}

fn of_snapshot(name: &str) -> VolumeSource {
    VolumeSource::Snapshot(name.to_owned())
}

fn remove(pool: &Pool, volumes: &[&str], snapshots: &[&str], templates: &[&str]) {
    for id in volumes {
        pool.volume(id).and_then(|volume| volume.delete()).expect("delete");
    }
    for name in snapshots {
        pool.snapshot(name).and_then(|snapshot| snapshot.delete()).expect("delete");
    }
    for name in templates {
        pool.template(name).and_then(|template| template.remove()).expect("remove");
    }
}
