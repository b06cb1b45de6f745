//! A qcow2 overlay on the image, as a block device through `qemu-nbd`.

use std::fs;
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use calf_test_kit::kernel;
use calf_test_kit::real_pool::run;

use super::{Caller, Contender, Disk, Weight};
use crate::world::{World, text};

/// The default number of devices of the nbd module.
const DEVICES: u32 = 16;
/// How long a device may take to have its size, or to lose its server.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Qcow2 {
    image: PathBuf,
    directory: PathBuf,
    free: Mutex<Vec<u32>>,
    freed: Condvar,
}

impl Qcow2 {
    pub(crate) fn new(world: &World) -> Self {
        let free = (0..DEVICES).filter(|index| server(*index).is_none()).collect();
        Self {
            image: world.image.clone(),
            directory: world.directory("qcow2"),
            free: Mutex::new(free),
            freed: Condvar::new(),
        }
    }

    fn take(&self) -> u32 {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free = self
            .freed
            .wait_while(free, |free| free.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        free.pop().expect("it is not empty")
    }
}

/// The process that serves a device.
fn server(index: u32) -> Option<String> {
    fs::read_to_string(format!("/sys/block/nbd{index}/pid")).ok()
}

fn size(index: u32) -> u64 {
    let text = fs::read_to_string(format!("/sys/block/nbd{index}/size")).unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

fn wait_until(what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(1));
    }
}

impl Contender for Qcow2 {
    fn name(&self) -> &str {
        "qcow2"
    }

    fn weight(&self) -> Weight {
        Weight::Heavy
    }

    fn most(&self) -> usize {
        DEVICES as usize
    }

    fn caller(&self) -> Box<dyn Caller + '_> {
        Box::new(Qcow2Caller(self))
    }
}

struct Qcow2Caller<'a>(&'a Qcow2);

impl Caller for Qcow2Caller<'_> {
    fn create(&mut self, id: &str) -> Disk {
        let qcow2 = self.0;
        let file = qcow2.directory.join(id);
        let base = text(&qcow2.image);
        run("qemu-img", &["create", "-q", "-f", "qcow2", "-b", base, "-F", "raw"], &[&file]);
        let index = qcow2.take();
        let device = format!("/dev/nbd{index}");
        // The default, /var/lock, does not exist in every guest.
        let socket = kernel::work_dir().join(format!("nbd{index}.sock"));
        let options = ["--connect", &device, "--socket", text(&socket), "--format", "qcow2"];
        run("qemu-nbd", &options, &[&file]);
        wait_until("qemu-nbd's device", || size(index) > 0);
        Disk { id: id.to_owned(), device: device.into(), below: index.to_string() }
    }

    fn delete(&mut self, disk: Disk) {
        let index: u32 = disk.below.parse().expect("an index");
        let pid = server(index);
        run("qemu-nbd", &["--disconnect"], &[&disk.device]);
        wait_until("qemu-nbd's end", || {
            server(index).is_none()
                && pid.as_ref().is_none_or(|pid| {
                    let state = fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
                    state.map_or(true, |state| state.contains(") Z "))
                })
        });
        fs::remove_file(self.0.directory.join(&disk.id)).expect("unlink");
        self.0.free.lock().unwrap_or_else(PoisonError::into_inner).push(index);
        self.0.freed.notify_one();
    }
}
