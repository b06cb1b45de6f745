//! The images that the cluster's pods run, made here from this machine's programs. Nothing is
//! pulled.
//!
//! Each image is one layer in an archive in the format of `docker save`, which containerd imports.

mod archive;

use std::path::{Path, PathBuf};

use calf_test_kit::kernel::initramfs::Initramfs;

use archive::Image;

use crate::Result;
use crate::microvm;

/// For the containers that hold a pod's namespaces.
pub(crate) const PAUSE: &str = "registry.k8s.io/pause:3.10";

const BUSYBOX: &str = "/bin/busybox";

/// Makes the image of the containers that hold a pod's namespaces.
pub(crate) fn pause(directory: &Path) -> Result<PathBuf> {
    let mut root = Initramfs::new();
    root.add_file(Path::new(BUSYBOX))?;
    Image { name: PAUSE, root, entrypoint: &[BUSYBOX, "sleep", "inf"] }.write(directory)
}

/// Makes an image with the common commands, for pods that inspect their volumes.
pub(crate) fn busybox(directory: &Path, name: &str) -> Result<PathBuf> {
    let mut root = Initramfs::new();
    root.add_busybox(Path::new(BUSYBOX))?;
    Image { name, root, entrypoint: &[] }.write(directory)
}

/// Makes an image with one Go program, at the path where upstream's image has it.
pub(crate) fn program(directory: &Path, name: &str, program: &Path) -> Result<PathBuf> {
    let file_name = program.file_name().unwrap_or_default();
    let entrypoint = format!("/{}", file_name.to_string_lossy());
    let mut root = Initramfs::new();
    root.add_file_as(program, Path::new(&entrypoint));
    Image { name, root, entrypoint: &[&entrypoint] }.write(directory)
}

/// Makes an image that boots a block device as the root disk of a microVM.
pub(crate) fn microvm(directory: &Path, name: &str) -> Result<PathBuf> {
    let root = microvm::image_root(directory)?;
    Image { name, root, entrypoint: &[BUSYBOX, "sh", microvm::BOOT] }.write(directory)
}
