//! Early user space for a microVM of QEMU's machine type `microvm`, whose root disk is `/dev/vda`.

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
