//! Volumes over CSI, on a simulated machine: their life cycle and their sizes.

use calf::csi::v1;
use calf::csi::v1::volume_capability::access_mode::Mode;
use calf::sys::fake::Failure;
use calf_test_kit::simulated_driver::{
    Driver, NODE, SIZE, Server, accepted, block, create, map, mount, refusal, sized,
};
use calf_test_kit::simulated_pool::{Environment, ext4_image, spec};
use tonic::Code;

// === life ===

#[tokio::test]
async fn a_volume_lives_and_leaves_nothing() {
    let mut driver = Driver::start().await;
    for capability in [block(Mode::SingleNodeWriter), mount("ext4", Mode::SingleNodeMultiWriter)] {
        let id = "volume".to_owned();
        for _ in 0..2 {
            let volume = driver.create(create(&id)).await;
            assert_eq!(volume.volume_id, id);
            assert_eq!(volume.capacity_bytes, SIZE);
            assert_eq!(volume.volume_context["template"], "debian");
            assert!(volume.volume_context.keys().all(|key| !key.contains('/')));
            let node = &volume.accessible_topology[0].segments["calf.csi.dev/node"];
            assert_eq!(node, NODE);
        }
        for _ in 0..2 {
            let request = driver.stage(&id, &capability);
            accepted(driver.node.node_stage_volume(request)).await;
        }
        for _ in 0..2 {
            let request = driver.publish(&id, "target", &capability);
            accepted(driver.node.node_publish_volume(request)).await;
        }
        for _ in 0..2 {
            let target_path = driver.path("target");
            let request = v1::NodeUnpublishVolumeRequest { volume_id: id.clone(), target_path };
            accepted(driver.node.node_unpublish_volume(request)).await;
        }
        assert!(!driver.environment.path("target").exists());
        for _ in 0..2 {
            let staging_target_path = driver.path("staging");
            let request =
                v1::NodeUnstageVolumeRequest { volume_id: id.clone(), staging_target_path };
            accepted(driver.node.node_unstage_volume(request)).await;
        }
        for _ in 0..2 {
            let request = v1::DeleteVolumeRequest { volume_id: id.clone(), ..Default::default() };
            accepted(driver.controller.delete_volume(request)).await;
        }
        assert_eq!(driver.environment.host.leftovers(), Vec::<String>::new());
        assert_eq!(driver.environment.volume_directories(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn an_inline_volume_comes_with_publish_and_goes_with_unpublish() {
    let mut driver = Driver::start().await;
    let id = format!("csi-{}", "0f".repeat(32));
    let mut request = driver.publish(&id, "target", &mount("", Mode::SingleNodeWriter));
    request.staging_target_path.clear();
    request.volume_context = map(&[
        ("csi.storage.k8s.io/ephemeral", "true"),
        ("csi.storage.k8s.io/pod.name", "pod"),
        ("csi.storage.k8s.io/serviceAccount.tokens", "{}"),
        ("template", "debian"),
        ("size", "2Mi"),
        ("durability", "durable"),
    ]);
    for _ in 0..2 {
        accepted(driver.node.node_publish_volume(request.clone())).await;
    }
    let record = driver
        .environment
        .pool()
        .volume(&id)
        .and_then(|volume| volume.status())
        .expect("the volume")
        .record;
    assert_eq!((record.size, record.inline), (2 << 20, true));
    let (code, _) = refusal(driver.controller.create_volume(create(&id))).await;
    assert_eq!(code, Code::AlreadyExists);
    let unpublish =
        v1::NodeUnpublishVolumeRequest { volume_id: id, target_path: request.target_path };
    for _ in 0..2 {
        accepted(driver.node.node_unpublish_volume(unpublish.clone())).await;
    }
    assert_eq!(driver.environment.host.leftovers(), Vec::<String>::new());
    assert_eq!(driver.environment.volume_directories(), Vec::<String>::new());
}

#[tokio::test]
async fn access_modes_are_kept() {
    let mut driver = Driver::start().await;
    let single = block(Mode::SingleNodeSingleWriter);
    driver.in_use("single", &single).await;
    let again = driver.publish("single", "target", &single);
    accepted(driver.node.node_publish_volume(again)).await;
    let other = driver.publish("single", "other", &single);
    let (code, message) = refusal(driver.node.node_publish_volume(other)).await;
    assert_eq!(code, Code::FailedPrecondition, "{message}");

    // Published first, then only staged.
    let request = v1::DeleteVolumeRequest { volume_id: "single".into(), ..Default::default() };
    let (code, message) = refusal(driver.controller.delete_volume(request.clone())).await;
    assert_eq!(code, Code::FailedPrecondition, "{message}");
    accepted(driver.node.node_unpublish_volume(v1::NodeUnpublishVolumeRequest {
        volume_id: "single".into(),
        target_path: driver.path("target"),
    }))
    .await;
    let (code, message) = refusal(driver.controller.delete_volume(request)).await;
    assert_eq!(code, Code::FailedPrecondition, "{message}");
}

#[tokio::test]
async fn another_use_of_a_target_is_refused() {
    let mut driver = Driver::start().await;
    let capability = block(Mode::SingleNodeMultiWriter);
    driver.in_use("volume", &capability).await;
    let mut request = driver.publish("volume", "target", &capability);
    request.readonly = true;
    let (code, message) = refusal(driver.node.node_publish_volume(request)).await;
    assert_eq!(code, Code::AlreadyExists, "{message}");
    let second = driver.publish("volume", "other", &capability);
    accepted(driver.node.node_publish_volume(second)).await;
}

// === sizes ===

#[tokio::test]
async fn sizes_follow_template_request_and_limit() {
    let mut driver = Driver::start().await;
    for (name, required, limit, size) in [
        ("a", 0, 0, SIZE),
        ("b", 1, 0, SIZE),
        ("c", SIZE + 1, 0, SIZE + 4096),
        ("d", 10 << 30, 10 << 30, 10 << 30),
    ] {
        assert_eq!(driver.create(sized(name, required, limit)).await.capacity_bytes, size);
    }
    // The same name again is the same volume while its size is in the range.
    assert_eq!(driver.create(sized("d", 1 << 30, 0)).await.capacity_bytes, 10 << 30);
    let (code, message) =
        refusal(driver.controller.create_volume(sized("d", 20 << 30, 20 << 30))).await;
    assert_eq!(code, Code::AlreadyExists, "{message}");
    let mut other = create("d");
    other.parameters.insert("durability".into(), "durable".into());
    let (code, _) = refusal(driver.controller.create_volume(other)).await;
    assert_eq!(code, Code::AlreadyExists);
    let mut other = create("d");
    other.volume_capabilities = vec![mount("xfs", Mode::SingleNodeWriter)];
    let (code, _) = refusal(driver.controller.create_volume(other)).await;
    assert_eq!(code, Code::AlreadyExists);
}

#[tokio::test]
async fn no_volume_is_larger_than_the_administrator_allows() {
    const BOUND: i64 = 8 * SIZE;
    let environment = Environment::new();
    let options = environment.options().max_volume_size(BOUND as u64);
    let pool = options.open(environment.directory.path().join("pool")).expect("a pool");
    let mut driver = Driver::start_on(environment, pool).await;
    let too_large = |(code, message): (Code, String)| {
        assert_eq!(code, Code::OutOfRange, "{message}");
        assert!(message.contains("more than volumes may have here, 8 MiB"), "{message}");
    };

    too_large(refusal(driver.controller.create_volume(sized("large", BOUND + 1, 0))).await);
    driver.create(sized("largest", BOUND, 0)).await;
    let mut inline = driver.publish("inline", "inline", &mount("", Mode::SingleNodeWriter));
    let ephemeral = ("csi.storage.k8s.io/ephemeral", "true");
    inline.volume_context = map(&[ephemeral, ("template", "debian"), ("size", "9Mi")]);
    too_large(refusal(driver.node.node_publish_volume(inline)).await);

    driver.in_use("volume", &block(Mode::SingleNodeWriter)).await;
    let mut expand = v1::NodeExpandVolumeRequest {
        volume_id: "volume".into(),
        volume_path: driver.path("target"),
        capacity_range: Some(v1::CapacityRange { required_bytes: BOUND + 1, limit_bytes: 0 }),
        ..Default::default()
    };
    too_large(refusal(driver.node.node_expand_volume(expand.clone())).await);
    expand.capacity_range = Some(v1::CapacityRange { required_bytes: BOUND, limit_bytes: 0 });
    accepted(driver.node.node_expand_volume(expand)).await;

    let request =
        v1::GetCapacityRequest { parameters: map(&[("template", "debian")]), ..Default::default() };
    let capacity = accepted(driver.controller.get_capacity(request)).await;
    assert_eq!(capacity.maximum_volume_size, Some(BOUND));
    assert_eq!(driver.environment.volume_directories().len(), 2, "nothing of the others");
}

#[tokio::test]
async fn a_claim_whose_file_system_could_not_grow_is_refused_at_once() {
    let mut driver = Driver::start().await;
    driver.environment.import_growing("growing");
    let limited = |name, capability| v1::CreateVolumeRequest {
        parameters: map(&[("template", "growing"), ("cowLimit", "1Mi")]),
        volume_capabilities: vec![capability],
        ..sized(name, 100 << 30, 0)
    };
    let writer = limited("writer", mount("", Mode::SingleNodeWriter));
    let (code, message) = refusal(driver.controller.create_volume(writer.clone())).await;
    assert_eq!(code, Code::OutOfRange, "{message}");
    assert!(message.contains("cowLimit of 1 MiB"), "{message}");
    assert_eq!(driver.environment.volume_directories(), Vec::<String>::new());

    driver.create(limited("block", block(Mode::SingleNodeWriter))).await;
    driver.create(limited("reader", mount("", Mode::SingleNodeReaderOnly))).await;
    let mut kata = limited("kata", mount("", Mode::SingleNodeWriter));
    kata.parameters.insert("kataDirectVolume".into(), "true".into());
    driver.create(kata).await;
    let mut roomy = writer;
    roomy.parameters.insert("cowLimit".into(), "1Gi".into());
    driver.create(roomy).await;
}

#[tokio::test]
async fn mount_access_that_staging_would_refuse_is_refused_at_once() {
    let mut driver = Driver::start().await;
    // Bytes of the superblock: multi-mount protection, a mark as read-only, mount options.
    for (name, at, bytes, words) in [
        ("protected", 0x61, &[1][..], "mmp"),
        ("marked", 0x65, &[0x10], "marked as read-only"),
        ("opinionated", 0x200, b"errors=panic", "errors=panic"),
    ] {
        let mut image = ext4_image(0);
        image[1024 + at..][..bytes.len()].copy_from_slice(bytes);
        driver.environment.import_image(name, &image);
        let asked = |capability| v1::CreateVolumeRequest {
            parameters: map(&[("template", name)]),
            volume_capabilities: vec![capability],
            ..create(name)
        };
        let writer = mount("", Mode::SingleNodeWriter);
        let (code, message) = refusal(driver.controller.create_volume(asked(writer.clone()))).await;
        assert_eq!(code, Code::FailedPrecondition, "{message}");
        assert!(message.contains(words) && message.contains("tune2fs"), "{message}");
        let reader = mount("", Mode::SingleNodeReaderOnly);
        assert_eq!(
            refusal(driver.controller.create_volume(asked(reader))).await,
            (code, message.clone())
        );

        let capacity = |capability, kata| v1::GetCapacityRequest {
            volume_capabilities: vec![capability],
            parameters: map(&[("template", name), ("kataDirectVolume", kata)]),
            ..Default::default()
        };
        for (capability, kata, fits) in [
            (writer.clone(), "false", false),
            (writer.clone(), "true", true),
            (block(Mode::SingleNodeWriter), "false", true),
        ] {
            let found = accepted(driver.controller.get_capacity(capacity(capability, kata))).await;
            assert_eq!(found.available_capacity > 0, fits, "{name} {kata}");
        }

        // What staging says of a volume that was made for block access.
        driver.create(asked(block(Mode::SingleNodeWriter))).await;
        let question = v1::ValidateVolumeCapabilitiesRequest {
            volume_id: name.to_owned(),
            volume_capabilities: vec![writer.clone()],
            ..Default::default()
        };
        let answer = accepted(driver.controller.validate_volume_capabilities(question)).await;
        let staged = refusal(driver.node.node_stage_volume(driver.stage(name, &writer))).await;
        assert_eq!((answer.confirmed, &answer.message), (None, &staged.1));
        let of_template = message.replace(&format!("template {name}"), &format!("volume {name}"));
        assert_eq!(staged, (code, of_template));
    }
}

#[tokio::test]
async fn a_claim_on_a_file_system_that_linux_does_not_grow_is_refused_at_once() {
    let mut driver = Driver::start().await;
    let mut image = ext4_image(0);
    // sparse_super2
    image[1024 + 0x5d] = 2;
    driver.environment.import_image("rigid", &image);
    let asked = |name, size, capability| v1::CreateVolumeRequest {
        parameters: map(&[("template", "rigid")]),
        volume_capabilities: vec![capability],
        ..sized(name, size, 0)
    };
    let writer = mount("", Mode::SingleNodeWriter);
    let larger = asked("larger", 2 * SIZE, writer.clone());
    let (code, message) = refusal(driver.controller.create_volume(larger)).await;
    assert_eq!(code, Code::FailedPrecondition, "{message}");
    assert!(message.contains("sparse_super2"), "{message}");
    driver.create(asked("same", SIZE, writer)).await;
    driver.create(asked("block", 2 * SIZE, block(Mode::SingleNodeWriter))).await;
}

#[tokio::test]
async fn volumes_grow_and_never_shrink() {
    let mut driver = Driver::start().await;
    driver.in_use("volume", &mount("", Mode::SingleNodeWriter)).await;
    let expand = |volume_path, required_bytes| v1::NodeExpandVolumeRequest {
        volume_id: "volume".into(),
        volume_path,
        capacity_range: Some(v1::CapacityRange { required_bytes, limit_bytes: 0 }),
        ..Default::default()
    };
    for (path, required, size) in [
        ("staging", 2 * SIZE, 2 * SIZE),
        ("staging", 0, 2 * SIZE),
        ("target", SIZE, 2 * SIZE),
        ("target", 4 * SIZE, 4 * SIZE),
    ] {
        let request = expand(driver.path(path), required);
        let response = accepted(driver.node.node_expand_volume(request)).await;
        assert_eq!(response.capacity_bytes, size, "{path}");
    }
    // A volume that has grown still satisfies the original request.
    assert_eq!(driver.create(sized("volume", SIZE, 0)).await.capacity_bytes, 4 * SIZE);
}

#[tokio::test]
async fn a_growth_that_failed_half_way_is_completed_by_the_next_call() {
    let mut driver = Driver::start().await;
    driver.in_use("volume", &block(Mode::SingleNodeWriter)).await;
    let host = driver.environment.host.clone();
    let mut size = SIZE;
    for call in 1.. {
        size += SIZE;
        let request = v1::NodeExpandVolumeRequest {
            volume_id: "volume".into(),
            volume_path: driver.path("target"),
            capacity_range: Some(v1::CapacityRange { required_bytes: size, limit_bytes: 0 }),
            ..Default::default()
        };
        host.fail_at(call, Failure::ErrorBefore);
        let first = driver.node.node_expand_volume(request.clone()).await;
        if !host.heal() {
            first.expect("no call failed");
            assert!(call > 5, "the growth did not run");
            return;
        }
        accepted(driver.node.node_expand_volume(request)).await;
        let sizes: Vec<u64> = host.sizes().into_iter().map(|(_, size)| size).collect();
        assert_eq!(sizes, [size as u64], "after a failure at call {call}");
    }
}

/// Nobody else counts them: a pod's author could fill a node.
#[tokio::test]
async fn inline_volumes_are_counted() {
    let environment = Environment::new();
    let server = Server::start_with(environment.pool(), &environment.path("csi.sock"), |config| {
        config.max_volumes_per_node = 4;
    })
    .await
    .expect("a server");
    environment.pool().create_volume(&spec("of-a-claim")).expect("create");
    let publish = |n: usize| {
        let target = environment.path(&format!("target-{n}"));
        let capability = mount("", Mode::SingleNodeWriter);
        v1::NodePublishVolumeRequest {
            volume_id: format!("inline-{n}"),
            target_path: target.to_str().expect("UTF-8").to_owned(),
            volume_capability: Some(capability),
            volume_context: map(&[
                ("csi.storage.k8s.io/ephemeral", "true"),
                ("template", "debian"),
            ]),
            ..Default::default()
        }
    };
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..20 {
        let (mut node, request) = (server.node().await, publish(n));
        calls.spawn(async move { (n, node.node_publish_volume(request).await) });
    }
    let mut made = Vec::new();
    while let Some(call) = calls.join_next().await {
        match call.expect("no panic") {
            (n, Ok(_)) => made.push(n),
            (_, Err(status)) => assert_eq!(status.code(), Code::ResourceExhausted, "{status}"),
        }
    }
    assert!(made.len() <= 3, "{made:?}, beside one of a claim");
    let mut node = server.node().await;
    for n in 20..24 {
        if made.len() < 3 {
            accepted(node.node_publish_volume(publish(n))).await;
            made.push(n);
        } else {
            let (code, message) = refusal(node.node_publish_volume(publish(n))).await;
            assert_eq!(code, Code::ResourceExhausted, "{message}");
            assert!(message.contains("4 volumes"), "{message}");
        }
    }
    // A repeated call needs no place; a volume that is gone leaves one.
    accepted(node.node_publish_volume(publish(made[0]))).await;
    let request = publish(made[0]);
    let (volume_id, target_path) = (request.volume_id, request.target_path);
    let unpublish = v1::NodeUnpublishVolumeRequest { volume_id, target_path };
    accepted(node.node_unpublish_volume(unpublish)).await;
    accepted(node.node_publish_volume(publish(30))).await;
    server.stop().await;
}
