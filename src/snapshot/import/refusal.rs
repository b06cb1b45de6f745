//! What errors of an import say.

use crate::error::{Error, ErrorKind};
use crate::model::export::SnapshotImportSpec;

pub(super) const OPERATION: &str = "import snapshot";

pub(super) fn cancelled(spec: &SnapshotImportSpec) -> Error {
    Error::new(ErrorKind::Cancelled, OPERATION, &spec.name, "the caller cancelled it")
        .remedy("repeat the call with the same stream: it begins anew")
}
