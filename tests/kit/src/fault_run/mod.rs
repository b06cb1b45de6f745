//! Shared code of the fault runs in `tests/kernel`: scale and seed, counting, and the content of
//! kernel and pool before and after.

mod filler;
mod inventory;
mod scale;
mod tally;

pub use filler::Filler;
pub use inventory::Inventory;
pub use scale::{count, seed};
pub use tally::Tally;
