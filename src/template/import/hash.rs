//! The digest of content, one that can be put aside and taken up again.

use sha2::digest::common::hazmat::{SerializableState as _, SerializedState};
use sha2::{Digest as _, Sha256};

use crate::model::digest::Digest;

/// A SHA-256 under way.
#[derive(Clone, Default)]
pub(crate) struct ContentHash(Sha256);

impl ContentHash {
    /// Takes in bytes.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Takes in a hole.
    pub(crate) fn update_zeros(&mut self, mut length: u64) {
        static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
        while length > 0 {
            let step = length.min(ZEROS.len() as u64);
            self.0.update(&ZEROS[..step as usize]);
            length -= step;
        }
    }

    /// The state as text.
    pub(crate) fn save(&self) -> String {
        hex::encode(self.0.serialize())
    }

    /// The state that [`save`](Self::save) gave, if `text` is one.
    pub(crate) fn restore(text: &str) -> Option<Self> {
        let bytes = hex::decode(text).ok()?;
        let state = SerializedState::<Sha256>::try_from(bytes.as_slice()).ok()?;
        Sha256::deserialize(&state).ok().map(Self)
    }

    /// The digest of all that was taken in.
    pub(crate) fn finish(self) -> Digest {
        Digest::of(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_pause_does_not_change_the_digest(
            before in prop::collection::vec(any::<u8>(), 0..300),
            hole in 0u64..200_000,
            after in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let mut hash = ContentHash::default();
            hash.update(&before);
            hash.update_zeros(hole);
            let mut hash = ContentHash::restore(&hash.save()).unwrap();
            hash.update(&after);
            let whole = [before, vec![0; hole as usize], after].concat();
            prop_assert_eq!(hash.finish(), Digest::of(Sha256::new_with_prefix(whole)));
        }

        #[test]
        fn what_is_no_state_is_refused(text in "[0-9a-f]{0,230}") {
            let _ = ContentHash::restore(&text);
        }
    }
}
