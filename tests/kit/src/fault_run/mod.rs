//! What the fault runs of `tests/kernel` share: how often they try and from which seed, what they
//! count, and what kernel and pool hold before and after.

mod filler;
mod inventory;
mod scale;
mod tally;

pub use filler::Filler;
pub use inventory::Inventory;
pub use scale::{count, seed};
pub use tally::Tally;
