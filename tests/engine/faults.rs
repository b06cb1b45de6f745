//! Every operation, failing or dying at each of its calls to the machine in turn: nothing may leak,
//! nothing live may be lost, and a repeated call must reach the state of an undisturbed one.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use calf::internal::record::VolumeRecord;
use calf::internal::store_size;
use calf::sys::fake::Failure;
use calf::{Access, ErrorKind, Pool};
use calf_test_kit::simulated_pool::{
    Environment, FAILURES, TEMPLATE_SIZE, block, mount, publication, spec, unless_crashed,
};

/// Size of a volume whose COW store is shorter than that while the kernel loads its table.
const LARGE: u64 = 16 << 20;

/// A volume's life, up to the point that a scenario reaches.
type Scenario = fn(&Environment, &Pool) -> calf::Result<()>;

fn block_life(environment: &Environment, pool: &Pool) -> calf::Result<()> {
    life(environment, pool, block())
}

fn mount_life(environment: &Environment, pool: &Pool) -> calf::Result<()> {
    life(environment, pool, mount())
}

/// Everything up to a published, expanded volume, then all the way back.
fn life(environment: &Environment, pool: &Pool, access: Access) -> calf::Result<()> {
    let publish = publication(environment, "volume", access);
    pool.create_volume(&spec("volume"))?;
    pool.volume("volume")?.stage(&publish.stage)?;
    pool.volume("volume")?.publish(&publish)?;
    pool.volume("volume")?.expand(2 * TEMPLATE_SIZE)?;
    pool.volume("volume")?.expand_file_system(&publish.target)?;
    pool.volume("volume")?.unpublish(&publish.target)?;
    pool.volume("volume")?.unstage(&publish.stage.path)?;
    pool.volume("volume").and_then(|volume| volume.delete())
}

/// A reader's volume: a device of its own over the snapshot.
fn reader_life(environment: &Environment, pool: &Pool) -> calf::Result<()> {
    let mut publish = publication(environment, "volume", block());
    publish.stage.read_only = true;
    pool.create_volume(&spec("volume"))?;
    pool.volume("volume")?.stage(&publish.stage)?;
    pool.volume("volume")?.publish(&publish)?;
    pool.volume("volume")?.expand(2 * TEMPLATE_SIZE)?;
    pool.volume("volume")?.unpublish(&publish.target)?;
    pool.volume("volume")?.unstage(&publish.stage.path)?;
    pool.volume("volume").and_then(|volume| volume.delete())
}

/// A volume whose COW store is short while the kernel loads its table: activated, grown, and activated again
/// over what it holds.
fn large_life(environment: &Environment, pool: &Pool) -> calf::Result<()> {
    match pool.create_volume(&spec("volume").size(LARGE)) {
        // A repeated call finds it grown.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        created => drop(created?),
    }
    pool.volume("volume")?.activate()?;
    fill(environment, pool, LARGE / 2)?;
    pool.volume("volume")?.expand(2 * LARGE)?;
    fill(environment, pool, LARGE / 4)?;
    pool.volume("volume")?.deactivate()?;
    pool.volume("volume")?.activate()?;
    fill(environment, pool, LARGE)?;
    pool.volume("volume").and_then(|volume| volume.delete())
}

/// Has a guest write to chunks of the volume that were not written before.
fn fill(environment: &Environment, pool: &Pool, bytes: u64) -> calf::Result<()> {
    let status = pool.volume("volume")?.status()?;
    let device = status.device.expect("it is active");
    assert!(environment.host.write_new(device, bytes), "{bytes} bytes do not fit: {status:?}");
    let sized_by = environment.host.sized_by(device);
    assert_eq!(sized_by, Some(4 << 20), "the kernel made large tables");
    Ok(())
}

fn inline_life(environment: &Environment, pool: &Pool) -> calf::Result<()> {
    let publish = publication(environment, "volume", mount());
    let mut spec = spec("volume");
    spec.inline = true;
    pool.publish_inline(&spec, &publish)?;
    pool.volume("volume").and_then(|volume| volume.unpublish(&publish.target))
}

fn kata_life(environment: &Environment, pool: &Pool) -> calf::Result<()> {
    let publish = publication(environment, "volume", mount());
    pool.create_volume(&spec("volume").kata_direct(true))?;
    pool.volume("volume")?.stage(&publish.stage)?;
    pool.volume("volume")?.publish(&publish)?;
    pool.volume("volume")?.expand(2 * TEMPLATE_SIZE)?;
    pool.volume("volume")?.expand_file_system(&publish.target)?;
    pool.volume("volume")?.publish(&publish)?;
    pool.volume("volume")?.unpublish(&publish.target)?;
    pool.volume("volume")?.unstage(&publish.stage.path)?;
    pool.volume("volume").and_then(|volume| volume.delete())
}

fn inline_kata_life(environment: &Environment, pool: &Pool) -> calf::Result<()> {
    let publish = publication(environment, "volume", mount());
    let spec = spec("volume").kata_direct(true).inline(true);
    pool.publish_inline(&spec, &publish)?;
    pool.volume("volume").and_then(|volume| volume.unpublish(&publish.target))
}

/// Undoes what a scenario left, like an orchestrator that gives up.
fn tear_down(environment: &Environment, pool: &Pool) {
    let publish = publication(environment, "volume", block());
    pool.volume("volume").expect("a volume id").unpublish(&publish.target).expect("unpublish");
    pool.volume("volume").expect("a volume id").unstage(&publish.stage.path).expect("unstage");
    pool.volume("volume").expect("a volume id").delete().expect("delete");
}

fn check(scenario: Scenario) {
    for failure in FAILURES {
        let mut n = 1;
        while fails_well(scenario, n, failure) {
            n += 1;
        }
        assert!(n > 20, "{failure:?}: the scenario has only {n} calls, so it did not run");
    }
}

/// Every device that can be used has a COW store of full length.
fn check_stores(environment: &Environment, pool: &Pool, context: &str) {
    for volume in pool.volumes().expect("volumes") {
        if let (Some(device), Some((_, total))) = (volume.device, volume.cow) {
            let VolumeRecord { size, cow_limit, chunk_size, .. } = volume.record;
            let full = store_size(size, cow_limit, chunk_size);
            assert!(total >= full, "{context}: {total} of {full}");
            assert!(environment.host.sized_by(device).is_some_and(|by| by <= 4 << 20), "{context}");
        }
    }
}

/// Makes the `n`-th call fail; returns whether the scenario has that many calls.
fn fails_well(scenario: Scenario, n: u64, failure: Failure) -> bool {
    let context = format!("{failure:?} at call {n}");
    let environment = Environment::new();
    let bystander = bystander(&environment);
    let at_rest = environment.host.leftovers();

    let pool = environment.pool();
    environment.host.fail_at(n, failure);
    let outcome = unless_crashed(|| scenario(&environment, &pool));
    drop(pool);
    if !environment.host.heal() {
        outcome.expect("no failure, no crash").expect("no failure, no error");
        assert_eq!(environment.host.leftovers(), at_rest, "{context}");
        return false;
    }

    // A restart, after which no call names the volume until it is torn down.
    let pool = environment.mended_pool(&context);
    check_stores(&environment, &pool, &context);
    assert_eq!(
        pool.volume("bystander").and_then(|volume| volume.status()).expect("it lives").device,
        Some(bystander),
        "{context}"
    );
    tear_down(&environment, &pool);
    assert_eq!(environment.host.leftovers(), at_rest, "{context}");
    assert_eq!(environment.kata_entries(), Vec::<PathBuf>::new(), "{context}");
    assert_eq!(environment.volume_directories().len(), 1, "{context}: only the bystander's");

    // The same failure, but without a restart the calls are repeated from the first.
    let environment = Environment::new();
    self::bystander(&environment);
    let at_rest = environment.host.leftovers();
    let pool = environment.pool();
    environment.host.fail_at(n, failure);
    let _ = catch_unwind(AssertUnwindSafe(|| scenario(&environment, &pool)));
    environment.host.heal();
    let again = environment.pool();
    scenario(&environment, &again).unwrap_or_else(|error| panic!("{context}: {error:?}"));
    assert_eq!(environment.host.leftovers(), at_rest, "{context}");
    assert_eq!(environment.kata_entries(), Vec::<PathBuf>::new(), "{context}");
    assert_eq!(environment.volume_directories().len(), 1, "{context}: only the bystander's");
    true
}

/// A live volume that must not be affected.
fn bystander(environment: &Environment) -> calf::sys::DeviceNumber {
    let pool = environment.pool();
    let publish = publication(environment, "bystander", block());
    pool.create_volume(&spec("bystander")).expect("create");
    pool.volume("bystander").expect("a volume id").publish(&publish).expect("publish");
    pool.volume("bystander")
        .and_then(|volume| volume.status())
        .expect("it is there")
        .device
        .expect("it is active")
}

#[test]
fn a_block_volume_survives_failure_at_every_call() {
    check(block_life);
}

#[test]
fn a_mounted_volume_survives_failure_at_every_call() {
    check(mount_life);
}

#[test]
fn a_large_volume_survives_failure_at_every_call() {
    check(large_life);
}

#[test]
fn a_readers_volume_survives_failure_at_every_call() {
    check(reader_life);
}

#[test]
fn an_inline_volume_survives_failure_at_every_call() {
    check(inline_life);
}

#[test]
fn a_volume_for_kata_survives_failure_at_every_call() {
    check(kata_life);
}

#[test]
fn an_inline_volume_for_kata_survives_failure_at_every_call() {
    check(inline_kata_life);
}

#[test]
fn a_fallback_volume_survives_failure_at_every_call() {
    fn fallback_life(environment: &Environment, _: &Pool) -> calf::Result<()> {
        environment.host.without_snapshot(true);
        let pool = environment
            .options()
            .fallback(Some(calf::Fallback::Copy))
            .open(environment.directory.path().join("pool"))?;
        reader_life(environment, &pool)
    }
    check(fallback_life);
}
