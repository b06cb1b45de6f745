//! Gives up the rights that calf does not need.
//!
//! Kubernetes gives mounts that are seen outside to privileged containers only, with every
//! capability there is and without a seccomp profile. So the driver takes away what it does not
//! need by itself, before it listens to anyone: capabilities, and system calls.

mod capabilities;
mod system_calls;

pub use capabilities::drop_capabilities;
pub use system_calls::{SystemCalls, limit_system_calls};
