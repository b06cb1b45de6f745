//! Early user space for a microVM of QEMU's machine type `microvm`, whose root disk is `/dev/vda`.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use super::initramfs::Initramfs;
use super::modules;
use super::qemu_kernel::QemuKernel;

pub const BUSYBOX: &str = "/bin/busybox";
/// Modules for the root disk and for the bus of the machine type. Everything else is built into the
/// kernel.
const MODULES: [&str; 2] = ["virtio_mmio", "virtio_blk"];
const SCRIPT: &str = include_str!("microvm-init.sh");
/// The guest needs about 70 MiB. More could be too much: in User-Mode Linux each page of a process
/// may take one of the 65530 mappings that a host grants.
const MEMORY: &str = "128M";

/// Who runs the guest's instructions.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Accelerator {
    Kvm,
    Emulation,
}

/// A microVM whose serial line is the standard input and output of QEMU.
pub struct MicroVm<'a> {
    pub kernel: &'a Path,
    pub initramfs: &'a Path,
    pub accelerator: Accelerator,
    /// More arguments for the guest's kernel.
    pub kernel_arguments: &'a str,
    pub disk: &'a Path,
    /// More options of the drive.
    pub drive: &'a str,
}

impl MicroVm<'_> {
    /// Arguments for `qemu-system-x86_64`.
    pub fn arguments(&self) -> Vec<OsString> {
        let mut kernel_arguments =
            format!("console=ttyS0 quiet loglevel=3 panic=-1 {}", self.kernel_arguments);
        let (accel, cpu) = match self.accelerator {
            Accelerator::Kvm => ("kvm", "host"),
            Accelerator::Emulation => {
                // A microVM has no second clock to calibrate the first one with, and an emulated
                // timer is too slow for that. Any frequency works, since the kernel corrects it.
                kernel_arguments.push_str(" tsc_early_khz=2000000 lpj=8000000");
                ("tcg,tb-size=32", "max")
            }
        };
        let drive =
            format!("if=none,id=root,format=raw,{},file={}", self.drive, self.disk.display());
        let mut all: Vec<OsString> =
            ["-M", "microvm,acpi=on", "-accel", accel, "-cpu", cpu, "-m", MEMORY]
                .into_iter()
                .chain(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"])
                .chain(["-serial", "stdio", "-device", "virtio-blk-device,drive=root"])
                .map(OsString::from)
                .collect();
        for (option, value) in [
            ("-kernel", self.kernel.into()),
            ("-initrd", self.initramfs.into()),
            ("-append", kernel_arguments.into()),
            ("-drive", drive.into()),
        ] {
            all.extend([option.into(), value]);
        }
        all
    }
}

/// An early root that loads the modules that `kernel` needs for its root disk, and starts the
/// program `init` on that disk. Its output begins with `mark`. Its script is kept at `script`.
pub fn early_user_space(
    kernel: &QemuKernel,
    script: &Path,
    mark: &str,
    init: &str,
) -> Result<Initramfs, String> {
    let mut root = Initramfs::new();
    let mut files = Vec::new();
    for module in modules::load_order(&kernel.modules_dir, &MODULES.map(String::from))? {
        let path = Path::new("/modules").join(module.file_name().unwrap_or_default());
        root.add_file_as(&kernel.modules_dir.join(&module), &path);
        files.push(path.display().to_string());
    }
    let text = SCRIPT
        .replace("@MODULES@", &files.join(" "))
        .replace("@MARK@", mark)
        .replace("@INIT@", init);
    fs::write(script, text).map_err(|error| format!("{}: {error}", script.display()))?;
    // The path at which the kernel looks for it.
    root.add_file_as(script, Path::new("/init"));
    root.add_busybox(Path::new(BUSYBOX))?;
    Ok(root)
}
