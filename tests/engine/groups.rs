//! Groups of snapshots on a simulated machine: one instant, all or none, and the failure of each call.

use std::fs;
use std::path::PathBuf;

use calf::sys::fake::Failure;
use calf::{
    Access, ErrorKind, GroupSnapshotSpec, Key, Pool, SnapshotSpec, VolumeSource, VolumeSpec,
    VolumeState,
};
use calf_test_kit::simulated_pool::{
    Environment, FAILURES, block, mount, publication, put_store, spec, stored_chunk, unless_crashed,
};

fn file(environment: &Environment, kind: &str, name: &str, file: &str) -> PathBuf {
    environment.directory.path().join("pool").join(kind).join(Key::of(name).as_str()).join(file)
}

/// Volumes in use, of which the n-th holds `n` in its first chunk.
fn in_use(environment: &Environment, pool: &Pool, volumes: &[(&str, Access)]) -> calf::Result<()> {
    for (n, (id, access)) in (1..).zip(volumes) {
        let publish = publication(environment, id, access.clone());
        pool.create_volume(&spec(id))?.stage(&publish.stage)?;
        put_store(&file(environment, "volumes", id, "cow"), &[n]);
    }
    Ok(())
}

fn pair() -> GroupSnapshotSpec {
    GroupSnapshotSpec::new("g", ["root", "data"])
}

fn refused(pool: &Pool, spec: &GroupSnapshotSpec) -> (ErrorKind, String) {
    let error = pool.take_group_snapshot(spec).expect_err("a refusal");
    (error.kind(), error.report())
}

#[test]
fn a_group_has_one_instant_and_outlives_its_volumes() {
    let environment = Environment::new();
    let pool = environment.pool();
    in_use(&environment, &pool, &[("root", block()), ("data", mount())]).expect("volumes");
    environment.host.take_copies();
    let taken = pool.take_group_snapshot(&pair()).expect("a group");
    let names: Vec<&str> = taken.snapshots.iter().map(|it| it.record.name.as_str()).collect();
    assert_eq!(names, ["g.data", "g.root"]);
    let consistency = taken.snapshots.iter().map(|it| it.record.consistency.as_str());
    assert_eq!(consistency.collect::<Vec<_>>(), ["file-system", "crash"]);
    // Both volumes are suspended while either is copied, and none afterwards.
    let copies = environment.host.take_copies();
    assert_eq!(copies.len(), 2);
    assert!(copies.iter().all(|(.., suspended)| suspended.len() == 2), "{copies:?}");
    for volume in pool.volumes().expect("volumes") {
        assert_eq!(volume.state, VolumeState::Active, "{volume:?}");
        let publish = publication(&environment, &volume.record.id, block());
        let volume = pool.volume(&volume.record.id).expect("an id");
        volume.unstage(&publish.stage.path).and_then(|()| volume.delete()).expect("delete");
    }

    let again = pool.take_group_snapshot(&GroupSnapshotSpec::new("g", ["data", "root"]));
    let again = again.expect("the same group, without its volumes");
    assert_eq!((&again.snapshots, again.waited), (&taken.snapshots, None));
    for (volume, byte) in [("root", 1), ("data", 2)] {
        let source = VolumeSource::Snapshot(format!("g.{volume}"));
        pool.create_volume(&VolumeSpec::from_source(volume, source)).expect("a volume of it");
        assert_eq!(stored_chunk(&file(&environment, "volumes", volume, "cow"), 0), byte);
    }
    let groups = pool.group_snapshots().expect("groups");
    assert_eq!(groups.iter().map(|group| group.name.as_str()).collect::<Vec<_>>(), ["g"]);
    pool.group_snapshot("g").expect("a name").delete().expect("delete");
    pool.group_snapshot("g").expect("a name").delete().expect("there is none any more");
    assert!(pool.snapshots().expect("snapshots").is_empty());
    assert!(pool.group_snapshots().expect("groups").is_empty());
}

#[test]
fn a_snapshot_of_a_group_goes_only_with_the_group() {
    let environment = Environment::new();
    let pool = environment.pool();
    in_use(&environment, &pool, &[("root", block()), ("data", block())]).expect("volumes");
    pool.take_group_snapshot(&pair()).expect("a group");
    let member = pool.snapshot("g.root").expect("a name");
    let error = member.delete().expect_err("it is part of the group");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.report().contains("calf snapshot group delete g"), "{}", error.report());
    // A group whose record is gone binds nobody.
    let key = Key::of(&format!("\ngroup\n{}", Key::of("g")));
    let directory = environment.directory.path().join("pool/snapshots").join(key.as_str());
    fs::remove_dir_all(directory).expect("the group's directory");
    member.delete().expect("delete");
}

#[test]
fn what_cannot_be_one_group_is_refused_and_leaves_nothing() {
    let environment = Environment::new();
    let pool = environment.pool();
    in_use(&environment, &pool, &[("root", block()), ("data", block())]).expect("volumes");
    let many: Vec<String> = (0..65).map(|n| format!("v{n}")).collect();
    for (spec, kind, word) in [
        (GroupSnapshotSpec::new("g", ["root", "none"]), ErrorKind::NotFound, "none"),
        (GroupSnapshotSpec::new("g", ["root", "root"]), ErrorKind::InvalidArgument, "twice"),
        (GroupSnapshotSpec::new("g", [""; 0]), ErrorKind::InvalidArgument, "no volume is named"),
        (GroupSnapshotSpec::new("a\nb", ["root"]), ErrorKind::InvalidArgument, "control"),
        (GroupSnapshotSpec::new("g", many), ErrorKind::InvalidArgument, "at most 64"),
    ] {
        let (has, report) = refused(&pool, &spec);
        assert_eq!(has, kind, "{report}");
        assert!(report.contains(word), "{report}");
    }
    let taken = pool.volume("root").and_then(|it| it.take_snapshot(&SnapshotSpec::new("g.root")));
    taken.expect("a snapshot with the name of a member");
    let (kind, report) = refused(&pool, &pair());
    assert_eq!(kind, ErrorKind::AlreadyExists);
    assert!(report.contains("g.root") && report.contains("not part of this group"), "{report}");
    pool.snapshot("g.root").and_then(|it| it.delete()).expect("delete");
    assert!(pool.snapshots().expect("snapshots").is_empty());

    pool.take_group_snapshot(&pair()).expect("a group");
    let (kind, report) = refused(&pool, &GroupSnapshotSpec::new("g", ["root"]));
    assert_eq!(kind, ErrorKind::AlreadyExists);
    assert!(report.contains("of other volumes: data, root"), "{report}");
}

#[test]
fn a_group_of_long_names_has_short_ones() {
    let environment = Environment::new();
    let pool = environment.pool();
    let id = "v".repeat(100);
    pool.create_volume(&spec(&id)).expect("create");
    let spec = GroupSnapshotSpec::new("g".repeat(100), [&id]);
    let taken = pool.take_group_snapshot(&spec).expect("a group");
    let name = format!("{}.{}", Key::of(&spec.name), Key::of(&id));
    assert_eq!(taken.snapshots[0].record.name, name);
}

// === failures ===

/// A group of a block and a mounted volume, taken, found and deleted.
fn life(environment: &Environment, pool: &Pool) -> calf::Result<()> {
    in_use(environment, pool, &[("root", block()), ("data", mount())])?;
    pool.take_group_snapshot(&pair())?;
    tear_down(environment, pool)
}

fn tear_down(environment: &Environment, pool: &Pool) -> calf::Result<()> {
    pool.group_snapshot("g")?.delete()?;
    for id in ["root", "data"] {
        pool.volume(id)?.unstage(&publication(environment, id, block()).stage.path)?;
        pool.volume(id)?.delete()?;
    }
    Ok(())
}

fn nothing_is_left(environment: &Environment, context: &str) {
    assert_eq!(environment.host.leftovers(), Vec::<String>::new(), "{context}");
    for name in ["volumes", "snapshots"] {
        let directory = environment.directory.path().join("pool").join(name);
        assert_eq!(fs::read_dir(directory).map_or(0, Iterator::count), 0, "{context}: {name}");
    }
}

/// Makes the `n`-th call fail; returns whether the scenario has that many calls.
fn fails_well(n: u64, failure: Failure, shared: bool) -> bool {
    let context = &format!("{failure:?} at call {n}, shared blocks: {shared}");
    let environment = Environment::new();
    environment.host.without_reflink(!shared);
    let pool = environment.pool();
    environment.host.fail_at(n, failure);
    let outcome = unless_crashed(|| life(&environment, &pool));
    if !environment.host.heal() {
        outcome.expect("no failure, no crash").expect("no failure, no error");
        nothing_is_left(&environment, context);
        return false;
    }
    // A restart, after which no call names anything until it is torn down.
    let pool = environment.mended_pool(context);
    assert!(pool.damage().expect("damage").is_empty(), "{context}");
    // All snapshots, or none.
    let groups = pool.group_snapshots().expect("groups").len();
    assert_eq!(pool.snapshots().expect("snapshots").len(), 2 * groups, "{context}");
    let directories = fs::read_dir(environment.directory.path().join("pool/snapshots"));
    assert_eq!(directories.map_or(0, Iterator::count), 3 * groups, "{context}");
    tear_down(&environment, &pool).unwrap_or_else(|error| panic!("{context}: {error:?}"));
    nothing_is_left(&environment, context);
    true
}

fn check(shared: bool) {
    for failure in FAILURES {
        let mut n = 1;
        while fails_well(n, failure, shared) {
            n += 1;
        }
        assert!(n > 80, "{failure:?}: the scenario has only {n} calls, so it did not run");
    }
}

#[test]
fn a_group_survives_failure_at_every_call() {
    check(true);
}

#[test]
fn a_group_without_shared_blocks_survives_failure_at_every_call() {
    check(false);
}
