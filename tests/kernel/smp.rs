//! Many callers at once, on several CPUs: no error, no leak, and `ABORTED` only if an operation on
//! the same volume was actually running.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use calf_test_kit::driver_process::{Client, Driver, Usage};
use calf_test_kit::kernel;
use calf_test_kit::real_pool::{self, Page, Random, Rig, read_page};
use tonic::{Code, Status};

/// Number of concurrent callers, and of lives that each takes its volume through.
const CALLERS: usize = 32;
const LIVES: usize = 8;

fn main() -> ExitCode {
    let long = Duration::from_secs(900);
    kernel::main(vec![
        kernel::test("thirty_two_callers_live_side_by_side", side_by_side).timeout(long),
        kernel::test("callers_of_one_volume_are_told_to_come_back", one_volume).timeout(long),
        kernel::test("identical_creations_at_once_all_succeed", identical_creations).timeout(long),
        kernel::test("many_volumes_in_use_are_listed_page_by_page", lists).timeout(long),
        kernel::test("two_drivers_share_a_pool_during_an_upgrade", two_drivers).timeout(long),
    ])
}

fn life(client: &Client, usage: &Usage, random: &mut Random) -> Result<(), Status> {
    client.create(&usage.volume, "root")?;
    client.stage(usage)?;
    client.publish(usage)?;
    let page = Page::random(random);
    if usage.block {
        let device = real_pool::open(&usage.target);
        device.write_all_at(&page.0, 1 << 20).expect("write");
        assert!(read_page(&device, 1 << 20).0 == page.0, "{}", usage.volume);
    } else {
        let file = usage.target.join("file");
        assert!(!file.exists(), "a fresh volume has another's file");
        fs::write(&file, page.0).expect("write");
        assert!(fs::read(&file).expect("read") == page.0, "{}", usage.volume);
    }
    client.unpublish(usage)?;
    client.unstage(usage)?;
    client.delete(&usage.volume)
}

fn side_by_side() {
    let rig = Rig::new(kernel::Fs::Xfs);
    rig.import_file_system("root", "ext4");
    let driver = Driver::start(rig.pool.root(), &kernel::work_dir(), &[]);
    let directory = rig.path("");
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for caller in 0..CALLERS {
            let (driver, directory) = (&driver, directory.as_path());
            scope.spawn(move || {
                let client = driver.client();
                let usage = Usage::new(&format!("volume-{caller}"), directory, caller % 2 == 0);
                fs::create_dir_all(&usage.staging).expect("as kubelet does");
                let mut random = Random(caller as u64 + 1);
                for _ in 0..LIVES {
                    life(&client, &usage, &mut random).unwrap_or_else(|error| {
                        panic!("{}: {error:?}\n{}", usage.volume, driver.log())
                    });
                }
            });
        }
    });
    println!("{} lives in {:?}", CALLERS * LIVES, begin.elapsed());
    assert_nothing_is_left(&rig);
    assert!(driver.stop().success());
}

/// Whether `status` says that another call works on the same volume.
fn is_aborted(status: &Status) -> bool {
    status.code() == Code::Aborted
}

fn one_volume() {
    let rig = Rig::new(kernel::Fs::Xfs);
    rig.import_file_system("root", "ext4");
    let driver = Driver::start(rig.pool.root(), &kernel::work_dir(), &[]);
    let usage = Usage::new("volume", &rig.path(""), true);
    fs::create_dir_all(&usage.staging).expect("as kubelet does");
    let (done, aborted) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let count = |result: Result<(), Status>| match result {
        Ok(()) => done.fetch_add(1, Ordering::Relaxed),
        Err(status) if is_aborted(&status) => aborted.fetch_add(1, Ordering::Relaxed),
        Err(status) => panic!("{status:?}\n{}", driver.log()),
    };
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let client = driver.client();
                for _ in 0..10 {
                    // All callers make each call at once; every answer is OK or ABORTED.
                    count(client.create(&usage.volume, "root"));
                    count(retried(|| client.create(&usage.volume, "root")));
                    count(client.stage(&usage));
                    count(client.publish(&usage));
                }
            });
        }
    });
    let client = driver.client();
    for call in [Client::unpublish, Client::unstage] {
        call(&client, &usage).expect("one caller is never told to come back");
    }
    client.delete(&usage.volume).expect("one caller is never told to come back");
    println!("{} done, {} told to come back", done.into_inner(), aborted.into_inner());
    assert_nothing_is_left(&rig);
    assert!(driver.stop().success());
}

/// Calls `work` for each of so many callers at once; the time that all of them took.
fn at_once(driver: &Driver, callers: usize, work: impl Fn(&Client) + Sync) -> Duration {
    let clients: Vec<Client> = (0..callers).map(|_| driver.client()).collect();
    for client in &clients {
        client.probe().expect("an answer");
    }
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for client in clients {
            let work = &work;
            scope.spawn(move || work(&client));
        }
    });
    begin.elapsed()
}

fn identical_creations() {
    let rig = Rig::new(kernel::Fs::Xfs);
    rig.import_file_system("root", "ext4");
    let driver = Driver::start(rig.pool.root(), &kernel::work_dir(), &[]);
    for round in ["new", "again"] {
        let time = at_once(&driver, CALLERS, |client| {
            client.create("volume", "root").unwrap_or_else(|status| {
                panic!("{round}: {status:?}\n{}", driver.log());
            });
        });
        println!("{CALLERS} identical creations, {round}: {time:?}");
    }
    driver.client().delete("volume").expect("delete");
    assert_nothing_is_left(&rig);
    assert!(driver.stop().success());
}

fn lists() {
    const VOLUMES: usize = 150;
    let rig = Rig::new(kernel::Fs::Xfs);
    rig.import_file_system("root", "ext4");
    let driver = Driver::start(rig.pool.root(), &kernel::work_dir(), &[]);
    let client = driver.client();
    let directory = rig.path("");
    let usages: Vec<Usage> =
        (0..VOLUMES).map(|n| Usage::new(&format!("volume-{n}"), &directory, true)).collect();
    for usage in &usages {
        client.create(&usage.volume, "root").expect("create");
        client.stage(usage).expect("stage");
    }
    let list = |client: &Client, page: i32, entries: usize| {
        let conditions = client.list(page).expect("a list");
        assert_eq!(conditions.len(), entries);
        assert!(conditions.iter().all(|found| *found == (false, "in order".to_owned())));
    };
    for (callers, page) in [(1, 0), (8, 0), (1, 10)] {
        let entries = if page == 0 { VOLUMES } else { page as usize };
        let time = at_once(&driver, callers, |client| list(client, page, entries));
        println!("{entries} of {VOLUMES} volumes in use, {callers} callers: {time:?}");
    }
    for usage in &usages {
        client.unstage(usage).expect("unstage");
        client.delete(&usage.volume).expect("delete");
    }
    assert_nothing_is_left(&rig);
    assert!(driver.stop().success());
}

/// An old driver drains while a new one serves: both work on the pool.
fn two_drivers() {
    let rig = Rig::new(kernel::Fs::Xfs);
    rig.import_file_system("root", "ext4");
    let drivers = Driver::old_and_new(rig.pool.root(), &kernel::work_dir());
    let directory = rig.path("");
    std::thread::scope(|scope| {
        for caller in 0..8 {
            let (drivers, directory): (_, &Path) = (&drivers, &directory);
            scope.spawn(move || {
                let clients = drivers.each_ref().map(Driver::client);
                let usage = Usage::new(&format!("volume-{caller}"), directory, true);
                fs::create_dir_all(&usage.staging).expect("as kubelet does");
                let mut random = Random(caller + 1);
                for turn in 0..LIVES {
                    // Created by one driver, deleted by the other.
                    let (first, second) = (&clients[turn % 2], &clients[(turn + 1) % 2]);
                    first.create(&usage.volume, "root").expect("create");
                    second.stage(&usage).expect("stage");
                    first.publish(&usage).expect("publish");
                    life(second, &usage, &mut random).expect("a life");
                }
            });
        }
    });
    assert_nothing_is_left(&rig);
    for driver in drivers {
        assert!(driver.stop().success());
    }
}

/// Repeats a call while the answer is ABORTED.
fn retried(call: impl Fn() -> Result<(), Status>) -> Result<(), Status> {
    loop {
        match call() {
            Err(status) if is_aborted(&status) => std::thread::sleep(Duration::from_millis(5)),
            result => return result,
        }
    }
}

fn assert_nothing_is_left(rig: &Rig) {
    assert_eq!(rig.pool.volume_records().expect("records"), []);
    let left = fs::read_dir(rig.pool.root().join("volumes")).expect("volumes").count();
    assert_eq!(left, 0, "directories of volumes are left");
    for entry in fs::read_dir("/sys/block").expect("sysfs").flatten() {
        let busy = entry.path().join("dm/name").exists()
            || entry.path().join("loop/backing_file").exists();
        assert!(!busy, "{} is left", entry.path().display());
    }
}
