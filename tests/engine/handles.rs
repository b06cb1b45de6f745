//! The library's interface for programs: handles, guards, waiting, and ending early.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use calf::sys::{Files as _, lock};
use calf::{Cancel, ErrorKind, ImportSpec, Key, Pool, VolumeState};
use calf_test_kit::simulated_pool::{Environment, spec};

fn exists(pool: &Pool, id: &str) -> bool {
    pool.volume(id).and_then(|volume| volume.status()).is_ok()
}

#[test]
fn a_handle_is_a_name_and_each_call_looks_anew() {
    let environment = Environment::new();
    let pool = environment.pool();
    let volume = pool.volume("vm1").expect("an id");
    assert_eq!(volume.status().expect_err("not yet").kind(), ErrorKind::NotFound);
    pool.create_volume(&spec("vm1")).expect("create");
    assert_eq!(volume.status().expect("now").state, VolumeState::Inactive);
    let device = volume.activate().expect("activate");
    let now = volume.status().expect("it is there");
    assert_eq!((now.state, now.device), (VolumeState::Active, Some(device.number())));
    assert_eq!(device, pool.device(device.number()).expect("its node"));
    volume.delete().expect("delete");
    volume.delete().expect("what is gone is fine");

    for id in ["", "a\nb", &"x".repeat(129)] {
        assert_eq!(pool.volume(id).expect_err(id).kind(), ErrorKind::InvalidArgument);
    }
    assert_eq!(pool.template("a/b").expect_err("a path").kind(), ErrorKind::InvalidArgument);
    let unknown = pool.template("fedora").and_then(|template| template.record());
    assert!(unknown.expect_err("unknown").report().contains("the pool has debian"));
}

#[test]
fn a_temporary_volume_goes_with_its_guard() {
    let environment = Environment::new();
    let pool = environment.pool();
    let create = || pool.create_volume(&spec("vm1")).expect("create").delete_on_drop();
    {
        let volume = create();
        volume.activate().expect("activate");
        assert!(exists(&pool, "vm1"));
    }
    assert!(!exists(&pool, "vm1"));
    assert_eq!(environment.host.leftovers(), Vec::<String>::new());

    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _volume = create();
        panic!("the program fails");
    }));
    assert!(panicked.is_err() && !exists(&pool, "vm1"));

    drop(create().keep());
    assert!(exists(&pool, "vm1"));
}

#[test]
fn a_temporary_volume_that_is_open_stays_and_delete_tells_why() {
    let environment = Environment::new();
    let pool = environment.pool();
    let create = || pool.create_volume(&spec("vm1")).expect("create").delete_on_drop();
    let volume = create();
    let device = volume.activate().expect("activate").number();
    environment.host.open(device);
    drop(volume);
    assert!(exists(&pool, "vm1"), "a VMM has it open");
    assert_eq!(create().delete().expect_err("still").kind(), ErrorKind::InUse);
    assert!(exists(&pool, "vm1"));
    environment.host.close(device);
    create().delete().expect("delete");
    assert!(!exists(&pool, "vm1"));
}

#[test]
fn a_call_waits_for_another_one_as_long_as_it_was_told() {
    const WAIT: Duration = Duration::from_millis(300);
    let environment = Environment::new();
    let root = environment.directory.path().join("pool");
    let pool = environment.options().wait(WAIT).open(&root).expect("a pool");
    let volume = pool.create_volume(&spec("vm1")).expect("create");
    let subject = format!("volume/{}", Key::of("vm1"));
    let lock = || {
        let held = environment.host.try_lock(&root.join("lock"), &subject, lock::Mode::Exclusive);
        held.expect("a lock").expect("nobody holds it")
    };

    let held = lock();
    let start = Instant::now();
    assert_eq!(volume.activate().expect_err("held").kind(), ErrorKind::InProgress);
    assert!(start.elapsed() >= WAIT, "{:?}", start.elapsed());
    let impatient = environment.pool().volume("vm1").and_then(|volume| volume.activate());
    assert_eq!(impatient.expect_err("held").kind(), ErrorKind::InProgress);
    let start = Instant::now();
    let created = environment.pool().create_volume(&spec("vm1"));
    assert_eq!(created.expect_err("held").kind(), ErrorKind::InProgress);
    assert!(start.elapsed() >= Duration::from_secs(2), "a creation waits a moment by itself");
    drop(held);

    let held = lock();
    std::thread::scope(|scope| {
        let call = scope.spawn(|| volume.activate());
        std::thread::sleep(WAIT / 6);
        drop(held);
        call.join().expect("no panic").expect("it waited");
    });
}

#[test]
fn a_cancelled_import_leaves_no_template_and_goes_on_from_there() {
    let environment = Environment::new();
    let pool = environment.pool();
    let source = environment.directory.path().join("large.img");
    fs::write(&source, vec![0xca; 8 << 20]).expect("an image");
    // Time stamps this recent do not prove that the file is unchanged.
    std::thread::sleep(Duration::from_millis(150));

    let asked = Arc::new(AtomicU64::new(0));
    let third = Cancel::when({
        let asked = Arc::clone(&asked);
        move || asked.fetch_add(1, Ordering::Relaxed) == 2
    });
    let spec = ImportSpec::new(source, "large");
    let error = pool.import_template(&spec.clone().cancel(third), &mut |_| ());
    assert_eq!(error.expect_err("cancelled").kind(), ErrorKind::Cancelled);
    assert_eq!(asked.load(Ordering::Relaxed), 3, "nothing is asked once it ends");
    let found = pool.template("large").and_then(|template| template.record());
    assert_eq!(found.expect_err("not yet").kind(), ErrorKind::NotFound);

    let mut first = None;
    let progress = &mut |progress: calf::Progress| _ = first.get_or_insert(progress.done);
    let record = pool.import_template(&spec, progress).expect("the same again");
    assert_eq!((record.size, first), (8 << 20, Some(3 << 20)), "it goes on from the third part");
}
