//! Unpacking compressed files, with the feature `formats`.

#[cfg(feature = "formats")]
mod decoders;
#[cfg(not(feature = "formats"))]
#[path = "none.rs"]
mod decoders;

pub(crate) use decoders::{decoder, explain};
