//! Snapshots of volumes in use where files cannot share blocks: what is written meanwhile goes to an overlay, which is
//! merged afterwards. The process fails or dies at each call to the machine; nothing that was written is lost, no
//! device stays suspended, and no overlay stays for good.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use calf::sys::fake::Failure;
use calf::sys::{CopyMode, DeviceId, Mapper as _, Role, SnapshotUsage, Table, lock};
use calf::{
    Access, CommitSpec, Durability, ErrorKind, GroupSnapshotSpec, GuardOptions, Key, Pool, Reserve,
    SnapshotSpec, VolumeSource, VolumeSpec, VolumeState, Watermark,
};
use calf_test_kit::simulated_pool::{
    Environment, FAILURES, TEMPLATE_SIZE, block, mount, publication, put_store, spec, stored_chunk,
    unless_crashed,
};

fn volume_file(environment: &Environment, id: &str, name: &str) -> PathBuf {
    environment.directory.path().join("pool/volumes").join(Key::of(id).as_str()).join(name)
}

/// The volume `v` in use, with 1 in its first chunk, on a machine whose files share no blocks.
fn in_use(access: Access, durability: Durability) -> (Environment, Pool) {
    let environment = Environment::new();
    environment.host.without_reflink(true);
    let pool = environment.pool();
    let volume = pool.create_volume(&spec("v").durability(durability)).expect("create");
    volume.stage(&publication(&environment, "v", access).stage).expect("stage");
    put_store(&volume_file(&environment, "v", "cow"), &[1]);
    (environment, pool)
}

fn take(pool: &Pool) -> calf::Result<calf::Taken> {
    pool.volume("v")?.take_snapshot(&SnapshotSpec::new("s"))
}

fn device(environment: &Environment, pool: &Pool) -> Option<calf::sys::Device> {
    let id = DeviceId::new(pool.id(), &Key::of("v"), Role::Snapshot);
    environment.host.device(&id).expect("a state")
}

/// Whether the volume's device is over an overlay.
fn is_overlaid(environment: &Environment, pool: &Pool) -> bool {
    let base = DeviceId::new(pool.id(), &Key::of("v"), Role::Base);
    let base = environment.host.device(&base).expect("a state").map(|base| base.number);
    match device(environment, pool).and_then(|device| device.table) {
        Some(Table::Snapshot { origin, .. } | Table::Merge { origin, .. }) => Some(origin) == base,
        _ => false,
    }
}

/// The guest writes 2 into its first chunk, if that goes to an overlay. Returns what the chunk holds.
fn write(environment: &Environment, pool: &Pool) -> u8 {
    match is_overlaid(environment, pool) {
        true => {
            put_store(&volume_file(environment, "v", "overlay"), &[2]);
            2
        }
        false => 1,
    }
}

fn no_overlay_is_left(environment: &Environment, context: &str) {
    assert!(!volume_file(environment, "v", "overlay").exists(), "{context}");
    let left = environment.host.leftovers();
    assert!(!left.iter().any(|what| what.ends_with("-base")), "{context}: {left:?}");
}

fn tear_down(environment: &Environment, pool: &Pool, context: &str) {
    let publish = publication(environment, "v", block());
    let torn_down = pool
        .volume("v")
        .and_then(|volume| volume.unstage(&publish.stage.path).and_then(|()| volume.delete()))
        .and_then(|()| pool.snapshot("s")?.delete());
    torn_down.unwrap_or_else(|error| panic!("{context}: {error:?}"));
    assert_eq!(environment.host.leftovers(), Vec::<String>::new(), "{context}");
    assert_eq!(environment.volume_directories(), Vec::<String>::new(), "{context}");
}

/// What becomes of the machine after the process failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    Restart,
    Repetition,
    Reboot,
    TakenDown,
}

/// Makes the `n`-th call of a snapshot fail. Returns whether it has so many.
fn fails_well(n: u64, failure: Failure, access: Access, after: After) -> bool {
    let context = &format!("{failure:?} at call {n}, then {after:?}");
    let (environment, pool) = in_use(access, Durability::Durable);
    environment.host.fail_at(n, failure);
    let outcome = unless_crashed(|| take(&pool));
    let reached = environment.host.heal();
    drop(pool);
    let pool = environment.pool();
    if !reached {
        let taken = outcome.expect("no crash").expect("no error");
        assert!(taken.copied && taken.waited.is_some());
        no_overlay_is_left(&environment, context);
        tear_down(&environment, &pool, context);
        return false;
    }
    if outcome.is_some() {
        let device = device(&environment, &pool).expect("a device");
        assert!(!device.suspended, "{context}: the guest waits");
    }
    let held = write(&environment, &pool);
    let volume = pool.volume("v").expect("an id");
    match after {
        After::Restart => drop(environment.mended_pool(context)),
        After::Repetition => {
            let lost = volume_file(&environment, "v", "lost-writes").exists();
            let repeated = take(&pool);
            assert!(lost || repeated.is_ok(), "{context}: {repeated:?}");
            // A merge that failed did not make the snapshot fail.
            environment.mended_pool(context);
        }
        After::Reboot => {
            environment.host.reboot();
            drop(environment.mended_pool(context));
            volume.activate().unwrap_or_else(|error| panic!("{context}: {error:?}"));
        }
        After::TakenDown => {
            let path = publication(&environment, "v", block()).stage.path;
            volume.unstage(&path).unwrap_or_else(|error| panic!("{context}: {error:?}"));
            assert_eq!(environment.host.leftovers(), Vec::<String>::new(), "{context}");
            volume.activate().unwrap_or_else(|error| panic!("{context}: {error:?}"));
        }
    }
    no_overlay_is_left(&environment, context);
    let status = volume.status().expect("it is there");
    assert_eq!(status.state, VolumeState::Active, "{context}");
    assert_eq!(stored_chunk(&volume_file(&environment, "v", "cow"), 0), held, "{context}");
    let snapshots = pool.snapshots().expect("snapshots");
    if !snapshots.is_empty() {
        let copy = VolumeSpec::from_source("w", VolumeSource::Snapshot("s".to_owned()));
        let copy = pool.create_volume(&copy).expect("a copy");
        let content = stored_chunk(&volume_file(&environment, "w", "cow"), 0);
        // A repeated call may be the one that made it.
        let repeated = after == After::Repetition && content == held;
        assert!(content == 1 || repeated, "{context}: {content}");
        copy.delete().expect("delete");
    }
    tear_down(&environment, &pool, context);
    true
}

fn check(access: &Access, after: After) {
    for failure in FAILURES {
        let mut n = 1;
        while fails_well(n, failure, access.clone(), after) {
            n += 1;
        }
        assert!(n > 40, "{failure:?}: only {n} calls");
    }
}

#[test]
fn a_live_snapshot_without_shared_blocks_survives_a_restart_at_every_call() {
    check(&block(), After::Restart);
    check(&mount(), After::Restart);
}

#[test]
fn a_live_snapshot_without_shared_blocks_can_be_repeated_after_every_call() {
    check(&block(), After::Repetition);
}

#[test]
fn a_durable_volume_keeps_what_an_overlay_holds_through_a_reboot_at_every_call() {
    check(&block(), After::Reboot);
}

#[test]
fn a_volume_can_be_taken_down_with_an_overlay_at_every_call() {
    check(&block(), After::TakenDown);
}

/// A volume over an overlay, whose process died, and which holds 2 in its first chunk.
fn overlaid(durability: Durability) -> (Environment, Pool) {
    /// At which call that is for each durability: looked for once.
    static CALLS: [OnceLock<u64>; 2] = [const { OnceLock::new() }; 2];
    let call = &CALLS[usize::from(durability == Durability::Durable)];
    for n in call.get().copied().unwrap_or(1).. {
        let (environment, pool) = in_use(block(), durability);
        environment.host.fail_at(n, Failure::CrashAfter);
        let crashed = unless_crashed(|| take(&pool)).is_none();
        assert!(environment.host.heal() && crashed, "no call leaves an overlay");
        drop(pool);
        let pool = environment.pool();
        if write(&environment, &pool) == 2 {
            call.get_or_init(|| n);
            return (environment, pool);
        }
    }
    unreachable!("a snapshot has an end")
}

/// The merge at an activation fails at each call, too.
#[test]
fn an_overlay_is_merged_at_the_activation_whatever_fails() {
    for failure in FAILURES {
        for n in 1.. {
            let context = &format!("{failure:?} at call {n}");
            let (environment, pool) = overlaid(Durability::Durable);
            environment.host.reboot();
            let volume = pool.volume("v").expect("an id");
            environment.host.fail_at(n, failure);
            let outcome = unless_crashed(|| volume.activate().map(drop));
            let reached = environment.host.heal();
            let again = environment.mended_pool(context);
            let volume = again.volume("v").expect("an id");
            volume.activate().unwrap_or_else(|error| panic!("{context}: {error:?}"));
            no_overlay_is_left(&environment, context);
            assert_eq!(stored_chunk(&volume_file(&environment, "v", "cow"), 0), 2, "{context}");
            tear_down(&environment, &again, context);
            if !reached {
                outcome.expect("no crash").expect("no error");
                assert!(n > 30, "{failure:?}: only {n} calls");
                break;
            }
        }
    }
}

#[test]
fn an_ephemeral_volume_forgets_an_overlay_at_a_reboot() {
    let (environment, pool) = overlaid(Durability::Ephemeral);
    environment.host.reboot();
    let pool = {
        drop(pool);
        environment.pool()
    };
    pool.reconcile().expect("reconcile");
    pool.volume("v").expect("an id").activate().expect("activate");
    no_overlay_is_left(&environment, "after a reboot");
    let store = std::fs::read(volume_file(&environment, "v", "cow")).expect("a store");
    assert!(store.iter().all(|byte| *byte == 0), "it starts anew");
    tear_down(&environment, &pool, "after a reboot");
}

#[test]
fn a_volume_with_an_overlay_can_be_deleted() {
    let (environment, pool) = overlaid(Durability::Durable);
    tear_down(&environment, &pool, "in use");
    let (environment, pool) = overlaid(Durability::Durable);
    environment.host.reboot();
    tear_down(&environment, &pool, "inactive");
}

#[test]
fn what_needs_the_store_merges_the_overlay_first() {
    let (environment, pool) = overlaid(Durability::Durable);
    let volume = pool.volume("v").expect("an id");
    assert!(is_overlaid(&environment, &pool));
    volume.expand(2 * TEMPLATE_SIZE).expect("expand");
    no_overlay_is_left(&environment, "grown");
    assert_eq!(stored_chunk(&volume_file(&environment, "v", "cow"), 0), 2);
    tear_down(&environment, &pool, "grown");

    // Without a device, it has to be activated first.
    let (environment, pool) = overlaid(Durability::Durable);
    environment.host.reboot();
    let volume = pool.volume("v").expect("an id");
    for refused in [take(&pool).map(drop), volume.expand(2 * TEMPLATE_SIZE).map(drop)] {
        let error = refused.expect_err("it is not merged");
        assert_eq!(error.kind(), ErrorKind::Unprepared, "{}", error.report());
    }
    volume.activate().expect("activate");
    take(&pool).expect("a snapshot");
    tear_down(&environment, &pool, "activated");
}

#[test]
fn forks_and_commits_of_a_volume_in_use_need_no_shared_blocks() {
    let (environment, pool) = in_use(block(), Durability::Ephemeral);
    let fork = VolumeSpec::from_source("f", VolumeSource::Volume("v".to_owned()));
    let forked = pool.volume("v").expect("an id").fork(&[fork], None).expect("a fork");
    assert_eq!(stored_chunk(&volume_file(&environment, "f", "cow"), 0), 1);
    no_overlay_is_left(&environment, "forked");
    forked.volumes.iter().for_each(|fork| fork.delete().expect("delete"));
    let commit = CommitSpec::new(VolumeSource::Volume("v".to_owned()), "committed");
    pool.commit_template(&commit, &mut |_| ()).expect("a commit");
    no_overlay_is_left(&environment, "committed");
    tear_down(&environment, &pool, "committed");
}

#[test]
fn volumes_that_an_overlay_could_stop_are_refused() {
    let environment = Environment::new();
    environment.host.without_reflink(true);
    let pool = environment.pool();
    for (spec, why) in [
        (spec("v").cow_limit(64 << 10), "cowLimit"),
        (spec("v").reserve(Reserve::Full), "reserved"),
    ] {
        let volume = pool.create_volume(&spec).expect("create");
        volume.activate().expect("activate");
        let error = take(&pool).expect_err("it is in use");
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.report().contains(why), "{}", error.report());
        no_overlay_is_left(&environment, why);
        volume.delete().expect("delete");
    }
    // None of a group is cut then.
    let specs = [spec("v"), spec("w").reserve(Reserve::Full)];
    let volumes = specs.map(|spec| pool.create_volume(&spec).expect("create"));
    volumes.iter().for_each(|volume| drop(volume.activate().expect("activate")));
    let error = pool.take_group_snapshot(&GroupSnapshotSpec::new("g", ["v", "w"]));
    assert_eq!(error.expect_err("one is reserved").kind(), ErrorKind::Unsupported);
    no_overlay_is_left(&environment, "a group");
    volumes.iter().for_each(|volume| volume.delete().expect("delete"));
}

#[test]
fn a_group_of_volumes_in_use_needs_no_shared_blocks() {
    let (environment, pool) = in_use(block(), Durability::Ephemeral);
    pool.create_volume(&spec("w")).and_then(|volume| volume.activate()).expect("activate");
    put_store(&volume_file(&environment, "w", "cow"), &[3]);
    environment.host.take_copies();
    let taken = pool.take_group_snapshot(&GroupSnapshotSpec::new("g", ["v", "w"]));
    assert!(taken.expect("a group").waited.is_some());
    let copies = environment.host.take_copies();
    let suspended = copies.iter().filter(|(mode, ..)| *mode == CopyMode::Sparse);
    assert!(suspended.clone().count() == 2 && suspended.into_iter().all(|copy| copy.2.is_empty()));
    for (volume, byte) in [("v", 1), ("w", 3)] {
        let source = VolumeSource::Snapshot(format!("g.{volume}"));
        let copy = pool.create_volume(&VolumeSpec::from_source("copy", source)).expect("a copy");
        assert_eq!(stored_chunk(&volume_file(&environment, "copy", "cow"), 0), byte, "{volume}");
        copy.delete().expect("delete");
        assert!(!volume_file(&environment, volume, "overlay").exists());
    }
    pool.group_snapshot("g").and_then(|group| group.delete()).expect("delete");
    pool.volume("w").and_then(|volume| volume.delete()).expect("delete");
    tear_down(&environment, &pool, "a group");
}

/// A merge takes room beside the overlay. Without it, the volume goes on as it is.
#[test]
fn an_overlay_waits_for_room_in_the_pool() {
    let (environment, pool) = overlaid(Durability::Durable);
    let free = environment.host.free();
    environment.host.set_free(0);
    let report = pool.reconcile().expect("reconcile");
    assert_eq!(report.failed.len(), 1, "{report:?}");
    assert!(is_overlaid(&environment, &pool));
    assert_eq!(pool.volume("v").expect("an id").status().expect("it").state, VolumeState::Active);
    environment.host.set_free(free);
    let pool = environment.mended_pool("there is room");
    no_overlay_is_left(&environment, "there is room");
    tear_down(&environment, &pool, "there is room");
}

/// The volume comes back once it was down: the kernel then reads both stores anew.
#[test]
fn a_volume_that_the_kernel_stopped_over_an_overlay_comes_back() {
    comes_back(Role::Snapshot, "overlay");
    comes_back(Role::Base, "cow");
}

/// `lost` is the device whose store the kernel gave up, and marked.
fn comes_back(lost: Role, store: &str) {
    let (environment, pool) = overlaid(Durability::Durable);
    let volume = pool.volume("v").expect("an id");
    let id = DeviceId::new(pool.id(), &Key::of("v"), lost);
    let number = environment.host.device(&id).expect("a state").expect("a device").number;
    environment.host.set_usage(number, SnapshotUsage::Invalid);
    let store = OpenOptions::new().write(true).open(volume_file(&environment, "v", store));
    store.and_then(|store| store.write_all_at(&[0; 4], 4)).expect("the kernel's mark");
    assert_eq!(volume.status().expect("it is there").state, VolumeState::Invalid);
    assert_eq!(volume.activate().expect_err("it is stopped").kind(), ErrorKind::NoSpace);
    assert_eq!(take(&pool).expect_err("it is stopped").kind(), ErrorKind::NoSpace);
    volume.unstage(&publication(&environment, "v", block()).stage.path).expect("unstage");
    volume.activate().expect("activate");
    no_overlay_is_left(&environment, "back");
    assert_eq!(stored_chunk(&volume_file(&environment, "v", "cow"), 0), 2);
    tear_down(&environment, &pool, "back");
}

/// The lock of the volume is held during a copy and a merge. The pool may get full meanwhile.
#[test]
fn the_guard_suspends_a_volume_over_an_overlay_whose_lock_is_held() {
    const MIB: u64 = 1 << 20;
    let (environment, pool) = overlaid(Durability::Durable);
    let options = GuardOptions::default()
        .low(Watermark::Bytes(128 * MIB))
        .resume(Watermark::Bytes(256 * MIB));
    let mut guard = pool.guard(&options);
    let mut look = |free: u64| {
        environment.host.set_free(free);
        environment.host.advance(Duration::from_millis(10));
        guard.look().expect("a look")
    };
    let subject = format!("volume/{}", Key::of("v"));
    let path = environment.directory.path().join("pool/lock");
    let call = lock::lock(&path, &subject, lock::Mode::Exclusive).expect("the lock");
    let state = || pool.volume("v").and_then(|volume| volume.status()).expect("it is there").state;
    look(200 * MIB);
    let number = device(&environment, &pool).expect("a device").number;
    for n in 0..20 {
        assert!(environment.host.write_new(number, 4096));
        look((100 - n) * MIB);
        if state() == VolumeState::Suspended {
            break;
        }
    }
    assert_eq!(state(), VolumeState::Suspended);
    // Nobody merges now, since that takes room.
    drop(call);
    assert_eq!(take(&pool).expect_err("no room").kind(), ErrorKind::NoSpace);
    let call = lock::lock(&path, &subject, lock::Mode::Exclusive).expect("the lock");
    for _ in 0..20 {
        look(1024 * MIB);
    }
    assert_eq!(state(), VolumeState::Active, "the call with the lock may be waiting for it");
    drop((call, guard));
    let pool = environment.mended_pool("there is room");
    no_overlay_is_left(&environment, "there is room");
    tear_down(&environment, &pool, "there is room");
}
