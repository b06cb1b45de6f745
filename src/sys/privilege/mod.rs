//! Drops the privileges that calf does not need.
//!
//! Kubernetes allows mounts that are visible outside a container only for privileged containers,
//! which have every capability and no seccomp profile. So the driver itself drops the capabilities
//! and system calls that it does not need, before it listens.

mod capabilities;
mod system_calls;

pub use capabilities::drop_capabilities;
pub use system_calls::{SystemCalls, limit_system_calls};
