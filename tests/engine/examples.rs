//! The examples in `docs/examples`, on a simulated machine; `tests/kernel/examples.rs` runs them on a
//! real one.

use std::panic::{AssertUnwindSafe, catch_unwind};

use calf::sys::SnapshotUsage;
use calf::sys::fake::{Crash, Failure};
use calf::{VolumeSpec, VolumeState};
use calf_test_kit::simulated_pool::{Environment, spec};

#[path = "../../docs/examples/recovery.rs"]
#[allow(dead_code, reason = "its `main` is not run here")]
mod recovery;
#[path = "../../docs/examples/sandboxes.rs"]
#[allow(dead_code, reason = "its `main` is not run here")]
mod sandboxes;

#[test]
fn each_sandbox_has_a_disk_and_all_go_in_the_end() {
    let environment = Environment::new();
    let pool = environment.pool();
    let disks = sandboxes::disks(&pool, "debian").expect("disks");
    assert_eq!(disks.len(), sandboxes::SANDBOXES);
    let active = |state| state == VolumeState::Active;
    assert!(disks.iter().all(|disk| active(disk.status().expect("it is there").state)));

    let path = disks[0].activate().expect("a device").path().display().to_string();
    let command = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let vmm = command(&["sh", "-c", "test \"$0\" = \"$1\"", &path, "{}"]);
    sandboxes::run(&vmm, &disks[0]).expect("it was told the path");
    sandboxes::run(&command(&["false"]), &disks[0]).expect_err("it failed");

    drop(disks);
    assert_eq!(environment.host.leftovers(), Vec::<String>::new());
    assert!(pool.volume_records().expect("a list").is_empty());
}

#[test]
fn a_manager_that_dies_at_any_call_recovers() {
    let wanted = [spec("web-1"), spec("web-2")];
    for n in 1.. {
        let environment = Environment::new();
        let died = die_at(&environment, n, &wanted);
        let pool = environment.pool();
        let devices = recovery::recover(&pool, &wanted).expect("recovered");
        assert_eq!(devices.len(), 2, "after call {n}");
        let states = pool.volumes().expect("a list").into_iter().map(|volume| volume.state);
        assert_eq!(states.collect::<Vec<_>>(), [VolumeState::Active; 2], "after call {n}");
        if !died {
            assert!(n > 10, "the manager did something");
            return;
        }
    }
}

/// A manager makes a disk that is not wanted later, and one that is; it dies at the `n`-th call to
/// the machine. Returns whether it got that far.
fn die_at(environment: &Environment, n: u64, wanted: &[VolumeSpec]) -> bool {
    let pool = environment.pool();
    environment.host.fail_at(n, Failure::CrashBefore);
    let manager = catch_unwind(AssertUnwindSafe(|| -> calf::Result<()> {
        for spec in [&spec("old"), &wanted[0]] {
            pool.create_volume(spec)?.activate()?;
        }
        Ok(())
    }));
    environment.host.heal();
    manager.is_err_and(|panic| panic.is::<Crash>())
}

#[test]
fn a_disk_that_the_kernel_gave_up_begins_anew() {
    let environment = Environment::new();
    let pool = environment.pool();
    let wanted = [spec("web-1")];
    let before = recovery::recover(&pool, &wanted).expect("made")["web-1"].clone();
    environment.host.set_usage(before.number(), SnapshotUsage::Invalid);
    let after = recovery::recover(&pool, &wanted).expect("recovered");
    assert_eq!(after.len(), 1);
    let volume = pool.volume("web-1").and_then(|volume| volume.status()).expect("it is there");
    assert_eq!(volume.state, VolumeState::Active);
}
