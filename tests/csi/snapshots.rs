//! Snapshots over CSI, on a simulated machine: what a call makes, finds, lists and refuses.

use std::collections::BTreeSet;
use std::fs;

use calf::csi::v1;
use calf::csi::v1::controller_service_capability::{Type, rpc};
use calf::csi::v1::volume_capability::access_mode::Mode;
use calf::sys::SnapshotUsage;
use calf::{Consistency, Fallback, Key, SnapshotSpec};
use calf_test_kit::simulated_driver::{
    Driver, NODE, SIZE, Server, accepted, create, map, mount, refusal,
};
use calf_test_kit::simulated_pool::Environment;
use tonic::Code;

fn of(volume: &str, name: &str) -> v1::CreateSnapshotRequest {
    v1::CreateSnapshotRequest {
        source_volume_id: volume.to_owned(),
        name: name.to_owned(),
        ..Default::default()
    }
}

fn delete(id: &str) -> v1::DeleteSnapshotRequest {
    v1::DeleteSnapshotRequest { snapshot_id: id.to_owned(), ..Default::default() }
}

fn get(id: &str) -> v1::GetSnapshotRequest {
    v1::GetSnapshotRequest { snapshot_id: id.to_owned(), ..Default::default() }
}

fn elsewhere() -> Option<v1::TopologyRequirement> {
    let segments = map(&[("calf.csi.dev/node", "node-2")]);
    Some(v1::TopologyRequirement { requisite: vec![v1::Topology { segments }], preferred: vec![] })
}

async fn take(driver: &mut Driver, volume: &str, name: &str) -> v1::Snapshot {
    accepted(driver.controller.create_snapshot(of(volume, name))).await.snapshot.expect("one")
}

/// The ids of the snapshots that a list has.
async fn listed(driver: &mut Driver, request: v1::ListSnapshotsRequest) -> Vec<String> {
    let page = accepted(driver.controller.list_snapshots(request)).await;
    page.entries.into_iter().map(|it| it.snapshot.expect("one").snapshot_id).collect()
}

// === what a driver offers ===

#[tokio::test]
async fn snapshots_are_offered_where_volumes_have_stores() {
    let environment = Environment::new();
    let capabilities = async |server: &Server| {
        let request = v1::ControllerGetCapabilitiesRequest {};
        let told = accepted(server.controller().await.controller_get_capabilities(request)).await;
        let kind = |it: v1::ControllerServiceCapability| match it.r#type {
            Some(Type::Rpc(rpc)) => rpc.r#type(),
            None => rpc::Type::Unknown,
        };
        told.capabilities.into_iter().map(kind).collect::<Vec<_>>()
    };
    let of_snapshots = [
        rpc::Type::CreateDeleteSnapshot,
        rpc::Type::ListSnapshots,
        rpc::Type::GetSnapshot,
        rpc::Type::CloneVolume,
    ];
    let server = Server::start(environment.pool(), &environment.path("csi.sock")).await;
    let server = server.expect("a server");
    let told = capabilities(&server).await;
    assert!(of_snapshots.iter().all(|kind| told.contains(kind)), "{told:?}");
    server.stop().await;

    environment.host.without_snapshot(true);
    let root = environment.directory.path().join("pool");
    let copies = environment.options().fallback(Some(Fallback::Copy)).open(root).expect("a pool");
    let server = Server::start(copies, &environment.path("csi.sock")).await.expect("a server");
    let told = capabilities(&server).await;
    assert!(told.contains(&rpc::Type::CreateDeleteVolume));
    assert!(!of_snapshots.iter().any(|kind| told.contains(kind)), "{told:?}");
    let mut controller = server.controller().await;
    accepted(controller.create_volume(create("v"))).await;
    let (code, message) = refusal(controller.create_snapshot(of("v", "s"))).await;
    assert_eq!(code, Code::FailedPrecondition, "{message}");
    assert!(message.contains("private copy"), "{message}");
    server.stop().await;
}

// === life ===

#[tokio::test]
async fn a_snapshot_says_what_it_is_and_outlives_its_volume() {
    let mut driver = Driver::start().await;
    driver.create(create("v")).await;
    let snapshot = take(&mut driver, "v", "s").await;
    assert_eq!(snapshot.snapshot_id, "node-1/s");
    assert_eq!((snapshot.size_bytes, snapshot.source_volume_id.as_str()), (SIZE, "v"));
    assert!(snapshot.ready_to_use && snapshot.group_snapshot_id.is_empty());
    assert_eq!(snapshot.accessible_topology[0].segments["calf.csi.dev/node"], NODE);
    let created = snapshot.creation_time.expect("a time");
    let record = driver.environment.pool().snapshot("s").and_then(|it| it.status()).expect("one");
    assert_eq!(created.seconds, record.record.created.as_second());
    assert_eq!(created.nanos, record.record.created.subsec_nanosecond());

    // The same call again, and each other way to it, tell the same, with and without the volume.
    for _ in 0..2 {
        assert_eq!(take(&mut driver, "v", "s").await, snapshot);
        let one = accepted(driver.controller.get_snapshot(get("node-1/s"))).await;
        assert_eq!(one.snapshot, Some(snapshot.clone()));
        let all = accepted(driver.controller.list_snapshots(v1::ListSnapshotsRequest::default()));
        let all: Vec<_> = all.await.entries.into_iter().filter_map(|it| it.snapshot).collect();
        assert_eq!(all, std::slice::from_ref(&snapshot));
        let request = v1::DeleteVolumeRequest { volume_id: "v".into(), ..Default::default() };
        accepted(driver.controller.delete_volume(request)).await;
    }
    // Its template stays.
    let error = driver.environment.pool().template("debian").expect("a name").remove();
    assert!(error.expect_err("in use").report().contains("1 snapshot uses it: s"));

    for _ in 0..2 {
        accepted(driver.controller.delete_snapshot(delete("node-1/s"))).await;
    }
    let (code, message) = refusal(driver.controller.get_snapshot(get("node-1/s"))).await;
    assert_eq!(code, Code::NotFound, "{message}");
    assert_eq!(listed(&mut driver, v1::ListSnapshotsRequest::default()).await, [""; 0]);
    let left = driver.environment.directory.path().join("pool/snapshots");
    assert_eq!(fs::read_dir(left).map_or(0, Iterator::count), 0);
}

#[tokio::test]
async fn every_name_has_an_id_that_leads_back_to_it() {
    let mut driver = Driver::start().await;
    driver.create(create("v")).await;
    let long = "x".repeat(128);
    for name in ["a/b", "/a", "ünïcode name", &long, "//0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f"] {
        let snapshot = take(&mut driver, "v", name).await;
        assert!(snapshot.snapshot_id.len() <= 128, "{}", snapshot.snapshot_id);
        assert_eq!(take(&mut driver, "v", name).await, snapshot);
        let one = accepted(driver.controller.get_snapshot(get(&snapshot.snapshot_id))).await;
        assert_eq!(one.snapshot.as_ref(), Some(&snapshot));
        let by_id = v1::ListSnapshotsRequest {
            snapshot_id: snapshot.snapshot_id.clone(),
            ..Default::default()
        };
        assert_eq!(listed(&mut driver, by_id).await, std::slice::from_ref(&snapshot.snapshot_id));
        accepted(driver.controller.delete_snapshot(delete(&snapshot.snapshot_id))).await;
        let pool = driver.environment.pool();
        assert!(pool.snapshot(name).expect("a name").status().is_err(), "{name}");
    }
}

#[tokio::test]
async fn a_class_chooses_the_consistency() {
    let mut driver = Driver::start().await;
    driver.in_use("v", &mount("", Mode::SingleNodeWriter)).await;
    let with = |name: &str, value: &str| v1::CreateSnapshotRequest {
        parameters: map(&[("consistency", value), ("csi.storage.k8s.io/volumesnapshot/name", "x")]),
        ..of("v", name)
    };
    take(&mut driver, "v", "default").await;
    for (name, value) in [("crash", "crash"), ("frozen", "file-system")] {
        accepted(driver.controller.create_snapshot(with(name, value))).await;
    }
    let pool = driver.environment.pool();
    for (name, expected) in [
        ("default", Consistency::FileSystem),
        ("crash", Consistency::Crash),
        ("frozen", Consistency::FileSystem),
    ] {
        let status = pool.snapshot(name).and_then(|it| it.status()).expect("one");
        assert_eq!(status.record.consistency, expected, "{name}");
    }
    let (code, message) =
        refusal(driver.controller.create_snapshot(with("crash", "file-system"))).await;
    assert_eq!(code, Code::AlreadyExists, "{message}");

    // A block volume has no file system that calf could freeze.
    driver.create(create("idle")).await;
    let request =
        v1::CreateSnapshotRequest { source_volume_id: "idle".into(), ..with("i", "file-system") };
    let (code, message) = refusal(driver.controller.create_snapshot(request)).await;
    assert_eq!(code, Code::FailedPrecondition, "{message}");
    assert!(message.contains("fsfreeze"), "{message}");
}

// === lists ===

#[tokio::test]
async fn snapshots_are_listed_in_pages_and_by_what_is_asked_for() {
    let mut driver = Driver::start().await;
    let mut expected = BTreeSet::new();
    for volume in ["v", "w"] {
        driver.create(create(volume)).await;
        for n in 0..4 {
            expected.insert(take(&mut driver, volume, &format!("{volume}-{n}")).await.snapshot_id);
        }
    }
    let of_volume = |volume: &str| v1::ListSnapshotsRequest {
        source_volume_id: volume.to_owned(),
        ..Default::default()
    };
    for (filter, count) in [("", 8), ("w", 4), ("nope", 0)] {
        for max_entries in [1, 3, 0] {
            let mut found = BTreeSet::new();
            let mut starting_token = String::new();
            loop {
                let request =
                    v1::ListSnapshotsRequest { max_entries, starting_token, ..of_volume(filter) };
                let page = accepted(driver.controller.list_snapshots(request)).await;
                assert!(max_entries == 0 || page.entries.len() <= max_entries as usize);
                for entry in page.entries {
                    let snapshot = entry.snapshot.expect("one");
                    assert!(filter.is_empty() || snapshot.source_volume_id == filter);
                    assert!(found.insert(snapshot.snapshot_id));
                }
                starting_token = page.next_token;
                if starting_token.is_empty() {
                    break;
                }
            }
            assert_eq!(found.len(), count, "{filter} {max_entries}");
            assert!(found.is_subset(&expected));
        }
    }
    for (id, volume, found) in [
        ("node-1/v-0", "", 1),
        ("node-1/v-0", "v", 1),
        ("node-1/v-0", "w", 0),
        ("node-1/nope", "", 0),
        ("node-2/v-0", "", 0),
        ("v-0", "", 0),
        ("node-1//zz", "", 0),
    ] {
        let request = v1::ListSnapshotsRequest { snapshot_id: id.to_owned(), ..of_volume(volume) };
        assert_eq!(listed(&mut driver, request).await.len(), found, "{id} of {volume:?}");
    }
    // A damaged record does not hide the others; the call for that snapshot tells of it.
    let record = driver.environment.directory.path().join("pool/snapshots");
    let record = record.join(Key::of("v-0").as_str()).join("snapshot.json");
    fs::write(record, "{").expect("write");
    assert_eq!(listed(&mut driver, of_volume("v")).await.len(), 3);
    let (code, message) = refusal(driver.controller.get_snapshot(get("node-1/v-0"))).await;
    assert_eq!(code, Code::DataLoss, "{message}");
    let (code, message) = refusal(driver.controller.delete_snapshot(delete("node-1/v-0"))).await;
    assert_eq!(code, Code::DataLoss, "{message}");
}

#[tokio::test]
async fn what_a_fork_has_under_way_is_no_snapshot() {
    let mut driver = Driver::start().await;
    let key = Key::of("half-made");
    let directory = driver.environment.directory.path().join("pool/snapshots").join(key.as_str());
    fs::create_dir_all(directory).expect("a directory");
    assert_eq!(listed(&mut driver, v1::ListSnapshotsRequest::default()).await, [""; 0]);
    let (code, _) = refusal(driver.controller.get_snapshot(get("node-1/half-made"))).await;
    assert_eq!(code, Code::NotFound);
}

// === refusals ===

#[tokio::test]
async fn each_refusal_has_its_code_and_names_its_reason() {
    let mut driver = Driver::start().await;
    for volume in ["v", "w"] {
        driver.create(create(volume)).await;
    }
    take(&mut driver, "v", "taken").await;
    type Change = fn(&mut v1::CreateSnapshotRequest);
    let changes: [(Code, &str, Change); 11] = [
        (Code::InvalidArgument, "name is required", |r| r.name.clear()),
        (Code::InvalidArgument, "name", |r| r.name = "x".repeat(129)),
        (Code::InvalidArgument, "name", |r| r.name = "a\nb".into()),
        (Code::InvalidArgument, "source_volume_id is required", |r| r.source_volume_id.clear()),
        (Code::InvalidArgument, "source_volume_id", |r| r.source_volume_id = "a\0".into()),
        (Code::InvalidArgument, "parameters \"consistent\"", |r| {
            r.parameters = map(&[("consistent", "crash")]);
        }),
        (Code::InvalidArgument, "parameters.consistency \"maybe\"", |r| {
            r.parameters = map(&[("consistency", "maybe")]);
        }),
        (Code::NotFound, "no such volume", |r| r.source_volume_id = "nope".into()),
        (Code::AlreadyExists, "of volume v", |r| {
            (r.name, r.source_volume_id) = ("taken".into(), "w".into());
        }),
        (Code::AlreadyExists, "of volume v", |r| {
            (r.name, r.source_volume_id) = ("taken".into(), "nope".into());
        }),
        (Code::ResourceExhausted, "accessibility_requirements", |r| {
            r.accessibility_requirements = elsewhere();
        }),
    ];
    for (expected, word, change) in changes {
        let mut request = of("v", "new");
        change(&mut request);
        let (code, message) = refusal(driver.controller.create_snapshot(request)).await;
        assert_eq!(code, expected, "{word}: {message}");
        assert!(message.contains(word), "{word}: {message}");
    }

    let bad_token = v1::ListSnapshotsRequest { starting_token: "x".into(), ..Default::default() };
    let (code, _) = refusal(driver.controller.list_snapshots(bad_token)).await;
    assert_eq!(code, Code::Aborted);
    let negative = v1::ListSnapshotsRequest { max_entries: -1, ..Default::default() };
    let (code, _) = refusal(driver.controller.list_snapshots(negative)).await;
    assert_eq!(code, Code::InvalidArgument);

    for bad in ["", "a\nb"] {
        let (code, message) = refusal(driver.controller.delete_snapshot(delete(bad))).await;
        assert_eq!(code, Code::InvalidArgument, "{message}");
        let (code, message) = refusal(driver.controller.get_snapshot(get(bad))).await;
        assert_eq!(code, Code::InvalidArgument, "{message}");
    }
    for unknown in ["nope", "node-1/nope", "node-1//nope", "node-2/taken"] {
        let (code, message) = refusal(driver.controller.get_snapshot(get(unknown))).await;
        assert_eq!(code, Code::NotFound, "{message}");
    }
    for gone in ["nope", "node-1/nope", "node-1//nope"] {
        accepted(driver.controller.delete_snapshot(delete(gone))).await;
    }
    // Success would hide that the other node still has it.
    let (code, message) = refusal(driver.controller.delete_snapshot(delete("node-2/taken"))).await;
    assert_eq!(code, Code::FailedPrecondition, "{message}");
    assert!(message.contains("node node-2"), "{message}");
    assert_eq!(listed(&mut driver, v1::ListSnapshotsRequest::default()).await, ["node-1/taken"]);
}

#[tokio::test]
async fn a_volume_without_sound_content_and_a_full_pool_have_no_snapshot() {
    let mut driver = Driver::start().await;
    driver.create(create("v")).await;
    let pool = driver.environment.pool();
    let device = pool.volume("v").and_then(|it| it.activate()).expect("activate").number();
    let host = driver.environment.host.clone();
    host.set_usage(device, SnapshotUsage::Invalid);
    let (code, message) = refusal(driver.controller.create_snapshot(of("v", "s"))).await;
    assert_eq!(code, Code::ResourceExhausted, "{message}");
    assert!(message.contains("calf volume recover v"), "{message}");
    host.set_usage(device, SnapshotUsage::Valid { used: 8192, total: 1, metadata: 8192 });
    host.set_free(0);
    let (code, message) = refusal(driver.controller.create_snapshot(of("v", "s"))).await;
    assert_eq!(code, Code::ResourceExhausted, "{message}");
    assert_eq!(listed(&mut driver, v1::ListSnapshotsRequest::default()).await, [""; 0]);
}

#[tokio::test]
async fn a_snapshot_of_the_command_is_one_of_the_driver_too() {
    let mut driver = Driver::start().await;
    driver.create(create("v")).await;
    let pool = driver.environment.pool();
    let volume = pool.volume("v").expect("an id");
    volume.take_snapshot(&SnapshotSpec::new("warm")).expect("a snapshot");
    let by_id =
        v1::ListSnapshotsRequest { snapshot_id: "node-1/warm".into(), ..Default::default() };
    assert_eq!(listed(&mut driver, by_id).await, ["node-1/warm"]);
}
