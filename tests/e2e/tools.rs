//! Where the programs are that a run needs: what `make e2e` has built.

use std::path::PathBuf;

use calf_test_kit::built::{target_tmp, tools_dir};

use crate::Result;

/// A program of Kubernetes, containerd or the sidecars, as `tests/e2e/install.sh` builds them.
pub(crate) fn program(name: &str) -> Result<PathBuf> {
    present(tools_dir().join("e2e/bin").join(name))
}

/// Helm, as `tests/chart/install.sh` builds it.
pub(crate) fn helm() -> Result<PathBuf> {
    present(tools_dir().join("helm"))
}

/// The image of calf, as `make image` builds it.
pub(crate) fn calf_image() -> Result<PathBuf> {
    present(target_tmp().with_file_name("image/calf.tar"))
}

fn present(path: PathBuf) -> Result<PathBuf> {
    if path.is_file() {
        return Ok(path);
    }
    Err(format!("{} is missing: run `make e2e`, which builds it", path.display()))
}
