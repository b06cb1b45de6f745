//! `make e2e`: calf in a Kubernetes with its real kubelet and sidecars. Helm installs the chart,
//! and the pods' own output is the evidence.
//!
//! ```text
//!  this machine, in a network namespace of the run         the node: User-Mode Linux
//!    etcd, kube-apiserver, controller manager, scheduler,    containerd, runc, kubelet
//!    snapshot-controller; kubectl, helm: run by the test ◂─▸  pods: calf and sidecars, tests
//! ```
//!
//! One cluster serves all scenarios, one after the other, each in a Kubernetes namespace of its
//! own; after each, nothing of its volumes may be left (`evidence`). `CALF_E2E=1` runs them;
//! without it they are listed as ignored, since they need root and the programs that `make e2e`
//! builds.

mod certificates;
mod cluster;
mod component;
mod control_plane;
mod documentation;
mod evidence;
mod images;
mod latency;
mod microvm;
mod namespace;
mod network;
mod node;
mod release;
mod scenarios;
mod snapshot_controller;
mod tools;
mod workers;
mod workload;
mod world;

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};

use world::World;

/// Errors are only for the reader of the test's output.
type Result<T, E = String> = std::result::Result<T, E>;

fn main() -> ExitCode {
    if let Some(code) = node::act() {
        return code;
    }
    let mut arguments = Arguments::from_args();
    // They share one cluster.
    arguments.test_threads = Some(1);
    let enabled = std::env::var_os("CALF_E2E").is_some_and(|value| value == "1");
    let runs = !arguments.list && (enabled || arguments.ignored || arguments.include_ignored);
    if !runs {
        let ignored = |name| Trial::test(name, || Ok(())).with_ignored_flag(true);
        let trials = scenarios::all().iter().map(|scenario| ignored(scenario.name)).collect();
        return libtest_mimic::run(&arguments, trials).exit_code();
    }
    match in_a_cluster(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Starts the cluster, runs the selected scenarios, and stops the cluster.
fn in_a_cluster(arguments: &Arguments) -> Result<ExitCode> {
    if !rustix::process::geteuid().is_root() {
        return Err("the node's network needs root: run `make e2e` as root".into());
    }
    network::enter()?;
    let world = Arc::new(World::start()?);
    let trials = scenarios::all().into_iter().map(|scenario| {
        let world = Arc::clone(&world);
        Trial::test(scenario.name, move || world.play(&scenario).map_err(Failed::from))
    });
    Ok(libtest_mimic::run(arguments, trials.collect()).exit_code())
}
