//! The guard: who is suspended in a nearly full pool and who is not, what can be done meanwhile, and how it
//! ends.

use std::path::Path;
use std::time::Duration;

use calf::sys::fake::Failure;
use calf::sys::{DeviceId, Mapper as _, Role, SnapshotUsage, lock};
use calf::{
    ErrorKind, Guard, GuardOptions, Key, Look, Pool, RecoverOptions, Reserve, VolumeKind,
    VolumeState, Watermark,
};
use calf_test_kit::simulated_pool::{
    Environment, FAILURES, TEMPLATE_SIZE, block, copy_directory, mount, publication, spec,
    unless_crashed,
};

const MIB: u64 = 1 << 20;
/// Above both watermarks, between them, and below.
const PLENTY: u64 = 1024 * MIB;
const SOME: u64 = 200 * MIB;
const LITTLE: u64 = 100 * MIB;

fn options() -> GuardOptions {
    GuardOptions::default().low(Watermark::Bytes(128 * MIB)).resume(Watermark::Bytes(256 * MIB))
}

/// A pool without a reserve, so that only the guard refuses anything.
fn open(environment: &Environment) -> Pool {
    environment
        .options()
        .reserve(0)
        .open(environment.directory.path().join("pool"))
        .expect("a pool")
}

fn state(pool: &Pool, id: &str) -> VolumeState {
    pool.volume(id).and_then(|volume| volume.status()).expect("it is there").state
}

fn states<const N: usize>(pool: &Pool, ids: [&str; N]) -> [VolumeState; N] {
    ids.map(|id| state(pool, id))
}

fn activate(pool: &Pool, id: &str) {
    pool.create_volume(&spec(id)).and_then(|volume| volume.activate()).expect("activate");
}

/// Has the volume take up `used` bytes of its store.
fn write(environment: &Environment, pool: &Pool, id: &str, used: u64) {
    let device = pool.volume(id).and_then(|volume| volume.status()).expect("it is there").device;
    let usage = SnapshotUsage::Valid { used, total: 64 * MIB, metadata: 8192 };
    environment.host.set_usage(device.expect("it is active"), usage);
}

/// Looks after a moment at this free space.
fn look(environment: &Environment, guard: &mut Guard, free: u64) -> Look {
    environment.host.set_free(free);
    environment.host.advance(Duration::from_millis(10));
    guard.look().expect("a look")
}

/// Looks until as many volumes are suspended as expected, which takes the kernel a moment, and returns them.
fn suspended(environment: &Environment, guard: &mut Guard, free: u64, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for _ in 0..1000 {
        ids.extend(look(environment, guard, free).suspended);
        if ids.len() >= count {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    ids.sort();
    ids
}

/// Has the guard suspend `greedy`, which must be active.
fn suspend(environment: &Environment, pool: &Pool, guard: &mut Guard) {
    look(environment, guard, LITTLE);
    write(environment, pool, "greedy", MIB);
    assert_eq!(suspended(environment, guard, LITTLE - MIB, 1), ["greedy"]);
    assert_eq!(state(pool, "greedy"), VolumeState::Suspended);
}

#[test]
fn who_writes_is_suspended_until_there_is_room() {
    let environment = Environment::new();
    let pool = open(&environment);
    let ids = ["greedy", "hungry", "idle"];
    ids.iter().for_each(|id| activate(&pool, id));
    let reserved = spec("reserved").reserve(Reserve::Full);
    pool.create_volume(&reserved).and_then(|volume| volume.activate()).expect("activate");
    let mut guard = pool.guard(&options());
    let first = look(&environment, &mut guard, PLENTY);
    assert_eq!((first.nearly_full, first.low, first.resume), (false, 128 * MIB, 256 * MIB));
    write(&environment, &pool, "greedy", MIB);

    // The first look below the watermark notes who has what.
    let low = look(&environment, &mut guard, LITTLE);
    assert!(low.nearly_full && low.suspended.is_empty());
    assert_eq!(low.next, Duration::from_millis(5));
    write(&environment, &pool, "greedy", 3 * MIB);
    write(&environment, &pool, "hungry", MIB);
    write(&environment, &pool, "reserved", MIB);
    let both = suspended(&environment, &mut guard, LITTLE - 3 * MIB, 2);
    assert_eq!(both, ["greedy", "hungry"]);
    use VolumeState::{Active, Suspended};
    assert_eq!(states(&pool, ids), [Suspended, Suspended, Active]);
    assert_eq!(state(&pool, "reserved"), Active, "it takes no space of others");
    assert_eq!(look(&environment, &mut guard, LITTLE - 3 * MIB).suspended, Vec::<String>::new());
    // One that begins to write.
    write(&environment, &pool, "idle", MIB);
    assert_eq!(suspended(&environment, &mut guard, LITTLE - 4 * MIB, 1), ["idle"]);

    let between = look(&environment, &mut guard, SOME);
    assert!(between.nearly_full && between.resumed.is_empty(), "{between:?}");
    let mut room = look(&environment, &mut guard, PLENTY);
    room.resumed.sort();
    assert_eq!((room.nearly_full, &*room.resumed), (false, &ids.map(str::to_owned)[..]));
    assert_eq!(states(&pool, ids), [Active; 3]);
    assert!(!look(&environment, &mut guard, SOME).nearly_full, "not below the watermark yet");
    activate(&pool, "new");
}

#[test]
fn a_guard_without_a_watermark_suspends_nobody() {
    let environment = Environment::new();
    let pool = open(&environment);
    activate(&pool, "greedy");
    let mut guard = pool.guard(&GuardOptions::default().low(Watermark::Bytes(0)));
    for free in [MIB, 4096, 0] {
        write(&environment, &pool, "greedy", 2 * MIB - free);
        assert!(!look(&environment, &mut guard, free).nearly_full);
    }
    assert_eq!(state(&pool, "greedy"), VolumeState::Active);
}

#[test]
fn meanwhile_nothing_new_writes_and_everything_can_be_taken_down() {
    for access in [block(), mount()] {
        let environment = Environment::new();
        let pool = open(&environment);
        let publish = publication(&environment, "greedy", access.clone());
        let greedy = pool.create_volume(&spec("greedy")).expect("create");
        greedy.stage(&publish.stage).and_then(|()| greedy.publish(&publish)).expect("publish");
        let inactive = pool.create_volume(&spec("inactive")).expect("create");
        let mut guard = pool.guard(&options());
        suspend(&environment, &pool, &mut guard);

        let refused = [
            ("stage", greedy.stage(&publish.stage)),
            ("publish", greedy.publish(&publish)),
            ("activate", greedy.activate().map(drop)),
            ("expand", greedy.expand(2 * TEMPLATE_SIZE).map(drop)),
            ("expand the file system", greedy.expand_file_system(&publish.target)),
            ("give a limit", greedy.recover(&RecoverOptions::default().cow_limit(MIB)).map(drop)),
            ("activate another", inactive.activate().map(drop)),
            ("create", pool.create_volume(&spec("new")).map(drop)),
        ];
        for (what, result) in refused {
            let error = result.expect_err(what);
            let expected = match what {
                "give a limit" => ErrorKind::OutOfRange,
                _ => ErrorKind::NoSpace,
            };
            assert_eq!(error.kind(), expected, "{what}: {error:?}");
            let names_it = error.report().contains("guard");
            assert!(names_it || what == "give a limit", "{what}: {error:?}");
        }
        assert_eq!(pool.admission(&VolumeKind::default()).expect("an answer"), None);
        let report = pool.reconcile().expect("reconcile");
        assert_eq!((report.live, report.repaired.len(), report.failed.len()), (1, 0, 0));
        let volume = greedy.statistics(&publish.target).expect("statistics").volume;
        assert_eq!(volume.state, VolumeState::Suspended, "nothing resumed it silently");

        greedy.unpublish(&publish.target).expect("unpublish");
        greedy.unstage(&publish.stage.path).expect("unstage");
        greedy.delete().expect("delete");
        inactive.delete().expect("delete");
        look(&environment, &mut guard, LITTLE);
        assert!(!look(&environment, &mut guard, PLENTY).nearly_full);
        assert_eq!(environment.host.leftovers(), Vec::<String>::new());
    }
}

#[test]
fn an_inline_volume_is_taken_down_while_it_is_suspended() {
    let environment = Environment::new();
    let pool = open(&environment);
    let publish = publication(&environment, "greedy", mount());
    pool.publish_inline(&spec("greedy").inline(true), &publish).expect("publish");
    let mut guard = pool.guard(&options());
    suspend(&environment, &pool, &mut guard);
    let again = pool.publish_inline(&spec("greedy").inline(true), &publish);
    assert_eq!(again.expect_err("suspended").kind(), ErrorKind::NoSpace);
    assert_eq!(state(&pool, "greedy"), VolumeState::Suspended, "a refusal deletes nothing");
    pool.volume("greedy").and_then(|volume| volume.unpublish(&publish.target)).expect("unpublish");
    assert_eq!(environment.host.leftovers(), Vec::<String>::new());
}

#[test]
fn an_ephemeral_volume_of_an_earlier_boot_is_activated_since_that_makes_room() {
    let environment = Environment::new();
    let pool = open(&environment);
    activate(&pool, "stale");
    environment.host.reboot();
    let mut guard = pool.guard(&options());
    assert!(look(&environment, &mut guard, LITTLE).nearly_full);
    pool.volume("stale").and_then(|volume| volume.activate()).expect("activate");
}

#[test]
fn the_next_guard_keeps_who_is_suspended_while_the_pool_is_full() {
    let environment = Environment::new();
    let pool = open(&environment);
    activate(&pool, "greedy");
    let mut guard = pool.guard(&options());
    suspend(&environment, &pool, &mut guard);
    // Beside the first one, a second guard does nothing, and takes over when that one dies.
    let mut next = pool.guard(&options());
    assert!(look(&environment, &mut next, LITTLE).nearly_full);
    assert!(look(&environment, &mut next, PLENTY).resumed.is_empty());
    drop(guard);
    look(&environment, &mut next, LITTLE);
    pool.reconcile().expect("reconcile");
    assert_eq!(state(&pool, "greedy"), VolumeState::Suspended);
    assert_eq!(look(&environment, &mut next, PLENTY).resumed, ["greedy"]);
}

#[test]
fn without_a_guard_the_next_call_or_reconciliation_lets_a_volume_go_on() {
    let calls: [fn(&Pool); 3] = [
        |pool| drop(pool.reconcile().expect("reconcile")),
        |pool| drop(pool.volume("greedy").and_then(|v| v.activate()).expect("activate")),
        |pool| drop(pool.volume("greedy").and_then(|v| v.expand(TEMPLATE_SIZE)).expect("expand")),
    ];
    for call in calls {
        let environment = Environment::new();
        let pool = open(&environment);
        activate(&pool, "greedy");
        let mut guard = pool.guard(&options());
        suspend(&environment, &pool, &mut guard);
        drop(guard);
        assert_eq!(state(&pool, "greedy"), VolumeState::Interrupted);
        call(&pool);
        assert_eq!(state(&pool, "greedy"), VolumeState::Active);
    }
}

/// The lock of a volume, as another call has it.
fn lock_of(environment: &Environment, id: &str) -> lock::Lock {
    let path = environment.directory.path().join("pool/lock");
    let subject = format!("volume/{}", Key::of(id));
    lock::lock(&path, &subject, lock::Mode::Exclusive).expect("the lock")
}

#[test]
fn a_volume_that_a_call_works_on_is_left_for_the_next_look() {
    let environment = Environment::new();
    let pool = open(&environment);
    activate(&pool, "greedy");
    let mut guard = pool.guard(&options());
    look(&environment, &mut guard, LITTLE);
    write(&environment, &pool, "greedy", MIB);
    let call = lock_of(&environment, "greedy");
    for _ in 0..3 {
        let look = look(&environment, &mut guard, LITTLE - MIB);
        assert_eq!((look.suspended.len(), look.next), (0, Duration::from_millis(5)));
    }
    drop(call);
    // It need not write any more.
    assert_eq!(suspended(&environment, &mut guard, LITTLE - MIB, 1), ["greedy"]);

    // A call that waits for the volume must not keep it from going on.
    let _call = lock_of(&environment, "greedy");
    let mut looks = 0;
    while state(&pool, "greedy") == VolumeState::Suspended {
        assert_eq!(look(&environment, &mut guard, PLENTY).resumed, Vec::<String>::new());
        looks += 1;
        assert!(looks < 20, "it is kept for ever");
    }
    assert!(looks > 5, "another call has some time of its own");
}

#[test]
fn devices_of_others_are_not_touched() {
    let environment = Environment::new();
    let root = environment.directory.path().join("pool");
    let copy_root = environment.directory.path().join("copy");
    let pool = open(&environment);
    pool.create_volume(&spec("greedy")).expect("create");
    copy_directory(&root, &copy_root);
    activate(&pool, "greedy");
    // The copy of a pool has its id, and takes its devices for its own by their names.
    let copy = environment.options().reserve(0).open(&copy_root).expect("the copy");
    let mut guard = copy.guard(&options());
    look(&environment, &mut guard, LITTLE);
    write(&environment, &pool, "greedy", MIB);
    loop {
        let look = look(&environment, &mut guard, LITTLE - MIB);
        assert_eq!((look.suspended, look.failed), (Vec::new(), Vec::new()));
        if look.next > Duration::from_millis(5) {
            break;
        }
    }
    let id = DeviceId::new(pool.id(), &Key::of("greedy"), Role::Snapshot);
    assert!(!environment.host.device(&id).expect("an answer").expect("a device").suspended);
}

#[test]
fn a_pool_on_kubelets_disk_keeps_it_above_the_threshold_of_eviction() {
    let environment = Environment::new();
    let pool = environment.pool();
    let kubelet = environment.path("kubelet-directory");
    let low = |kubelet: Option<&Path>| {
        let options = GuardOptions::default().kubelet(kubelet.map(Path::to_owned));
        pool.guard(&options).look().expect("a look").low
    };
    assert_eq!(low(None), 128 * MIB, "half of the reserve");
    assert_eq!(low(Some(&kubelet)), 128 * MIB, "this node has no kubelet");
    std::fs::create_dir(&kubelet).expect("a directory");
    assert_eq!(low(Some(&kubelet)) >> 30, 163, "16 % of a terabyte");
}

#[test]
fn the_guard_ends_well_whatever_call_fails() {
    for failure in FAILURES {
        let mut n = 1;
        while fails_well(n, failure) {
            n += 1;
        }
        assert!(n > 20, "{failure:?}: the guard makes only {n} calls");
    }
}

/// Makes the `n`-th call fail; returns whether the guard makes that many calls.
fn fails_well(n: u64, failure: Failure) -> bool {
    let context = format!("{failure:?} at call {n}");
    let environment = Environment::new();
    let pool = open(&environment);
    ["greedy", "idle"].iter().for_each(|id| activate(&pool, id));
    let mut guard = pool.guard(&options());
    let scenario = |guard: &mut Guard| {
        let step = |guard: &mut Guard, free, used| {
            environment.host.set_free(free);
            environment.host.advance(Duration::from_millis(10));
            // The test's own question is not one of the guard's calls.
            if let Some(used) = used {
                let device = calf::sys::DeviceNumber { major: 253, minor: 0 };
                let usage = SnapshotUsage::Valid { used, total: 64 * MIB, metadata: 8192 };
                environment.host.set_usage(device, usage);
            }
            for _ in 0..1000 {
                match guard.look() {
                    Ok(look) if look.next > Duration::from_millis(5) => break,
                    _ => std::thread::sleep(Duration::from_millis(1)),
                }
            }
        };
        step(guard, LITTLE, None);
        step(guard, LITTLE - MIB, Some(MIB));
        step(guard, LITTLE - 2 * MIB, Some(2 * MIB));
        step(guard, PLENTY, None);
    };
    environment.host.fail_at(n, failure);
    let outcome = unless_crashed(|| scenario(&mut guard));
    let reached = environment.host.heal();
    match outcome {
        Some(()) => {
            // The same guard goes on.
            look(&environment, &mut guard, PLENTY);
            let states = states(&pool, ["greedy", "idle"]);
            assert_eq!(states, [VolumeState::Active; 2], "{context}");
        }
        None => drop(guard),
    }
    // The next process, in a pool that is still full, and then has room.
    let pool = open(&environment);
    let mut guard = pool.guard(&options());
    scenario(&mut guard);
    let report = pool.reconcile().expect("reconcile");
    assert_eq!((report.live, report.failed.len()), (2, 0), "{context}: {report:?}");
    assert_eq!(states(&pool, ["greedy", "idle"]), [VolumeState::Active; 2], "{context}");
    reached
}

#[test]
fn requests_are_merged_only_while_a_guard_watches_a_pool_with_room() {
    let environment = Environment::new();
    let pool = open(&environment);
    activate(&pool, "first");
    let unmerged = || environment.host.unmerged().len();
    assert_eq!(unmerged(), 0, "as the kernel does it");
    let mut guard = pool.guard(&options());
    look(&environment, &mut guard, PLENTY);
    assert_eq!(unmerged(), 0);

    // Above both watermarks, but not by much.
    look(&environment, &mut guard, 400 * MIB);
    assert_eq!(unmerged(), 1);
    activate(&pool, "second");
    environment.host.advance(Duration::from_secs(1));
    look(&environment, &mut guard, 400 * MIB);
    assert_eq!(unmerged(), 2, "one that was brought up meanwhile");
    look(&environment, &mut guard, PLENTY);
    assert_eq!(unmerged(), 0);

    drop(guard);
    assert_eq!(unmerged(), 2, "nobody watches the pool now");
    look(&environment, &mut pool.guard(&options()), PLENTY);
    assert_eq!(unmerged(), 2, "the next one has ended, too");
    let mut guard = pool.guard(&options());
    look(&environment, &mut guard, PLENTY);
    assert_eq!(unmerged(), 0);
}

#[test]
fn a_failure_delays_the_switch_of_merging_only() {
    let mut n = 0;
    loop {
        n += 1;
        let environment = Environment::new();
        let pool = open(&environment);
        activate(&pool, "only");
        let mut guard = pool.guard(&options());
        look(&environment, &mut guard, PLENTY);
        environment.host.set_free(400 * MIB);
        environment.host.fail_at(n, Failure::ErrorBefore);
        let silent = guard.look().is_ok_and(|look| look.failed.is_empty());
        let reached = environment.host.heal();
        environment.host.advance(Duration::from_secs(1));
        look(&environment, &mut guard, 400 * MIB);
        assert_eq!(environment.host.unmerged().len(), 1, "after a failure of call {n}");
        if !reached {
            break;
        }
        assert!(!silent, "a failure of call {n} is not told");
    }
    assert!(n > 4, "only {n} calls");
}
