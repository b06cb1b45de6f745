//! Tests of the repository itself.

mod architecture;
mod documents;
mod features;
#[cfg(feature = "driver")]
mod fuzz_corpus;
mod package;
mod site;
