//! Crashes: the driver is killed at random instants while callers take volumes through their
//! lives, and an import is killed with it. Some volumes claim spares, and some are recovered after the
//! kernel has stopped them. After each restart, what the model of each caller
//! allows, the pool, the kernel's tables, the loop devices and the mounts must agree.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use calf::sys::SPARE_PREFIX;
use calf::sys::{DeviceId, Role};
use calf::{Cancel, Key, VolumeState};
use calf_test_kit::driver_process::{self, Driver};
use calf_test_kit::fault_run::{Inventory, Tally, count, seed};
use calf_test_kit::kernel;
use calf_test_kit::real_pool::{Random, Rig};
use rustix::process::{Pid, Signal};

use crate::bystander::Bystanders;
use crate::importer::Importer;
use crate::subject::{self, Phase, Subject};

/// Number of concurrent callers, and of volumes per caller.
const CALLERS: u64 = 4;
const SUBJECTS: u64 = 3;

/// Spares that the driver keeps ready for block volumes.
const SPARES: u32 = 2;

/// The driver dies at most this long after it began to serve, in milliseconds.
const LONGEST_LIFE: u64 = 250;

/// One in this many drivers dies while it starts, that is, during its reconciliation.
const EARLY_DEATHS: u64 = 3;

/// A start takes about this long, in milliseconds.
const START: u64 = 150;

pub(crate) fn kills() {
    let seed = seed();
    let tally = Tally::new("crash: kill -9 at random instants", seed);
    let mut random = Random(seed);
    let rig = Rig::new(kernel::Fs::Xfs);
    rig.import_file_system("root", "ext4");
    let content = rig.import_random("random", seed);
    let bystanders = Bystanders::start(&rig, seed);
    // The directory of spares stays.
    keep_spares(&rig, SPARES);
    keep_spares(&rig, 0);
    let at_rest = Inventory::take(rig.pool.root());
    keep_spares(&rig, SPARES);
    let work = kernel::work_dir();
    let mut callers: Vec<Vec<Subject>> = (0..CALLERS)
        .map(|caller| {
            let name = |n| format!("volume-{caller}-{n}");
            (0..SUBJECTS)
                .map(|n| {
                    let (pool, directory) = (rig.pool.root(), rig.path(""));
                    Subject::new(&name(n), pool, &directory, n % 2 == 0, random.next())
                })
                .collect()
        })
        .collect();
    let mut importer = Importer::new(&rig, random.next());

    while tally.tries() < count(20, 1000) && !tally.hopeless() {
        if random.below(EARLY_DEATHS) == 0 {
            let mut driver = begin(&rig, &work);
            std::thread::sleep(Duration::from_millis(random.below(START)));
            driver.kill().and_then(|()| driver.wait()).expect("kill the driver");
            tally.tried();
        }
        let driver = Driver::start(rig.pool.root(), &work, &[]);
        agree(&tally, &rig, &callers, &importer, &driver);
        let killed = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for subjects in &mut callers {
                let (killed, tally, driver, content) = (&killed, &tally, &driver, &content);
                scope.spawn(move || call(tally, driver, subjects, content, killed));
            }
            scope.spawn(|| importer.work(&tally, &killed));
            std::thread::sleep(Duration::from_millis(random.below(LONGEST_LIFE)));
            killed.store(true, Ordering::SeqCst);
            let pid = Pid::from_raw(driver.pid().cast_signed()).expect("a process");
            rustix::process::kill_process(pid, Signal::KILL).expect("kill the driver");
        });
        driver.kill();
        tally.tried();
        if tally.tries() % 50 < 2 {
            println!("{} kills", tally.tries());
        }
    }

    let driver = Driver::start(rig.pool.root(), &work, &[]);
    agree(&tally, &rig, &callers, &importer, &driver);
    let client = driver.client();
    for subject in callers.iter().flatten() {
        let ended = client.end(&subject.usage);
        tally.expect(ended, || format!("the end of {}", subject.usage.volume));
    }
    importer.end(&tally);
    bystanders.end(&tally);
    age_leftovers(rig.pool.root());
    keep_spares(&rig, 0);
    let report = rig.pool.reconcile().expect("reconcile");
    tally.promise(report.failed.is_empty(), || format!("{report:?}"));
    for left in at_rest.left(rig.pool.root()) {
        tally.leaked(left);
    }
    assert!(driver.stop().success());
    for id in Bystanders::ids() {
        rig.pool.volume(&id).expect("a volume id").delete().expect("delete");
    }
    tally.finish();
}

/// Has `number` spares for block volumes.
fn keep_spares(rig: &Rig, number: u32) {
    rig.pool.template("random").and_then(|template| template.set_warm(number)).expect("set warm");
    rig.pool.tend_spares(&Cancel::never()).expect("tend the spares");
}

/// A driver, without waiting for its start.
fn begin(rig: &Rig, work: &Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_calf"))
        .args(["serve", "--node-id", "node-1", "--endpoint"])
        .arg(format!("unix://{}", driver_process::socket(work).display()))
        .arg("--pool")
        .arg(rig.pool.root())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("start the driver")
}

/// A caller works until the driver is killed. The model then treats calls in progress as undecided.
fn call(
    tally: &Tally,
    driver: &Driver,
    subjects: &mut [Subject],
    content: &[u8],
    killed: &AtomicBool,
) {
    let client = driver.client();
    'work: loop {
        for subject in &mut *subjects {
            if killed.load(Ordering::SeqCst) {
                break 'work;
            }
            if let Err(status) = subject.step(tally, &client, content) {
                let expected = killed.load(Ordering::SeqCst) && subject::is_dead(&status);
                tally.promise(expected, || {
                    format!("{}: {status:?}\n{}", subject.usage.volume, driver.last_words())
                });
                break 'work;
            }
        }
    }
}

/// Compares model, pool and kernel while nothing is running.
fn agree(tally: &Tally, rig: &Rig, callers: &[Vec<Subject>], importer: &Importer, driver: &Driver) {
    let kernel = Inventory::of_kernel();
    let mut mapped = BTreeSet::new();
    let mut stores: BTreeSet<PathBuf> = BTreeSet::new();
    let mut directories = BTreeSet::new();
    let volumes = rig.pool.root().join("volumes");
    let mut active = |id: &str| {
        let key = Key::of(id);
        mapped.insert(DeviceId::new(rig.pool.id(), &key, Role::Snapshot).name);
        stores.insert(volumes.join(key.as_str()).join("cow"));
    };
    Bystanders::ids().iter().for_each(|id| active(id));
    directories.extend(Bystanders::ids().iter().map(|id| Key::of(id).as_str().to_owned()));
    for subject in callers.iter().flatten() {
        let id = &subject.usage.volume;
        let volume = match rig.pool.volume(id).and_then(|volume| volume.status()) {
            Ok(volume) => Some(volume),
            Err(error) if error.kind() == calf::ErrorKind::NotFound => None,
            Err(error) => {
                tally.found(format!("{id}: {error:?}"));
                continue;
            }
        };
        let mounted = kernel.mounts.contains(&subject.usage.target.display().to_string());
        let phase = match &volume {
            None => Phase::Absent,
            Some(volume) if volume.device.is_none() => Phase::Created,
            Some(_) if mounted => Phase::Published,
            Some(_) => Phase::Staged,
        };
        if let Some(volume) = &volume {
            directories.insert(Key::of(id).as_str().to_owned());
            if volume.device.is_some() {
                active(id);
            }
            let whole = match volume.state {
                VolumeState::Inactive | VolumeState::Active => true,
                VolumeState::Invalid => volume.device.is_none() && subject.may_be_stopped(),
                _ => false,
            };
            tally.promise(whole, || format!("{id} is {:?}\n{}", volume.state, driver.last_words()));
            let size = volume.record.size;
            tally.promise(subject.may_have_size(size), || format!("{id} has {size} bytes"));
        }
        tally.promise(subject.may_be(phase), || {
            format!("{id} is {phase:?}, the model says {subject:?}\n{}", driver.last_words())
        });
        if let Some(device) = volume.and_then(|volume| volume.device) {
            let device = rig.pool.device(device).expect("a node");
            subject.verify(tally, device.path(), phase);
        }
    }
    // The driver makes spares while it is idle, as now.
    let is_spare = |name: &&String| name.starts_with(SPARE_PREFIX);
    for name in kernel.mapped.difference(&mapped).filter(|name| !is_spare(name)) {
        tally.leaked(format!("device {name}"));
    }
    for name in mapped.difference(&kernel.mapped) {
        tally.lost(format!("device {name}"));
    }
    let others = ["images", "spares"].map(|name| rig.pool.root().join(name));
    let is_other = |file: &Path| others.iter().any(|directory| file.starts_with(directory));
    for file in kernel.loops.difference(&stores).filter(|file| !is_other(file)) {
        tally.leaked(format!("loop device on {}", file.display()));
    }
    let here = std::fs::read_dir(&volumes).expect("volumes").flatten();
    let here: BTreeSet<_> =
        here.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    for name in here.difference(&directories) {
        tally.leaked(format!("directory volumes/{name}"));
    }
    importer.verify(tally, rig);
}

/// calf keeps what a kill in the middle of a write leaves for a day: simulates that a day passes.
fn age_leftovers(pool: &Path) {
    let long_ago = std::time::SystemTime::now() - Duration::from_secs(2 * 24 * 3600);
    for file in Inventory::take(pool).files {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.contains(".tmp-") || name == "import.json" {
            let file = std::fs::File::options().write(true).open(&file).expect("open");
            file.set_modified(long_ago).expect("set the time");
        }
    }
}
