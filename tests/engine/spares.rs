//! Spares on a simulated machine: claiming and removing them, and the effects of a failure or a
//! crash at any call.

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};

use calf::sys::{DeviceId, Loops as _, Mapper as _, Role, SPARE_PREFIX};
use calf::{
    Cancel, Durability, ErrorKind, Key, MAX_WARM, Pool, ReconcileOptions, RemovalKind, Reserve,
    VolumeSpec, VolumeState,
};
use calf_test_kit::simulated_pool::{
    Environment, FAILURES, TEMPLATE_SIZE, block, ext4_image, publication, spec, unless_crashed,
};

/// A pool with this many spares of the template.
fn warm(environment: &Environment, count: u32) -> Pool {
    let pool = environment.pool();
    pool.template("debian").expect("a template name").set_warm(count).expect("set");
    let report = pool.tend_spares(&Cancel::never()).expect("tend");
    assert_eq!(report.failed, Vec::<String>::new());
    assert_eq!(spares(&pool), u64::from(count));
    pool
}

fn spares(pool: &Pool) -> u64 {
    pool.spares().expect("a count").values().sum()
}

/// The names of the spare devices.
fn spare_devices(environment: &Environment) -> BTreeSet<String> {
    let mut names = environment.host.device_names().expect("names");
    names.retain(|name| name.starts_with(SPARE_PREFIX));
    names
}

/// Checks that nothing of a spare is left, in the kernel or in the pool.
fn assert_cold(environment: &Environment, context: &str) {
    assert_eq!(environment.host.leftovers(), Vec::<String>::new(), "{context}");
    let left = fs::read_dir(environment.directory.path().join("pool/spares"))
        .map_or(0, |entries| entries.count());
    assert_eq!(left, 0, "{context}: directories of spares");
}

#[test]
fn a_claimed_spare_is_the_volumes_device_and_is_replaced() {
    let environment = Environment::new();
    let pool = warm(&environment, 2);
    assert_eq!(spare_devices(&environment).len(), 2);

    pool.create_volume(&spec("volume")).expect("create");
    assert_eq!(spares(&pool), 2, "a volume that is not active needs none");
    let number = pool.volume("volume").expect("a volume id").activate().expect("activate").number();
    assert_eq!((spares(&pool), pool.claimed_spares()), (1, 1));
    let id = DeviceId::new(pool.id(), &Key::of("volume"), Role::Snapshot);
    let device = environment.host.device(&id).expect("a look").expect("by name and UUID");
    assert_eq!(device.number, number);
    assert_eq!(
        pool.volume("volume").and_then(|volume| volume.status()).expect("it is there").state,
        VolumeState::Active
    );
    let directory = environment.directory.path().join("pool/volumes");
    let directory = directory.join(Key::of("volume").as_str());
    let mut files: Vec<String> = fs::read_dir(&directory)
        .expect("its directory")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    files.sort();
    assert_eq!(files, ["cow", "volume.json"], "as of any other volume");
    assert_eq!(environment.host.find_loops(&directory.join("cow")).expect("loops").len(), 1);

    let report = pool.tend_spares(&Cancel::never()).expect("tend");
    assert_eq!((report.made, report.removed, spares(&pool)), (1, 0, 2));
    assert_eq!(pool.reconcile().expect("reconcile").removed, []);

    pool.volume("volume").expect("a volume id").delete().expect("delete");
    pool.template("debian").expect("a template name").set_warm(0).expect("set");
    assert_eq!(pool.tend_spares(&Cancel::never()).expect("tend").removed, 2);
    assert_cold(&environment, "at the end");
}

#[test]
fn staging_and_inline_publication_claim_too() {
    let environment = Environment::new();
    let pool = warm(&environment, 2);
    let publish = publication(&environment, "staged", block());
    pool.create_volume(&spec("staged")).expect("create");
    pool.volume("staged").expect("a volume id").stage(&publish.stage).expect("stage");
    assert_eq!(pool.claimed_spares(), 1);
    let publish = publication(&environment, "inline", block());
    let inline = spec("inline").inline(true);
    pool.publish_inline(&inline, &publish).expect("publish");
    assert_eq!((pool.claimed_spares(), spares(&pool)), (2, 0));
}

#[test]
fn only_a_volume_with_everything_at_its_default_claims() {
    let environment = Environment::new();
    let pool = warm(&environment, 1);
    let plain = spec("volume");
    for other in [
        plain.clone().size(2 * TEMPLATE_SIZE),
        plain.clone().cow_limit(64 << 10),
        plain.clone().chunk_size(16 << 10),
        plain.clone().durability(Durability::Durable),
        plain.clone().reserve(Reserve::Full),
    ] {
        pool.create_volume(&other).expect("create");
        pool.volume("volume").expect("a volume id").activate().expect("activate");
        assert_eq!((spares(&pool), pool.claimed_spares()), (1, 0), "{other:?}");
        pool.volume("volume").expect("a volume id").delete().expect("delete");
    }
    // A limit above the size limits nothing.
    pool.create_volume(&plain.clone().cow_limit(2 * TEMPLATE_SIZE)).expect("create");
    let volume = pool.volume("volume").expect("a volume id");
    volume.activate().expect("activate");
    assert_eq!((spares(&pool), pool.claimed_spares()), (0, 1));
    volume.expand(4 * TEMPLATE_SIZE).expect("expand");
    assert_eq!(pool.volumes().expect("a list")[0].record.cow_limit, Some(2 * TEMPLATE_SIZE));
    volume.delete().expect("delete");
    // A volume that was used has a store to lose.
    pool.template("debian").expect("a template name").set_warm(0).expect("set");
    pool.tend_spares(&Cancel::never()).expect("tend");
    pool.create_volume(&plain).expect("create");
    pool.volume("volume").expect("a volume id").activate().expect("activate");
    let store = environment.directory.path().join("pool/volumes");
    let store = store.join(Key::of("volume").as_str()).join("cow");
    fs::write(&store, b"SnAp").expect("as the kernel begins it");
    pool.volume("volume").expect("a volume id").deactivate().expect("deactivate");
    pool.template("debian").expect("a template name").set_warm(1).expect("set");
    pool.tend_spares(&Cancel::never()).expect("tend");
    let _ = pool.volume("volume").and_then(|volume| volume.activate());
    assert_eq!(spares(&pool), 1, "its own store is used again");
    assert_eq!(fs::read(&store).expect("its store")[..4], *b"SnAp");
}

#[test]
fn spares_follow_their_template() {
    let environment = Environment::new();
    let pool = warm(&environment, 2);
    let before = spare_devices(&environment);
    environment.import("debian", 0xab);
    assert_eq!(
        pool.template("debian").and_then(|template| template.record()).expect("it is there").warm,
        2,
        "the number stays"
    );
    assert_eq!(spares(&pool), 0, "content without a name goes with its spares");
    assert_eq!(pool.tend_spares(&Cancel::never()).expect("tend").made, 2);
    assert!(before.is_disjoint(&spare_devices(&environment)));
    pool.template("debian").expect("a template name").remove().expect("no volume uses it");
    assert_cold(&environment, "without a template");
}

#[test]
fn too_many_broken_and_orphaned_spares_go() {
    let environment = Environment::new();
    let pool = warm(&environment, 4);
    pool.template("debian").expect("a template name").set_warm(3).expect("set");
    // One of them loses its directory, by hand.
    let directory = environment.directory.path().join("pool/spares");
    let one = fs::read_dir(&directory).expect("spares").next().expect("one").expect("an entry");
    fs::remove_dir_all(one.path()).expect("remove");
    pool.template("debian").expect("a template name").set_warm(2).expect("set");

    let dry = ReconcileOptions::default().dry_run(true);
    let told = pool.reconcile_with(&dry).expect("reconcile").removed;
    assert_eq!(spare_devices(&environment).len(), 4, "a dry run changes nothing");
    let mut removed = pool.reconcile().expect("reconcile").removed;
    assert_eq!(told, removed);
    assert!(removed.iter().all(|removal| removal.kind == RemovalKind::Spare), "{removed:?}");
    assert_eq!((removed.len(), spares(&pool), spare_devices(&environment).len()), (2, 2, 2));

    // No device outlives a reboot.
    environment.host.reboot();
    let pool = environment.pool();
    removed = pool.reconcile().expect("reconcile").removed;
    assert_eq!((removed.len(), spares(&pool)), (2, 0), "{removed:?}");
    assert_cold(&environment, "after the reboot");
    assert_eq!(pool.tend_spares(&Cancel::never()).expect("tend").made, 2);
}

#[test]
fn what_cannot_be_is_refused() {
    let environment = Environment::new();
    let pool = environment.pool();
    let error = pool
        .template("debian")
        .and_then(|template| template.set_warm(MAX_WARM + 1))
        .expect_err("too many");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert_eq!(
        pool.template("ubuntu")
            .and_then(|template| template.set_warm(1))
            .expect_err("unknown")
            .kind(),
        ErrorKind::NotFound
    );
    pool.template("debian").expect("a template name").set_warm(3).expect("set");
    assert_eq!(
        pool.tend_spares(&Cancel::when(|| true)).expect("tend").made,
        0,
        "there is something better to do"
    );
    environment.host.set_free(0);
    assert_eq!(pool.tend_spares(&Cancel::never()).expect_err("full").kind(), ErrorKind::NoSpace);
    assert_cold(&environment, "in a full pool");
    environment.host.without_snapshot(true);
    assert_eq!(
        pool.tend_spares(&Cancel::never()).expect_err("no target").kind(),
        ErrorKind::Unsupported
    );
}

#[test]
fn callers_at_once_get_a_spare_each() {
    const CALLERS: usize = 8;
    let environment = Environment::new();
    let pool = warm(&environment, CALLERS as u32);
    let devices: BTreeSet<_> = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS)
            .map(|number| {
                let pool = &pool;
                scope.spawn(move || {
                    let id = format!("volume-{number}");
                    pool.create_volume(&spec(&id)).expect("create");
                    pool.volume(&id).expect("a volume id").activate().expect("activate").number()
                })
            })
            .collect();
        callers.into_iter().map(|caller| caller.join().expect("no panic")).collect()
    });
    assert_eq!(devices.len(), CALLERS);
    let left = CALLERS as u64 - pool.claimed_spares();
    assert_eq!(spares(&pool), left);
    assert_eq!(spare_devices(&environment).len() as u64, left);
}

/// Makes each call of `scenario` fail or die in turn. Afterwards, with a restart (a reconciliation)
/// or just the next call, a volume's life continues to its end and nothing is left.
fn check(prepare: fn(&Environment), scenario: fn(&Pool) -> calf::Result<()>) {
    for failure in FAILURES {
        for restart in [true, false] {
            let mut n = 1;
            loop {
                let context = format!("{failure:?} at call {n}, restart {restart}");
                let environment = Environment::new();
                prepare(&environment);
                let pool = environment.pool();
                environment.host.fail_at(n, failure);
                let outcome = unless_crashed(|| scenario(&pool));
                drop(pool);
                let reached = environment.host.heal();
                if let Some(Err(error)) = outcome
                    && !reached
                {
                    panic!("{context}: {error:?}");
                }
                let pool = environment.pool();
                if restart {
                    let report = pool.reconcile().expect("reconcile");
                    assert_eq!(report.failed, Vec::<String>::new(), "{context}");
                    for volume in pool.volumes().expect("volumes") {
                        assert_ne!(volume.state, VolumeState::Interrupted, "{context}");
                    }
                }
                life(&pool).unwrap_or_else(|error| panic!("{context}: {error:?}"));
                pool.template("debian").expect("a template name").set_warm(0).expect("set");
                let report = pool.tend_spares(&Cancel::never()).expect("tend");
                assert_eq!(report.failed, Vec::<String>::new(), "{context}");
                assert_cold(&environment, &context);
                assert_eq!(environment.volume_directories().len(), 0, "{context}");
                if !reached {
                    break;
                }
                n += 1;
            }
            assert!(n > 10, "{failure:?}: the scenario has only {n} calls, so it did not run");
        }
    }
}

fn life(pool: &Pool) -> calf::Result<()> {
    pool.create_volume(&spec("volume"))?;
    pool.volume("volume")?.activate()?;
    pool.volume("volume")?.deactivate()?;
    pool.volume("volume").and_then(|volume| volume.delete())
}

#[test]
fn a_claim_fails_or_dies_well_at_each_call() {
    check(|environment| drop(warm(environment, 2)), life);
}

#[test]
fn making_and_removing_spares_fails_or_dies_well_at_each_call() {
    check(
        |_| (),
        |pool| {
            pool.template("debian")?.set_warm(2)?;
            pool.tend_spares(&Cancel::never())?;
            pool.template("debian")?.set_warm(1)?;
            pool.tend_spares(&Cancel::never())?;
            pool.reconcile().map(drop)
        },
    );
}

/// The kernel loads the table of a large spare over a short store: whatever call fails, no volume gets a device
/// whose store is still short.
#[test]
fn a_large_spare_is_claimed_with_a_whole_store_whatever_call_fails() {
    const LARGE: u64 = 8 << 20;
    let environment = Environment::new();
    let mut image = ext4_image(7);
    image.resize(LARGE as usize, 0);
    environment.import_image("large", &image);
    environment.pool().template("large").expect("a template name").set_warm(1).expect("set");
    for failure in FAILURES {
        let mut n = 1;
        let mut claimed = 0;
        loop {
            let pool = environment.pool();
            environment.host.fail_at(n, failure);
            let _ = catch_unwind(AssertUnwindSafe(|| pool.tend_spares(&Cancel::never())));
            let reached = environment.host.heal();
            let pool = environment.pool();
            let volume = pool.create_volume(&VolumeSpec::new("volume", "large")).expect("create");
            let device = volume.activate().expect("activate").number();
            assert!(environment.host.write_new(device, LARGE), "{failure:?} at call {n}");
            assert_eq!(environment.host.sized_by(device), Some(4 << 20), "{failure:?} at call {n}");
            claimed += pool.claimed_spares();
            volume.delete().expect("delete");
            assert_eq!(pool.reconcile().expect("reconcile").failed, Vec::<String>::new());
            if !reached {
                break;
            }
            n += 1;
        }
        assert!(n > 15 && claimed > 0, "{failure:?}: {n} calls, {claimed} claims");
    }
}
