//! What a cluster needs for VolumeSnapshots beside the chart: their definitions, and snapshot-controller, as
//! `docs/snapshots.md` says.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::Result;
use crate::cluster::Cluster;
use crate::component::Component;
use crate::tools;

pub(crate) const NAME: &str = "snapshot-controller";

const ESTABLISHED: Duration = Duration::from_secs(60);

/// Applies the definitions, and starts the controller as this client.
pub(crate) fn start(cluster: &Cluster, kubeconfig: &Path, logs: &Path) -> Result<Component> {
    let directory = tools::snapshot_definitions()?;
    let failed = |error: std::io::Error| format!("cannot read {}: {error}", directory.display());
    for entry in fs::read_dir(&directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path().display().to_string();
        cluster.kubectl(&["create", "--filename", &path])?;
    }
    cluster.wait("the definitions of snapshots to be established", ESTABLISHED, || {
        let listed = cluster.list(&["volumesnapshots,volumesnapshotcontents", "--all-namespaces"]);
        Ok(listed.is_ok().then_some(()))
    })?;
    let arguments = [
        format!("--kubeconfig={}", kubeconfig.display()),
        "--enable-distributed-snapshotting".to_owned(),
        "--feature-gates=CSIVolumeGroupSnapshot=false".to_owned(),
    ];
    Component::start(NAME, &tools::program(NAME)?, arguments, logs)
}
