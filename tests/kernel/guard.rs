//! The guard in a real kernel: writers as fast as they can be, in pools with little room. Nobody loses
//! anything, with the driver and without it.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use calf::{Reserve, VolumeSpec, VolumeState};
use calf_test_kit::driver_process::{Driver, Usage};
use calf_test_kit::fault_run::{Filler, Tally, count, seed};
use calf_test_kit::kernel;
use calf_test_kit::real_pool::{Random, Rig, open, run};

const MIB: u64 = 1 << 20;

const WRITERS: [&str; 3] = ["writer-0", "writer-1", "writer-2"];
/// The drivers' reserve: volumes that write are suspended below half of it.
const RESERVE: &str = "--reserve=256Mi";
/// What each of them writes.
const QUOTA: u64 = 110 * MIB;
/// The room that they have: too little for all of them.
const ROOM: u64 = 300 * MIB;
/// What the deletion of a volume gives back: enough for all of them.
const BALLAST: u64 = 256 * MIB;
/// One write.
const BLOCK: u64 = 256 << 10;

fn main() -> ExitCode {
    let long = |test: kernel::Test| test.timeout(Duration::from_secs(count(900, 3 * 3600)));
    kernel::main(vec![
        long(kernel::test("writers_wait_for_room_and_lose_nothing", waiting)),
        long(kernel::test("a_driver_killed_meanwhile_leaves_it_to_the_next_one", killed)),
        kernel::test("a_pod_that_waits_is_killed_and_taken_down", taken_down),
        kernel::test("the_command_guards_a_pool_without_a_driver", command),
        long(kernel::test("without_a_driver_the_pool_overflows_and_all_is_recovered", overflow)),
        kernel::test("requests_are_merged_while_a_guard_watches_a_pool_with_room", merging),
    ])
}

/// A buffer that direct I/O accepts.
struct Block(Vec<u8>);

impl Block {
    fn new() -> Self {
        Self(vec![0; (BLOCK + 4096) as usize])
    }

    fn bytes(&mut self) -> &mut [u8] {
        let at = self.0.as_ptr().align_offset(4096);
        &mut self.0[at..][..BLOCK as usize]
    }

    /// A block of random bytes.
    fn random(writer: usize) -> Self {
        let mut block = Self::new();
        Random(writer as u64 + 1).fill(block.bytes());
        block
    }

    /// The content that a writer gives to its block of this number: random bytes that differ in every page.
    /// (To make them anew would take longer than to write them.)
    fn stamp(&mut self, number: u64) -> &[u8] {
        for (page, at) in self.bytes().chunks_mut(4096).zip(0u64..) {
            page[..8].copy_from_slice(&(number << 16 | at).to_le_bytes());
        }
        self.bytes()
    }
}

/// A writer, which ends at its quota or at an error.
struct Writer {
    number: usize,
    /// Bytes that were acknowledged.
    done: Arc<AtomicU64>,
    thread: JoinHandle<io::Result<()>>,
}

impl Writer {
    fn start(device: File, number: usize) -> Self {
        let done = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&done);
        let write = move || {
            let mut block = Block::random(number);
            (0..QUOTA / BLOCK).try_for_each(|at| {
                device.write_all_at(block.stamp(at), at * BLOCK)?;
                counter.store((at + 1) * BLOCK, Ordering::SeqCst);
                Ok(())
            })
        };
        Self { number, done, thread: thread::spawn(write) }
    }

    /// Waits for its end, and returns how much was acknowledged, and its error.
    fn end(self) -> (usize, u64, io::Result<()>) {
        let deadline = Instant::now() + Duration::from_secs(120);
        while !self.thread.is_finished() {
            assert!(Instant::now() < deadline, "{} waits for ever", WRITERS[self.number]);
            thread::sleep(Duration::from_millis(5));
        }
        let ended = self.thread.join().expect("a writer");
        (self.number, self.done.load(Ordering::SeqCst), ended)
    }
}

fn written(writers: &[Writer]) -> u64 {
    writers.iter().map(|writer| writer.done.load(Ordering::SeqCst)).sum()
}

/// Whether the first `length` bytes of a writer's volume are what it wrote.
fn is_whole(device: &File, number: usize, length: u64) -> bool {
    let (mut expected, mut found) = (Block::random(number), Block::new());
    (0..length / BLOCK).all(|at| {
        device.read_exact_at(found.bytes(), at * BLOCK).is_ok()
            && found.bytes() == expected.stamp(at)
    })
}

/// One try: a pool with little room, and its writers.
struct Try {
    filler: Filler,
    writers: Vec<Writer>,
    begin: Instant,
}

impl Try {
    fn start(rig: &Rig) -> Self {
        let ballast = VolumeSpec::new("ballast", "random").size(BALLAST).reserve(Reserve::Full);
        // XFS gives the space of the last try back in the background.
        let deadline = Instant::now() + Duration::from_secs(30);
        while free(rig) < kernel::DISK_BYTES / 2 {
            assert!(Instant::now() < deadline, "{} bytes are free", free(rig));
            thread::sleep(Duration::from_millis(20));
        }
        rig.pool.create_volume(&ballast).expect("create");
        let open = |id| rig.open(&VolumeSpec::new(id, "random").size(QUOTA));
        let devices = WRITERS.map(open);
        let filler = Filler::leaving(rig.disk.path(), ROOM + set_aside(rig));
        // A guard in an empty pool looks once a second, and the filler takes gigabytes at once.
        thread::sleep(Duration::from_millis(1100));
        let begin = Instant::now();
        let writers =
            devices.into_iter().zip(0..).map(|(device, n)| Writer::start(device, n)).collect();
        Self { filler, writers, begin }
    }

    /// Waits until no writer gets on; returns how fast they were until then, in MiB per second.
    fn stalled(&self, rig: &Rig) -> u64 {
        let deadline = Instant::now() + Duration::from_secs(120);
        let (mut last, mut since) = (0, Instant::now());
        while !(is_any_suspended(rig) && since.elapsed() > Duration::from_millis(300)) {
            let now = written(&self.writers);
            if now != last {
                (last, since) = (now, Instant::now());
            }
            let ended = self.writers.iter().all(|writer| writer.thread.is_finished());
            assert!(!ended && Instant::now() < deadline, "{now} bytes: nobody waits for room");
            thread::sleep(Duration::from_millis(10));
        }
        let time = since.duration_since(self.begin).as_millis().max(1) as u64;
        last / MIB * 1000 / time
    }

    /// Waits for the ends of the writers, who must not have noticed anything.
    fn end(self, rig: &Rig, tally: &Tally) {
        let ends: Vec<_> = self.writers.into_iter().map(Writer::end).collect();
        // The last of them may have been suspended after its last write.
        let deadline = Instant::now() + Duration::from_secs(60);
        while is_any_suspended(rig) {
            assert!(Instant::now() < deadline, "there is room, and somebody is still suspended");
            thread::sleep(Duration::from_millis(5));
        }
        for (number, done, ended) in ends {
            tally.promise(ended.is_ok() && done == QUOTA, || {
                format!("{}: {ended:?} after {done} bytes", WRITERS[number])
            });
            check(rig, tally, number, done);
        }
        drop(self.filler);
    }
}

/// Checks a writer's volume, and deletes it.
fn check(rig: &Rig, tally: &Tally, number: usize, length: u64) {
    let id = WRITERS[number];
    let volume = rig.pool.volume(id).expect("a volume id");
    let state = volume.status().expect("it is there").state;
    tally.promise(state == VolumeState::Active, || format!("{id} is {state:?}"));
    let device = open(&rig.node(id));
    if !is_whole(&device, number, length) {
        tally.lost(format!("{id}: what was acknowledged of {length} bytes"));
    }
    drop(device);
    volume.delete().expect("delete");
}

fn state(rig: &Rig, id: &str) -> VolumeState {
    rig.pool.volume(id).and_then(|volume| volume.status()).expect("it is there").state
}

fn is_any_suspended(rig: &Rig) -> bool {
    WRITERS.iter().any(|id| state(rig, id) == VolumeState::Suspended)
}

fn make_room(rig: &Rig) {
    rig.pool.volume("ballast").and_then(|volume| volume.delete()).expect("delete");
}

fn free(rig: &Rig) -> u64 {
    rig.pool.capacity().expect("the capacity").free
}

/// What ext4 sets aside for root: writers can use it, and nobody counts on it.
fn set_aside(rig: &Rig) -> u64 {
    let space = rustix::fs::statvfs(rig.disk.path()).expect("statvfs");
    (space.f_bfree - space.f_bavail) * space.f_frsize
}

fn rig(fs: kernel::Fs) -> Rig {
    let rig = Rig::new(fs);
    rig.import_random("random", 5);
    rig
}

fn drive(rig: &Rig) -> Driver {
    Driver::start(rig.pool.root(), &kernel::work_dir(), &[RESERVE])
}

fn waiting() {
    let tally = Tally::new("full pool: the guard has writers wait", seed());
    for fs in [kernel::Fs::Xfs, kernel::Fs::Ext4] {
        let rig = rig(fs);
        let driver = drive(&rig);
        let (mut rates, mut least) = (Vec::new(), u64::MAX);
        for _ in 0..count(2, 25) {
            let one = Try::start(&rig);
            rates.push(one.stalled(&rig));
            least = least.min(free(&rig));
            for id in WRITERS {
                let fine = matches!(state(&rig, id), VolumeState::Active | VolumeState::Suspended);
                tally.promise(fine, || format!("{fs:?}: {id} is {:?}", state(&rig, id)));
            }
            make_room(&rig);
            one.end(&rig, &tally);
            tally.tried();
        }
        let (slow, fast) = (rates.iter().min().expect("a try"), rates.iter().max().expect("one"));
        println!("{fs:?}: {slow} to {fast} MiB/s, {} MiB were left at least", least / MIB);
        assert!(driver.stop().success());
    }
    tally.finish();
}

fn overflow() {
    let tally = Tally::new("full pool: kill -9 while writing, then recovery", seed());
    let rig = rig(kernel::Fs::Xfs);
    let (mut stopped, mut random) = (0, Random(seed()));
    for _ in 0..count(2, 25) {
        let driver = drive(&rig);
        let one = Try::start(&rig);
        while written(&one.writers) < 8 * MIB {
            thread::sleep(Duration::from_millis(1));
        }
        thread::sleep(Duration::from_millis(random.below(50)));
        driver.kill();
        let ends: Vec<_> = one.writers.into_iter().map(Writer::end).collect();
        let invalid = |id: &&&str| state(&rig, id) == VolumeState::Invalid;
        let count = WRITERS.iter().filter(invalid).count();
        tally.promise(count > 0, || "the pool did not overflow".to_owned());
        stopped += count;
        make_room(&rig);
        drop(one.filler);
        let driver = drive(&rig);
        for (number, done, _) in ends {
            let usage = Usage::new(WRITERS[number], &rig.path(""), true);
            fs::create_dir_all(&usage.staging).expect("as kubelet does");
            // XFS gives the space back in the background.
            let deadline = Instant::now() + Duration::from_secs(10);
            while let Err(status) = driver.client().stage(&usage) {
                assert!(Instant::now() < deadline, "{status:?}");
                thread::sleep(Duration::from_millis(50));
            }
            check(&rig, &tally, number, done);
        }
        assert!(driver.stop().success());
        tally.tried();
    }
    println!("{stopped} volumes were stopped and recovered");
    tally.finish();
}

fn killed() {
    let tally = Tally::new("full pool: kill -9 while the guard has writers wait", seed());
    let rig = rig(kernel::Fs::Xfs);
    for n in 0..count(2, 25) {
        let driver = drive(&rig);
        let one = Try::start(&rig);
        one.stalled(&rig);
        driver.kill();
        let held = |state| WRITERS.iter().filter(|id| self::state(&rig, id) == state).count();
        let waiting = held(VolumeState::Interrupted);
        tally.promise(waiting > 0, || "nobody is suspended after the kill".to_owned());
        let driver = if n % 2 == 0 {
            let before = written(&one.writers);
            let driver = drive(&rig);
            tally.promise(held(VolumeState::Suspended) == waiting, || {
                format!("the next driver let some of {waiting} go on:\n{}", driver.last_words())
            });
            tally.promise(written(&one.writers) == before, || "somebody wrote".to_owned());
            make_room(&rig);
            driver
        } else {
            make_room(&rig);
            drive(&rig)
        };
        one.end(&rig, &tally);
        assert!(driver.stop().success());
        tally.tried();
    }
    tally.finish();
}

/// A program that writes without end, and waits for the disk now and then.
fn pod(to: &Path, synced: bool) -> Child {
    let script = match synced {
        true => {
            r#"n=0; while :; do n=$((n + 1)); dd if=/dev/zero of="$0/$n" bs=64k count=16 conv=fsync; done"#
        }
        false => r#"exec dd if=/dev/zero of="$0" bs=64k oflag=direct"#,
    };
    let mut command = Command::new("sh");
    command.args(["-c", script]).arg(to).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("a pod")
}

/// Waits until the volume is suspended.
fn await_suspension(rig: &Rig, id: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while state(rig, id) != VolumeState::Suspended {
        assert!(Instant::now() < deadline, "{id} is {:?}", state(rig, id));
        thread::sleep(Duration::from_millis(5));
    }
}

/// A pod whose program waits for the disk, and cannot be killed before that answers. The call that takes the
/// volume down has it answer.
fn taken_down() {
    for fs in [kernel::Fs::Xfs, kernel::Fs::Ext4] {
        let rig = rig(fs);
        rig.import_file_system("root", "ext4");
        let driver = drive(&rig);
        let client = driver.client();
        let block = Usage::new("block", &rig.path(""), true);
        let mount = Usage::new("mount", &rig.path(""), false);
        let idle = Usage::new("idle", &rig.path(""), false);
        for (usage, template) in [(&block, "random"), (&mount, "root"), (&idle, "root")] {
            fs::create_dir_all(&usage.staging).expect("as kubelet does");
            let spec = VolumeSpec::new(&usage.volume, template).size(256 * MIB);
            rig.pool.create_volume(&spec).expect("create");
            client.stage(usage).and_then(|()| client.publish(usage)).expect("publish");
        }
        fs::write(idle.target.join("file"), "content").expect("write");
        rustix::fs::sync();
        let filler = Filler::leaving(rig.disk.path(), ROOM + set_aside(&rig));
        let mut pods = [pod(&block.target, false), pod(&mount.target, true)];
        for usage in [&block, &mount] {
            await_suspension(&rig, &usage.volume);
            let (abnormal, message) = client.condition(usage).expect("a condition");
            assert!(abnormal && message.contains("guard"), "{message}");
        }
        // Who does not write is not affected.
        assert_eq!(fs::read(idle.target.join("file")).expect("read"), b"content");
        assert!(!client.condition(&idle).expect("a condition").0);
        for pod in &mut pods {
            pod.kill().expect("kill -9");
        }
        for usage in [&block, &mount] {
            // A child of the program may die a moment later.
            let deadline = Instant::now() + Duration::from_secs(20);
            while let Err(status) = client.end(usage) {
                assert!(Instant::now() < deadline, "{fs:?}, {}: {status:?}", usage.volume);
            }
        }
        for mut pod in pods {
            pod.wait().expect("its end");
        }
        drop(filler);
        client.end(&idle).expect("the end of a volume that was never suspended");
        assert!(driver.stop().success());
    }
}

fn command() {
    let rig = rig(kernel::Fs::Xfs);
    let mut guard = Command::new(env!("CARGO_BIN_EXE_calf"))
        .args(["pool", "guard", "--low", "128Mi", "--resume", "256Mi", "--pool"])
        .arg(rig.pool.root())
        .stdout(Stdio::piped())
        .spawn()
        .expect("calf runs");
    let tally = Tally::new("the command", seed());
    let one = Try::start(&rig);
    one.stalled(&rig);
    make_room(&rig);
    one.end(&rig, &tally);
    tally.tried();
    tally.finish();
    let pid = rustix::process::Pid::from_child(&guard);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("kill");
    assert!(guard.wait().expect("its end").success());
    let mut said = String::new();
    guard.stdout.take().expect("a pipe").read_to_string(&mut said).expect("its output");
    assert!(said.contains("suspended volume writer-"), "{said}");
    assert!(said.contains("resumed volume writer-"), "{said}");
}

/// The `nomerges` attribute of the loop devices over the volumes' stores.
fn merges(rig: &Rig) -> Vec<String> {
    let attached = run("losetup", &["--list", "--noheadings", "--output", "NAME,BACK-FILE"], &[]);
    let stores = attached.lines().filter(|line| {
        line.contains("/volumes/") && line.contains(&*rig.pool.root().to_string_lossy())
    });
    let name = |line: &str| line.trim_start_matches("/dev/").split(' ').next().map(str::to_owned);
    let attribute = |name: String| fs::read_to_string(format!("/sys/block/{name}/queue/nomerges"));
    stores.filter_map(name).map(|name| attribute(name).expect("read").trim().to_owned()).collect()
}

/// Waits until the attribute of both stores is `value`.
fn await_merges(rig: &Rig, value: &str) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while merges(rig) != [value, value] {
        assert!(Instant::now() < deadline, "{:?}, not {value}", merges(rig));
        thread::sleep(Duration::from_millis(10));
    }
}

fn merging() {
    let rig = rig(kernel::Fs::Xfs);
    for id in ["a", "b"] {
        rig.open(&VolumeSpec::new(id, "random").size(QUOTA));
    }
    assert_eq!(merges(&rig), ["0", "0"]);
    let driver = drive(&rig);
    let filler = Filler::leaving(rig.disk.path(), ROOM);
    await_merges(&rig, "2");
    // A volume that is brought up meanwhile.
    rig.pool.volume("b").and_then(|volume| volume.deactivate()).expect("deactivate");
    rig.activate("b");
    await_merges(&rig, "2");
    drop(filler);
    await_merges(&rig, "0");
    assert!(driver.stop().success());
    assert_eq!(merges(&rig), ["2", "2"], "nobody watches the pool now");
    let driver = drive(&rig);
    await_merges(&rig, "0");
    drop(driver);
    await_merges(&rig, "0");
    for id in ["a", "b"] {
        rig.pool.volume(id).and_then(|volume| volume.delete()).expect("delete");
    }
}
