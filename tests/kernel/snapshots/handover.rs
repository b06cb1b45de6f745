//! What the overlay of a volume asks of the kernel (ADR 0098), with nothing of calf in between: the exceptions of a
//! running device go over to another one, what is written later is merged back, and the device is then as before.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use calf_test_kit::kernel;
use calf_test_kit::real_pool::{Page, Random, first_difference, open, open_for_reading, run};

/// Size of the template, in bytes.
const SIZE: u64 = 16 << 20;
const CHUNK: u64 = 4096;
/// The volume's device.
const VOLUME: &str = "handover";
/// The device below it, that has what the volume held at the cut.
const BASE: &str = "handover-base";

/// A device like that of a volume, and loop devices for its store and for that of an overlay.
struct Machine {
    template: String,
    store: String,
    overlay: String,
    /// What the device holds.
    content: Vec<u8>,
    random: Random,
    _disk: kernel::PoolDir,
}

impl Machine {
    fn new() -> Self {
        let disk = kernel::pool_dir(kernel::Fs::Ext4);
        let mut content = vec![0; usize::try_from(SIZE).expect("a size")];
        let mut random = Random(11);
        random.fill(&mut content);
        let file = |name: &str| disk.path().join(name);
        std::fs::write(file("template"), &content).expect("a template");
        for name in ["store", "overlay"] {
            File::create(file(name)).and_then(|file| file.set_len(2 * SIZE)).expect("a store");
        }
        let attach = |name: &str| run("losetup", &["--find", "--show"], &[&file(name)]);
        let [template, store, overlay] = ["template", "store", "overlay"].map(attach);
        let machine = Self { template, store, overlay, content, random, _disk: disk };
        dmsetup(&["create", VOLUME, "--table", &machine.alone()]);
        machine
    }

    fn alone(&self) -> String {
        table("snapshot", &self.template, &self.store)
    }

    fn stacked(&self, target: &str) -> String {
        let base = node(BASE);
        table(target, base.to_str().expect("UTF-8"), &self.overlay)
    }

    /// Writes chunks all over the device.
    fn write(&mut self, chunks: u64) {
        let device = open(&node(VOLUME));
        for _ in 0..chunks {
            let page = Page::random(&mut self.random);
            let at = self.random.below(SIZE / CHUNK) * CHUNK;
            device.write_all_at(&page.0, at).expect("write");
            let at = usize::try_from(at).expect("an offset");
            self.content[at..at + page.0.len()].copy_from_slice(&page.0);
        }
    }

    fn check(&self, name: &str, content: &[u8]) {
        let device = open_for_reading(&node(name));
        assert_eq!(first_difference(&device, content), None, "{name}");
    }

    /// Makes the device below, which takes over the exceptions once it is resumed.
    fn prepare(&self) {
        dmsetup(&["create", BASE, "--notable"]);
        dmsetup(&["load", BASE, "--table", &self.alone()]);
    }

    /// The volume goes on over the overlay, and what it held is frozen below.
    fn cut(&self) {
        self.prepare();
        dmsetup(&["suspend", "--nolockfs", VOLUME]);
        dmsetup(&["resume", BASE]);
        // The old table has nothing any more: only forward.
        assert!(status(VOLUME).ends_with("Invalid"), "{}", status(VOLUME));
        dmsetup(&["load", VOLUME, "--table", &self.stacked("snapshot")]);
        dmsetup(&["resume", VOLUME]);
    }

    fn begin_merge(&self) {
        dmsetup(&["load", VOLUME, "--table", &self.stacked("snapshot-merge")]);
        dmsetup(&["suspend", "--nolockfs", VOLUME]);
        dmsetup(&["resume", VOLUME]);
    }

    fn await_merge(&self) {
        let end = Instant::now() + Duration::from_secs(60);
        while !is_merged(&status(VOLUME)) {
            assert!(Instant::now() < end, "{}", status(VOLUME));
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// The volume is over its own store alone again.
    fn bring_back(&self) {
        dmsetup(&["load", VOLUME, "--table", &self.alone()]);
        dmsetup(&["suspend", "--nolockfs", VOLUME]);
        dmsetup(&["suspend", BASE]);
        dmsetup(&["resume", VOLUME]);
        assert!(status(BASE).ends_with("Invalid"), "{}", status(BASE));
        dmsetup(&["remove", BASE]);
    }

    fn end(self) {
        dmsetup(&["remove", VOLUME]);
        for device in [&self.template, &self.store, &self.overlay] {
            run("losetup", &["--detach", device], &[]);
        }
    }
}

fn node(name: &str) -> PathBuf {
    Path::new("/dev/mapper").join(name)
}

fn table(target: &str, origin: &str, store: &str) -> String {
    format!("0 {} {target} {origin} {store} PO {}", SIZE / 512, CHUNK / 512)
}

fn dmsetup(arguments: &[&str]) -> String {
    run("dmsetup", &[arguments, &["--noudevsync"]].concat(), &[])
}

fn status(name: &str) -> String {
    dmsetup(&["status", name])
}

/// Whether only metadata is left in the store of a `snapshot-merge`.
fn is_merged(status: &str) -> bool {
    let mut words = status.split(' ').skip(3);
    let used = words.next().and_then(|usage| usage.split('/').next());
    used.is_some() && used == words.next()
}

/// Twice, since the device must be as before after the first time.
pub(crate) fn there_and_back() {
    let mut machine = Machine::new();
    for _ in 0..2 {
        machine.write(500);
        machine.cut();
        let held = machine.content.clone();
        machine.write(500);
        machine.check(BASE, &held);
        machine.check(VOLUME, &machine.content);
        machine.begin_merge();
        machine.write(200);
        machine.await_merge();
        machine.check(VOLUME, &machine.content);
        machine.bring_back();
        machine.check(VOLUME, &machine.content);
    }
    // The store alone has all of it.
    dmsetup(&["remove", VOLUME]);
    dmsetup(&["create", VOLUME, "--table", &machine.alone()]);
    machine.check(VOLUME, &machine.content);
    machine.end();
}

/// A writer that does not pause loses nothing, in each of the steps.
pub(crate) fn under_a_writer() {
    let mut machine = Machine::new();
    machine.write(500);
    let device = open(&node(VOLUME));
    let stop = AtomicBool::new(false);
    let written = thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let (mut random, mut written, mut longest) = (Random(3), Vec::new(), Duration::ZERO);
            while !stop.load(Ordering::Acquire) {
                let page = Page::random(&mut random);
                let chunk = random.below(SIZE / CHUNK);
                let start = Instant::now();
                device.write_all_at(&page.0, chunk * CHUNK).expect("write");
                longest = longest.max(start.elapsed());
                written.push((chunk, page));
            }
            println!("{} writes, the longest took {longest:?}", written.len());
            written
        });
        for _ in 0..3 {
            thread::sleep(Duration::from_millis(100));
            machine.cut();
            thread::sleep(Duration::from_millis(100));
            machine.begin_merge();
            machine.await_merge();
            machine.bring_back();
        }
        stop.store(true, Ordering::Release);
        writer.join().expect("the writer")
    });
    drop(device);
    for (chunk, page) in written {
        let at = usize::try_from(chunk * CHUNK).expect("an offset");
        machine.content[at..at + page.0.len()].copy_from_slice(&page.0);
    }
    machine.check(VOLUME, &machine.content);
    machine.end();
}

/// What a process that died leaves can be undone, and the kernel refuses what would lose exceptions.
pub(crate) fn undone() {
    let mut machine = Machine::new();
    machine.write(100);
    let refused = |name: &str| {
        let mut resume = Command::new("dmsetup");
        resume.args(["resume", name, "--noudevsync"]);
        !resume.output().expect("dmsetup").status.success()
    };
    // Before the handover: neither goes on while the other one waits for the exceptions.
    machine.prepare();
    dmsetup(&["suspend", "--nolockfs", VOLUME]);
    assert!(refused(VOLUME), "the kernel must not let its source go on");
    dmsetup(&["remove", BASE]);
    dmsetup(&["resume", VOLUME]);
    machine.check(VOLUME, &machine.content);
    // On the way back.
    machine.cut();
    machine.write(100);
    machine.begin_merge();
    machine.await_merge();
    dmsetup(&["load", VOLUME, "--table", &machine.alone()]);
    dmsetup(&["suspend", "--nolockfs", VOLUME]);
    dmsetup(&["suspend", BASE]);
    assert!(refused(BASE), "the kernel must not let its source go on");
    dmsetup(&["clear", VOLUME]);
    dmsetup(&["resume", BASE]);
    dmsetup(&["resume", VOLUME]);
    machine.check(VOLUME, &machine.content);
    machine.bring_back();
    machine.check(VOLUME, &machine.content);
    machine.end();
}
