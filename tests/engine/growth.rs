//! File systems that grow with their volumes, and what the kernel would do with them later.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use calf::sys::fake::Failure;
use calf::{Access, Cancel, Error, ErrorKind, Pool, PoolOptions, Reserve, VolumeSpec};
use calf_test_kit::simulated_pool::{
    Environment, FAILURES, TEMPLATE_SIZE, mount, publication, spec,
};

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
        let staged = catch_unwind(AssertUnwindSafe(|| volume.stage(&publish.stage)));
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

/// A size that takes many steps.
const HUGE: u64 = 15 << 40;

/// Ends each call after one step, and notes how far the file system at `path` has grown.
fn after_one_step(environment: &Environment, path: PathBuf) -> (Cancel, Arc<Mutex<Vec<u64>>>) {
    let sizes = Arc::new(Mutex::new(Vec::new()));
    let (host, seen) = (environment.host.clone(), Arc::clone(&sizes));
    let cancel = Cancel::when(move || {
        seen.lock().expect("a list").push(host.grown_to(&path).expect("it has grown"));
        true
    });
    (cancel, sizes)
}

/// Repeats a call that ends early until it succeeds; returns how often it did not.
fn repeat(mut call: impl FnMut() -> Result<(), Error>) -> usize {
    for interruptions in 0..1000 {
        match call() {
            Ok(()) => return interruptions,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Cancelled, "{error:?}");
                assert!(error.report().contains("repeat the call"), "{}", error.report());
            }
        }
    }
    panic!("it does not come to an end");
}

#[test]
fn a_growth_that_is_cut_short_goes_on_with_the_next_call() {
    let environment = Environment::new();
    environment.import_growing("growing");
    environment.host.set_free(1 << 40);
    let pool = environment.pool();

    // Staged, published as a repeated call would after a reboot, and made inline.
    let mut publish = publication(&environment, "volume", mount());
    let (cancel, sizes) = after_one_step(&environment, publish.stage.path.clone());
    publish.stage.cancel = cancel;
    let volume = pool.create_volume(&growing(HUGE)).expect("create");
    let device = |id: &str| pool.volume(id).and_then(|volume| volume.status()).expect("one").device;
    let mut devices = Vec::new();
    let interruptions = repeat(|| {
        let staged = volume.stage(&publish.stage);
        devices.push(device("volume"));
        assert_eq!(environment.host.background_writes(), QUIET);
        staged
    });
    assert!(interruptions > 20, "{interruptions}");
    assert!(devices[0].is_some() && devices.iter().all(|device| *device == devices[0]));
    let steps = std::mem::take(&mut *sizes.lock().expect("a list"));
    assert!(steps.is_sorted_by(|one, next| one < next), "{steps:?}");
    assert_eq!(environment.host.grown_to(&publish.stage.path), Some(HUGE));
    volume.unstage(&publish.stage.path).expect("unstage");
    let interruptions = repeat(|| volume.publish(&publish));
    assert_eq!(interruptions, steps.len());
    volume.unpublish(&publish.target).expect("unpublish");
    volume.unstage(&publish.stage.path).expect("unstage");
    volume.delete().expect("delete");

    let mut inline = growing(HUGE).inline(true);
    inline.id = "inline".to_owned();
    let mut publish = publication(&environment, "inline", mount());
    let (cancel, sizes) = after_one_step(&environment, publish.target.clone());
    publish.stage.cancel = cancel;
    repeat(|| pool.publish_inline(&inline, &publish));
    assert_eq!(*sizes.lock().expect("a list"), steps, "it was never made anew");
    assert_eq!(environment.host.background_writes(), QUIET);
    pool.volume("inline").and_then(|volume| volume.unpublish(&publish.target)).expect("unpublish");
    assert_eq!(environment.host.leftovers(), Vec::<String>::new());
}

#[test]
fn an_expansion_that_is_cut_short_goes_on_with_the_next_call() {
    let environment = Environment::new();
    environment.import_growing("growing");
    environment.host.set_free(1 << 40);
    let pool = environment.pool();
    let publish = publication(&environment, "volume", mount());
    let volume = pool.create_volume(&growing(TEMPLATE_SIZE)).expect("create");
    volume.publish(&publish).expect("publish");
    volume.expand(HUGE).expect("expand");
    let (cancel, sizes) = after_one_step(&environment, publish.target.clone());
    let interruptions = repeat(|| volume.expand_file_system_until(&publish.target, &cancel));
    assert!(interruptions > 20, "{interruptions}");
    assert!(sizes.lock().expect("a list").is_sorted_by(|one, next| one < next));
    assert_eq!(environment.host.grown_to(&publish.target), Some(HUGE));
    assert_eq!(environment.host.background_writes(), QUIET);
}

#[test]
fn a_growth_that_fails_or_dies_at_any_step_is_undone_or_goes_on() {
    let environment = Environment::new();
    environment.import_growing("growing");
    environment.host.set_free(1 << 40);
    let pool = environment.pool();
    let at_rest = environment.host.leftovers();
    let publish = publication(&environment, "inline", mount());
    let mut spec = growing(2 << 40).inline(true);
    spec.id = "inline".to_owned();
    for failure in FAILURES {
        let mut n = 1;
        loop {
            environment.host.fail_at(n, failure);
            let outcome = catch_unwind(AssertUnwindSafe(|| pool.publish_inline(&spec, &publish)));
            if !environment.host.heal() {
                outcome.expect("no panic").expect("publish");
                break;
            }
            pool.publish_inline(&spec, &publish).expect("the repeated call");
            assert_eq!(environment.host.grown_to(&publish.target), Some(spec.size.expect("one")));
            assert_eq!(environment.host.background_writes(), QUIET, "{failure:?} {n}");
            let volume = pool.volume("inline").expect("a volume id");
            volume.unpublish(&publish.target).expect("unpublish");
            pool.reconcile().expect("reconcile");
            assert_eq!(environment.host.leftovers(), at_rest, "{failure:?} {n}");
            n += 1;
        }
        assert!(n > 30, "{n}");
        pool.volume("inline").and_then(|volume| volume.unpublish(&publish.target)).expect("gone");
    }
}
