//! Sums over all volumes: what they may still write, and the kernel memory that this may take.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use calf::internal::{EXCEPTION_MEMORY, store_size};
use calf::{
    Cancel, Error, ErrorKind, Fallback, Key, MAX_SIZE, OvercommitRatio, Pool, PoolOptions,
    RecoverOptions, Reserve, Verdict, VolumeKind, VolumeSpec,
};
use calf_test_kit::simulated_pool::{
    Environment, FAILURES, TEMPLATE_SIZE, block, mount, publication, spec,
};

/// What a volume of the template's size may write, its exception table included.
fn store() -> u64 {
    store_size(TEMPLATE_SIZE, None, 4096)
}

const LIMIT: u64 = 64 << 10;

/// Kernel memory that a volume of the template's size may come to take.
const MEMORY: u64 = TEMPLATE_SIZE / 4096 * EXCEPTION_MEMORY;

fn open(environment: &Environment, options: PoolOptions) -> Pool {
    options.open(environment.directory.path().join("pool")).expect("a pool")
}

/// The pool with a ratio, and `free` bytes above its reserve.
fn bounded(environment: &Environment, ratio: f64, free: u64) -> Pool {
    environment.host.set_free(PoolOptions::DEFAULT_RESERVE + free);
    let ratio = OvercommitRatio::new(ratio).expect("a ratio");
    open(environment, environment.options().overcommit_ratio(ratio))
}

/// That the error is about the sum, and says what to do.
fn assert_refused(error: &Error, named: &[&str]) {
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{error:?}");
    let report = error.report();
    for word in [&["cowLimit", "delete volumes"], named].concat() {
        assert!(report.contains(word), "{word}: {report}");
    }
}

fn create(pool: &Pool, id: &str) -> calf::Result<()> {
    pool.create_volume(&spec(id)).map(drop)
}

#[test]
fn without_a_bound_volumes_may_promise_more_than_there_is() {
    let environment = Environment::new();
    let pool = environment.pool();
    environment.host.set_free(PoolOptions::DEFAULT_RESERVE + (2 << 20));
    for id in ["a", "b", "c", "d"] {
        create(&pool, id).expect("create");
    }
    let sum = pool.commitment().expect("a sum");
    assert_eq!((sum.space, sum.kernel_memory), (4 * store(), 4 * MEMORY));
    pool.create_volume(&spec("limited").cow_limit(LIMIT)).expect("create");
    let more = pool.commitment().expect("a sum").space - sum.space;
    assert_eq!(more, store_size(TEMPLATE_SIZE, Some(LIMIT), 4096));
}

#[test]
fn a_volume_that_would_promise_too_much_is_refused() {
    let environment = Environment::new();
    for (ratio, free) in [(1.0, 3 * store()), (2.0, 3 * store() / 2 + 1), (0.5, 6 * store())] {
        let pool = bounded(&environment, ratio, free);
        for id in ["a", "b", "c"] {
            create(&pool, id).expect("create");
        }
        let error = create(&pool, "d").expect_err("too much");
        assert_refused(&error, &[&format!("ratio of {ratio} allows"), "--overcommit-ratio", "4"]);
        assert_eq!(environment.volume_directories().len(), 3, "nothing is left of it");
        let publish = publication(&environment, "inline", mount());
        let inline = spec("inline").inline(true);
        assert_refused(&pool.publish_inline(&inline, &publish).expect_err("too much"), &[]);

        // What exists goes on; what is deleted makes room, and a limit may fit.
        create(&pool, "a").expect("the same again");
        pool.volume("a").and_then(|volume| volume.activate()).expect("activate");
        pool.volume("b").and_then(|volume| volume.delete()).expect("delete");
        pool.create_volume(&spec("e").cow_limit(LIMIT)).expect("a small one");
        assert_refused(&create(&pool, "d").expect_err("too much"), &[]);
        for id in ["a", "c", "e"] {
            pool.volume(id).and_then(|volume| volume.delete()).expect("delete");
        }
    }
}

#[test]
fn what_a_volume_has_written_it_does_not_write_again() {
    let environment = Environment::new();
    let pool = bounded(&environment, 1.0, 2 * store());
    create(&pool, "a").expect("create");
    let key = Key::of("a");
    let path = environment.directory.path().join("pool/volumes").join(key.as_str()).join("cow");
    let file = File::options().write(true).open(path).expect("the store");
    file.write_all_at(&[1; 256 << 10], 0).expect("write");
    assert_eq!(pool.commitment().expect("a sum").space, store() - (256 << 10));
    // The file system has that much less, and there is still room for one more.
    let pool = bounded(&environment, 1.0, 2 * store() - (256 << 10));
    create(&pool, "b").expect("create");
    assert_refused(&create(&pool, "c").expect_err("too much"), &[]);
}

#[test]
fn growth_and_a_higher_limit_count_too() {
    let environment = Environment::new();
    let pool = bounded(&environment, 1.0, 2 * store());
    create(&pool, "a").expect("create");
    let limited = pool.create_volume(&spec("limited").cow_limit(LIMIT)).expect("create");
    let volume = pool.volume("a").expect("a volume id");
    for active in [false, true] {
        if active {
            volume.activate().expect("activate");
        }
        assert_refused(&volume.expand(3 * TEMPLATE_SIZE).expect_err("too much"), &[]);
        assert_eq!(volume.status().expect("a status").record.size, TEMPLATE_SIZE);
        let raise = RecoverOptions::default().cow_limit(4 * TEMPLATE_SIZE);
        limited.expand((if active { 64 } else { 32 }) * TEMPLATE_SIZE).expect("its limit stays");
        assert_refused(&limited.recover(&raise).expect_err("too much"), &[]);
        assert_eq!(limited.status().expect("a status").record.cow_limit, Some(LIMIT));
    }
    limited.recover(&RecoverOptions::default().cow_limit(2 * LIMIT)).expect("a little");

    // A ratio that was lowered stops only what is more.
    let pool = bounded(&environment, 0.1, 2 << 20);
    pool.volume("limited").and_then(|volume| volume.expand(80 * TEMPLATE_SIZE)).expect("expand");
    pool.volume("a").and_then(|volume| volume.activate()).expect("activate");
}

#[test]
fn reserved_space_is_taken_from_what_the_others_were_promised() {
    let environment = Environment::new();
    let pool = bounded(&environment, 2.0, 4 * store());
    for id in ["a", "b", "c", "d"] {
        create(&pool, id).expect("create");
    }
    // Four stores are promised: two must stay free.
    let kind = VolumeKind::of("debian").reserve(Reserve::Full);
    let largest = pool.admission(&kind).expect("an answer").expect("there is room").largest;
    assert!((TEMPLATE_SIZE..=2 * TEMPLATE_SIZE + 8192).contains(&largest), "{largest}");
    let reserved = |size| spec("reserved").reserve(Reserve::Full).size(size);
    let error = pool.create_volume(&reserved(largest + 8192)).map(drop).expect_err("too much");
    assert_refused(&error, &[]);
    pool.create_volume(&reserved(largest)).expect("create");
    assert_eq!(pool.commitment().expect("a sum").space, 4 * store(), "it has what it may write");
}

#[test]
fn private_copies_count_with_their_size() {
    let environment = Environment::new();
    environment.host.without_snapshot(true);
    for fallback in [Fallback::Reflink, Fallback::Copy] {
        environment.host.set_free(PoolOptions::DEFAULT_RESERVE + (8 << 20));
        let ratio = OvercommitRatio::new(1.0).expect("a ratio");
        let options = environment.options().fallback(Some(fallback)).overcommit_ratio(ratio);
        let pool = open(&environment, options);
        let largest = |pool: &Pool| {
            let admission = pool.admission(&VolumeKind::of("debian")).expect("an answer");
            admission.expect("there is room").largest
        };
        let most = largest(&pool);
        assert!(most <= 8 << 20, "{fallback:?}: {most}");
        let error = pool.create_volume(&spec("a").size(most + 4096)).map(drop);
        assert_refused(&error.expect_err("too much"), &[]);
        let volume = pool.create_volume(&spec("a").size(most - 4096)).expect("create");
        let sum = pool.commitment().expect("a sum");
        assert!(sum.space > 6 << 20 && sum.kernel_memory == 0, "{fallback:?}: {sum:?}");
        volume.delete().expect("delete");
    }
}

#[test]
fn spares_count_and_are_not_made_beyond_the_bound() {
    let environment = Environment::new();
    let pool = bounded(&environment, 1.0, 2 * store());
    pool.template("debian").and_then(|template| template.set_warm(3)).expect("set");
    assert_refused(&pool.tend_spares(&Cancel::never()).expect_err("one too many"), &["spares"]);
    assert_eq!(pool.spares().expect("a count").values().sum::<u64>(), 2);
    assert_eq!(pool.commitment().expect("a sum").space / store(), 2);
    assert_refused(&create(&pool, "a").expect_err("the spares hold it"), &["spares"]);
    pool.template("debian").and_then(|template| template.set_warm(1)).expect("set");
    pool.tend_spares(&Cancel::never()).expect("tend");
    create(&pool, "a").expect("create");
    pool.volume("a").and_then(|volume| volume.activate()).expect("activate");
    assert_eq!(pool.claimed_spares(), 1);
    assert_eq!(pool.commitment().expect("a sum").space / store(), 1, "the spare is the volume's");
}

#[test]
fn of_many_calls_at_once_only_as_many_pass_as_there_is_room_for() {
    let environment = Environment::new();
    bounded(&environment, 1.0, 3 * store());
    let passed = thread::scope(|scope| {
        let calls: Vec<_> = (0..12)
            .map(|n| {
                // Each in what could be a process of its own.
                let pool = bounded(&environment, 1.0, 3 * store());
                scope.spawn(move || create(&pool, &format!("volume-{n}")))
            })
            .collect();
        let results = calls.into_iter().map(|call| call.join().expect("no panic"));
        results
            .filter(|result| match result {
                Ok(()) => true,
                Err(error) => {
                    assert_refused(error, &[]);
                    false
                }
            })
            .count()
    });
    assert_eq!((passed, environment.volume_directories().len()), (3, 3));
}

#[test]
fn a_call_that_fails_anywhere_takes_no_room() {
    for failure in FAILURES {
        for n in 1.. {
            let environment = Environment::new();
            let pool = bounded(&environment, 1.0, store());
            environment.host.fail_at(n, failure);
            let _ = catch_unwind(AssertUnwindSafe(|| create(&pool, "a")));
            let failed = environment.host.heal();
            let pool = bounded(&environment, 1.0, store());
            pool.reconcile().expect("reconcile");
            create(&pool, "a").unwrap_or_else(|error| panic!("{failure:?} at {n}: {error:?}"));
            assert_eq!(pool.commitment().expect("a sum").space, store(), "{failure:?} at {n}");
            assert_refused(&create(&pool, "b").expect_err("too much"), &[]);
            if !failed {
                assert!(n > 10, "{failure:?}: a creation has only {n} calls");
                break;
            }
        }
    }
}

#[test]
fn what_fits_is_told_by_kind() {
    let environment = Environment::new();
    let pool = bounded(&environment, 4.0, 64 << 20);
    let ask = |kind: &VolumeKind| pool.admission(kind).expect("an answer").expect("there is room");
    let debian = VolumeKind::of("debian");
    let all = ask(&debian);
    assert_eq!(all.available, 256 << 20, "more than is free");
    assert!(store_size(all.largest, None, 4096) <= 256 << 20, "{all:?}");
    assert!(store_size(all.largest + 4096, None, 4096) > 256 << 20, "{all:?}");
    assert_eq!(ask(&debian.clone().cow_limit(128 << 20)).largest, MAX_SIZE, "its limit fits");
    assert!(ask(&debian.clone().cow_limit(1 << 30)).largest < 256 << 20, "only below its limit");

    pool.create_volume(&spec("a").size(all.largest)).expect("create");
    assert_eq!(pool.admission(&debian).expect("an answer"), None, "nothing is left");
    let pool = bounded(&environment, 8.0, 64 << 20);
    let left = pool.admission(&debian).expect("an answer").expect("there is room").available;
    assert!((256 << 20..=257 << 20).contains(&left), "{left}");
}

#[test]
fn the_growth_of_a_file_system_bounds_what_fits() {
    let environment = Environment::new();
    environment.import_growing("growing");
    let pool = environment.pool();
    let ask = |kind: VolumeKind| {
        let admission = pool.admission(&kind.access([mount()])).expect("an answer");
        admission.expect("there is room").largest
    };
    let kind = || VolumeKind::of("growing");
    assert_eq!(ask(kind().grown(true)), MAX_SIZE, "there is room");
    let limited = ask(kind().cow_limit(8 << 20).grown(true));
    assert!((1 << 30..1 << 40).contains(&limited), "{limited}");
    environment.host.set_free(PoolOptions::DEFAULT_RESERVE + (8 << 20));
    assert_eq!(ask(kind()), MAX_SIZE, "the guest grows it");
    let largest = ask(kind().grown(true));
    assert!((1 << 30..1 << 40).contains(&largest), "{largest}");

    let publish = publication(&environment, "volume", mount());
    let stage = |size| {
        let new = VolumeSpec::new("volume", "growing").size(size);
        let volume = pool.create_volume(&new).expect("create");
        let staged = volume.stage(&publish.stage);
        volume.unstage(&publish.stage.path).expect("unstage");
        volume.delete().expect("delete");
        staged
    };
    stage(largest).expect("it fits");
    let error = stage(largest + (1 << 30)).expect_err("too large");
    assert_eq!(error.kind(), ErrorKind::OutOfRange, "{error:?}");
}

#[test]
fn kernel_memory_is_bounded_by_what_volumes_may_write() {
    let environment = Environment::new();
    let options = || environment.options();
    let pool = open(&environment, options().max_kernel_memory(2 * MEMORY));
    create(&pool, "a").expect("create");
    let volume = pool.create_volume(&spec("b").chunk_size(64 << 10)).expect("create");
    assert_eq!(pool.commitment().expect("a sum").kernel_memory, MEMORY + MEMORY / 16);
    let named = ["kernel's memory", "chunkSize", "--max-kernel-memory"];
    assert_refused(&create(&pool, "c").expect_err("too much"), &named);
    pool.create_volume(&spec("c").cow_limit(LIMIT)).expect("with a limit");
    let kind = VolumeKind::of("debian");
    assert_eq!(pool.admission(&kind).expect("an answer"), None);
    assert!(pool.admission(&kind.clone().chunk_size(1 << 20)).expect("an answer").is_some());
    assert_eq!(
        pool.admission(&kind.cow_limit(LIMIT)).expect("an answer").map(|a| a.largest),
        Some(MAX_SIZE)
    );
    volume.publish(&publication(&environment, "b", block())).expect("publish");
    assert_refused(&volume.expand(32 * TEMPLATE_SIZE).expect_err("too much"), &named);
    volume.expand(2 * TEMPLATE_SIZE).expect("a little");
}

#[test]
fn the_doctor_says_what_is_promised() {
    let environment = Environment::new();
    let pool = environment.pool();
    for id in ["a", "b"] {
        create(&pool, id).expect("create");
    }
    environment.host.set_free(PoolOptions::DEFAULT_RESERVE + store());
    let check = |options: PoolOptions| {
        let checks = options.doctor(environment.directory.path().join("pool"));
        let found = checks.into_iter().find(|check| check.name == "overcommitment");
        let found = found.expect("a check");
        (found.verdict, found.detail)
    };
    let (verdict, detail) = check(environment.options());
    assert_eq!(verdict, Verdict::Ok, "it is a choice");
    assert!(detail.contains("may still write 2.0 MiB, 1.0 MiB is free"), "{detail}");
    let ratio = |ratio| {
        let ratio = OvercommitRatio::new(ratio).expect("a ratio");
        check(environment.options().overcommit_ratio(ratio)).0
    };
    assert_eq!((ratio(2.0), ratio(1.9)), (Verdict::Ok, Verdict::Warn));
    let memory = |bytes| check(environment.options().max_kernel_memory(bytes)).0;
    assert_eq!((memory(2 * MEMORY), memory(2 * MEMORY - 1)), (Verdict::Ok, Verdict::Warn));
}
