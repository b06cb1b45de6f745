//! Checks whether this machine is ready, and says what to do if it is not.
//!
//! Each check covers one subject and returns one line. Checks change nothing permanently.

mod machine;
mod pool;

use std::path::Path;

use crate::api::PoolOptions;

/// The verdict of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Everything is in order.
    Ok,
    /// calf works, but something is slower or less safe than it could be.
    Warn,
    /// calf does not work.
    Fail,
}

/// The result of a check of the machine or of the pool.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Check {
    /// The subject of the check.
    pub name: &'static str,
    /// The verdict.
    pub verdict: Verdict,
    /// What was found.
    pub detail: String,
    /// How to fix the problem.
    pub help: Option<String>,
}

impl Check {
    fn ok(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Ok, detail: detail.into(), help: None }
    }

    fn warn(name: &'static str, detail: impl Into<String>, help: impl Into<String>) -> Self {
        Self::wrong(name, Verdict::Warn, detail.into(), help.into())
    }

    fn fail(name: &'static str, detail: impl Into<String>, help: impl Into<String>) -> Self {
        Self::wrong(name, Verdict::Fail, detail.into(), help.into())
    }

    fn wrong(name: &'static str, verdict: Verdict, detail: String, help: String) -> Self {
        Self { name, verdict, detail, help: Some(help).filter(|help| !help.is_empty()) }
    }
}

impl PoolOptions {
    /// Checks this machine, and the pool in directory `root`, which need not exist: privileges, the
    /// kernel's targets, loop devices, udev; the pool's record, permissions, file system and space.
    /// calf works unless a check [fails](Verdict::Fail).
    pub fn doctor(&self, root: impl AsRef<Path>) -> Vec<Check> {
        let host = self.machine();
        let mut checks = machine::checks(&*host, self.settings.fallback.is_some());
        checks.extend(pool::checks(&host, root.as_ref(), &self.settings));
        checks
    }
}
