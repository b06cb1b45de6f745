//! The microVM that runs in a pod: its VMM's image, and the root disk that it boots from.
//!
//! ```text
//!  pod ─ boot.sh ─ QEMU (no KVM needed) ─ Linux ─ initramfs ─ /dev/vda: a volume ─ init.sh
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use calf_test_kit::built::tools_dir;
use calf_test_kit::kernel::initramfs::Initramfs;
use calf_test_kit::kernel::microvm::{BUSYBOX, early_user_space};
use calf_test_kit::kernel::qemu_kernel::QemuKernel;

use crate::Result;

/// The program in the image that boots the device in its first argument.
pub(crate) const BOOT: &str = "/usr/bin/boot-microvm";
/// The prefix of the lines of the guest's init.
pub(crate) const MARK: &str = "microvm: ";

const BOOT_SCRIPT: &str = "tests/e2e/microvm/boot.sh";
const INIT: &str = include_str!("microvm/init.sh");
const QEMU: [&str; 2] =
    ["/usr/bin/qemu-system-x86_64", "/usr/lib/x86_64-linux-gnu/qemu/accel-tcg-x86_64.so"];
/// The firmware of the machine type `microvm`.
const FIRMWARE: [&str; 4] = ["bios-microvm.bin", "kvmvapic.bin", "linuxboot_dma.bin", "pvh.bin"];
/// The size of a template.
pub(crate) const TEMPLATE_BYTES: u64 = 64 << 20;

/// The content of the VMM's image.
pub(crate) fn image_root(work: &Path) -> Result<Initramfs> {
    let kernel = QemuKernel::at(&tools_dir().join("qemu-kernel"))?;
    let initramfs = make_initramfs(&kernel, work)?;
    let mut root = Initramfs::new();
    for program in QEMU {
        root.add_program(Path::new(program))?;
    }
    for file in FIRMWARE {
        let path = Path::new("/usr/share/qemu").join(file);
        let content =
            path.canonicalize().map_err(|error| format!("{}: {error}", path.display()))?;
        root.add_file_as(&content, &path);
    }
    root.add_busybox(Path::new(BUSYBOX))?;
    root.add_file_as(&Path::new(env!("CARGO_MANIFEST_DIR")).join(BOOT_SCRIPT), Path::new(BOOT));
    root.add_file_as(&kernel.image, Path::new("/boot/vmlinuz"));
    root.add_file_as(&initramfs, Path::new("/boot/initramfs"));
    Ok(root)
}

/// The guest's early user space.
fn make_initramfs(kernel: &QemuKernel, work: &Path) -> Result<PathBuf> {
    let script = work.join("microvm-initramfs-init");
    let root = early_user_space(kernel, &script, MARK, "/init")?;
    let path = work.join("microvm-initramfs");
    root.write(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(path)
}

/// Makes the image that becomes the template `name`: an ext4 file system with a small system, in
/// which `/template` holds the name.
pub(crate) fn make_template(work: &Path, name: &str) -> Result<PathBuf> {
    let root = work.join(format!("{name}.root"));
    let failed = |error: std::io::Error| format!("{}: {error}", root.display());
    let _ = fs::remove_dir_all(&root);
    for directory in ["bin", "dev", "proc", "sys", "root"] {
        fs::create_dir_all(root.join(directory)).map_err(failed)?;
    }
    fs::copy(BUSYBOX, root.join("bin/busybox")).map_err(failed)?;
    write(&root.join("init"), INIT)?;
    make_executable(&root.join("init")).map_err(failed)?;

    write(&root.join("template"), &format!("{name}\n"))?;

    let image = work.join(format!("{name}.img"));
    let file = fs::File::create(&image).and_then(|file| file.set_len(TEMPLATE_BYTES));
    file.map_err(|error| format!("{}: {error}", image.display()))?;
    let output = Command::new("mkfs.ext4")
        .args(["-q", "-F", "-b", "4096", "-d"])
        .args([&root, &image])
        .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
        .output()
        .map_err(|error| format!("cannot start mkfs.ext4: {error}"))?;
    if !output.status.success() {
        return Err(format!("mkfs.ext4: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    Ok(image)
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

fn make_executable(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}
