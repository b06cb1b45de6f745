//! The devices of snapshots on a simulated machine: what they show, who keeps them, and what a failure leaves.

use std::fs;
use std::path::PathBuf;

use calf::sys::fake::Failure;
use calf::{
    Durability, ErrorKind, GroupSnapshotSpec, Key, Pool, SnapshotSpec, VolumeSource, VolumeSpec,
};
use calf_test_kit::simulated_pool::{
    Environment, FAILURES, TEMPLATE_SIZE, put_store, spec, unless_crashed,
};

fn store(environment: &Environment, kind: &str, name: &str) -> PathBuf {
    environment.directory.path().join("pool").join(kind).join(Key::of(name).as_str()).join("cow")
}

fn take(pool: &Pool, name: &str) -> calf::Result<calf::Snapshot> {
    pool.volume("v")?.take_snapshot(&SnapshotSpec::new(name))?;
    pool.snapshot(name)
}

/// A snapshot `s` of a volume `v` that was written.
fn written(environment: &Environment, pool: &Pool) -> calf::Result<calf::Snapshot> {
    pool.create_volume(&spec("v").durability(Durability::Durable))?.activate()?;
    put_store(&store(environment, "volumes", "v"), &[1]);
    take(pool, "s")
}

#[test]
fn a_snapshot_is_shown_by_a_device_of_its_own() {
    let environment = Environment::new();
    let pool = environment.pool();
    // The volume has the same name, and so the same key.
    let volume = pool.create_volume(&spec("v")).expect("create");
    let of_volume = volume.activate().expect("activate").number();
    put_store(&store(&environment, "volumes", "v"), &[1]);
    let snapshot = take(&pool, "v").expect("a snapshot");
    let before = fs::read(store(&environment, "snapshots", "v")).expect("a store");
    let device = snapshot.activate().expect("activate").number();
    assert_ne!(device, of_volume);
    assert_eq!(snapshot.activate().expect("it is up").number(), device);
    assert_eq!(snapshot.status().expect("it is there").device, Some(device));
    assert_eq!(pool.snapshots().expect("a list")[0].device, Some(device));
    let sizes = environment.host.sizes();
    assert!(sizes.iter().any(|(name, size)| name.ends_with("-frozen") && *size == TEMPLATE_SIZE));

    // Neither is taken for the other, and a volume starts from the snapshot meanwhile.
    volume.deactivate().expect("deactivate");
    let report = pool.reconcile().expect("reconcile");
    assert!(report.removed.is_empty() && report.failed.is_empty(), "{report:?}");
    let source = VolumeSource::Snapshot("v".to_owned());
    pool.create_volume(&VolumeSpec::from_source("w", source)).expect("a copy");
    assert_eq!(snapshot.status().expect("it is there").device, Some(device));
    assert!(fs::read(store(&environment, "snapshots", "v")).expect("a store") == before);
    snapshot.deactivate().expect("deactivate");
    snapshot.deactivate().expect("it is down");
    assert_eq!(snapshot.status().expect("it is there").device, None);
    for id in ["v", "w"] {
        pool.volume(id).and_then(|volume| volume.delete()).expect("delete");
    }
    assert_eq!(environment.host.leftovers(), Vec::<String>::new());
}

#[test]
fn an_unwritten_snapshot_shows_its_template() {
    let environment = Environment::new();
    let pool = environment.pool();
    pool.create_volume(&spec("v").size(2 * TEMPLATE_SIZE)).expect("create");
    let snapshot = take(&pool, "s").expect("a snapshot");
    snapshot.activate().expect("activate");
    let (_, size) = environment.host.sizes().remove(0);
    assert_eq!(size, 2 * TEMPLATE_SIZE);
    let store = fs::read(store(&environment, "snapshots", "s")).expect("a store");
    assert!(store.iter().all(|byte| *byte == 0), "no header was written");
    snapshot.delete().expect("delete");
    pool.volume("v").and_then(|volume| volume.delete()).expect("delete");
    assert_eq!(environment.host.leftovers(), Vec::<String>::new());
}

#[test]
fn an_open_snapshot_stays() {
    let environment = Environment::new();
    let pool = environment.pool();
    let snapshot = written(&environment, &pool).expect("a snapshot");
    let device = snapshot.activate().expect("activate").number();
    environment.host.open(device);
    for refused in [snapshot.delete(), snapshot.deactivate()] {
        let error = refused.expect_err("it is open");
        assert_eq!(error.kind(), ErrorKind::InUse, "{error:?}");
        assert!(error.report().contains("it is held by"), "{}", error.report());
    }
    assert_eq!(snapshot.status().expect("it is there").device, Some(device));
    environment.host.close(device);
    snapshot.delete().expect("delete");
    assert!(environment.host.sizes().iter().all(|(name, _)| !name.ends_with("-frozen")));
    assert_eq!(snapshot.activate().expect_err("it is gone").kind(), ErrorKind::NotFound);
}

#[test]
fn a_reboot_ends_it_and_a_lost_directory_leaves_no_device() {
    let environment = Environment::new();
    let pool = environment.pool();
    let snapshot = written(&environment, &pool).expect("a snapshot");
    snapshot.activate().expect("activate");
    environment.host.reboot();
    assert_eq!(snapshot.status().expect("it is there").device, None);
    snapshot.activate().expect("activate");
    let store = store(&environment, "snapshots", "s");
    fs::remove_dir_all(store.parent().expect("a directory")).expect("somebody removed it");
    let report = pool.reconcile().expect("reconcile");
    assert_eq!((report.removed.len(), report.failed.len()), (1, 0), "{report:?}");
    assert_eq!(environment.host.leftovers(), Vec::<String>::new());
}

#[test]
fn a_replaced_store_is_not_shown() {
    let environment = Environment::new();
    let pool = environment.pool();
    let snapshot = written(&environment, &pool).expect("a snapshot");
    fs::write(store(&environment, "snapshots", "s"), vec![7; 1 << 20]).expect("write");
    assert_eq!(snapshot.activate().expect_err("replaced").kind(), ErrorKind::Corrupt);
}

fn scenario(pool: &Pool) -> calf::Result<()> {
    let snapshot = pool.snapshot("s")?;
    let device = snapshot.activate()?.number();
    assert_eq!(snapshot.status()?.device, Some(device));
    snapshot.deactivate()?;
    snapshot.activate()?;
    snapshot.delete()
}

/// Makes the `n`-th call fail; returns whether the scenario has that many calls.
fn fails_well(n: u64, failure: Failure) -> bool {
    let context = &format!("{failure:?} at call {n}");
    let environment = Environment::new();
    let pool = environment.pool();
    drop(written(&environment, &pool).expect("a snapshot"));
    pool.volume("v").and_then(|volume| volume.deactivate()).expect("deactivate");
    let before = fs::read(store(&environment, "snapshots", "s")).expect("a store");
    environment.host.fail_at(n, failure);
    let outcome = unless_crashed(|| scenario(&pool));
    if !environment.host.heal() {
        outcome.expect("no failure, no crash").expect("no failure, no error");
        return false;
    }
    let pool = environment.pool();
    let report = pool.reconcile().expect("reconcile");
    assert_eq!(report.failed, Vec::<String>::new(), "{context}");
    let snapshot = pool.snapshot("s").expect("a name");
    match snapshot.status() {
        Ok(_) => {
            snapshot.activate().unwrap_or_else(|error| panic!("{context}: {error:?}"));
            let now = fs::read(store(&environment, "snapshots", "s")).expect("a store");
            assert!(now == before, "{context}: the store has changed");
            scenario(&pool).unwrap_or_else(|error| panic!("{context}: {error:?}"));
        }
        Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound, "{context}"),
    }
    assert_eq!(environment.host.leftovers(), Vec::<String>::new(), "{context}");
    true
}

#[test]
fn a_snapshots_device_survives_failure_at_every_call() {
    for failure in FAILURES {
        let mut n = 1;
        while fails_well(n, failure) {
            n += 1;
        }
        assert!(n > 30, "{failure:?}: the scenario has only {n} calls, so it did not run");
    }
}

#[test]
fn a_group_stays_whole_while_one_of_its_snapshots_is_open() {
    let environment = Environment::new();
    let pool = environment.pool();
    for id in ["v", "w"] {
        pool.create_volume(&spec(id)).expect("create");
    }
    let group = GroupSnapshotSpec::new("g", ["v", "w"]);
    let taken = pool.take_group_snapshot(&group).expect("a group");
    let last = &taken.snapshots.last().expect("two").record.name;
    let device = pool.snapshot(last).and_then(|it| it.activate()).expect("activate").number();
    environment.host.open(device);
    let group = pool.group_snapshot("g").expect("a name");
    assert_eq!(group.delete().expect_err("it is open").kind(), ErrorKind::InUse);
    assert_eq!(group.snapshots().expect("the group").len(), 2, "both are there");
    environment.host.close(device);
    group.delete().expect("delete");
    assert_eq!(pool.snapshots().expect("a list"), []);
    assert_eq!(environment.host.leftovers(), Vec::<String>::new());
}
