//! A microVM whose root disk is a published volume.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use calf_test_kit::kernel::microvm::{Accelerator, MicroVm, early_user_space};
use calf_test_kit::kernel::qemu_kernel::QemuKernel;

use crate::command::{self, Process};
use crate::place::Place;
use crate::volumes::Volume;
use crate::{Result, stop, ui};

/// The prefix of the lines of the guest's init.
const MARK: &str = "demo: ";
const EMULATED_LIMIT: Duration = Duration::from_secs(150);
const KVM_LIMIT: Duration = Duration::from_secs(20);

/// What the guest reported to have written.
pub(crate) struct Written {
    pub(crate) path: String,
    pub(crate) sha256: String,
}

/// Prepares the guest's early user space. Needed once per kernel.
pub(crate) fn make_initramfs(place: &Place) -> Result<()> {
    let kernel = QemuKernel::at(&place.kernel)?;
    let script = place.cache.join("initramfs-init");
    let root = early_user_space(&kernel, &script, MARK, "/sbin/demo-init")?;
    let path = place.initramfs();
    root.write(&path).map_err(|error| format!("{}: {error}", path.display()))
}

/// Boots from `volume`, shows the guest's output, and waits until it has powered off.
pub(crate) fn boot(place: &Place, volume: &Volume) -> Result<Written> {
    if File::options().read(true).write(true).open("/dev/kvm").is_ok() {
        match Guest::start(place, volume, Accelerator::Kvm)?.follow(KVM_LIMIT) {
            Ok(written) => return Ok(written),
            // Nested virtualization often exists in name only.
            Err(why) => {
                stop::check()?;
                ui::aside(&format!("KVM does not work here ({why}): QEMU emulates the CPU"));
            }
        }
    } else {
        ui::aside("no KVM here: QEMU emulates the CPU");
    }
    Guest::start(place, volume, Accelerator::Emulation)?.follow(EMULATED_LIMIT)
}

struct Guest {
    qemu: Process,
    log: File,
}

impl Guest {
    fn start(place: &Place, volume: &Volume, accelerator: Accelerator) -> Result<Self> {
        let kernel = QemuKernel::at(&place.kernel)?;
        let path = place.microvm_log();
        let failed = |error: std::io::Error| format!("{}: {error}", path.display());
        let log = File::options().create(true).append(true).open(&path).map_err(failed)?;
        let machine = MicroVm {
            kernel: &kernel.image,
            initramfs: &place.initramfs(),
            accelerator,
            kernel_arguments: &format!("calf.volume={}", volume.id),
            disk: &volume.target,
            drive: "discard=unmap",
        };
        let mut qemu = command::bound(Path::new("qemu-system-x86_64"), "KILL");
        qemu.args(machine.arguments());
        Ok(Self { qemu: Process::start(qemu, None)?, log })
    }

    /// Shows the guest's lines until it is off. It must have printed all expected lines.
    fn follow(mut self, limit: Duration) -> Result<Written> {
        let deadline = Instant::now() + limit;
        let (mut path, mut sha256, mut done) = (None, None, false);
        let mut last = "it printed nothing".to_owned();
        while let Some(line) = self.qemu.line(deadline)? {
            // For the log only; the important lines are shown.
            let _ = writeln!(self.log, "{line}");
            let Some((_, said)) = line.split_once(MARK) else {
                if !line.is_empty() {
                    last = line;
                }
                continue;
            };
            match said.split_once(' ') {
                Some(("wrote", rest)) => path = rest.split(',').next().map(str::to_owned),
                Some(("sha256", digest)) => sha256 = Some(digest.to_owned()),
                None if said == "done" => {
                    done = true;
                    continue;
                }
                _ => {}
            }
            ui::guest(said);
        }
        let status = self.qemu.wait(deadline)?;
        match (path, sha256) {
            (Some(path), Some(sha256)) if done => Ok(Written { path, sha256 }),
            _ => Err(format!("the microVM did not finish ({status}): {last}")),
        }
    }
}
