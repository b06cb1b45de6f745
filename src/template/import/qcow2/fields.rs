//! The fields of a header, as they are stored.

/// Length of a header of version 2, and the least one of version 3.
pub(super) const V2: usize = 72;
pub(super) const V3: usize = 104;

/// Big-endian fields at offsets; 0 where there are none.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        self.0.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
    }

    pub(super) fn u32(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.array(at))
    }

    pub(super) fn u64(&self, at: usize) -> u64 {
        u64::from_be_bytes(self.array(at))
    }

    pub(super) fn version(&self) -> u32 {
        self.u32(4)
    }

    pub(super) fn cluster_bits(&self) -> u32 {
        self.u32(20)
    }

    /// Features without which the image cannot be read.
    pub(super) fn features(&self) -> u64 {
        if self.version() == 3 { self.u64(72) } else { 0 }
    }

    pub(super) fn least_length(&self) -> usize {
        if self.version() == 3 { V3 } else { V2 }
    }

    pub(super) fn header_length(&self) -> usize {
        if self.version() == 3 { self.u32(100) as usize } else { V2 }
    }

    pub(super) fn bytes(&self, at: u64, length: u64) -> Option<&'a [u8]> {
        let at = usize::try_from(at).ok()?;
        self.0.get(at..at.checked_add(usize::try_from(length).ok()?)?)
    }

    /// The header extension of this type.
    pub(super) fn extension(&self, header: usize, kind: [u8; 4]) -> Option<&'a [u8]> {
        let mut at = header;
        loop {
            let (found, length) = (self.bytes(at as u64, 4)?, self.u32(at + 4));
            if found == [0; 4] {
                return None;
            }
            let content = self.bytes(at as u64 + 8, u64::from(length))?;
            if found == kind {
                return Some(content);
            }
            at += 8 + content.len().next_multiple_of(8);
        }
    }
}
