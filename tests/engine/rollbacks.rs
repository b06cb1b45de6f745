//! Rollback on a simulated machine: what a volume returns to, what is refused, and what a failure leaves.

use std::fs;
use std::path::PathBuf;

use calf::sys::fake::Failure;
use calf::{
    Durability, ErrorKind, Key, Pool, Reserve, SnapshotSpec, VolumeSource, VolumeSpec, VolumeState,
};
use calf_test_kit::simulated_pool::{
    Environment, FAILURES, TEMPLATE_SIZE, block, mount, publication, put_store, spec, stored_chunk,
    unless_crashed,
};

fn volume_file(environment: &Environment, name: &str) -> PathBuf {
    environment.directory.path().join("pool/volumes").join(Key::of("v").as_str()).join(name)
}

fn content(environment: &Environment) -> u8 {
    stored_chunk(&volume_file(environment, "cow"), 0)
}

fn take(pool: &Pool, volume: &str, name: &str) {
    let volume = pool.volume(volume).expect("an id");
    volume.take_snapshot(&SnapshotSpec::new(name)).expect("a snapshot");
}

/// A volume whose snapshot `s` has 1 in a chunk, and which has 2 there itself.
fn changed(environment: &Environment, pool: &Pool, spec: &VolumeSpec) -> calf::Volume {
    let volume = pool.create_volume(spec).expect("create");
    volume.activate().expect("activate");
    put_store(&volume_file(environment, "cow"), &[1, 1]);
    take(pool, "v", "s");
    put_store(&volume_file(environment, "cow"), &[2]);
    volume
}

/// Fails to roll `v` back to `name`, and changes nothing.
fn refused(environment: &Environment, pool: &Pool, name: &str, kind: ErrorKind, why: &str) {
    let before = fs::read(volume_file(environment, "cow")).expect("a store");
    let error = pool.volume("v").expect("an id").rollback(name).expect_err(why);
    assert_eq!(error.kind(), kind, "{error:?}");
    assert!(error.report().contains(why), "{}", error.report());
    assert!(fs::read(volume_file(environment, "cow")).expect("a store") == before, "{why}");
}

#[test]
fn a_volume_returns_to_its_snapshot_as_often_as_asked() {
    let environment = Environment::new();
    let pool = environment.pool();
    let volume = changed(&environment, &pool, &spec("v").durability(Durability::Durable));
    fs::write(volume_file(&environment, "lost-writes"), "").expect("a mark");
    let snapshots = || fs::read_dir(pool.root().join("snapshots")).expect("a list").count();
    for _ in 0..2 {
        let status = volume.rollback("s").expect("a rollback");
        assert_eq!((status.state, status.device), (VolumeState::Inactive, None));
        assert_eq!(content(&environment), 1);
        assert!(!volume_file(&environment, "lost-writes").exists(), "it told of other content");
        assert_eq!(snapshots(), 1, "nothing else is there");
        volume.activate().expect("activate");
        put_store(&volume_file(&environment, "cow"), &[3]);
    }
    // It may have grown since, and keeps its size.
    volume.expand(2 * TEMPLATE_SIZE).expect("expand");
    assert_eq!(volume.rollback("s").expect("a rollback").record.size, 2 * TEMPLATE_SIZE);
    volume.activate().expect("activate");
    take(&pool, "v", "large");
    volume.rollback("large").expect("a rollback");
    volume.delete().expect("delete");
    assert_eq!(environment.host.leftovers(), Vec::<String>::new());
}

#[test]
fn a_volume_returns_to_the_snapshot_that_it_started_from() {
    let environment = Environment::new();
    let pool = environment.pool();
    let source = pool.create_volume(&spec("source")).expect("create");
    take(&pool, "source", "s");
    let from = VolumeSpec::from_source("v", VolumeSource::Snapshot("s".to_owned()));
    let volume = pool.create_volume(&from).expect("a copy");
    volume.activate().expect("activate");
    put_store(&volume_file(&environment, "cow"), &[2]);
    volume.rollback("s").expect("a rollback");
    assert_eq!(content(&environment), 0);

    // Neither a snapshot of another volume, nor another with the name of the first.
    take(&pool, "source", "t");
    refused(&environment, &pool, "t", ErrorKind::InvalidArgument, "is of volume source");
    pool.snapshot("s").and_then(|snapshot| snapshot.delete()).expect("delete");
    refused(&environment, &pool, "s", ErrorKind::NotFound, "no such snapshot");
    take(&pool, "source", "s");
    refused(&environment, &pool, "s", ErrorKind::InvalidArgument, "is of volume source");
    source.delete().expect("delete");
}

#[test]
fn a_snapshot_of_an_earlier_volume_is_another_ones() {
    let environment = Environment::new();
    let pool = environment.pool();
    changed(&environment, &pool, &spec("v")).delete().expect("delete");
    pool.create_volume(&spec("v")).expect("create");
    refused(&environment, &pool, "s", ErrorKind::InvalidArgument, "an earlier volume");
}

#[test]
fn a_volume_in_use_stays_as_it_is() {
    let environment = Environment::new();
    let pool = environment.pool();
    let volume = changed(&environment, &pool, &spec("v"));
    let device = volume.activate().expect("activate").number();
    environment.host.open(device);
    refused(&environment, &pool, "s", ErrorKind::InUse, "it is held by");
    environment.host.close(device);
    for access in [block(), mount()] {
        let publish = publication(&environment, "v", access);
        volume.stage(&publish.stage).expect("stage");
        volume.publish(&publish).expect("publish");
        refused(&environment, &pool, "s", ErrorKind::InUse, "mounted or published at");
        assert_eq!(volume.status().expect("it is there").state, VolumeState::Active);
        volume.unpublish(&publish.target).expect("unpublish");
        volume.unstage(&publish.stage.path).expect("unstage");
    }
    volume.rollback("s").expect("nobody uses it");
    assert_eq!(content(&environment), 1);
}

#[test]
fn a_volume_that_cannot_hold_it_is_refused() {
    let environment = Environment::new();
    let pool = environment.pool();
    let volume = pool.create_volume(&spec("v").reserve(Reserve::Full)).expect("create");
    take(&pool, "v", "s");
    refused(&environment, &pool, "s", ErrorKind::Unsupported, "its space is reserved");
    volume.delete().expect("delete");
    pool.snapshot("s").and_then(|snapshot| snapshot.delete()).expect("delete");

    let volume = changed(&environment, &pool, &spec("v").cow_limit(TEMPLATE_SIZE / 2));
    let record = volume_file(&environment, "volume.json");
    let text = fs::read_to_string(&record).expect("a record");
    let lower = text.replace(&format!("\"cowLimit\": {}", TEMPLATE_SIZE / 2), "\"cowLimit\": 1");
    assert_ne!(lower, text);
    fs::write(&record, lower).expect("write");
    refused(&environment, &pool, "s", ErrorKind::OutOfRange, "its limit is lower");
    fs::write(&record, text).expect("write");
    environment.host.set_free(0);
    refused(&environment, &pool, "s", ErrorKind::NoSpace, "");
    assert_eq!(volume.status().expect("it is there").state, VolumeState::Active, "untouched");
}

#[test]
fn an_ephemeral_volume_starts_as_ever_after_a_reboot() {
    let environment = Environment::new();
    let pool = environment.pool();
    let volume = changed(&environment, &pool, &spec("v"));
    // What it held is lost anyway, so a rollback brings back more than an activation would.
    environment.host.reboot();
    volume.rollback("s").expect("a rollback");
    volume.activate().expect("activate");
    assert_eq!(content(&environment), 1, "it is what the volume holds in this boot");
    volume.deactivate().expect("deactivate");
    environment.host.reboot();
    volume.activate().expect("activate");
    assert!(fs::read(volume_file(&environment, "cow")).expect("a store").iter().all(|b| *b == 0));
}

#[test]
fn blocks_that_are_written_anew_count() {
    let environment = Environment::new();
    let pool = environment.pool();
    let volume = changed(&environment, &pool, &spec("v"));
    let allocated = volume.status().expect("it is there").allocated;
    let committed = |pool: &Pool| pool.commitment().expect("a sum").space;
    let before = committed(&pool);
    volume.rollback("s").expect("a rollback");
    let after = volume.status().expect("it is there").allocated;
    assert_eq!(committed(&pool) + after, before + allocated);
}

/// A rollback, and what follows it.
fn scenario(environment: &Environment, pool: &Pool) -> calf::Result<()> {
    pool.volume("v")?.rollback("s")?;
    assert_eq!(content(environment), 1);
    pool.volume("v")?.activate().map(drop)
}

fn check(durability: Durability, shared: bool, rebooted: bool) {
    for failure in FAILURES {
        let mut n = 1;
        while fails_well(n, failure, durability, shared, rebooted) {
            n += 1;
        }
        assert!(n > 20, "{failure:?}: the scenario has only {n} calls, so it did not run");
    }
}

/// Makes the `n`-th call fail; returns whether the scenario has that many calls.
fn fails_well(
    n: u64,
    failure: Failure,
    durability: Durability,
    shared: bool,
    rebooted: bool,
) -> bool {
    let context = &format!("{failure:?} at call {n}");
    let environment = Environment::new();
    let pool = environment.pool();
    let volume = changed(&environment, &pool, &spec("v").durability(durability));
    fs::write(volume_file(&environment, "lost-writes"), "").expect("a mark");
    if rebooted {
        environment.host.reboot();
    }
    environment.host.without_reflink(!shared);
    environment.host.fail_at(n, failure);
    let outcome = unless_crashed(|| scenario(&environment, &pool));
    let reached = environment.host.heal();
    if !reached {
        outcome.expect("no failure, no crash").expect("no failure, no error");
        return false;
    }
    // A restart: the volume has the one content or the other, and nothing else is there.
    let pool = environment.pool();
    let report = pool.reconcile().expect("reconcile");
    assert_eq!(report.failed, Vec::<String>::new(), "{context}");
    let has = content(&environment);
    assert!([1, 2].contains(&has) || rebooted && has == 0, "{context}: {has}");
    if has == 2 {
        assert!(volume_file(&environment, "lost-writes").exists(), "{context}: it is trusted");
    }
    let left = fs::read_dir(pool.root().join("snapshots")).expect("a list").count();
    assert_eq!(left, 1, "{context}: a half-made store stays");
    assert!(pool.damage().expect("damage").is_empty(), "{context}");
    // The same call then ends well.
    scenario(&environment, &pool).unwrap_or_else(|error| panic!("{context}: {error:?}"));
    assert!(!volume_file(&environment, "lost-writes").exists(), "{context}");
    drop(volume);
    pool.volume("v").and_then(|volume| volume.delete()).expect("delete");
    pool.snapshot("s").and_then(|snapshot| snapshot.delete()).expect("delete");
    assert_eq!(environment.host.leftovers(), Vec::<String>::new(), "{context}");
    true
}

#[test]
fn a_rollback_of_a_durable_volume_survives_failure_at_every_call() {
    check(Durability::Durable, true, false);
}

#[test]
fn a_rollback_of_an_ephemeral_volume_survives_failure_at_every_call() {
    check(Durability::Ephemeral, true, false);
}

#[test]
fn a_rollback_after_a_reboot_survives_failure_at_every_call() {
    check(Durability::Ephemeral, true, true);
}

#[test]
fn a_rollback_without_shared_blocks_survives_failure_at_every_call() {
    check(Durability::Durable, false, false);
}
