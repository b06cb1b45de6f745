//! Volumes that start from a snapshot or another volume, over CSI, on a simulated machine.

use std::path::PathBuf;

use calf::csi::v1;
use calf::csi::v1::volume_capability::access_mode::Mode;
use calf::csi::v1::volume_content_source::{SnapshotSource, Type, VolumeSource};
use calf::internal::store_size;
use calf::{Key, OvercommitRatio, PoolOptions};
use calf_test_kit::simulated_driver::{
    Driver, NODE, SIZE, accepted, block, create, map, mount, refusal,
};
use calf_test_kit::simulated_pool::{Environment, TEMPLATE_SIZE, put_store, stored_chunk};
use tonic::Code;

fn snapshot(id: &str) -> Option<v1::VolumeContentSource> {
    let source = SnapshotSource { snapshot_id: id.to_owned() };
    Some(v1::VolumeContentSource { r#type: Some(Type::Snapshot(source)) })
}

fn volume(id: &str) -> Option<v1::VolumeContentSource> {
    let source = VolumeSource { volume_id: id.to_owned() };
    Some(v1::VolumeContentSource { r#type: Some(Type::Volume(source)) })
}

/// A request for a volume of `source`, with the parameters of the class of the source.
fn of(source: Option<v1::VolumeContentSource>, name: &str) -> v1::CreateVolumeRequest {
    v1::CreateVolumeRequest { volume_content_source: source, ..create(name) }
}

fn range(required_bytes: i64, limit_bytes: i64) -> Option<v1::CapacityRange> {
    Some(v1::CapacityRange { required_bytes, limit_bytes })
}

fn requisite(node: &str) -> Option<v1::TopologyRequirement> {
    let segments = map(&[("calf.csi.dev/node", node)]);
    Some(v1::TopologyRequirement { requisite: vec![v1::Topology { segments }], preferred: vec![] })
}

async fn take(driver: &mut Driver, volume: &str, name: &str) {
    let request = v1::CreateSnapshotRequest {
        source_volume_id: volume.to_owned(),
        name: name.to_owned(),
        ..Default::default()
    };
    accepted(driver.controller.create_snapshot(request)).await;
}

async fn delete_volume(driver: &mut Driver, id: &str) {
    let request = v1::DeleteVolumeRequest { volume_id: id.to_owned(), ..Default::default() };
    accepted(driver.controller.delete_volume(request)).await;
}

async fn delete_snapshot(driver: &mut Driver, id: &str) {
    let request = v1::DeleteSnapshotRequest { snapshot_id: id.to_owned(), ..Default::default() };
    accepted(driver.controller.delete_snapshot(request)).await;
}

fn cow(environment: &Environment, id: &str) -> PathBuf {
    environment.directory.path().join("pool/volumes").join(Key::of(id).as_str()).join("cow")
}

/// A volume `v` in which one chunk holds 1, with a snapshot `s`; it holds 2 by now.
async fn prepared() -> Driver {
    let mut driver = Driver::start().await;
    driver.create(create("v")).await;
    put_store(&cow(&driver.environment, "v"), &[1]);
    take(&mut driver, "v", "s").await;
    put_store(&cow(&driver.environment, "v"), &[2]);
    driver
}

#[tokio::test]
async fn a_copy_holds_what_its_source_held_and_says_where_it_is_from() {
    let mut driver = prepared().await;
    for (source, name, byte) in [(snapshot("node-1/s"), "a", 1), (volume("v"), "b", 2)] {
        let request = of(source.clone(), name);
        let made = driver.create(request.clone()).await;
        assert_eq!(made.content_source, source);
        assert_eq!(made.capacity_bytes, SIZE);
        assert_eq!(made.volume_context["template"], "debian");
        assert_eq!(made.accessible_topology[0].segments["calf.csi.dev/node"], NODE);
        assert_eq!(stored_chunk(&cow(&driver.environment, name), 0), byte);
        assert_eq!(driver.create(request).await, made);

        let one = v1::ControllerGetVolumeRequest { volume_id: name.to_owned() };
        let one = accepted(driver.controller.controller_get_volume(one)).await.volume;
        assert_eq!(one.as_ref(), Some(&made));
        let list = accepted(driver.controller.list_volumes(v1::ListVolumesRequest::default()));
        let found = list.await.entries.into_iter().filter_map(|it| it.volume);
        assert_eq!(found.filter(|it| it.volume_id == name).collect::<Vec<_>>(), [made]);
    }
    // Where a source is gone, a repeated call still finds its copy, and the copy works.
    delete_snapshot(&mut driver, "node-1/s").await;
    delete_volume(&mut driver, "v").await;
    for (source, name) in [(snapshot("node-1/s"), "a"), (volume("v"), "b")] {
        assert_eq!(driver.create(of(source.clone(), name)).await.content_source, source);
        let stage = driver.stage(name, &block(Mode::SingleNodeWriter));
        accepted(driver.node.node_stage_volume(stage.clone())).await;
        accepted(driver.node.node_unstage_volume(v1::NodeUnstageVolumeRequest {
            volume_id: name.to_owned(),
            staging_target_path: stage.staging_target_path,
        }))
        .await;
        delete_volume(&mut driver, name).await;
    }
    driver.environment.pool().template("debian").expect("a name").remove().expect("unused");
    assert_eq!(driver.environment.host.leftovers(), Vec::<String>::new());
    assert_eq!(driver.environment.volume_directories(), Vec::<String>::new());
}

#[tokio::test]
async fn a_snapshot_with_a_long_name_is_a_source_too() {
    let mut driver = Driver::start().await;
    driver.create(create("v")).await;
    let name = "x".repeat(128);
    take(&mut driver, "v", &name).await;
    let id = format!("node-1//{}", Key::of(&name));
    let made = driver.create(of(snapshot(&id), "a")).await;
    assert_eq!(made.content_source, snapshot(&id));
    delete_snapshot(&mut driver, &id).await;
    assert_eq!(driver.create(of(snapshot(&id), "a")).await, made);
}

#[tokio::test]
async fn sizes_follow_source_request_and_limit() {
    let mut driver = Driver::start().await;
    let grown = v1::CreateVolumeRequest { capacity_range: range(2 * SIZE, 0), ..create("v") };
    driver.create(grown).await;
    take(&mut driver, "v", "s").await;
    for (source, of_what) in [(snapshot("node-1/s"), "snapshot s"), (volume("v"), "volume v")] {
        let mut sized = async |name: &str, required, limit| {
            let capacity_range = range(required, limit);
            let request = v1::CreateVolumeRequest { capacity_range, ..of(source.clone(), name) };
            driver.controller.create_volume(request).await
        };
        for (name, required, limit, expected) in [
            ("same", 0, 0, 2 * SIZE),
            ("less", SIZE, 0, 2 * SIZE),
            ("exact", 2 * SIZE, 2 * SIZE, 2 * SIZE),
            ("more", 5 * SIZE, 0, 5 * SIZE),
        ] {
            let name = format!("{of_what}-{name}");
            let made = sized(&name, required, limit).await.expect("a volume").into_inner();
            assert_eq!(made.volume.expect("one").capacity_bytes, expected, "{name}");
        }
        let (code, message) = refusal(sized("small", 0, SIZE)).await;
        assert_eq!(code, Code::OutOfRange, "{message}");
        assert!(message.contains(of_what), "{message}");
        let (code, _) = refusal(sized(&format!("{of_what}-more"), 6 * SIZE, 0)).await;
        assert_eq!(code, Code::AlreadyExists);
    }
}

#[tokio::test]
async fn a_class_may_name_the_template_or_not_and_other_chunks_do_not_matter() {
    let mut driver = prepared().await;
    driver.environment.import("other", 7);
    for (source, word) in [(snapshot("node-1/s"), "snapshot s"), (volume("v"), "volume v")] {
        let with = |name: &str, parameters: &[(&str, &str)]| v1::CreateVolumeRequest {
            parameters: map(parameters),
            ..of(source.clone(), &format!("{name} of {word}"))
        };
        let bare = driver.create(with("bare", &[])).await;
        assert_eq!(bare.volume_context["template"], "debian");
        let chunky = [("template", "debian"), ("chunkSize", "64Ki"), ("durability", "durable")];
        let made = driver.create(with("chunks", &chunky)).await;
        assert_eq!(made.volume_context["chunkSize"], "4096");
        assert_eq!(made.volume_context["durability"], "durable");
        // Such a class does not contradict the volume.
        let request = v1::ValidateVolumeCapabilitiesRequest {
            volume_id: made.volume_id,
            volume_context: made.volume_context,
            volume_capabilities: vec![block(Mode::SingleNodeWriter)],
            parameters: map(&chunky),
            ..Default::default()
        };
        let told = accepted(driver.controller.validate_volume_capabilities(request)).await;
        assert!(told.confirmed.is_some(), "{}", told.message);

        for (name, parameters, reason) in [
            ("template", [("template", "other")], "is of template debian, not other"),
            ("reserve", [("reserve", "full")], "reserve is set"),
        ] {
            let (code, message) =
                refusal(driver.controller.create_volume(with(name, &parameters))).await;
            assert_eq!(code, Code::InvalidArgument, "{message}");
            assert!(message.contains(reason), "{reason}: {message}");
        }
        let limited = with("limit", &[("cowLimit", "4Ki")]);
        driver.create(limited).await;
    }
    put_store(&cow(&driver.environment, "v"), &[2; 9]);
    let small =
        v1::CreateVolumeRequest { parameters: map(&[("cowLimit", "4Ki")]), ..of(volume("v"), "x") };
    let (code, message) = refusal(driver.controller.create_volume(small)).await;
    assert_eq!(code, Code::OutOfRange, "{message}");
    assert!(message.contains("than what volume v holds, 36 KiB"), "{message}");
}

#[tokio::test]
async fn a_source_that_is_not_here_has_the_code_that_makes_somebody_look_elsewhere() {
    let mut driver = prepared().await;
    let here = |source| v1::CreateVolumeRequest {
        accessibility_requirements: requisite(NODE),
        ..of(source, "new")
    };
    for (request, expected, word) in [
        (of(snapshot("node-2/s"), "new"), Code::ResourceExhausted, "it is on node node-2"),
        (here(snapshot("node-2/s")), Code::ResourceExhausted, "it is on node node-2"),
        // Ids of volumes do not name a node.
        (here(volume("nope")), Code::ResourceExhausted, "another node, or nowhere"),
        (of(volume("nope"), "new"), Code::NotFound, "no such volume"),
        (of(snapshot("node-1/nope"), "new"), Code::NotFound, "no such snapshot"),
        (here(snapshot("node-1/nope")), Code::NotFound, "no such snapshot"),
        (of(snapshot("nope"), "new"), Code::NotFound, "no such snapshot"),
        (of(snapshot(""), "new"), Code::InvalidArgument, "snapshot_id is required"),
        (of(volume(""), "new"), Code::InvalidArgument, "volume_id is required"),
        (of(snapshot("a\nb"), "new"), Code::InvalidArgument, "snapshot_id"),
        (of(volume("new"), "new"), Code::NotFound, "no such volume"),
    ] {
        let (code, message) = refusal(driver.controller.create_volume(request)).await;
        assert_eq!(code, expected, "{message}");
        assert!(message.contains(word), "{word}: {message}");
    }
    assert_eq!(driver.environment.volume_directories().len(), 1);
    assert_eq!(driver.create(here(volume("v"))).await.content_source, volume("v"));
}

#[tokio::test]
async fn the_same_name_with_another_source_is_taken() {
    let mut driver = prepared().await;
    take(&mut driver, "v", "t").await;
    driver.create(create("w")).await;
    driver.create(of(snapshot("node-1/s"), "of-snapshot")).await;
    driver.create(of(volume("v"), "of-volume")).await;
    driver.create(create("of-template")).await;
    let sources = [None, snapshot("node-1/s"), snapshot("node-1/t"), volume("v"), volume("w")];
    for (name, own) in [("of-template", 0), ("of-snapshot", 1), ("of-volume", 3)] {
        for (n, source) in sources.iter().enumerate() {
            let made = driver.controller.create_volume(of(source.clone(), name)).await;
            match n == own {
                true => drop(made.expect("it is the same")),
                false => assert_eq!(made.expect_err(name).code(), Code::AlreadyExists, "{n}"),
            }
        }
    }
}

#[tokio::test]
async fn the_access_that_its_template_does_not_allow_is_refused() {
    let mut driver = prepared().await;
    for source in [snapshot("node-1/s"), volume("v")] {
        let request = v1::CreateVolumeRequest {
            volume_capabilities: vec![mount("xfs", Mode::SingleNodeWriter)],
            ..of(source, "new")
        };
        let (code, message) = refusal(driver.controller.create_volume(request)).await;
        assert_eq!(code, Code::InvalidArgument, "{message}");
        assert!(message.contains("fs_type"), "{message}");
    }
}

#[tokio::test]
async fn a_growth_that_does_not_fit_is_refused_before_the_copy_is_made() {
    let mut driver = Driver::start().await;
    driver.environment.import_growing("growing");
    driver.environment.host.set_free(1 << 40);
    let class = |name: &str| v1::CreateVolumeRequest {
        volume_capabilities: vec![mount("ext4", Mode::SingleNodeWriter)],
        parameters: map(&[("template", "growing"), ("cowLimit", "1Mi")]),
        ..create(name)
    };
    let small = driver.create(class("v")).await;
    take(&mut driver, "v", "s").await;
    for source in [snapshot("node-1/s"), volume("v")] {
        let sized = |size| v1::CreateVolumeRequest {
            capacity_range: range(size, 0),
            volume_content_source: source.clone(),
            ..class("new")
        };
        let (code, message) = refusal(driver.controller.create_volume(sized(15 << 40))).await;
        assert_eq!(code, Code::OutOfRange, "{message}");
        assert!(message.contains("cowLimit of 1 MiB"), "{message}");
        driver.create(sized(small.capacity_bytes)).await;
        delete_volume(&mut driver, "new").await;
    }
}

#[tokio::test]
async fn the_overcommit_ratio_counts_copies_and_snapshots() {
    let environment = Environment::new();
    environment.host.set_free(PoolOptions::DEFAULT_RESERVE + store_size(TEMPLATE_SIZE, None, 4096));
    let ratio = OvercommitRatio::new(2.0).expect("a ratio");
    let pool = environment.options().overcommit_ratio(ratio);
    let pool = pool.open(environment.directory.path().join("pool")).expect("a pool");
    let mut driver = Driver::start_on(environment, pool).await;
    driver.create(create("v")).await;
    take(&mut driver, "v", "s").await;
    driver.create(of(snapshot("node-1/s"), "a")).await;
    for source in [snapshot("node-1/s"), volume("v")] {
        let (code, message) = refusal(driver.controller.create_volume(of(source, "b"))).await;
        assert_eq!(code, Code::ResourceExhausted, "{message}");
        assert!(message.contains("--overcommit"), "{message}");
    }
    assert_eq!(driver.environment.volume_directories().len(), 2);
}

#[tokio::test]
async fn a_volume_in_use_is_cloned_whether_blocks_can_be_shared_or_not() {
    let mut driver = prepared().await;
    let pool = driver.environment.pool();
    pool.volume("v").and_then(|it| it.activate()).expect("activate");
    driver.create(of(volume("v"), "live")).await;
    driver.environment.host.without_reflink(true);
    driver.create(of(volume("v"), "copied")).await;
    pool.volume("v").and_then(|it| it.deactivate()).expect("deactivate");
    driver.create(of(volume("v"), "new")).await;
}
