//! The engine's public face: [`Pool`] and its options. Each method is a line, and leads to its room.

mod pool;
mod templates;
mod volumes;

pub(crate) use pool::Survey;
pub use pool::{Pool, PoolOptions};
pub use templates::Template;
