//! The part of a table that is in memory.

use std::io;

use crate::sys::SparseRead;
use crate::template::import::qcow2::fault::Fault;

/// Bytes in memory. Tables begin at multiples of 512, so no entry crosses a border.
const SIZE: u64 = 64 << 10;

/// A piece of the image, as it was read last.
#[derive(Default)]
pub(super) struct Window {
    at: u64,
    bytes: Vec<u8>,
}

impl Window {
    /// The number at the byte `at` of the image, in an entry of the table `what`.
    pub(super) fn u64_at(
        &mut self,
        image: &dyn SparseRead,
        at: u64,
        what: &'static str,
    ) -> io::Result<u64> {
        let (start, within) = (at / SIZE * SIZE, (at % SIZE) as usize);
        if self.bytes.is_empty() || self.at != start {
            self.bytes.resize(SIZE as usize, 0);
            let read = image.fill_from(&mut self.bytes, start);
            self.bytes.truncate(*read.as_ref().unwrap_or(&0));
            read?;
            self.at = start;
        }
        let entry = self.bytes.get(within..).and_then(|rest| rest.first_chunk());
        entry.copied().map(u64::from_be_bytes).ok_or_else(|| Fault::cut(what, at))
    }
}
