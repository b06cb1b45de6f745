//! A machine's memory and its disk, saved at one instant and restored together: the recipe of
//! docs/snapshots.md, with a guest that compares both.

mod machine;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use calf::{ImportSpec, SnapshotSpec, VolumeSource, VolumeSpec};
use calf_test_kit::built;
use calf_test_kit::kernel;
use calf_test_kit::kernel::microvm::{BUSYBOX, early_user_space};
use calf_test_kit::kernel::qemu_kernel::QemuKernel;
use calf_test_kit::real_pool::{Rig, run};

use machine::{Boot, MARK, Machine};

fn main() -> ExitCode {
    kernel::main(vec![
        kernel::test("a_machine_is_restored_twice_with_the_disk_of_its_instant", restored_twice)
            .timeout(Duration::from_secs(600)),
    ])
}

/// A template with the guest, and what boots it.
struct Guests {
    rig: Rig,
    kernel: QemuKernel,
    initramfs: PathBuf,
}

impl Guests {
    fn new() -> Self {
        let rig = Rig::new(kernel::Fs::Xfs);
        let tree = rig.path("tree");
        for directory in ["bin", "dev", "proc"] {
            fs::create_dir_all(tree.join(directory)).expect("a directory");
        }
        fs::copy(BUSYBOX, tree.join("bin/busybox")).expect("busybox");
        run("install", &["-m", "0755"], &[&script(), &tree.join("bin/guest")]);
        let image = rig.path("guest.img");
        File::create(&image).and_then(|file| file.set_len(64 << 20)).expect("an image");
        run("mkfs.ext4", &["-q", "-F", "-b", "4096", "-d"], &[&tree, &image]);
        rig.pool
            .import_template(&ImportSpec::new(image.as_path(), "guest"), &mut |_| ())
            .expect("an import");
        let kernel = QemuKernel::at(&built::tools_dir().join("qemu-kernel")).expect("a kernel");
        let early = early_user_space(&kernel, &rig.path("init"), MARK, "/bin/guest");
        let initramfs = rig.path("initramfs");
        early.expect("an early root").write(&initramfs).expect("an initramfs");
        Self { rig, kernel, initramfs }
    }

    /// A machine on the disk of volume `id`.
    fn start(&self, id: &str, saved: Option<&Path>) -> Machine {
        let boot = Boot { kernel: &self.kernel.image, initramfs: &self.initramfs };
        Machine::start(&boot, &self.rig.node(id), &self.rig.path(&format!("{id}.qmp")), saved)
    }

    fn snapshot(&self, id: &str, name: &str) {
        let volume = self.rig.pool.volume(id).expect("a volume id");
        volume.take_snapshot(&SnapshotSpec::new(name)).expect("a snapshot");
    }

    /// A machine that goes on from `saved`, on a new disk of snapshot `name`.
    fn restore(&self, id: &str, name: &str, saved: &Path) -> Machine {
        let source = VolumeSource::Snapshot(name.into());
        self.rig.pool.create_volume(&VolumeSpec::from_source(id, source)).expect("create");
        let mut machine = self.start(id, Some(saved));
        machine.is_restored();
        machine
    }

    /// What a file on the disk of a volume holds, once nobody uses it. Its file system must be clean.
    fn file(&self, id: &str, path: &str) -> String {
        let device = self.rig.node(id);
        run("e2fsck", &["-f", "-n"], &[&device]);
        run("debugfs", &["-R", &format!("cat {path}")], &[&device])
    }
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kernel/checkpoints/guest.sh")
}

fn restored_twice() {
    let guests = Guests::new();
    let saved = guests.rig.path("memory");
    guests.rig.pool.create_volume(&VolumeSpec::new("first", "guest")).expect("create");
    let mut first = guests.start("first", None);
    first.hear("ready");
    first.count(2);
    guests.snapshot("first", "too-early");
    let before = first.count(4);

    File::open(guests.rig.node("first")).and_then(|disk| disk.sync_all()).expect("write back");
    first.pause();
    first.save(&saved);
    guests.snapshot("first", "warm");
    first.resume();

    first.tell("one");
    first.hear("named one");
    let after = first.count(before + 3);
    first.end();

    let mut alice = guests.restore("alice", "warm", &saved);
    let mut bob = guests.restore("bob", "warm", &saved);
    let machines = [(&mut alice, "alice"), (&mut bob, "bob")];
    for (machine, name) in machines {
        machine.resume();
        machine.tell(name);
        machine.hear(&format!("named {name}"));
    }
    let counts = [&mut alice, &mut bob].map(|machine| machine.count(before + 2));
    assert!(counts.iter().all(|count| *count <= after), "{counts:?}, {before}, {after}");
    alice.end();
    bob.end();

    // Memory and disk of different instants: the guest would have noticed.
    let mut torn = guests.restore("torn", "too-early", &saved);
    torn.resume();
    assert!(torn.is_torn());
    drop(torn);

    for (id, name) in [("first", "one"), ("alice", "alice"), ("bob", "bob")] {
        assert_eq!(guests.file(id, "/name"), name);
    }
    for id in ["first", "alice", "bob", "torn"] {
        guests.rig.pool.volume(id).and_then(|volume| volume.delete()).expect("delete");
    }
    for name in ["too-early", "warm"] {
        guests.rig.pool.snapshot(name).and_then(|snapshot| snapshot.delete()).expect("delete");
    }
}
