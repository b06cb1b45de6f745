//! A volume and the machine: what is there of it, and what a plan changes.

pub(crate) mod converge;
pub(crate) mod execute;
pub(crate) mod observe;
pub(crate) mod teardown;
