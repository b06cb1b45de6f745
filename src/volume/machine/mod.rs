//! Observes what exists of a volume on the machine, and runs the steps of a plan.

pub(crate) mod converge;
pub(crate) mod duplicate;
pub(crate) mod execute;
pub(crate) mod observe;
pub(crate) mod place;
pub(crate) mod store;
pub(crate) mod teardown;
