//! Kubernetes Events, which tell the owner of a pod why it waits.
//!
//! If a node lacks a template, GetCapacity answers 0, and the scheduler reports only "not enough
//! free storage". So the driver posts the reason on the claims that wait, on the pods that own
//! them, and on its node.
//!
//! ```text
//! GetCapacity, template keeper ──Notice──▸ bounded queue ──▸ a thread: decides, dedupes ──▸ API
//! ```
//!
//! No call waits for Events, and nothing depends on them: a full queue drops notices, and an API
//! server that does not answer is logged and counted. The rest of calf knows nothing of Kubernetes.

mod api;
mod config;
mod events;
mod objects;

pub use config::KubernetesConfig;
pub(crate) use events::Events;
