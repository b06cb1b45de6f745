//! The paths of the programs that a run needs and `make e2e` has built.

use std::path::{Path, PathBuf};

use calf_test_kit::built::{target_tmp, tools_dir};

use crate::Result;

/// A program of Kubernetes, containerd or the sidecars, built by `tests/e2e/install.sh`.
pub(crate) fn program(name: &str) -> Result<PathBuf> {
    present(tools_dir().join("e2e/bin").join(name))
}

/// Helm, built by `tests/go-tool.sh`.
pub(crate) fn helm() -> Result<PathBuf> {
    present(tools_dir().join("helm"))
}

/// The image of calf, built by `make image`.
pub(crate) fn calf_image() -> Result<PathBuf> {
    present(target_tmp().with_file_name("image/calf.tar"))
}

/// The definitions of VolumeSnapshots and their kin, which `tests/e2e/install.sh` copied.
pub(crate) fn snapshot_definitions() -> Result<PathBuf> {
    let directory = tools_dir().join("e2e/snapshot-crds");
    match directory.is_dir() {
        true => Ok(directory),
        false => Err(missing(&directory)),
    }
}

fn present(path: PathBuf) -> Result<PathBuf> {
    if path.is_file() {
        return Ok(path);
    }
    Err(missing(&path))
}

fn missing(path: &Path) -> String {
    format!("{} is missing: run `make e2e`, which builds it", path.display())
}
