//! Kubernetes Events: why a pod waits, told where its owner looks.
//!
//! A template that a node does not have makes GetCapacity answer 0, and all that the scheduler says
//! of it is "not enough free storage". So the driver tells the reason on the claims that wait, on
//! the pods that own them, and on its node.
//!
//! ```text
//! GetCapacity, template keeper ──Notice──▸ bounded queue ──▸ a thread: decides, dedupes ──▸ API
//! ```
//!
//! Nothing waits for this, and nothing depends on it: a full queue drops, an API server that does
//! not answer is logged and counted. The rest of calf knows nothing of Kubernetes.

mod api;
mod config;
mod events;
mod objects;

pub use config::KubernetesConfig;
pub(crate) use events::Events;
