//! Volumes: their states, and the operations between them.
//!
//! ```text
//!            create                activate             publish
//!   absent ─────────▸ inactive ───────────────▸ active ─────────▸ published
//!          ◂─────────          ◂───────────────        ◂─────────
//!            delete               deactivate            unpublish
//! ```
//!
//! [`plan`] is pure: it turns a goal and an observed state into steps. [`machine`] observes the
//! state, and runs the steps on a [`Host`](crate::sys::Host).

pub(crate) mod activate;
pub(crate) mod agreement;
#[cfg(feature = "driver")]
pub(crate) mod basis;
pub(crate) mod commitment;
pub(crate) mod growth;
pub(crate) mod hold;
pub(crate) mod kata;
pub(crate) mod lifecycle;
pub(crate) mod lock;
pub(crate) mod machine;
pub(crate) mod mountable;
pub(crate) mod overlay;
pub(crate) mod plan;
pub(crate) mod provision;
pub(crate) mod publish;
pub(crate) mod reclaim;
pub(crate) mod recover;
pub(crate) mod revive;
pub(crate) mod room;
pub(crate) mod space;
pub(crate) mod spare;
pub(crate) mod start;
pub(crate) mod status;
pub(crate) mod usage;
