//! Spares in a real kernel: the state of a claimed spare, the effects of a killed claim, and who
//! makes spares.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::{Duration, Instant};

use calf::sys::SPARE_PREFIX;
use calf::{Cancel, Key, Pool, PoolOptions, VolumeSpec, VolumeState};
use calf_test_kit::driver_process::{Driver, Usage};
use calf_test_kit::fault_run::Inventory;
use calf_test_kit::kernel;
use calf_test_kit::killing_host::KillingHost;
use calf_test_kit::real_pool::{
    self, Page, Random, Rig, TEMPLATE_SIZE, first_difference, read_page, run,
};

/// Makes this program use a pool until the change to die at.
const BE_A_USER: &str = "CALF_TEST_USER_OF_SPARES";

/// How long a driver may take to make spares.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    if let Ok(order) = std::env::var(BE_A_USER) {
        return be_a_user(&order);
    }
    kernel::main(vec![
        kernel::test("a_claimed_spare_is_like_a_device_made_for_its_volume", like_a_fresh_one),
        kernel::test("a_claim_that_is_killed_at_any_change_is_healed", killed_at_each_change)
            .timeout(Duration::from_secs(600)),
        kernel::test("the_driver_keeps_spares_and_claims_them", kept_by_the_driver),
    ])
}

fn spares(pool: &Pool) -> u64 {
    pool.spares().expect("a count").values().sum()
}

fn no_spares_of(pool: &Pool, template: &str) {
    pool.template(template).expect("a template name").set_warm(0).expect("set");
    let report = pool.tend_spares(&Cancel::never()).expect("tend");
    assert_eq!(report.failed, Vec::<String>::new());
    assert_eq!(spares(pool), 0);
}

/// Everything that sysfs and device-mapper show of a volume's device and of the loop devices below
/// it, except the volume's key and the numbers of devices.
fn facts(volume: &str, node: &Path) -> BTreeMap<String, String> {
    let key = Key::of(volume).as_str().to_owned();
    let device = node.file_name().expect("a name").to_str().expect("UTF-8").to_owned();
    let mut facts = BTreeMap::new();
    let mut walk = vec![(PathBuf::from("/sys/block").join(&device), "device".to_owned())];
    for below in fs::read_dir(format!("/sys/block/{device}/slaves")).expect("slaves") {
        let name = below.expect("an entry").file_name().into_string().expect("UTF-8");
        let file = read(&format!("/sys/block/{name}/loop/backing_file").into());
        let role = if file.ends_with("image") { "origin" } else { "store" };
        facts.insert(format!("{role}'s file"), file);
        walk.push((PathBuf::from("/sys/block").join(&name), role.to_owned()));
    }
    for (directory, shown) in walk {
        for part in ["", "queue", "loop", "dm"] {
            let Ok(entries) = fs::read_dir(directory.join(part)) else { continue };
            for entry in entries.map(|entry| entry.expect("an entry")) {
                let name = entry.file_name().into_string().expect("UTF-8");
                // Counters, and the numbers of devices.
                let counts = ["stat", "inflight", "dev", "uevent", "diskseq", "nr_requests"];
                if entry.file_type().expect("a type").is_file() && !counts.contains(&&*name) {
                    facts.insert(format!("{shown} {part}/{name}"), read(&entry.path()));
                }
            }
        }
    }
    let name = read(&PathBuf::from(format!("/sys/block/{device}/dm/name")));
    let table = run("dmsetup", &["table", &name], &[]);
    let words = table.split_whitespace().filter(|word| !word.contains(':'));
    facts.insert("table".into(), words.collect::<Vec<_>>().join(" "));
    let columns = "name,uuid,attr,readonly,suspended,segments,open";
    let info = run("dmsetup", &["info", "-c", "--noheadings", "-o", columns, &name], &[]);
    facts.insert("info".into(), info);
    facts.into_iter().map(|(fact, value)| (fact, value.replace(&key, "KEY"))).collect()
}

/// Some attributes cannot be read, which is part of the comparison.
fn read(path: &PathBuf) -> String {
    fs::read_to_string(path).map_or_else(|error| error.to_string(), |text| text.trim().to_owned())
}

fn like_a_fresh_one() {
    let rig = Rig::new(kernel::Fs::Xfs);
    let template = rig.import_random("random", 7);
    let at_rest = Inventory::of_kernel();
    rig.pool.create_volume(&VolumeSpec::new("fresh", "random")).expect("create");
    let fresh = facts("fresh", &rig.node("fresh"));

    rig.pool.template("random").expect("a template name").set_warm(2).expect("set");
    assert_eq!(rig.pool.tend_spares(&Cancel::never()).expect("tend").made, 2);
    rig.pool.create_volume(&VolumeSpec::new("claimed", "random")).expect("create");
    let node = rig.node("claimed");
    assert_eq!(rig.pool.claimed_spares(), 1);
    let claimed = facts("claimed", &node);
    assert!(claimed.len() > 40, "{claimed:?}");
    assert_eq!(claimed, fresh);

    // The volume holds the template, keeps what is written, and returns space.
    let device = real_pool::open(&node);
    assert_eq!(first_difference(&device, &template), None);
    let mut random = Random(5);
    for offset in (0..TEMPLATE_SIZE).step_by(1 << 20) {
        let page = Page::random(&mut random);
        std::os::unix::fs::FileExt::write_all_at(&device, &page.0, offset).expect("write");
        assert!(read_page(&device, offset).0 == page.0);
    }
    let used = rig
        .pool
        .volume("claimed")
        .and_then(|volume| volume.status())
        .expect("it is there")
        .allocated;
    assert!(used >= 32 * 4096, "{used} bytes are too few: they went elsewhere");
    drop(device);
    rig.pool.volume("claimed").expect("a volume id").expand(2 * TEMPLATE_SIZE).expect("expand");

    // The next spare has none of this data.
    rig.pool.volume("claimed").expect("a volume id").delete().expect("delete");
    let other = rig.open(&VolumeSpec::new("other", "random"));
    assert_eq!((rig.pool.claimed_spares(), spares(&rig.pool)), (2, 0));
    assert_eq!(first_difference(&other, &template), None);
    drop(other);
    rig.pool.volume("other").expect("a volume id").delete().expect("delete");
    rig.pool.volume("fresh").expect("a volume id").delete().expect("delete");
    no_spares_of(&rig.pool, "random");
    assert_eq!(at_rest.left(&rig.pool.root().join("spares")), Vec::<String>::new());
}

/// Makes, claims and removes spares until the `n`-th change, at which the process dies.
fn be_a_user(order: &str) -> ExitCode {
    let (pool, n) = order.split_once('\n').expect("an order");
    let host = KillingHost::new(n.parse().expect("a number"));
    let pool = PoolOptions::default().host(Arc::new(host)).open(pool).expect("a pool");
    pool.template("random").expect("a template name").set_warm(2).expect("set");
    pool.tend_spares(&Cancel::never()).expect("tend");
    live(&pool);
    pool.template("random").expect("a template name").set_warm(1).expect("set");
    pool.tend_spares(&Cancel::never()).expect("tend");
    no_spares_of(&pool, "random");
    ExitCode::SUCCESS
}

fn live(pool: &Pool) {
    pool.create_volume(&VolumeSpec::new("volume", "random")).expect("create");
    pool.volume("volume").expect("a volume id").activate().expect("activate");
    pool.volume("volume").expect("a volume id").delete().expect("delete");
}

fn killed_at_each_change() {
    let rig = Rig::new(kernel::Fs::Xfs);
    rig.import_random("random", 7);
    let at_rest = Inventory::of_kernel();
    let mut n = 1;
    loop {
        let mut user = Command::new(std::env::current_exe().expect("this program"));
        user.env(BE_A_USER, format!("{}\n{n}", rig.pool.root().display()));
        let ended = user.status().expect("it starts");
        // With a restart, or with just the next calls.
        if n % 2 == 0 {
            let report = rig.pool.reconcile().expect("reconcile");
            assert_eq!(report.failed, Vec::<String>::new(), "change {n}");
            for volume in rig.pool.volumes().expect("volumes") {
                assert_ne!(volume.state, VolumeState::Interrupted, "change {n}: {volume:?}");
            }
        }
        live(&rig.pool);
        no_spares_of(&rig.pool, "random");
        assert_eq!(at_rest.left(&rig.pool.root().join("spares")), Vec::<String>::new(), "{n}");
        if ended.success() {
            break;
        }
        assert_eq!(ended.code(), None, "change {n}: it was to be killed");
        n += 1;
    }
    assert!(n > 24, "only {n} changes: the user did not do its work");
}

fn kept_by_the_driver() {
    let rig = Rig::new(kernel::Fs::Xfs);
    let image = rig.path("root.img");
    let mut content = vec![0; 1 << 20];
    Random(3).fill(&mut content);
    fs::write(&image, &content).expect("an image");
    let work = kernel::work_dir();
    let list = work.join("templates.json");
    let text = format!(
        r#"{{"templates": [{{"name": "root", "source": "{}", "warm": 3}}]}}"#,
        image.display()
    );
    fs::write(&list, text).expect("a list");
    let options = ["--templates", list.to_str().expect("UTF-8")];
    let driver = Driver::start(rig.pool.root(), &work, &options);
    let client = driver.client();
    await_spares(&rig.pool, &driver, 3);
    let ready = spare_numbers();
    assert_eq!(ready.len(), 3);

    let usage = Usage::new("volume", rig.path("").as_path(), true);
    fs::create_dir_all(&usage.staging).expect("as kubelet does");
    client.create("volume", "root").expect("create");
    client.stage(&usage).expect("stage");
    client.publish(&usage).expect("publish");
    let device = rig
        .pool
        .volume("volume")
        .and_then(|volume| volume.status())
        .expect("it is there")
        .device
        .expect("it is active");
    assert!(ready.contains(&device.to_string()), "{device} is none of {ready:?}");
    assert_eq!(first_difference(&real_pool::open(&usage.target), &content), None);
    // The driver makes another spare.
    await_spares(&rig.pool, &driver, 3);
    driver.kill();

    // The pool holds the number of spares, and what a dead driver left.
    let driver = Driver::start(rig.pool.root(), &work, &[]);
    let client = driver.client();
    assert_eq!(spares(&rig.pool), 3, "{}", driver.log());
    client.unpublish(&usage).expect("unpublish");
    client.unstage(&usage).expect("unstage");
    client.delete("volume").expect("delete");
    rig.pool.template("root").expect("a template name").set_warm(0).expect("set");
    assert!(driver.stop().success());
    no_spares_of(&rig.pool, "root");
}

fn await_spares(pool: &Pool, driver: &Driver, count: u64) {
    let deadline = Instant::now() + PATIENCE;
    // A spare is counted from its record on, which exists before its device.
    while spares(pool) != count || spare_numbers().len() as u64 != count {
        assert!(Instant::now() < deadline, "no {count} spares:\n{}", driver.log());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The device numbers of all spares that are live.
fn spare_numbers() -> BTreeSet<String> {
    let mut numbers = BTreeSet::new();
    for entry in fs::read_dir("/sys/block").expect("sysfs").flatten() {
        let name = read(&entry.path().join("dm/name"));
        if name.starts_with(SPARE_PREFIX) && read(&entry.path().join("size")) != "0" {
            numbers.insert(read(&entry.path().join("dev")));
        }
    }
    numbers
}
