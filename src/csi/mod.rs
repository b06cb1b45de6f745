//! The CSI driver: gRPC on a unix socket, translated to calls of [`Pool`](crate::Pool) and back.
//!
//! ```text
//! socket ── server ──▸ identity │ controller │ node      one async method per RPC, without logic
//!                               │
//!                            driver          a thread per call: outlives its caller, is logged
//!                               │
//!    request, capability, parameters, capacity, paging …   fields -> checked values, or an Error
//!                               │
//!                              Pool
//!                               │
//!                            status                      ErrorKind -> gRPC code, the one table
//! ```
//!
//! The same socket serves gRPC's own `reflection` and `health`, for tools that do not know CSI.
//!
//! This layer decides nothing about devices, and no gRPC type leaves it. The handlers below the
//! driver are plain blocking functions from a request to a response or an
//! [`Error`](crate::Error).

mod authority;
mod capability;
mod capacity;
mod controller;
mod driver;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod group;
mod guard;
mod health;
mod housekeeping;
mod identity;
mod inline;
mod log;
mod node;
mod paging;
mod parameters;
mod reflection;
#[doc(hidden)]
pub mod registration;
mod request;
mod server;
mod snapshot;
mod snapshot_id;
mod snapshot_metadata;
mod socket;
mod source;
mod spares;
mod status;
mod supervisor;
mod templates;
mod topology;
#[allow(missing_docs, clippy::all)]
#[doc(hidden)]
pub mod v1;
mod value;
mod volume;
mod volume_health;

pub use inline::{InlineCaps, TemplatePattern};
pub use server::{
    DEFAULT_DRAIN_TIMEOUT, DEFAULT_DRIVER_NAME, DEFAULT_PARALLEL_IMPORTS,
    DEFAULT_RECONCILE_INTERVAL, ServeConfig, serve,
};
