//! Holders: something keeps a volume's device open while calf takes it down. calf retries for a
//! bounded time, then names the holder, and succeeds once the holder has released the device.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use calf_test_kit::driver_process::{Client, Driver, Usage};
use calf_test_kit::fault_run::{Inventory, Tally, count, seed};
use calf_test_kit::kernel;
use calf_test_kit::real_pool::{Random, Rig, run};
use tonic::{Code, Status};

/// Much longer than all retries of calf together, since a slow machine is not a defect.
const BOUND: Duration = Duration::from_secs(30);

/// Scans each new block device as udev's workers and other scanners do: opens it, reads a little,
/// and holds it briefly.
pub(crate) fn scanner() {
    let seed = seed();
    let tally = Tally::new("holders: a scanner opens each new device", seed);
    let mut random = Random(seed);
    let rig = Rig::new(kernel::Fs::Xfs);
    rig.import_file_system("root", "ext4");
    let driver = Driver::start(rig.pool.root(), &kernel::work_dir(), &[]);
    let client = driver.client();
    client.create("first", "root").and_then(|()| client.delete("first")).expect("a volume");
    let at_rest = Inventory::take(rig.pool.root());
    let (stop, opened) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for seed in [random.next(), random.next()] {
            let (stop, opened) = (&stop, &opened);
            scope.spawn(move || scan(stop, opened, seed));
        }
        for n in 0..count(15, 300) {
            let usage = Usage::new(&format!("volume-{n}"), &rig.path(""), n % 2 == 0);
            fs::create_dir_all(&usage.staging).expect("as kubelet does");
            let lived = live(&client, &usage, Duration::from_millis(random.below(120)));
            tally.expect(lived, || format!("{}\n{}", usage.volume, driver.last_words()));
            tally.tried();
            if tally.hopeless() {
                break;
            }
        }
        stop.store(true, Ordering::Release);
    });
    let opened = opened.into_inner();
    println!("the scanner opened {opened} devices");
    assert!(opened > 0, "the scanner found nothing to open");
    for left in at_rest.left(rig.pool.root()) {
        tally.leaked(left);
    }
    assert!(driver.stop().success());
    tally.finish();
}

fn live(client: &Client, usage: &Usage, pause: Duration) -> Result<(), Status> {
    client.create(&usage.volume, "root")?;
    client.stage(usage)?;
    client.publish(usage)?;
    std::thread::sleep(pause);
    client.unpublish(usage)?;
    client.unstage(usage)?;
    client.delete(&usage.volume)
}

fn scan(stop: &AtomicBool, opened: &AtomicU64, seed: u64) {
    let mut random = Random(seed.max(1));
    let mut seen = std::collections::HashSet::new();
    while !stop.load(Ordering::Acquire) {
        let mut now = std::collections::HashSet::new();
        for entry in fs::read_dir("/sys/block").expect("sysfs").flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let used = entry.path().join("dm").exists() || entry.path().join("loop").exists();
            if !used {
                continue;
            }
            now.insert(name.clone());
            if seen.contains(&name) {
                continue;
            }
            if let Ok(mut device) = File::open(Path::new("/dev").join(&name)) {
                opened.fetch_add(1, Ordering::Relaxed);
                let _ = device.read(&mut [0; 4096]);
                std::thread::sleep(Duration::from_millis(random.below(250)));
            }
        }
        seen = now;
        std::thread::sleep(Duration::from_millis(3));
    }
}

/// Each kind of holder in turn: the call is refused with its name, and succeeds once it has
/// released the device.
pub(crate) fn named() {
    let seed = seed();
    let tally = Tally::new("holders: named, and waited for", seed);
    let mut random = Random(seed);
    let rig = Rig::new(kernel::Fs::Ext4);
    rig.import_file_system("root", "ext4");
    let driver = Driver::start(rig.pool.root(), &kernel::work_dir(), &[]);
    let client = driver.client();
    client.create("first", "root").and_then(|()| client.delete("first")).expect("a volume");
    let at_rest = Inventory::take(rig.pool.root());
    for n in 0..count(8, 80) {
        let usage = Usage::new(&format!("volume-{n}"), &rig.path(""), true);
        fs::create_dir_all(&usage.staging).expect("as kubelet does");
        client.create(&usage.volume, "root").and_then(|()| client.publish(&usage)).expect("up");
        let device = rig
            .pool
            .volume(&usage.volume)
            .and_then(|volume| volume.status())
            .expect("there")
            .device
            .expect("active");
        let node = rig.pool.device(device).expect("a node").path().to_owned();
        let holder = match n % 4 {
            0 => Holder::process(&node),
            1 => {
                // A holder on the published path keeps the mount busy, and is named for that too.
                let holder = Holder::forgotten_loop(&usage.target);
                refused(&tally, &holder, client.unpublish(&usage));
                holder.let_go();
                Holder::forgotten_loop(&node)
            }
            2 => Holder::other_namespace(&node),
            _ => Holder::device_on_top(&node),
        };
        client.unpublish(&usage).expect("a bind holds nothing open");
        // Some holders release the device in time.
        if random.below(3) == 0 {
            lets_go_in_time(&tally, &client, &usage, holder);
        } else {
            is_named(&tally, &client, &usage, holder);
        }
        let deleted = client.delete(&usage.volume);
        tally.expect(deleted, || format!("delete {}", usage.volume));
        tally.tried();
    }
    for left in at_rest.left(rig.pool.root()) {
        tally.leaked(left);
    }
    assert!(driver.stop().success());
    tally.finish();
}

/// Checks that a call that a holder blocks fails, and names the holder.
fn refused(tally: &Tally, holder: &Holder, result: Result<(), Status>) {
    match result {
        Err(status) if status.code() == Code::FailedPrecondition => {
            tally.promise(status.message().contains(&holder.name), || {
                format!("{} is not named: {}", holder.name, status.message())
            });
        }
        other => tally.found(format!("{}: {other:?}", holder.name)),
    }
}

fn is_named(tally: &Tally, client: &Client, usage: &Usage, holder: Holder) {
    let begin = Instant::now();
    refused(tally, &holder, client.unstage(usage));
    let took = begin.elapsed();
    tally.promise(took < BOUND, || format!("{}: refused after {took:?}", holder.name));
    let deleted = client.delete(&usage.volume).map_err(|status| status.code());
    tally.promise(deleted == Err(Code::FailedPrecondition), || {
        format!("{}: delete while held: {deleted:?}", holder.name)
    });
    let name = holder.name.clone();
    holder.let_go();
    tally.expect(client.unstage(usage), || format!("{name}: unstage once it let go"));
}

fn lets_go_in_time(tally: &Tally, client: &Client, usage: &Usage, holder: Holder) {
    let name = holder.name.clone();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(300));
            holder.let_go();
            done.store(true, Ordering::Release);
        });
        let result = client.unstage(usage);
        // On a slow machine the holder may have been too late.
        if result.is_err() {
            while !done.load(Ordering::Acquire) {
                std::thread::sleep(Duration::from_millis(5));
            }
            tally.expect(client.unstage(usage), || format!("{name}: unstage once it let go"));
        }
    });
}

/// A holder of a volume's device.
struct Holder {
    /// The text by which an error must name it.
    name: String,
    how: How,
}

enum How {
    Process(Child),
    Loop(PathBuf),
    Mapped(String),
}

impl Holder {
    /// A process with an open file descriptor, like a VMM that was not ended.
    fn process(node: &Path) -> Self {
        let device = Stdio::from(File::open(node).expect("open the device"));
        let process = Command::new("sleep").arg("600").stdin(device).spawn().expect("sleep");
        Self { name: format!("process {} (sleep)", process.id()), how: How::Process(process) }
    }

    /// The loop device by which kubelet locks a block volume, left when kubelet was killed.
    fn forgotten_loop(target: &Path) -> Self {
        let device = run("losetup", &["--find", "--show"], &[target]);
        let name = device.trim_start_matches("/dev/").to_owned();
        Self { name, how: How::Loop(device.into()) }
    }

    /// A mount in another mount namespace.
    fn other_namespace(node: &Path) -> Self {
        let point = kernel::work_dir().join("elsewhere");
        fs::create_dir_all(&point).expect("a mount point");
        let script = r#"mount "$0" "$1" && echo mounted && exec sleep 600 <&-"#;
        let mut process = Command::new("unshare")
            .args(["--mount", "sh", "-c", script])
            .args([node, &point])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare");
        let mut said = [0; 8];
        process.stdout.take().expect("a pipe").read_exact(&mut said).expect("mounted");
        Self { name: point.display().to_string(), how: How::Process(process) }
    }

    /// A device-mapper device on top of the volume.
    fn device_on_top(node: &Path) -> Self {
        let name = "on-top".to_owned();
        let table = format!("0 8 linear {} 0", node.display());
        run("dmsetup", &["create", &name, "--table", &table], &[]);
        Self { name: name.clone(), how: How::Mapped(name) }
    }

    fn let_go(self) {
        match self.how {
            How::Process(mut process) => {
                process.kill().and_then(|()| process.wait()).expect("end the holder");
            }
            How::Loop(device) => drop(run("losetup", &["--detach"], &[&device])),
            How::Mapped(name) => drop(run("dmsetup", &["remove", &name], &[])),
        }
    }
}
