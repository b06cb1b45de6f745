//! Recovery of volumes that the kernel stopped: refused without evidence, and completed or repeated
//! after a failure or a crash at any call.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use calf::sys::fake::Failure;
use calf::sys::{DeviceNumber, SnapshotUsage};
use calf::{ErrorKind, Key, Pool, RecoverOptions, Recovery, VolumeState};
use calf_test_kit::simulated_pool::{
    Environment, FAILURES, block, publication, spec, unless_crashed,
};

const LIMIT: u64 = 64 << 10;

fn store(environment: &Environment) -> PathBuf {
    let key = Key::of("volume");
    environment.directory.path().join("pool/volumes").join(key.as_str()).join("cow")
}

/// Makes a published volume that the kernel stopped, with two chunks in its store.
fn stop(environment: &Environment, pool: &Pool, usage: SnapshotUsage) -> DeviceNumber {
    let volume = pool.create_volume(&spec("volume").cow_limit(LIMIT)).expect("create");
    volume.publish(&publication(environment, "volume", block())).expect("publish");
    let store = File::options().write(true).open(store(environment)).expect("the store");
    let valid = u32::from(usage != SnapshotUsage::Invalid);
    let header = [u32::from_le_bytes(*b"SnAp"), valid, 1, 8].map(u32::to_le_bytes);
    store.write_all_at(header.as_flattened(), 0).expect("a header");
    let area = [5u64, 2, 9, 3].map(u64::to_le_bytes);
    store.write_all_at(area.as_flattened(), 4096).expect("an area");
    let device = volume.status().expect("it is there").device.expect("it is active");
    environment.host.set_usage(device, usage);
    device
}

fn recover(pool: &Pool) -> calf::Result<Recovery> {
    pool.volume("volume")?.recover(&RecoverOptions::default().cow_limit(2 * LIMIT))
}

fn state(pool: &Pool) -> VolumeState {
    pool.volume("volume").and_then(|volume| volume.status()).expect("it is there").state
}

fn is_marked(environment: &Environment) -> bool {
    let mut valid = [0; 4];
    let store = File::open(store(environment)).expect("the store");
    store.read_exact_at(&mut valid, 4).expect("a header");
    valid == [0; 4]
}

#[test]
fn a_recovery_ends_well_whatever_call_fails() {
    for usage in [SnapshotUsage::Invalid, SnapshotUsage::Overflow] {
        for failure in FAILURES {
            let mut n = 1;
            while fails_well(usage, n, failure) {
                n += 1;
            }
            assert!(n > 20, "{failure:?}: a recovery has only {n} calls");
        }
    }
}

/// Makes the `n`-th call fail; returns whether the recovery has that many calls.
fn fails_well(usage: SnapshotUsage, n: u64, failure: Failure) -> bool {
    let context = format!("{usage:?}, {failure:?} at call {n}");
    let environment = Environment::new();
    let pool = environment.pool();
    let device = stop(&environment, &pool, usage);
    let in_use = environment.host.leftovers().len();
    environment.host.fail_at(n, failure);
    let outcome = unless_crashed(|| recover(&pool));
    drop(pool);
    let reached = environment.host.heal();
    if let Some(outcome) = outcome {
        assert!(reached || outcome.is_ok(), "{context}: {outcome:?}");
    }

    let pool = environment.pool();
    let report = pool.reconcile().expect("reconcile");
    assert_eq!(report.failed, Vec::<String>::new(), "{context}");
    assert_ne!(state(&pool), VolumeState::Interrupted, "{context}: its writer waits for ever");
    match recover(&pool) {
        // A sync that failed says that writes are lost.
        Err(error) if error.kind() == ErrorKind::Corrupt => {
            assert!(matches!(failure, Failure::ErrorBefore | Failure::ErrorAfter), "{context}");
            assert!(error.report().contains("failed to write"), "{context}: {error:?}");
        }
        recovered => {
            let volume = recovered.expect(&context).volume;
            assert_eq!(
                (volume.state, volume.device),
                (VolumeState::Active, Some(device)),
                "{context}"
            );
            assert_eq!(volume.record.cow_limit, Some(2 * LIMIT), "{context}");
            assert!(!is_marked(&environment), "{context}");
        }
    }
    assert_eq!(environment.host.leftovers().len(), in_use, "{context}");
    reached
}

#[test]
fn nothing_is_recovered_while_the_pool_is_full() {
    let environment = Environment::new();
    let pool = environment.pool();
    stop(&environment, &pool, SnapshotUsage::Invalid);
    let free = environment.host.free();
    environment.host.set_free(1000);
    for error in [
        recover(&pool).map(drop).expect_err("full"),
        pool.volume("volume").and_then(|volume| volume.activate()).map(drop).expect_err("full"),
    ] {
        assert_eq!(error.kind(), ErrorKind::NoSpace, "{error:?}");
    }
    assert!(is_marked(&environment));
    assert_eq!(state(&pool), VolumeState::Invalid);
    environment.host.set_free(free);
    pool.volume("volume").and_then(|volume| volume.activate()).expect("there is room again");
    assert!(!is_marked(&environment));
    assert_eq!(state(&pool), VolumeState::Active);
}

#[test]
fn a_store_without_evidence_is_not_touched() {
    let environment = Environment::new();
    let pool = environment.pool();
    stop(&environment, &pool, SnapshotUsage::Invalid);
    let path = store(&environment);
    let whole = fs::read(&path).expect("the store");
    let mut twice = whole.clone();
    twice.copy_within(4096 + 8..4096 + 16, 4096 + 24);
    let mut foreign = whole.clone();
    foreign[..4].copy_from_slice(b"QFI\xfb");
    let blank = vec![0; whole.len()];
    for (damaged, why) in [
        (twice, "two exceptions point to one chunk"),
        (foreign, "does not start"),
        (blank, "blank"),
    ] {
        let restore = |content: &[u8]| {
            let store = File::options().write(true).open(&path).expect("the store");
            store.write_all_at(content, 0).expect("write");
        };
        restore(&damaged);
        let error = recover(&pool).expect_err(why);
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.report().contains(why), "{error:?}");
        assert!(fs::read(&path).expect("the store") == damaged, "{why}: it was touched");
        assert_eq!(state(&pool), VolumeState::Invalid);
        restore(&whole);
    }
    recover(&pool).expect("it is whole");
}

#[test]
fn writes_that_the_disk_lost_are_not_forgotten() {
    let environment = Environment::new();
    let pool = environment.pool();
    stop(&environment, &pool, SnapshotUsage::Invalid);
    let lost = (1..).find(|n| {
        environment.host.fail_at(*n, Failure::ErrorBefore);
        let error = recover(&pool).expect_err("a call failed");
        environment.host.heal();
        error.report().contains("failed to write")
    });
    assert!(lost.is_some());
    // The kernel reports a lost write to one caller.
    for _ in 0..2 {
        let error = recover(&pool).expect_err("writes were lost");
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
        assert!(is_marked(&environment));
    }
    let publish = publication(&environment, "volume", block());
    let volume = pool.volume("volume").expect("a volume id");
    volume.unpublish(&publish.target).expect("unpublish");
    volume.unstage(&publish.stage.path).expect("unstage");
    volume.delete().expect("delete");
    assert_eq!(environment.host.leftovers(), Vec::<String>::new());
}

#[test]
fn a_higher_limit_of_a_volume_that_works_takes_effect_at_once() {
    let environment = Environment::new();
    let pool = environment.pool();
    let volume = pool.create_volume(&spec("volume").cow_limit(LIMIT)).expect("create");
    let device = volume.activate().expect("activate").number();
    assert!(environment.host.write_new(device, LIMIT));
    assert_eq!(recover(&pool).expect("a higher limit").from, None);
    assert!(environment.host.write_new(device, LIMIT), "its store has room");
    assert_eq!(state(&pool), VolumeState::Active);
}
