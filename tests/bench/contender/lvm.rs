//! LVM snapshots: thick (a store of fixed size per disk) and thin (from a pool).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use calf_test_kit::kernel;
use calf_test_kit::real_pool::run;

use super::{Caller, Contender, Disk, Snapshots, Weight, take_down};
use crate::world::{World, text};

/// Sees only the benchmark's own loop device, writes nothing outside its directory, and does not
/// wait for udev.
fn configuration(device: &str) -> String {
    format!(
        r#"
        devices {{
            use_devicesfile=0
            filter=["a|^{device}$|","r|.*|"]
            global_filter=["a|^{device}$|","r|.*|"]
        }}
        activation {{ udev_sync=0 udev_rules=0 monitoring=0 verify_udev_operations=1 }}
        backup {{ backup=0 archive=0 }}
        global {{ thin_check_executable="" use_lvmpolld=0 event_activation=0 }}
        "#
    )
}

pub(crate) struct Lvm {
    thin: bool,
    group: &'static str,
    system: PathBuf,
    device: String,
    /// Bytes of a thick snapshot's store.
    store: u64,
}

impl Lvm {
    pub(crate) fn new(world: &World, thin: bool) -> Self {
        let group = if thin { "benchthin" } else { "benchthick" };
        let directory = world.directory(group);
        let size = world.scale.template;
        // Room for what the patterns of the I/O room write.
        let store = (size / 16).max(8 << 20).max(world.scale.stream + 4 * world.scale.io);
        let file = directory.join("pv");
        run("truncate", &["--size", &(2 * size + 128 * store).to_string()], &[&file]);
        let device = run("losetup", &["--find", "--show"], &[&file]);
        let system = kernel::work_dir().join(group);
        fs::create_dir_all(&system).expect("a directory");
        fs::write(system.join("lvm.conf"), configuration(&device)).expect("a configuration");
        let lvm = Self { thin, group, system, device, store };
        lvm.run(&["vgcreate", "--quiet", group, &lvm.device]);
        let bytes = format!("{size}b");
        if thin {
            let pool = format!("{}b", size + (1 << 30).min(size));
            lvm.run(&["lvcreate", "--type", "thin-pool", "-L", &pool, "-n", "pool", "-Zn", group]);
            lvm.run(&["lvcreate", "--thin", "-V", &bytes, "-n", "base", &format!("{group}/pool")]);
        } else {
            lvm.run(&["lvcreate", "-L", &bytes, "-n", "base", "-Wn", "-Zn", group]);
        }
        let base = format!("of=/dev/mapper/{group}-base");
        run(
            "dd",
            &[&format!("if={}", text(&world.image)), &base, "bs=4M", "conv=fsync,notrunc"],
            &[],
        );
        lvm
    }

    fn run(&self, arguments: &[&str]) {
        let output = Command::new("lvm")
            .args(arguments)
            .env("LVM_SYSTEM_DIR", &self.system)
            .env("LVM_SUPPRESS_FD_WARNINGS", "1")
            .output()
            .expect("lvm");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "lvm {arguments:?}: {errors}");
    }
}

impl Drop for Lvm {
    fn drop(&mut self) {
        take_down(|| {
            self.run(&["vgremove", "--quiet", "--force", "--yes", self.group]);
            run("losetup", &["--detach", &self.device], &[]);
        });
    }
}

impl Contender for Lvm {
    fn name(&self) -> &str {
        if self.thin { "LVM thin" } else { "LVM thick" }
    }

    fn weight(&self) -> Weight {
        Weight::Heavy
    }

    fn caller(&self) -> Box<dyn Caller + '_> {
        Box::new(LvmCaller(self))
    }

    /// A thick snapshot cannot have snapshots.
    fn snapshots(&self) -> Option<&dyn Snapshots> {
        self.thin.then_some(self as &dyn Snapshots)
    }
}

impl Lvm {
    /// Makes a snapshot of a thin volume, and activates it if it is to be a disk.
    fn snapshot(&self, origin: &str, id: &str, activation: &[&str]) {
        let origin = format!("{}/{origin}", self.group);
        let arguments = ["lvcreate", "--quiet", "--yes", "--snapshot", "-n", id];
        self.run(&[&arguments[..], activation, &[&origin]].concat());
    }

    fn remove(&self, id: &str) {
        let volume = format!("{}/{id}", self.group);
        self.run(&["lvremove", "--quiet", "--force", "--yes", &volume]);
    }

    fn device_of(&self, id: &str) -> PathBuf {
        Path::new("/dev/mapper").join(format!("{}-{id}", self.group))
    }
}

impl Snapshots for Lvm {
    fn take(&self, disk: &Disk, name: &str) -> String {
        self.snapshot(&disk.id, name, &["-ky", "-an"]);
        name.to_owned()
    }

    fn start(&self, snapshot: &str, id: &str) -> Disk {
        let id = id.replace('-', "_");
        self.snapshot(snapshot, &id, &["-kn", "-ay"]);
        Disk { device: self.device_of(&id), id, below: String::new() }
    }

    fn forget(&self, snapshot: &str) {
        self.remove(snapshot);
    }
}

struct LvmCaller<'a>(&'a Lvm);

impl Caller for LvmCaller<'_> {
    fn create(&mut self, id: &str) -> Disk {
        let lvm = self.0;
        let id = id.replace('-', "_");
        let store = format!("{}b", lvm.store);
        match lvm.thin {
            true => lvm.snapshot("base", &id, &["-kn", "-ay"]),
            false => lvm.snapshot("base", &id, &["-L", &store]),
        }
        Disk { device: lvm.device_of(&id), id, below: String::new() }
    }

    fn delete(&mut self, disk: Disk) {
        self.0.remove(&disk.id);
    }
}
