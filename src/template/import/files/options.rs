//! Options of an import that have no meaning for what its source holds.

use crate::error::{Error, ErrorKind, Result};
use crate::template::spec::ImportSpec;

const OPERATION: &str = "import";

/// Refuses options that have no meaning for a disk image.
pub(crate) fn check_disk(spec: &ImportSpec, shown: &str) -> Result<()> {
    if spec.is_extended() {
        let why = "it is a disk image, into which calf writes nothing";
        let remedy =
            "leave out --init and --layer, or give a root file system or a container image";
        return Err(meaningless(shown, why, remedy));
    }
    if spec.size.is_some() {
        let why = "it is a disk image, whose size is what it is";
        let remedy = "leave out --size; volumes may be larger than their template";
        return Err(meaningless(shown, why, remedy));
    }
    Ok(())
}

/// Refuses options that have no meaning for files.
pub(crate) fn check_files(spec: &ImportSpec, shown: &str) -> Result<()> {
    match spec.partition {
        None => Ok(()),
        Some(_) => {
            let why = "it has files, and no partitions";
            Err(meaningless(shown, why, "leave out --partition"))
        }
    }
}

/// The error about an option that has no meaning.
pub(crate) fn meaningless(shown: &str, why: &'static str, remedy: &'static str) -> Error {
    Error::new(ErrorKind::InvalidArgument, OPERATION, shown, why).remedy(remedy)
}
