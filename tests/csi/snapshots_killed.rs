//! Snapshots and clones over CSI on a machine of which each call fails, or at which the driver dies: the
//! repeated request succeeds, and nothing is left at the end.

use std::fs;
use std::future::Future;
use std::path::PathBuf;

use calf::csi::v1;
use calf::csi::v1::controller_client::ControllerClient;
use calf::csi::v1::volume_content_source::{SnapshotSource, Type, VolumeSource};
use calf::sys::fake::Failure;
use calf::{Key, VolumeState};
use calf_test_kit::simulated_driver::{Driver, create};
use calf_test_kit::simulated_pool::{Environment, FAILURES, put_store, stored_chunk};
use tonic::transport::Channel;
use tonic::{Response, Status};

/// How often a request is repeated: one failure is injected, and another try may follow on it.
const TRIES: usize = 3;

/// Repeats a request until it succeeds, as an orchestrator does; how it failed if it never does.
async fn repeated<T, F: Future<Output = Result<Response<T>, Status>>>(
    mut call: impl FnMut() -> F,
) -> Result<T, Vec<Status>> {
    let mut failures = Vec::new();
    for _ in 0..TRIES {
        match call().await {
            Ok(response) => return Ok(response.into_inner()),
            Err(status) => failures.push(status),
        }
    }
    Err(failures)
}

/// A call of a clone of the client, since each try has a future of its own.
macro_rules! call {
    ($client:expr, $method:ident, $request:expr) => {{
        let (client, request) = ($client.clone(), $request);
        repeated(|| {
            let (mut client, request) = (client.clone(), request.clone());
            async move { client.$method(request).await }
        })
        .await
        .unwrap_or_else(|failures| panic!("{}: {failures:?}", stringify!($method)))
    }};
}

fn from(source: Type, name: &str) -> v1::CreateVolumeRequest {
    let source = v1::VolumeContentSource { r#type: Some(source) };
    v1::CreateVolumeRequest { volume_content_source: Some(source), ..create(name) }
}

fn pool_path(environment: &Environment, name: &str) -> PathBuf {
    environment.directory.path().join("pool").join(name)
}

fn cow(environment: &Environment, id: &str) -> PathBuf {
    pool_path(environment, "volumes").join(Key::of(id).as_str()).join("cow")
}

/// Makes a snapshot, a volume of it and a clone, looks at them, and deletes all of them.
async fn life(environment: &Environment, controller: &ControllerClient<Channel>) {
    let taken = v1::CreateSnapshotRequest {
        source_volume_id: "v".into(),
        name: "s".into(),
        ..Default::default()
    };
    let snapshot = call!(controller, create_snapshot, taken).snapshot.expect("a snapshot");
    let snapshot_id = snapshot.snapshot_id.clone();
    let of_snapshot = Type::Snapshot(SnapshotSource { snapshot_id: snapshot_id.clone() });
    let of_volume = Type::Volume(VolumeSource { volume_id: "v".into() });
    for (name, source) in [("a", of_snapshot), ("b", of_volume)] {
        let request = from(source, name);
        let made = call!(controller, create_volume, request.clone()).volume.expect("a volume");
        assert_eq!(made.content_source, request.volume_content_source, "{name}");
        assert_eq!(stored_chunk(&cow(environment, name), 0), 1, "{name}");
    }
    let listed = call!(controller, list_snapshots, v1::ListSnapshotsRequest::default());
    let listed: Vec<_> = listed.entries.into_iter().filter_map(|it| it.snapshot).collect();
    assert_eq!(listed, [snapshot]);
    let gone = v1::DeleteSnapshotRequest { snapshot_id, ..Default::default() };
    call!(controller, delete_snapshot, gone);
    for volume_id in ["a", "b"] {
        let gone = v1::DeleteVolumeRequest { volume_id: volume_id.into(), ..Default::default() };
        call!(controller, delete_volume, gone);
    }
}

async fn survives(failure: Failure, in_use: bool) {
    let mut driver = Driver::start().await;
    // Of an ephemeral volume, a failed sync is lost content, for good.
    let mut durable = create("v");
    durable.parameters.insert("durability".into(), "durable".into());
    driver.create(durable).await;
    put_store(&cow(&driver.environment, "v"), &[1]);
    let (host, pool) = (driver.environment.host.clone(), driver.environment.pool());
    if in_use {
        pool.volume("v").and_then(|volume| volume.activate()).expect("activate");
    }
    for n in 1.. {
        host.fail_at(n, failure);
        life(&driver.environment, &driver.controller).await;
        let reached = host.heal();
        let context = format!("{failure:?} at call {n}");
        let report = pool.reconcile().expect("reconcile");
        assert_eq!(report.failed, Vec::<String>::new(), "{context}");
        let volumes = pool.volumes().expect("a list");
        let [volume] = volumes.as_slice() else { panic!("{context}: {volumes:?}") };
        assert_ne!(volume.state, VolumeState::Interrupted, "{context}");
        let left = fs::read_dir(pool_path(&driver.environment, "snapshots"));
        assert_eq!(left.map_or(0, Iterator::count), 0, "{context}");
        if !reached {
            assert!(n > 60, "{context}: there were only so many calls, so it did not run");
            return;
        }
    }
}

#[tokio::test]
async fn requests_for_a_volume_at_rest_survive_each_failure() {
    for failure in FAILURES {
        survives(failure, false).await;
    }
}

#[tokio::test]
async fn requests_for_a_volume_in_use_survive_each_failure() {
    for failure in FAILURES {
        survives(failure, true).await;
    }
}
