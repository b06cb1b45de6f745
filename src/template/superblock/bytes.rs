//! Bounds-checked reads of untrusted bytes; a read outside them is `None`.

#[derive(Clone, Copy)]
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl<'a> Bytes<'a> {
    /// The bytes from `offset` on; none if they end before it.
    pub(super) fn from(self, offset: usize) -> Self {
        Self(self.0.get(offset..).unwrap_or_default())
    }

    fn array<const N: usize>(self, offset: usize) -> Option<[u8; N]> {
        self.0.get(offset..offset.checked_add(N)?)?.try_into().ok()
    }

    pub(super) fn u8(self, offset: usize) -> Option<u8> {
        self.0.get(offset).copied()
    }

    pub(super) fn le16(self, offset: usize) -> Option<u16> {
        self.array(offset).map(u16::from_le_bytes)
    }

    pub(super) fn le32(self, offset: usize) -> Option<u32> {
        self.array(offset).map(u32::from_le_bytes)
    }

    pub(super) fn le64(self, offset: usize) -> Option<u64> {
        self.array(offset).map(u64::from_le_bytes)
    }

    pub(super) fn be16(self, offset: usize) -> Option<u16> {
        self.array(offset).map(u16::from_be_bytes)
    }

    pub(super) fn be32(self, offset: usize) -> Option<u32> {
        self.array(offset).map(u32::from_be_bytes)
    }

    pub(super) fn be64(self, offset: usize) -> Option<u64> {
        self.array(offset).map(u64::from_be_bytes)
    }

    pub(super) fn has(self, offset: usize, magic: &[u8]) -> bool {
        self.from(offset).0.starts_with(magic)
    }

    /// The text at `offset`, up to its first zero byte or `length` bytes, with unprintable bytes
    /// escaped.
    pub(super) fn text(self, offset: usize, length: usize) -> String {
        let field = self.from(offset).0;
        let field = &field[..field.len().min(length)];
        let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
        field[..end].escape_ascii().to_string()
    }
}

/// A block size of `1 << shift` bytes, if it is plausible.
pub(super) fn power(shift: u32) -> Option<u32> {
    (9..=16).contains(&shift).then(|| 1 << shift)
}

/// A stored block size, if it is plausible.
pub(super) fn block_size(size: u32) -> Option<u32> {
    (size.is_power_of_two() && (512..=1 << 20).contains(&size)).then_some(size)
}
