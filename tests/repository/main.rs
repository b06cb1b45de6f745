//! What must be true of the repository itself.

mod architecture;
mod fuzz_corpus;
