//! Forks on a simulated machine: all of the volumes or none, of one instant, with nothing left behind.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use calf::sys::fake::Failure;
use calf::{ErrorKind, Forked, Key, Pool, SnapshotSpec, VolumeSource, VolumeSpec, VolumeState};
use calf_test_kit::simulated_pool::{
    Environment, FAILURES, TEMPLATE_SIZE, put_store, spec, stored_chunk, unless_crashed,
};

fn of(id: &str, source: &str) -> VolumeSpec {
    VolumeSpec::from_source(id, VolumeSource::Volume(source.to_owned()))
}

fn fork(pool: &Pool, ids: &[&str]) -> calf::Result<Forked> {
    let specs: Vec<VolumeSpec> = ids.iter().map(|id| of(id, "v")).collect();
    pool.volume("v")?.fork(&specs, None)
}

fn kind<T: std::fmt::Debug>(result: calf::Result<T>) -> ErrorKind {
    result.expect_err("an error").kind()
}

fn cow(environment: &Environment, id: &str) -> PathBuf {
    let volumes = environment.directory.path().join("pool/volumes");
    volumes.join(Key::of(id).as_str()).join("cow")
}

fn cuts(environment: &Environment) -> usize {
    fs::read_dir(environment.directory.path().join("pool/snapshots")).map_or(0, Iterator::count)
}

/// An active volume `v` in which one chunk holds `byte`.
fn written(environment: &Environment, pool: &Pool, byte: u8) -> calf::Result<()> {
    pool.create_volume(&spec("v"))?.activate()?;
    put_store(&cow(environment, "v"), &[byte]);
    Ok(())
}

#[test]
fn forks_start_from_one_instant_and_leave_no_snapshot() {
    let environment = Environment::new();
    let pool = environment.pool();
    written(&environment, &pool, 1).expect("a volume");
    let forked = fork(&pool, &["a", "b", "c"]).expect("a fork");
    assert!(forked.waited.is_some());
    put_store(&cow(&environment, "v"), &[2]);
    for (volume, id) in forked.volumes.iter().zip(["a", "b", "c"]) {
        assert_eq!(volume.id(), id);
        assert_eq!(stored_chunk(&cow(&environment, id), 0), 1);
        let record = volume.status().expect("it is there").record;
        assert_eq!(record.source, Some(VolumeSource::Volume("v".to_owned())));
        volume.activate().expect("activate");
    }
    assert_eq!((cuts(&environment), pool.snapshots().expect("a list").len()), (0, 0));

    // The same call finds them, even if their source is gone.
    pool.volume("v").expect("an id").delete().expect("delete");
    let again = fork(&pool, &["a", "b", "c"]).expect("the same");
    assert_eq!((again.waited, again.volumes.len()), (None, 3));
    environment.host.reboot();
    forked.volumes[0].activate().expect("activate");
    assert_eq!(stored_chunk(&cow(&environment, "a"), 0), 1, "it starts from there again");
}

#[test]
fn a_volume_is_created_as_the_clone_of_another() {
    let environment = Environment::new();
    let pool = environment.pool();
    written(&environment, &pool, 4).expect("a volume");
    let clone = of("w", "v").size(2 * TEMPLATE_SIZE);
    for _ in 0..2 {
        let volume = pool.create_volume(&clone).expect("a clone");
        assert_eq!(volume.status().expect("it is there").record.size, 2 * TEMPLATE_SIZE);
    }
    assert_eq!(stored_chunk(&cow(&environment, "w"), 0), 4);
    let larger = of("w", "v").size(3 * TEMPLATE_SIZE);
    assert_eq!(kind(pool.create_volume(&larger)), ErrorKind::AlreadyExists);
    assert_eq!(kind(pool.create_volume(&of("w", "x"))), ErrorKind::AlreadyExists, "of another");
    assert_eq!(kind(pool.create_volume(&spec("w"))), ErrorKind::AlreadyExists);
    assert_eq!(kind(pool.create_volume(&of("x", "none"))), ErrorKind::NotFound);
    assert_eq!(kind(pool.create_volume(&of("v", "v"))), ErrorKind::InvalidArgument);
    assert_eq!(cuts(&environment), 0);
}

#[test]
fn a_fork_is_all_or_nothing() {
    let environment = Environment::new();
    let pool = environment.pool();
    written(&environment, &pool, 1).expect("a volume");
    pool.create_volume(&spec("b")).expect("create");
    assert_eq!(kind(fork(&pool, &["a", "b"])), ErrorKind::AlreadyExists);
    assert_eq!(kind(fork(&pool, &["a", "a"])), ErrorKind::InvalidArgument);
    assert_eq!(kind(fork(&pool, &[])), ErrorKind::InvalidArgument);
    assert_eq!(kind(fork(&pool, &["a", "v"])), ErrorKind::InvalidArgument);
    let volume = pool.volume("v").expect("an id");
    let small = [of("a", "v"), of("c", "v").size(4096)];
    assert_eq!(kind(volume.fork(&small, None)), ErrorKind::OutOfRange, "the first is undone");
    assert_eq!(kind(volume.fork(&[spec("a")], None)), ErrorKind::InvalidArgument);
    assert_eq!(environment.volume_directories().len(), 2);
    assert_eq!(cuts(&environment), 0);

    // Another set of ids is another fork.
    fork(&pool, &["a", "c"]).expect("a fork");
    assert_eq!(kind(fork(&pool, &["a", "d"])), ErrorKind::AlreadyExists);
    assert_eq!(environment.volume_directories().len(), 4);
    fork(&pool, &["d"]).expect("a fork");
    assert_eq!(kind(fork(&pool, &["a", "d"])), ErrorKind::AlreadyExists, "of two instants");
}

#[test]
fn what_an_interrupted_fork_left_goes_unless_it_is_used() {
    for used in [false, true] {
        let environment = Environment::new();
        let pool = environment.pool();
        written(&environment, &pool, 1).expect("a volume");
        // The process dies at the store of the second volume.
        let mut n = 1;
        loop {
            environment.host.fail_at(n, Failure::CrashBefore);
            let died = catch_unwind(AssertUnwindSafe(|| fork(&pool, &["a", "b"])));
            environment.host.heal();
            let there = |id: &str| pool.volume(id).and_then(|volume| volume.status()).is_ok();
            if died.is_err() && there("a") && !there("b") {
                break;
            }
            pool.reconcile().expect("reconcile");
            assert!(!there("a") && !there("b"), "call {n}");
            n += 1;
        }
        if used {
            pool.volume("a").and_then(|volume| volume.activate()).expect("activate");
        }
        pool.reconcile().expect("reconcile");
        let exists = pool.volume("a").and_then(|volume| volume.status()).is_ok();
        assert_eq!((exists, cuts(&environment)), (used, 0));
        match fork(&pool, &["a", "b"]) {
            Ok(_) => assert!(!used),
            Err(error) => assert!(used && error.kind() == ErrorKind::AlreadyExists, "{error:?}"),
        }
    }
}

/// Makes the `n`-th call of a fork fail; returns whether it has that many.
fn fails_well(n: u64, failure: Failure) -> bool {
    const IDS: [&str; 3] = ["a", "b", "c"];
    let context = &format!("{failure:?} at call {n}");
    for restart in [true, false] {
        let environment = Environment::new();
        let pool = environment.pool();
        written(&environment, &pool, 1).expect("a volume");
        environment.host.fail_at(n, failure);
        let outcome = unless_crashed(|| fork(&pool, &IDS));
        if !environment.host.heal() {
            outcome.expect("no failure, no crash").expect("no failure, no error");
            return false;
        }
        let pool = environment.pool();
        if restart {
            let report = pool.reconcile().expect("reconcile");
            assert_eq!(report.failed, Vec::<String>::new(), "{context}");
            let directories = environment.volume_directories().len();
            assert!([1, 1 + IDS.len()].contains(&directories), "{context}: {directories} volumes");
            assert_eq!(cuts(&environment), 0, "{context}");
        }
        let source = pool.volume("v").and_then(|volume| volume.status()).expect("it is there");
        assert_eq!(source.state, VolumeState::Active, "{context}");
        match fork(&pool, &IDS) {
            Ok(_) => {
                for id in IDS {
                    assert_eq!(stored_chunk(&cow(&environment, id), 0), 1, "{context}: {id}");
                }
            }
            // A sync failed, so what the volume holds is not trusted any more.
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{context}: {error:?}");
                assert!(cow(&environment, "v").with_file_name("lost-writes").exists(), "{context}");
                assert_eq!(environment.volume_directories().len(), 1, "{context}");
            }
        }
        assert_eq!(cuts(&environment), 0, "{context}");
    }
    true
}

#[test]
fn a_fork_survives_failure_at_every_call() {
    for failure in FAILURES {
        let mut n = 1;
        while fails_well(n, failure) {
            n += 1;
        }
        assert!(n > 60, "{failure:?}: it has only {n} calls");
    }
}

#[test]
fn an_edited_fork_is_reported_and_deletes_nothing() {
    let environment = Environment::new();
    let pool = environment.pool();
    written(&environment, &pool, 1).expect("a volume");
    pool.volume("v").and_then(|v| v.take_snapshot(&SnapshotSpec::new("s"))).expect("a snapshot");
    pool.volume("v").and_then(|v| v.deactivate()).expect("deactivate");
    let directory = environment.directory.path().join("pool/snapshots").join(Key::of("x").as_str());
    fs::create_dir(&directory).expect("a directory");
    let cut = "0".repeat(32);
    for (text, failed) in [
        (r#"{"volume": "v", "cut": "../..", "volumes": ["v"]}"#.to_owned(), true),
        (format!(r#"{{"volume": "v", "cut": "{cut}", "volumes": ["v", "a\nb"]}}"#), true),
        (format!(r#"{{"volume": "v", "cut": "{cut}", "volumes": ["v", "w"]}}"#), false),
    ] {
        fs::create_dir_all(&directory).expect("a directory");
        fs::write(directory.join("fork.json"), &text).expect("write");
        let report = pool.reconcile().expect("reconcile");
        assert_eq!(report.failed.is_empty(), !failed, "{text}: {report:?}");
        assert_eq!(directory.exists(), failed, "{text}");
        assert_eq!(environment.volume_directories().len(), 1, "{text}");
    }
}
