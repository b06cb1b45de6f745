//! The sizes that a caller allows, in CSI's form.

use crate::csi::request::invalid;
use crate::csi::v1;
use crate::error::{Error, ErrorKind, Result};
use crate::model::limits::MAX_SIZE;
use crate::model::size_range::SizeRange;
use crate::model::units::format_size;

/// A checked `CapacityRange`, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range(SizeRange);

impl Range {
    /// Checks a range; no range allows every size.
    pub(super) fn parse(range: Option<&v1::CapacityRange>) -> Result<Self> {
        let Some(range) = range else { return Ok(Self(SizeRange::default())) };
        let required = bytes("capacity_range.required_bytes", range.required_bytes)?;
        let limit = bytes("capacity_range.limit_bytes", range.limit_bytes)?;
        if limit != 0 && limit < required {
            return Err(invalid(
                "capacity_range.limit_bytes",
                limit,
                format!("it is below required_bytes, {required}"),
            )
            .remedy("raise limit_bytes or leave it out"));
        }
        if required > MAX_SIZE {
            return Err(too_large("capacity_range.required_bytes", required));
        }
        Ok(Self(SizeRange::new(required, (limit != 0).then_some(limit))))
    }

    /// Whether a volume of `size` bytes satisfies the request.
    pub(super) fn contains(self, size: u64) -> bool {
        self.0.contains(size)
    }

    /// The smallest size in the range that a volume of at least `least` bytes (named `what`) can
    /// have.
    pub(super) fn choose(self, least: u64, what: &str) -> Result<u64> {
        self.0.choose(least).map_err(|size| {
            let limit = self.0.most().unwrap_or(size);
            let why = if limit < least {
                format!("{what} has {least} bytes ({})", format_size(least))
            } else {
                format!("{} rounds up to {size} bytes", self.0.least())
            };
            let subject = format_args!("capacity_range.limit_bytes {limit}");
            Error::new(ErrorKind::OutOfRange, "accept", subject, why)
                .remedy(format!("allow at least {size} bytes"))
        })
    }
}

/// Checks the size requested for an inline volume, and rounds it up.
pub(super) fn inline_size(field: &str, size: u64) -> Result<u64> {
    match size {
        0 => Err(invalid(field, size, "a volume cannot be empty")
            .remedy("leave it out to get the size of the template")),
        size if size > MAX_SIZE => Err(too_large(field, size)),
        size => Ok(SizeRange::round_up(size)),
    }
}

/// A size as a value of CSI's signed fields.
pub(super) fn to_wire(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn bytes(field: &str, value: i64) -> Result<u64> {
    u64::try_from(value).map_err(|_| {
        invalid(field, value, "a size cannot be negative").remedy("give bytes, or 0 for no bound")
    })
}

fn too_large(field: &str, size: u64) -> Error {
    Error::new(
        ErrorKind::OutOfRange,
        "accept",
        format_args!("{field} {size}"),
        format!("the largest volume has {MAX_SIZE} bytes"),
    )
    .remedy(format!("ask for at most {}", format_size(MAX_SIZE)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(required_bytes: i64, limit_bytes: i64) -> Result<Range> {
        Range::parse(Some(&v1::CapacityRange { required_bytes, limit_bytes }))
    }

    #[test]
    fn a_limit_is_kept() {
        let below = range(0, 4096).unwrap().choose(8192, "template t").unwrap_err();
        assert_eq!(below.kind(), ErrorKind::OutOfRange);
        assert!(below.report().contains("template t has 8192 bytes"), "{}", below.report());
        let rounded = range(8193, 8200).unwrap().choose(4096, "template t").unwrap_err();
        assert_eq!(rounded.kind(), ErrorKind::OutOfRange);
        assert!(rounded.report().contains("12288"), "{}", rounded.report());
    }

    #[test]
    fn malformed_and_enormous_ranges_are_refused() {
        for (required, limit, kind) in [
            (-1, 0, ErrorKind::InvalidArgument),
            (0, -1, ErrorKind::InvalidArgument),
            (2, 1, ErrorKind::InvalidArgument),
            ((16 << 40) + 1, 0, ErrorKind::OutOfRange),
            (i64::MAX, i64::MAX, ErrorKind::OutOfRange),
        ] {
            assert_eq!(range(required, limit).unwrap_err().kind(), kind, "{required} {limit}");
        }
    }

    #[test]
    fn inline_sizes_are_checked() {
        assert_eq!(inline_size("size", 4097).unwrap(), 8192);
        assert_eq!(inline_size("size", 0).unwrap_err().kind(), ErrorKind::InvalidArgument);
        assert_eq!(inline_size("size", u64::MAX).unwrap_err().kind(), ErrorKind::OutOfRange);
    }
}
