//! What file systems cost that are as large as their volumes, when nobody writes to them: measured minutes
//! after staging, since the kernel takes its time.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::thread;
use std::time::{Duration, Instant};

use calf::internal::growth_estimate;
use calf::{Access, ErrorKind, ImportSpec, Publish, Stage, VolumeSpec, VolumeState};
use calf_test_kit::driver_process::{Driver, Usage};
use calf_test_kit::real_pool::{Rig, mount, run};
use calf_test_kit::{built, kernel};
use tonic::Code;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// How long the volumes are left alone.
const ALONE: Duration = Duration::from_secs(180);
/// What a volume that nobody writes to may cost.
const IDLE_COST: u64 = 16 * MIB;

fn main() -> ExitCode {
    kernel::main(vec![
        kernel::test("a_volume_that_is_left_alone_costs_little_whatever_its_size", left_alone)
            .timeout(ALONE + Duration::from_secs(240)),
        kernel::test("growing_writes_no_more_than_estimated", estimated),
        kernel::test("a_growth_ends_at_deadlines_signals_and_shutdown_and_goes_on", in_steps)
            .timeout(Duration::from_secs(300)),
        kernel::test("the_options_of_a_mount_stay_as_they_were_asked_for", options_stay),
        kernel::test("a_frozen_file_system_is_not_handed_to_another_pod", frozen),
    ])
}

/// Imports a sparse template with an empty file system.
fn template(rig: &Rig, name: &str, size: u64, mkfs: &[&str]) {
    let source = rig.disk.path().join(format!("{name}.img"));
    File::create(&source).and_then(|file| file.set_len(size)).expect("an image");
    run(mkfs[0], &mkfs[1..], &[&source]);
    let spec = ImportSpec::new(source.as_path(), name);
    rig.pool.import_template(&spec, &mut |_| ()).expect("an import");
    fs::remove_file(source).expect("it is not needed any more");
}

/// A volume that is staged and left alone.
struct Idle {
    what: &'static str,
    publish: Publish,
    id: &'static str,
}

impl Idle {
    fn staged(rig: &Rig, what: &'static str, spec: VolumeSpec, id: &'static str) -> Self {
        let publish = rig.publication(id, mount());
        let volume = rig.pool.create_volume(&spec).expect("create");
        volume.publish(&publish).unwrap_or_else(|error| panic!("{what}: {error:?}"));
        Self { what, publish, id }
    }

    /// Its state, and what it occupies in the pool.
    fn cost(&self, rig: &Rig) -> (VolumeState, u64) {
        run("sync", &["-f"], &[rig.disk.path()]);
        let status = rig.pool.volume(self.id).and_then(|volume| volume.status());
        let status = status.expect("it is there");
        (status.state, status.allocated)
    }

    fn size(&self) -> u64 {
        let space = rustix::fs::statvfs(&self.publish.target).expect("statvfs");
        space.f_blocks * space.f_frsize
    }

    /// Writes, takes the volume down, and checks its file system: with `e2fsck`, or by mounting it again.
    fn check(&self, rig: &Rig, fs_type: &str) {
        let files = |n: u8| self.publish.target.join(format!("directory-{}/file-{n}", n % 8));
        for n in 0..8 {
            fs::create_dir(self.publish.target.join(format!("directory-{n}")))
                .expect("a directory");
        }
        for n in 0..=u8::MAX {
            fs::write(files(n), [n; 8192]).expect("a file");
        }
        let volume = rig.pool.volume(self.id).expect("a volume id");
        volume.unpublish(&self.publish.target).expect("unpublish");
        volume.unstage(&self.publish.stage.path).expect("unstage");
        if fs_type == "ext4" {
            run("e2fsck", &["-f", "-n"], &[&rig.node(self.id)]);
        }
        volume.publish(&self.publish).expect("publish again");
        for n in 0..=u8::MAX {
            assert!(fs::read(files(n)).expect("a file") == [n; 8192], "{} {n}", self.what);
        }
        rig.tear_down(&self.publish, self.id);
    }
}

fn left_alone() {
    let rig = Rig::new(kernel::Fs::Xfs);
    template(&rig, "ext4", GIB, &["mkfs.ext4", "-q", "-F"]);
    template(&rig, "xfs", GIB, &["mkfs.xfs", "-q", "-f"]);
    template(
        &rig,
        "lazy",
        4 * GIB,
        &["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=1,nodiscard"],
    );
    let spec = |id: &str, template: &str| VolumeSpec::new(id, template);
    let staged = |what, spec, id| Idle::staged(&rig, what, spec, id);
    let idle = [
        ("ext4", staged("ext4 of 100 GiB", spec("large", "ext4").size(100 * GIB), "large")),
        (
            "ext4",
            staged(
                "ext4 of 20 GiB that may write 64 MiB",
                spec("limited", "ext4").size(20 * GIB).cow_limit(64 * MIB),
                "limited",
            ),
        ),
        ("ext4", staged("ext4 of a lazy template", spec("lazy", "lazy"), "lazy")),
        ("ext4", staged("ext4, expanded to 100 GiB", spec("expanded", "ext4"), "expanded")),
        ("xfs", staged("XFS of 100 GiB", spec("xfs", "xfs").size(100 * GIB), "xfs")),
    ];
    let expanded = rig.pool.volume("expanded").expect("a volume id");
    expanded.expand(100 * GIB).expect("expand");
    let target = rig.publication("expanded", mount()).target;
    expanded.expand_file_system(&target).expect("grow");

    let costs = |when: &str| {
        idle.each_ref().map(|(_, volume)| {
            let (state, cost) = volume.cost(&rig);
            println!("{when}: {}: {state:?}, {} MiB", volume.what, cost / MIB);
            state == VolumeState::Active && cost <= IDLE_COST
        })
    };
    costs("at once");
    thread::sleep(ALONE);
    assert_eq!(costs("later"), [true; 5], "each is in order, and costs little");
    assert!(idle[0].1.size() > 95 * GIB && idle[3].1.size() > 95 * GIB, "they have grown");
    for (fs_type, volume) in &idle {
        volume.check(&rig, fs_type);
    }
}

/// What a volume costs right after it was staged, and what calf expected.
fn estimated() {
    let rig = Rig::new(kernel::Fs::Xfs);
    template(&rig, "ext4", GIB, &["mkfs.ext4", "-q", "-F"]);
    template(
        &rig,
        "old",
        GIB,
        &["mkfs.ext4", "-q", "-F", "-O", "^metadata_csum,^uninit_bg,^flex_bg"],
    );
    template(&rig, "small", 64 * MIB, &["mkfs.ext4", "-q", "-F", "-b", "4096"]);
    template(&rig, "xfs", GIB, &["mkfs.xfs", "-q", "-f"]);
    let sizes = [20 * GIB, 100 * GIB, 1000 * GIB];
    for (name, sizes) in
        [("ext4", &sizes[..]), ("old", &sizes[..1]), ("small", &sizes[..]), ("xfs", &sizes[..])]
    {
        for chunk_size in [4096, 65536] {
            for size in sizes {
                check_estimate(&rig, name, *size, chunk_size);
            }
        }
    }
}

fn check_estimate(rig: &Rig, name: &'static str, size: u64, chunk_size: u64) {
    let spec = VolumeSpec::new("volume", name).size(size).chunk_size(chunk_size);
    let started = Instant::now();
    let volume = Idle::staged(rig, name, spec, "volume");
    let took = started.elapsed();
    run("sync", &["-f"], &[&volume.publish.target]);
    let (state, cost) = volume.cost(rig);
    let template = rig.pool.template(name).and_then(|template| template.record());
    let digest = template.expect("the template").digest;
    let image = rig.pool.root().join("images").join(digest.as_str()).join("image");
    let mut prefix = [0; 4096];
    File::open(image).and_then(|image| image.read_exact_at(&mut prefix, 0)).expect("its start");
    let estimate = growth_estimate(&prefix, size, chunk_size).expect("a file system");
    println!(
        "{name} of {} GiB in chunks of {} KiB: {} of {} KiB, {took:?}",
        size / GIB,
        chunk_size / 1024,
        cost / 1024,
        estimate / 1024,
    );
    assert_eq!(state, VolumeState::Active);
    // Mounting writes a little as well.
    assert!(cost <= estimate + 32 * chunk_size + MIB, "{cost} > {estimate}");
    assert!(estimate <= 8 * cost, "{estimate} is far too much for {cost}");
    rig.tear_down(&volume.publish, "volume");
}

/// How long a growth may go on after its caller's deadline, or a signal: one step, on a slow machine.
const STEP: Duration = Duration::from_secs(20);

fn in_steps() {
    // XFS grows by a terabyte or more in a second.
    let ways =
        [("xfs", ["mkfs.xfs", "-q", "-f"], 8 << 40), ("ext4", ["mkfs.ext4", "-q", "-F"], 4 << 40)];
    for (fs_type, mkfs, size) in ways {
        let rig = Rig::new(kernel::Fs::Xfs);
        template(&rig, fs_type, GIB, &mkfs);
        let spec = VolumeSpec::new("volume", fs_type).size(size);
        let volume = rig.pool.create_volume(&spec).expect("create");
        let usage = Usage::new("volume", &rig.path(""), false);
        fs::create_dir_all(&usage.staging).expect("a directory, as kubelet makes it");
        let grown = || {
            let space = rustix::fs::statvfs(&usage.staging).expect("statvfs");
            space.f_blocks * space.f_frsize
        };
        let pool = rig.pool.root().to_owned();

        // The caller's deadline.
        let driver = Driver::start(&pool, &rig.path("work"), &[]);
        let client = driver.client();
        let deadline = Duration::from_secs(1);
        let status = client.stage_within(&usage, deadline).expect_err("it takes longer");
        assert!(matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled), "{status:?}");
        let started = Instant::now();
        let again = loop {
            match client.stage_within(&usage, deadline) {
                Err(status) if status.code() == Code::Aborted => {
                    thread::sleep(Duration::from_millis(20));
                }
                other => break other,
            }
        };
        println!("{fs_type}: {:?} after the deadline, {} GiB", started.elapsed(), grown() / GIB);
        assert!(started.elapsed() < STEP, "{:?}", started.elapsed());
        let first = grown();
        assert!(first > GIB, "{first}");

        // SIGTERM for the driver.
        if again.is_err() {
            let caller = {
                let (client, usage) = (driver.client(), usage.clone());
                thread::spawn(move || client.stage(&usage))
            };
            thread::sleep(Duration::from_millis(500));
            let started = Instant::now();
            assert!(driver.stop().success());
            println!("{fs_type}: {:?} after SIGTERM, {} GiB", started.elapsed(), grown() / GIB);
            assert!(started.elapsed() < STEP, "{:?}", started.elapsed());
            match caller.join().expect("no panic") {
                Err(status) => {
                    assert!(matches!(status.code(), Code::Cancelled | Code::Aborted), "{status:?}");
                }
                // A fast machine was done before the signal.
                Ok(()) => assert!(grown() > size - size / 20, "{}", grown()),
            }
        }
        assert!(grown() >= first, "the volume is the same");

        // Ctrl-C for a command.
        let mut command = Command::new(built::calf());
        command.arg("--pool").arg(&pool).args(["volume", "stage", "volume"]).arg(&usage.staging);
        let mut process = command.spawn().expect("start a command");
        thread::sleep(Duration::from_secs(1));
        let pid = rustix::process::Pid::from_child(&process);
        let started = Instant::now();
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::INT);
        let code = process.wait().expect("wait").code();
        println!(
            "{fs_type}: {:?} after SIGINT, {} GiB: {code:?}",
            started.elapsed(),
            grown() / GIB
        );
        assert!(started.elapsed() < STEP, "{:?}", started.elapsed());
        assert!(matches!(code, Some(12 | 0)), "{code:?}");

        let started = Instant::now();
        let stage = Stage::new(&usage.staging, mount());
        volume.stage(&stage).expect("stage");
        println!("{fs_type}: {:?} for the rest", started.elapsed());
        assert!(grown() > size - size / 20, "{}", grown());
        volume.unstage(&usage.staging).expect("unstage");
        if fs_type == "ext4" {
            run("e2fsck", &["-f", "-n"], &[&rig.node("volume")]);
        }
        volume.delete().expect("delete");
    }
}

/// Changing one option of a mount must not change the others.
fn options_stay() {
    let rig = Rig::new(kernel::Fs::Ext4);
    rig.import_file_system("root", "ext4");
    let options = ["noatime", "sync", "lazytime", "discard", "commit=30", "noinit_itable"];
    let access = Access::Mount { fs_type: None, options: options.map(str::to_owned).into() };
    let publish = rig.publication("volume", access);
    let volume = rig.pool.create_volume(&VolumeSpec::new("volume", "root").size(GIB));
    volume.expect("create").publish(&publish).expect("publish");
    let found = options_at(&publish.stage.path);
    for option in options {
        assert!(found.iter().any(|found| found == option), "{option} in {found:?}");
    }
    assert!(found.iter().all(|option| option != "ro"), "{found:?}");
    rig.tear_down(&publish, "volume");

    let options = vec!["init_itable=10".to_owned()];
    let publish = rig.publication("volume", Access::Mount { fs_type: None, options });
    let volume = rig.pool.create_volume(&VolumeSpec::new("volume", "root")).expect("create");
    let error = volume.stage(&publish.stage).expect_err("calf turns it off");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error:?}");
    volume.delete().expect("delete");
}

/// The options of the mount and of its file system.
fn options_at(path: &Path) -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mounts").expect("the mount table");
    let path = path.to_str().expect("a path");
    let line = table.lines().find(|line| line.split(' ').nth(1) == Some(path)).expect("a mount");
    line.split(' ').nth(3).unwrap_or_default().split(',').map(str::to_owned).collect()
}

fn frozen() {
    let rig = Rig::new(kernel::Fs::Xfs);
    for fs_type in ["ext4", "xfs"] {
        rig.import_file_system(fs_type, fs_type);
        let publish = rig.publication("volume", mount());
        let volume = rig.pool.create_volume(&VolumeSpec::new("volume", fs_type)).expect("create");
        volume.stage(&publish.stage).expect("stage");
        run("fsfreeze", &["--freeze"], &[&publish.stage.path]);
        for result in [
            volume.publish(&publish),
            volume.stage(&publish.stage),
            volume.expand(GIB).and_then(|_| volume.expand_file_system(&publish.stage.path)),
        ] {
            let error = result.expect_err("its first write would hang");
            assert_eq!(error.kind(), ErrorKind::InUse, "{fs_type}: {error:?}");
        }
        let error = volume.publish(&publish).expect_err("it is frozen");
        assert!(error.report().contains("fsfreeze"), "{fs_type}: {}", error.report());
        run("fsfreeze", &["--unfreeze"], &[&publish.stage.path]);
        volume.publish(&publish).expect("publish");
        rig.tear_down(&publish, "volume");
    }
}
