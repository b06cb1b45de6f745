//! The engine's public face: [`Pool`] and its options. Each method is a line, and leads to its room.

#[cfg(feature = "driver")]
mod figures;
mod pool;
mod templates;
mod volumes;

#[cfg(feature = "driver")]
pub(crate) use figures::Survey;
pub use pool::{Pool, PoolOptions};
pub use templates::Template;
