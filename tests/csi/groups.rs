//! The GroupController service, on a simulated machine.

use calf::csi::v1;
use calf::csi::v1::group_controller_client::GroupControllerClient;
use calf_test_kit::simulated_driver::{Driver, Server, accepted, create, map, refusal};
use calf_test_kit::simulated_pool::Environment;
use tonic::Code;
use tonic::transport::Channel;

fn of(name: &str, volumes: &[&str]) -> v1::CreateVolumeGroupSnapshotRequest {
    v1::CreateVolumeGroupSnapshotRequest {
        name: name.to_owned(),
        source_volume_ids: volumes.iter().map(|id| (*id).to_owned()).collect(),
        ..Default::default()
    }
}

fn get(id: &str, snapshots: &[&str]) -> v1::GetVolumeGroupSnapshotRequest {
    v1::GetVolumeGroupSnapshotRequest {
        group_snapshot_id: id.to_owned(),
        snapshot_ids: snapshots.iter().map(|id| (*id).to_owned()).collect(),
        ..Default::default()
    }
}

fn delete(id: &str, snapshots: &[&str]) -> v1::DeleteVolumeGroupSnapshotRequest {
    let v1::GetVolumeGroupSnapshotRequest { group_snapshot_id, snapshot_ids, secrets } =
        get(id, snapshots);
    v1::DeleteVolumeGroupSnapshotRequest { group_snapshot_id, snapshot_ids, secrets }
}

/// A driver with two volumes.
async fn driver() -> (Driver, GroupControllerClient<Channel>) {
    let environment = Environment::new();
    let pool = environment.pool();
    let mut driver = Driver::start_on(environment, pool).await;
    driver.create(create("root")).await;
    driver.create(create("data")).await;
    let groups = GroupControllerClient::new(driver.channel().await);
    (driver, groups)
}

#[tokio::test]
async fn a_group_lives_and_is_deleted_as_a_whole() {
    let (mut driver, mut groups) = driver().await;
    let capabilities = v1::GroupControllerGetCapabilitiesRequest {};
    let told = accepted(groups.group_controller_get_capabilities(capabilities)).await;
    assert_eq!(told.capabilities.len(), 1);
    let request = of("g", &["root", "data"]);
    let made = accepted(groups.create_volume_group_snapshot(request)).await.group_snapshot;
    let group = made.expect("a group");
    assert_eq!(group.group_snapshot_id, "node-1/g");
    assert!(group.ready_to_use && group.creation_time.is_some());
    let ids: Vec<&str> = group.snapshots.iter().map(|it| it.snapshot_id.as_str()).collect();
    assert_eq!(ids, ["node-1/g.data", "node-1/g.root"]);
    assert!(group.snapshots.iter().all(|it| it.group_snapshot_id == "node-1/g"));

    // The same call again, in another order, and each other way to it, tell the same.
    let again = accepted(groups.create_volume_group_snapshot(of("g", &["data", "root"]))).await;
    assert_eq!(again.group_snapshot.as_ref(), Some(&group));
    for snapshots in [&[][..], &["node-1/g.root", "node-1/g.data"]] {
        let found = accepted(groups.get_volume_group_snapshot(get("node-1/g", snapshots))).await;
        assert_eq!(found.group_snapshot.as_ref(), Some(&group));
    }
    let request = v1::GetSnapshotRequest { snapshot_id: ids[0].to_owned(), ..Default::default() };
    let one = accepted(driver.controller.get_snapshot(request)).await.snapshot;
    assert_eq!(one.as_ref(), Some(&group.snapshots[0]));
    let request =
        v1::DeleteSnapshotRequest { snapshot_id: ids[0].to_owned(), ..Default::default() };
    let (code, message) = refusal(driver.controller.delete_snapshot(request)).await;
    assert_eq!(code, Code::InvalidArgument, "{message}");
    assert!(message.contains("part of group g"), "{message}");

    let (code, message) =
        refusal(groups.delete_volume_group_snapshot(delete("node-1/g", &ids[..1]))).await;
    assert_eq!(code, Code::InvalidArgument, "{message}");
    for _ in 0..2 {
        accepted(groups.delete_volume_group_snapshot(delete("node-1/g", &ids))).await;
    }
    let (code, message) = refusal(groups.get_volume_group_snapshot(get("node-1/g", &[]))).await;
    assert_eq!(code, Code::NotFound, "{message}");
    let list = accepted(driver.controller.list_snapshots(v1::ListSnapshotsRequest::default()));
    assert!(list.await.entries.is_empty());
}

#[tokio::test]
async fn codes_are_those_of_the_spec() {
    let (_driver, mut groups) = driver().await;
    accepted(groups.create_volume_group_snapshot(of("g", &["root", "data"]))).await;
    let mut unknown = of("h", &["root"]);
    unknown.parameters = map(&[("template", "debian")]);
    for (request, code, word) in [
        (of("", &["root"]), Code::InvalidArgument, "name"),
        (of("h", &[]), Code::InvalidArgument, "source_volume_ids"),
        (of("h", &["root", ""]), Code::InvalidArgument, "source_volume_ids"),
        (of("h", &["root", "root"]), Code::InvalidArgument, "twice"),
        (unknown, Code::InvalidArgument, "unknown"),
        (of("h", &["root", "none"]), Code::NotFound, "none"),
        (of("g", &["root"]), Code::AlreadyExists, "of other volumes"),
    ] {
        let (has, message) = refusal(groups.create_volume_group_snapshot(request)).await;
        assert_eq!(has, code, "{message}");
        assert!(message.contains(word), "{message}");
    }
    for (id, snapshots, code) in [
        ("", &[][..], Code::InvalidArgument),
        ("node-1/none", &[], Code::NotFound),
        ("node-2/g", &[], Code::NotFound),
        ("node-1/g", &["node-1/g.root"], Code::InvalidArgument),
        ("node-1/g", &["node-1/g.root", "node-1/other"], Code::InvalidArgument),
    ] {
        let (has, message) = refusal(groups.get_volume_group_snapshot(get(id, snapshots))).await;
        assert_eq!(has, code, "{id} {snapshots:?}: {message}");
    }
    let (code, message) =
        refusal(groups.delete_volume_group_snapshot(delete("node-2/g", &[]))).await;
    assert_eq!(code, Code::FailedPrecondition, "{message}");
    for id in ["node-1/none", "nowhere"] {
        accepted(groups.delete_volume_group_snapshot(delete(id, &[]))).await;
    }
}

#[tokio::test]
async fn private_copies_have_no_groups() {
    let environment = Environment::new();
    environment.host.without_snapshot(true);
    let root = environment.directory.path().join("pool");
    let copies = environment.options().fallback(Some(calf::Fallback::Copy));
    let pool = copies.open(root).expect("a pool");
    let server = Server::start(pool, &environment.path("csi.sock")).await.expect("a server");
    let mut groups = GroupControllerClient::new(server.channel().await);
    let capabilities = v1::GroupControllerGetCapabilitiesRequest {};
    let told = accepted(groups.group_controller_get_capabilities(capabilities)).await;
    assert!(told.capabilities.is_empty());
    server.stop().await;
}
