//! File systems that grow with their volumes, and what the kernel would do with them later.

use std::path::PathBuf;

use calf::sys::fake::Failure;
use calf::{Access, Error, ErrorKind, Pool, PoolOptions, Reserve, VolumeSpec};
use calf_test_kit::simulated_pool::{Environment, TEMPLATE_SIZE, mount, publication, spec};

const QUIET: Vec<PathBuf> = Vec::new();

fn made(environment: &Environment, size: u64) -> Pool {
    let pool = environment.pool();
    pool.create_volume(&spec("volume").size(size)).expect("create");
    pool
}

#[test]
fn the_kernel_writes_to_no_file_system_that_nobody_uses() {
    for size in [TEMPLATE_SIZE, 4 * TEMPLATE_SIZE] {
        let environment = Environment::new();
        let quiet = |when: &str| assert_eq!(environment.host.background_writes(), QUIET, "{when}");
        let pool = made(&environment, size);
        let volume = pool.volume("volume").expect("a volume id");
        let publish = publication(&environment, "volume", mount());
        volume.stage(&publish.stage).expect("stage");
        quiet("after staging");
        volume.publish(&publish).expect("publish");
        volume.expand(8 * TEMPLATE_SIZE).expect("expand");
        volume.expand_file_system(&publish.target).expect("grow");
        quiet("after growing");
        environment.host.reboot();
        volume.publish(&publish).expect("publish");
        quiet("after a reboot");

        let inline = publication(&environment, "inline", mount());
        pool.publish_inline(&spec("inline").size(size).inline(true), &inline).expect("publish");
        quiet("after publishing inline");
    }
}

#[test]
fn a_staging_without_end_to_background_writes_is_undone() {
    let environment = Environment::new();
    let pool = made(&environment, 4 * TEMPLATE_SIZE);
    let volume = pool.volume("volume").expect("a volume id");
    let publish = publication(&environment, "volume", mount());
    let at_rest = environment.host.leftovers();
    let failed = (1..60).filter(|n| {
        environment.host.fail_at(*n, Failure::ErrorBefore);
        let result = volume.stage(&publish.stage);
        environment.host.heal();
        let stopped = result.is_err_and(|error| error.report().contains("end_background_writes"));
        if stopped {
            assert_eq!(environment.host.leftovers(), at_rest);
        }
        volume.unstage(&publish.stage.path).expect("unstage");
        stopped
    });
    assert_eq!(failed.count(), 1);
}

#[test]
fn a_repeated_call_ends_what_an_interrupted_one_left_running() {
    let environment = Environment::new();
    let pool = made(&environment, 4 * TEMPLATE_SIZE);
    let volume = pool.volume("volume").expect("a volume id");
    let publish = publication(&environment, "volume", mount());
    let mut interrupted = 0;
    for n in 1..100 {
        environment.host.fail_at(n, Failure::CrashBefore);
        let staged =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| volume.stage(&publish.stage)));
        environment.host.heal();
        if staged.is_ok() {
            break;
        }
        interrupted += usize::from(!environment.host.background_writes().is_empty());
        volume.stage(&publish.stage).expect("stage again");
        assert_eq!(environment.host.background_writes(), QUIET, "{n}");
        volume.unstage(&publish.stage.path).expect("unstage");
    }
    assert!(interrupted > 1, "{interrupted}");
}

const LARGE: u64 = 100 << 30;

fn growing(size: u64) -> VolumeSpec {
    VolumeSpec::new("volume", "growing").size(size)
}

/// That the growth was refused, with an error that names `limit`.
fn assert_refused(error: &Error, limit: &str) {
    assert_eq!(error.kind(), ErrorKind::OutOfRange, "{error:?}");
    let report = error.report();
    assert!(report.contains(limit) && report.contains("holes"), "{report}");
}

#[test]
fn a_growth_that_does_not_fit_is_refused_before_anything_is_written() {
    let environment = Environment::new();
    environment.import_growing("growing");
    let pool = environment.pool();
    let publish = publication(&environment, "volume", mount());
    // (the limit, free bytes above the reserve, what the error names)
    let cases = [
        (Some(1 << 20), 1 << 30, "cowLimit of 1 MiB"),
        (None, 4 << 20, "4 MiB free above its reserve"),
    ];
    for (cow_limit, free, limit) in cases {
        let spec = growing(LARGE).cow_limit(cow_limit);
        let volume = pool.create_volume(&spec).expect("create");
        let at_rest = environment.host.leftovers();
        environment.host.set_free(PoolOptions::DEFAULT_RESERVE + free);
        assert_refused(&volume.stage(&publish.stage).unwrap_err(), limit);
        assert_eq!(environment.host.leftovers(), at_rest);

        let mut inline = spec.inline(true);
        inline.id = "inline".to_owned();
        let target = publication(&environment, "inline", mount());
        assert_refused(&pool.publish_inline(&inline, &target).unwrap_err(), limit);
        assert_eq!(environment.volume_directories().len(), 1, "the inline volume is gone");

        // Its guest may do with the device what it wants.
        volume.publish(&publication(&environment, "volume", Access::Block)).expect("publish");
        environment.host.set_free(1 << 40);
        volume.unpublish(&publication(&environment, "volume", Access::Block).target).expect("gone");
        volume.delete().expect("delete");
    }

    // Readers do not grow it, and reserved space is there.
    environment.host.set_free(PoolOptions::DEFAULT_RESERVE + (4 << 20));
    let volume = pool.create_volume(&growing(LARGE)).expect("create");
    let mut reader = publish.stage.clone();
    reader.read_only = true;
    volume.stage(&reader).expect("stage");
    volume.unstage(&reader.path).expect("unstage");
    volume.delete().expect("delete");
    environment.host.set_free(1 << 40);
    let reserved = growing(64 << 20).reserve(Reserve::Full);
    let volume = pool.create_volume(&reserved).expect("create");
    environment.host.set_free(0);
    volume.stage(&publish.stage).expect("stage");
}

#[test]
fn a_mounted_volume_stays_as_large_as_it_is_if_its_growth_does_not_fit() {
    let environment = Environment::new();
    environment.import_growing("growing");
    let pool = environment.pool();
    let publish = publication(&environment, "volume", mount());
    let volume = pool.create_volume(&growing(TEMPLATE_SIZE).cow_limit(1 << 20)).expect("create");
    volume.publish(&publish).expect("publish");
    assert_refused(&volume.expand(LARGE).unwrap_err(), "cowLimit of 1 MiB");
    assert_eq!(volume.status().expect("a status").record.size, TEMPLATE_SIZE);
    volume.expand(4 * TEMPLATE_SIZE).expect("a little");
    volume.expand_file_system(&publish.target).expect("grow");
}
