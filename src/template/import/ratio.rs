//! Bombs: small files that unpack to much.

use crate::error::{Error, ErrorKind, Result};
use crate::model::units::format_size;

/// Most bytes of content that may take up space, for each byte of a compressed file: more than gzip can
/// do at all. Zeros take up no space, and compress better.
const MAX_RATIO: u64 = 1032;
/// Bytes of content for which the ratio does not matter.
const RATIO_SLACK: u64 = 256 << 20;

/// Refuses content that takes up more space than any compression of `packed` bytes explains.
pub(crate) fn check_ratio(written: u64, packed: u64, shown: &str) -> Result<()> {
    let most = packed.saturating_mul(MAX_RATIO).saturating_add(RATIO_SLACK);
    if written <= most {
        return Ok(());
    }
    let (written, packed) = (format_size(written), format_size(packed));
    let why = format!(
        "{packed} of it unpack to {written} that are not zeros: no disk image is like that"
    );
    Err(Error::new(ErrorKind::InvalidArgument, "import", shown, why)
        .remedy("check where the file comes from; if it is right, unpack it and import the result"))
}
