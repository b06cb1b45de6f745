//! Isolation from the host's scanners: a live `systemd-udevd` with Debian's rules for
//! device-mapper, LVM, multipath and persistent names, and calf's own rules.
//!
//! The templates are bait: an ext4 with a label, and an LVM physical volume with a volume group
//! that udev would activate. A loop device that does not belong to calf shows that the bait works.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use calf::sys::{SPARE_PREFIX, UUID_PREFIX};
use calf::{Access, Cancel, VolumeSpec};
use calf_test_kit::fault_run::{Tally, count, seed};
use calf_test_kit::kernel;
use calf_test_kit::real_pool::{Page, Random, Rig, open, run};

const UDEVD: &str = "/lib/systemd/systemd-udevd";
const RULES: &str = "/run/udev/rules.d/10-calf.rules";
const GROUP: &str = "bait";

/// Properties that show that a program read a device, or may act on it.
const CURIOUS: [&str; 4] = ["ID_FS_", "ID_PART_", "DM_MULTIPATH", "LVM_"];

pub(crate) fn hands_off() {
    let tally = Tally::new("isolation: live udevd, LVM, multipath rules", seed());
    let rig = Rig::new(kernel::Fs::Ext4);
    let bait = [("ext4", ext4(&rig)), ("lvm", lvm(&rig))];
    for (name, image) in &bait {
        let spec = calf::ImportSpec::new(image.clone(), *name);
        rig.pool.import_template(&spec, &mut |_| ()).expect("import");
    }
    fs::create_dir_all("/run/udev/rules.d").expect("a directory");
    let rules = run(env!("CARGO_BIN_EXE_calf"), &["udev-rules"], &[]);
    fs::write(RULES, rules).expect("install the rules");
    let udevd = Udevd::start();
    for (name, image) in &bait {
        udevd.sees_through(name, image);
        for n in 0..count(2, 20) {
            // Every other volume claims a spare, while the next spare exists.
            rig.pool
                .template(name)
                .expect("a template name")
                .set_warm(n as u32 % 2)
                .expect("a number of spares");
            rig.pool.tend_spares(&Cancel::never()).expect("spares");
            one_life(&tally, &rig, &udevd, &format!("{name}-{n}"), name);
        }
        rig.pool.template(name).expect("a template name").set_warm(0).expect("no spares");
        rig.pool.tend_spares(&Cancel::never()).expect("no spares");
    }
    drop(udevd);
    tally.finish();
}

fn one_life(tally: &Tally, rig: &Rig, udevd: &Udevd, id: &str, template: &str) {
    let mut publish = rig.publication(id, Access::Block);
    publish.read_only = id.ends_with('1');
    rig.pool.create_volume(&VolumeSpec::new(id, template)).expect("create");
    rig.pool.volume(id).expect("a volume id").publish(&publish).expect("publish");
    if !publish.read_only {
        // A watch would make udev read the device at the close after a write.
        let page = Page::random(&mut Random(43));
        let written =
            std::os::unix::fs::FileExt::write_all_at(&open(&publish.target), &page.0, 1 << 20);
        written.expect("write");
    }
    rig.pool.volume(id).expect("a volume id").expand(64 << 20).expect("expand");
    rig.pool.tend_spares(&Cancel::never()).expect("spares");
    // A coldplug, as when a system or udev starts.
    run("udevadm", &["trigger", "--subsystem-match=block", "--action=change"], &[]);
    udevd.settle();
    for device in calf_devices(rig) {
        for line in udevd.properties(&device) {
            let curious = CURIOUS.iter().any(|name| line.starts_with(name));
            tally.promise(!curious, || format!("{id}: udev knows of {device}: {line}"));
        }
        tally.promise(!udevd.watches(&device), || format!("{id}: udev watches {device}"));
        let links = links_to(&device);
        tally.promise(links.is_empty(), || format!("{id}: links to {device}: {links:?}"));
    }
    let mapped = run("dmsetup", &["ls"], &[]);
    tally.promise(!mapped.contains(GROUP), || format!("{id}: LVM activated it: {mapped}"));
    rig.pool.volume(id).expect("a volume id").unpublish(&publish.target).expect("unpublish");
    let deleted = rig.pool.volume(id).and_then(|volume| volume.delete());
    tally.expect(deleted, || format!("delete {id} beside udev"));
    tally.tried();
}

/// Kernel names of the pool's device-mapper devices, and of the loop devices below.
fn calf_devices(rig: &Rig) -> Vec<String> {
    let root = rig.pool.root();
    let read = |path: PathBuf| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let devices: Vec<String> = fs::read_dir("/sys/block")
        .expect("sysfs")
        .flatten()
        .filter(|entry| {
            read(entry.path().join("dm/uuid")).starts_with(UUID_PREFIX)
                || read(entry.path().join("dm/name")).starts_with(SPARE_PREFIX)
                || Path::new(&read(entry.path().join("loop/backing_file"))).starts_with(root)
        })
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    assert!(devices.len() >= 3, "a volume has three devices: {devices:?}");
    devices
}

/// Links below /dev to a device.
fn links_to(device: &str) -> Vec<PathBuf> {
    let mut links = Vec::new();
    for directory in ["by-uuid", "by-label", "by-id", "by-path", "by-diskseq"] {
        let entries = fs::read_dir(Path::new("/dev/disk").join(directory));
        links.extend(entries.into_iter().flatten().flatten().map(|entry| entry.path()));
    }
    let node = Path::new("/dev").join(device);
    links.retain(|link| fs::canonicalize(link).is_ok_and(|path| path == node));
    links
}

// === bait ===

fn ext4(rig: &Rig) -> PathBuf {
    let image = image(rig, "ext4");
    run("mkfs.ext4", &["-q", "-F", "-b", "4096", "-L", GROUP], &[&image]);
    image
}

fn lvm(rig: &Rig) -> PathBuf {
    let image = image(rig, "lvm");
    let device = run("losetup", &["--find", "--show"], &[&image]);
    let lvm = |arguments: &[&str]| run("lvm", arguments, &[]);
    // /etc is read-only here, and udev does not run yet.
    let config = "backup { backup=0 archive=0 } global { locking_dir=\"/run/lock-lvm\" \
                  event_activation=1 } activation { udev_sync=0 udev_rules=0 verify_udev_operations=0 } \
                  devices { use_devicesfile=0 }";
    lvm(&["pvcreate", "--config", config, &device]);
    lvm(&["vgcreate", "--config", config, GROUP, &device]);
    lvm(&["lvcreate", "--config", config, "-an", "-Zn", "-Wn", "-l1", "-nvictim", GROUP]);
    run("losetup", &["--detach", &device], &[]);
    image
}

fn image(rig: &Rig, name: &str) -> PathBuf {
    let path = rig.disk.path().join(format!("{name}.img"));
    fs::File::create(&path).and_then(|file| file.set_len(32 << 20)).expect("an image");
    path
}

// === the daemon ===

struct Udevd(Child);

impl Udevd {
    fn start() -> Self {
        let log = fs::File::create(kernel::work_dir().join("udevd.log")).expect("a log");
        let process = Command::new(UDEVD)
            .arg("--resolve-names=never")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {UDEVD}: {error}"));
        let mut udevd = Self(process);
        let deadline = std::time::Instant::now() + Duration::from_secs(30);
        while !Path::new("/run/udev/control").exists() {
            if let Ok(Some(status)) = udevd.0.try_wait() {
                panic!("udevd ended with {status}: {}", Self::log());
            }
            assert!(std::time::Instant::now() < deadline, "udevd does not start: {}", Self::log());
            std::thread::sleep(Duration::from_millis(20));
        }
        udevd
    }

    fn log() -> String {
        fs::read_to_string(kernel::work_dir().join("udevd.log")).unwrap_or_default()
    }

    fn settle(&self) {
        run("udevadm", &["settle", "--timeout=60"], &[]);
    }

    /// What udev knows of a device.
    fn properties(&self, device: &str) -> Vec<String> {
        let all = run("udevadm", &["info", "--query=property", "--name", device], &[]);
        all.lines().map(str::to_owned).collect()
    }

    /// Whether udev reads the device again after each write.
    fn watches(&self, device: &str) -> bool {
        let number = fs::read_to_string(format!("/sys/block/{device}/dev")).unwrap_or_default();
        Path::new("/run/udev/watch").join(format!("b{}", number.trim())).exists()
            || fs::symlink_metadata(format!("/run/udev/watch/b{}", number.trim())).is_ok()
    }

    /// Checks that the bait works: udev reads the content of a device that does not belong to calf.
    fn sees_through(&self, name: &str, image: &Path) {
        let device = run("losetup", &["--find", "--show"], &[image]);
        run("udevadm", &["trigger", "--action=change", &device], &[]);
        self.settle();
        let short = device.trim_start_matches("/dev/");
        let properties = self.properties(short);
        let seen = properties.iter().any(|line| line.starts_with("ID_FS_TYPE="));
        assert!(seen, "udev does not look at {name}: {properties:?}\n{}", Self::log());
        println!("of {name} that is not calf's, udev knows: {:?}", {
            properties.iter().filter(|line| line.starts_with("ID_FS_")).collect::<Vec<_>>()
        });
        if run("dmsetup", &["ls"], &[]).contains(GROUP) {
            println!("and LVM activates it");
            run("dmsetup", &["remove", &format!("{GROUP}-victim")], &[]);
        }
        run("losetup", &["--detach", &device], &[]);
        self.settle();
    }
}

impl Drop for Udevd {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.0.wait();
        // Later tests must find no udev.
        let _ = fs::remove_dir_all("/run/udev");
    }
}
