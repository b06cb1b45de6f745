//! File systems that grow with their volumes, and what the kernel would do with them later.

use std::path::PathBuf;

use calf::Pool;
use calf::sys::fake::Failure;
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
