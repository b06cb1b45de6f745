//! The scenarios of a run, one per file.

mod capacity;
mod driver_killed;
mod expansion;
mod helm_test;
mod inline;
mod kata;
mod kubelet_restarted;
mod late_template;
mod least_privilege;
mod metrics;
mod microvm;
mod node_gone;
mod snapshots;
mod twenty_pods;
mod volume_health;

use crate::Result;
use crate::namespace::Namespace;
use crate::world::World;

pub(crate) struct Scenario {
    /// Also the name of its namespace.
    pub(crate) name: &'static str,
    pub(crate) run: fn(&World, &Namespace) -> Result<()>,
}

/// In the order in which they run: the simplest first, the metrics when there is something to
/// count, and last what the cluster recovers from slowly.
pub(crate) fn all() -> Vec<Scenario> {
    vec![
        Scenario { name: "helm-test", run: helm_test::run },
        Scenario { name: "least-privilege", run: least_privilege::run },
        Scenario { name: "capacity", run: capacity::run },
        Scenario { name: "late-template", run: late_template::run },
        Scenario { name: "expansion", run: expansion::run },
        Scenario { name: "inline", run: inline::run },
        Scenario { name: "volume-health", run: volume_health::run },
        Scenario { name: "snapshots", run: snapshots::run },
        Scenario { name: "kata", run: kata::run },
        Scenario { name: "microvm", run: microvm::run },
        Scenario { name: "driver-killed", run: driver_killed::run },
        Scenario { name: "kubelet-restarted", run: kubelet_restarted::run },
        Scenario { name: "twenty-pods", run: twenty_pods::run },
        Scenario { name: "metrics", run: metrics::run },
        Scenario { name: "node-gone", run: node_gone::run },
    ]
}
