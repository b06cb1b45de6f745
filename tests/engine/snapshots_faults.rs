//! Snapshots and the volumes that start from them, failing or dying at each call to the machine: no half
//! snapshot counts, none is lost, nothing leaks, and no device stays suspended.

use std::fs;
use std::path::PathBuf;

use calf::sys::fake::Failure;
use calf::{Access, Durability, ErrorKind, Key, Pool, SnapshotSpec, VolumeSource, VolumeSpec};
use calf_test_kit::simulated_pool::{
    Environment, FAILURES, block, mount, publication, put_store, spec, stored_chunk, unless_crashed,
};

type Scenario = fn(&Environment, &Pool) -> calf::Result<()>;

fn pool_directory(environment: &Environment, name: &str) -> PathBuf {
    environment.directory.path().join("pool").join(name)
}

fn cow(environment: &Environment, id: &str) -> PathBuf {
    pool_directory(environment, "volumes").join(Key::of(id).as_str()).join("cow")
}

fn from_snapshot(id: &str) -> VolumeSpec {
    VolumeSpec::from_source(id, VolumeSource::Snapshot("s".to_owned()))
}

fn block_life(environment: &Environment, pool: &Pool) -> calf::Result<()> {
    life(environment, pool, block(), Durability::Ephemeral)
}

fn mount_life(environment: &Environment, pool: &Pool) -> calf::Result<()> {
    life(environment, pool, mount(), Durability::Durable)
}

fn unshared_life(environment: &Environment, pool: &Pool) -> calf::Result<()> {
    environment.host.without_reflink(true);
    pool.create_volume(&spec("v"))?;
    put_store(&cow(environment, "v"), &[1]);
    pool.volume("v")?.take_snapshot(&SnapshotSpec::new("s"))?;
    pool.create_volume(&from_snapshot("w"))?;
    tear_down(environment, pool)
}

/// A snapshot of a volume in use, and a volume that starts from it, which outlives both and a reboot.
fn life(
    environment: &Environment,
    pool: &Pool,
    access: Access,
    durability: Durability,
) -> calf::Result<()> {
    let publish = publication(environment, "v", access);
    let volume = pool.create_volume(&spec("v"))?;
    volume.stage(&publish.stage)?;
    put_store(&cow(environment, "v"), &[1]);
    volume.take_snapshot(&SnapshotSpec::new("s"))?;
    let copy = pool.create_volume(&from_snapshot("w").durability(durability))?;
    copy.activate()?;
    assert_eq!(stored_chunk(&cow(environment, "w"), 0), 1);
    tear_down(environment, pool)
}

fn tear_down(environment: &Environment, pool: &Pool) -> calf::Result<()> {
    let publish = publication(environment, "v", block());
    pool.volume("v")?.unstage(&publish.stage.path)?;
    pool.volume("v")?.delete()?;
    pool.snapshot("s")?.delete()?;
    pool.volume("w")?.delete()
}

fn check(scenario: Scenario) {
    for failure in FAILURES {
        let mut n = 1;
        while fails_well(scenario, n, failure) {
            n += 1;
        }
        assert!(n > 40, "{failure:?}: the scenario has only {n} calls, so it did not run");
    }
}

fn nothing_is_left(environment: &Environment, context: &str) {
    assert_eq!(environment.host.leftovers(), Vec::<String>::new(), "{context}");
    for name in ["volumes", "snapshots"] {
        let left = fs::read_dir(pool_directory(environment, name)).map_or(0, Iterator::count);
        assert_eq!(left, 0, "{context}: {name}");
    }
}

/// Makes the `n`-th call fail; returns whether the scenario has that many calls.
fn fails_well(scenario: Scenario, n: u64, failure: Failure) -> bool {
    let context = &format!("{failure:?} at call {n}");
    let fail = |environment: &Environment| {
        let pool = environment.pool();
        environment.host.fail_at(n, failure);
        let outcome = unless_crashed(|| scenario(environment, &pool));
        (environment.host.heal(), outcome)
    };
    let environment = Environment::new();
    let (reached, outcome) = fail(&environment);
    if !reached {
        outcome.expect("no failure, no crash").expect("no failure, no error");
        nothing_is_left(&environment, context);
        return false;
    }

    // A restart, after which no call names anything until it is torn down.
    let pool = environment.mended_pool(context);
    assert!(pool.damage().expect("damage").is_empty(), "{context}");
    // A snapshot that exists is whole; of one that does not, nothing is there.
    let directories = fs::read_dir(pool_directory(&environment, "snapshots"));
    let snapshots = pool.snapshots().expect("snapshots");
    assert_eq!(directories.map_or(0, Iterator::count), snapshots.len(), "{context}");
    match pool.create_volume(&from_snapshot("probe")) {
        Ok(probe) => {
            assert_eq!(snapshots.len(), 1, "{context}");
            assert_eq!(stored_chunk(&cow(&environment, "probe"), 0), 1, "{context}");
            probe.delete().expect("delete");
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::NotFound, "{context}: {error:?}");
            assert!(snapshots.is_empty(), "{context}");
        }
    }
    // So is a volume that started from it, and it starts so again after a reboot.
    let copy = pool.volume("w").expect("an id");
    if copy.status().is_ok() {
        copy.deactivate().expect("deactivate");
        environment.host.reboot();
        copy.activate().unwrap_or_else(|error| panic!("{context}: {error:?}"));
        assert_eq!(stored_chunk(&cow(&environment, "w"), 0), 1, "{context}");
    }
    tear_down(&environment, &pool).unwrap_or_else(|error| panic!("{context}: {error:?}"));
    nothing_is_left(&environment, context);

    // The same failure, but without a restart the calls are repeated from the first.
    let environment = Environment::new();
    let _ = fail(&environment);
    let again = environment.pool();
    let repeated = scenario(&environment, &again);
    if cow(&environment, "v").with_file_name("lost-writes").exists() {
        // A sync failed, so what the volume holds is not trusted any more.
        assert_eq!(repeated.expect_err(context).kind(), ErrorKind::Corrupt, "{context}");
        tear_down(&environment, &again).unwrap_or_else(|error| panic!("{context}: {error:?}"));
    } else {
        repeated.unwrap_or_else(|error| panic!("{context}: {error:?}"));
    }
    nothing_is_left(&environment, context);
    true
}

#[test]
fn a_snapshot_of_a_block_volume_survives_failure_at_every_call() {
    check(block_life);
}

#[test]
fn a_snapshot_of_a_mounted_volume_survives_failure_at_every_call() {
    check(mount_life);
}

#[test]
fn a_snapshot_without_shared_blocks_survives_failure_at_every_call() {
    check(unshared_life);
}
