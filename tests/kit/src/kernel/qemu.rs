//! QEMU with two CPUs and Debian's newest 6.12 cloud kernel: real concurrency.
//!
//! That kernel has no file system to share a directory of the host with the guest, so the root is
//! an initramfs with what the tests need. A virtio serial port is the line to the host, and the
//! first UART the console.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::environment::{self, CHANNEL, INIT, KERNEL};
use super::initramfs::Initramfs;
use super::machine::Machine;
use super::modules;
use super::protocol::SetUp;
use super::qemu_kernel::QemuKernel;
use crate::built;

const BOOT_LIMIT: Duration = Duration::from_secs(180);
const KVM_BOOT_LIMIT: Duration = Duration::from_secs(30);

/// Programs that tests start, if this machine has them. Busybox replaces missing common commands.
const TOOLS: [&str; 19] = [
    "bash",
    "blkdiscard",
    "blkid",
    "blockdev",
    "dd",
    "dmsetup",
    "dumpe2fs",
    "e2fsck",
    "fallocate",
    "losetup",
    "mkfs.btrfs",
    "mkfs.ext4",
    "mkfs.xfs",
    "mount",
    "resize2fs",
    "stty",
    "umount",
    "xfs_growfs",
    "xfs_repair",
];

/// How much slower than hardware (or User-Mode Linux) an emulated CPU is, for time limits.
pub(crate) const SLOWNESS: u32 = 4;

pub(crate) fn disk_device(index: usize) -> String {
    format!("/dev/vd{}", char::from(b'a' + u8::try_from(index).unwrap_or(0)))
}

/// Writes the guest's root to `path`.
pub(crate) fn make_root(path: &Path, files: &[PathBuf], names: &[String]) -> Result<(), String> {
    let kernel = find_kernel()?;
    let mut root = Initramfs::new();
    for file in files.iter().filter(|file| file.exists()) {
        root.add_program(file)?;
    }
    for tool in TOOLS {
        if let Some(file) = which(tool) {
            root.add_program(&file)?;
        }
    }
    root.add_busybox(&which("busybox").ok_or("busybox is missing: run `make deps`")?)?;
    for list in ["modules.dep", "modules.builtin"] {
        root.add_file(&kernel.modules_dir.join(list))?;
    }
    for module in modules::load_order(&kernel.modules_dir, names)? {
        root.add_file(&kernel.modules_dir.join(module))?;
    }
    root.write(path).map_err(|error| format!("cannot write {}: {error}", path.display()))
}

pub(crate) fn boot(
    init: &Path,
    root: &Path,
    disks: &[PathBuf],
    set_up: SetUp,
) -> Result<Machine, String> {
    static KVM_FAILED: AtomicBool = AtomicBool::new(false);
    let kernel = find_kernel()?;
    let set_up = |modules_dir: &Path| SetUp {
        modules_dir: modules_dir.into(),
        modules: set_up.modules.clone(),
        keep: set_up.keep.clone(),
    };
    if Path::new("/dev/kvm").exists() && !KVM_FAILED.load(Ordering::Relaxed) {
        let command = command("kvm", "host", &kernel, init, root, disks);
        match Machine::boot(command, set_up(&kernel.modules_dir), KVM_BOOT_LIMIT) {
            Ok(machine) => return Ok(machine),
            Err(why) => {
                // Nested virtualization often exists in name only.
                KVM_FAILED.store(true, Ordering::Relaxed);
                let why = why.lines().next().unwrap_or_default();
                eprintln!("KVM does not work here, so the CPUs are emulated ({why})");
            }
        }
    }
    let command = command("tcg,thread=multi", "max", &kernel, init, root, disks);
    Machine::boot(command, set_up(&kernel.modules_dir), BOOT_LIMIT)
}

fn command(
    accel: &str,
    cpu: &str,
    kernel: &QemuKernel,
    init: &Path,
    root: &Path,
    disks: &[PathBuf],
) -> Command {
    let mut command = Command::new("qemu-system-x86_64");
    command
        .args(["-accel", accel, "-cpu", cpu, "-smp", "2", "-m", &environment::memory()])
        .args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"])
        .args(["-serial", "file:/dev/stderr"])
        .args(["-device", "virtio-serial-pci", "-chardev", "stdio,id=host,signal=off"])
        .args(["-device", "virtserialport,chardev=host,nr=1"])
        .arg("-kernel")
        .arg(&kernel.image)
        .arg("-initrd")
        .arg(root)
        .arg("-append")
        .arg(format!(
            "console=ttyS0 quiet loglevel=5 panic=-1 rdinit={} {KERNEL}={INIT} {CHANNEL}=/dev/vport0p1",
            init.display()
        ));
    for (index, disk) in disks.iter().enumerate() {
        let file = disk.display();
        command
            .arg("-drive")
            .arg(format!(
                "if=none,id=disk{index},file={file},format=raw,discard=unmap,cache=unsafe"
            ))
            .args(["-device", &format!("virtio-blk-pci,drive=disk{index}")]);
    }
    command
}

/// The directory with `modules.dep`.
pub(crate) fn modules_dir() -> Result<PathBuf, String> {
    find_kernel().map(|kernel| kernel.modules_dir)
}

fn find_kernel() -> Result<QemuKernel, String> {
    QemuKernel::at(&built::tools_dir().join("qemu-kernel"))
}

fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(PathBuf::from);
    system
        .into_iter()
        .chain(std::env::split_paths(&path))
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
}
