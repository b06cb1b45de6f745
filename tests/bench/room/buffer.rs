//! Memory that direct I/O accepts.

use calf_test_kit::real_pool::Random;

/// Bytes of the smallest request.
pub(super) const PAGE: usize = 4096;
/// Bytes of a sequential request, the largest.
pub(super) const LARGE: usize = 128 << 10;

/// The bytes of a request.
#[repr(align(4096))]
pub(super) struct Buffer(pub(super) [u8; LARGE]);

impl Buffer {
    pub(super) fn zero() -> Box<Self> {
        Box::new(Self([0; LARGE]))
    }

    pub(super) fn random() -> Box<Self> {
        let mut buffer = Self::zero();
        Random(5).fill(&mut buffer.0);
        buffer
    }
}
