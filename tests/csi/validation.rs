//! Requests that the driver refuses, over a real unix socket: each missing required field, each
//! malformed field, and the order of the checks.

use calf::csi::v1;
use calf::csi::v1::volume_capability::access_mode::Mode;
use calf_test_kit::simulated_driver::{self, Driver, Server, accepted, block, map, mount, refusal};
use calf_test_kit::simulated_pool::{Environment, TEMPLATE_SIZE};
use tonic::Code;
use tonic::transport::Channel;

type Controller = v1::controller_client::ControllerClient<Channel>;
type Node = v1::node_client::NodeClient<Channel>;

async fn start(environment: &Environment) -> (Controller, Node, Server) {
    let socket = environment.directory.path().join("csi.sock");
    let server = Server::start(environment.pool(), &socket).await.expect("a server");
    (server.controller().await, server.node().await, server)
}

fn writer() -> v1::VolumeCapability {
    block(Mode::SingleNodeWriter)
}

fn range(required_bytes: i64, limit_bytes: i64) -> Option<v1::CapacityRange> {
    Some(v1::CapacityRange { required_bytes, limit_bytes })
}

fn create() -> v1::CreateVolumeRequest {
    v1::CreateVolumeRequest {
        name: "volume".to_owned(),
        volume_capabilities: vec![writer()],
        parameters: map(&[("template", "debian")]),
        ..Default::default()
    }
}

fn changed<T>(mut request: T, change: impl FnOnce(&mut T)) -> T {
    change(&mut request);
    request
}

/// Calls `method` with each change of a good request and checks the code, and that the message
/// names the field.
macro_rules! refuses {
    ($client:expr, $method:ident, $good:expr, [$(($code:expr, $field:expr, $change:expr)),* $(,)?]) => {
        $({
            let request = changed($good, $change);
            let (code, message) = refusal($client.$method(request)).await;
            assert_eq!(code, $code, "{}: {message}", stringify!($method));
            assert!(message.contains($field), "{} names {}: {message}", stringify!($method), $field);
        })*
    };
}

const INVALID: Code = Code::InvalidArgument;

#[tokio::test]
async fn create_volume_refuses() {
    let environment = Environment::new();
    let (mut controller, _, _server) = start(&environment).await;
    refuses!(
        controller,
        create_volume,
        create(),
        [
            (INVALID, "name", |r| r.name.clear()),
            (INVALID, "name", |r| r.name = "x".repeat(129)),
            (INVALID, "name", |r| r.name = "a\nb".into()),
            (INVALID, "volume_capabilities", |r| r.volume_capabilities.clear()),
            (INVALID, "access_mode", |r| r.volume_capabilities[0].access_mode = None),
            (INVALID, "access_type", |r| r.volume_capabilities[0].access_type = None),
            (INVALID, "MULTI_NODE_MULTI_WRITER", |r| {
                r.volume_capabilities.push(block(Mode::MultiNodeMultiWriter));
            }),
            (INVALID, "MULTI_NODE_READER_ONLY", |r| {
                r.volume_capabilities.push(block(Mode::MultiNodeReaderOnly));
            }),
            (INVALID, "fs_type", |r| {
                r.volume_capabilities = vec![mount("xfs", Mode::SingleNodeWriter)];
            }),
            (INVALID, "template", |r| r.parameters.clear()),
            (INVALID, "cowLimits", |r| r.parameters.extend(map(&[("cowLimits", "1Gi")]))),
            (INVALID, "chunkSize", |r| r.parameters.extend(map(&[("chunkSize", "5000")]))),
            (INVALID, "size", |r| r.parameters.extend(map(&[("size", "1Gi")]))),
            (INVALID, "mutable_parameters", |r| r.mutable_parameters = map(&[("a", "b")])),
            (INVALID, "volume_content_source", |r| {
                r.volume_content_source = Some(v1::VolumeContentSource { r#type: None });
            }),
            (INVALID, "required_bytes", |r| r.capacity_range = range(-1, 0)),
            (INVALID, "limit_bytes", |r| r.capacity_range = range(8192, 4096)),
            (Code::OutOfRange, "limit_bytes", |r| r.capacity_range = range(0, 4096)),
            (Code::OutOfRange, "required_bytes", |r| r.capacity_range = range(1 << 50, 0)),
            (Code::NotFound, "centos", |r| r.parameters = map(&[("template", "centos")])),
            (INVALID, "template", |r| r.parameters = map(&[("template", "../../etc")])),
            (Code::ResourceExhausted, "accessibility_requirements", |r| {
                r.accessibility_requirements = Some(v1::TopologyRequirement {
                    requisite: vec![v1::Topology {
                        segments: map(&[("calf.csi.dev/node", "node-2")]),
                    }],
                    preferred: vec![],
                });
            }),
        ]
    );
    assert!(environment.pool().volumes().expect("a list").is_empty());
}

#[tokio::test]
async fn other_controller_calls_refuse() {
    let environment = Environment::new();
    let (mut controller, _, _server) = start(&environment).await;
    accepted(controller.create_volume(create())).await;

    refuses!(
        controller,
        delete_volume,
        v1::DeleteVolumeRequest::default(),
        [(INVALID, "volume_id", |_| {}), (INVALID, "volume_id", |r| r.volume_id = "a\0b".into()),]
    );
    refuses!(
        controller,
        controller_get_volume,
        v1::ControllerGetVolumeRequest::default(),
        [
            (INVALID, "volume_id", |_| {}),
            (Code::NotFound, "unknown", |r| r.volume_id = "unknown".into()),
        ]
    );
    let validate = || v1::ValidateVolumeCapabilitiesRequest {
        volume_id: "volume".into(),
        volume_capabilities: vec![writer()],
        ..Default::default()
    };
    refuses!(
        controller,
        validate_volume_capabilities,
        validate(),
        [
            (INVALID, "volume_id", |r| r.volume_id.clear()),
            (INVALID, "volume_capabilities", |r| r.volume_capabilities.clear()),
            (INVALID, "access_mode", |r| r.volume_capabilities[0].access_mode = None),
            (Code::NotFound, "unknown", |r| r.volume_id = "unknown".into()),
        ]
    );
    refuses!(
        controller,
        list_volumes,
        v1::ListVolumesRequest::default(),
        [
            (INVALID, "max_entries", |r| r.max_entries = -1),
            (Code::Aborted, "invalid-token", |r| r.starting_token = "invalid-token".into()),
        ]
    );
    refuses!(
        controller,
        get_capacity,
        v1::GetCapacityRequest::default(),
        [
            (INVALID, "Template", |r| r.parameters = map(&[("Template", "debian")])),
            (INVALID, "access_mode", |r| r.volume_capabilities = vec![Default::default()]),
        ]
    );
}

#[tokio::test]
async fn stage_and_publish_refuse() {
    let environment = Environment::new();
    let (mut controller, mut node, _server) = start(&environment).await;
    accepted(controller.create_volume(create())).await;

    let stage = || v1::NodeStageVolumeRequest {
        volume_id: "volume".into(),
        staging_target_path: "/tmp/x".into(),
        volume_capability: Some(writer()),
        ..Default::default()
    };
    refuses!(
        node,
        node_stage_volume,
        stage(),
        [
            (INVALID, "volume_id", |r| r.volume_id.clear()),
            (INVALID, "staging_target_path", |r| r.staging_target_path.clear()),
            (INVALID, "volume_capability", |r| r.volume_capability = None),
            (INVALID, "staging_target_path", |r| r.staging_target_path = "some/path".into()),
            (INVALID, "staging_target_path", |r| r.staging_target_path = "/a/../b".into()),
            (INVALID, "fs_type", |r| {
                r.volume_capability = Some(mount("xfs", Mode::SingleNodeWriter));
            }),
            (Code::NotFound, "unknown", |r| r.volume_id = "unknown".into()),
            (Code::NotFound, "unknown", |r| {
                r.volume_id = "unknown".into();
                r.staging_target_path = "some/path".into();
            }),
        ]
    );
    refuses!(
        node,
        node_unstage_volume,
        v1::NodeUnstageVolumeRequest {
            volume_id: "volume".into(),
            staging_target_path: "/tmp/x".into(),
        },
        [
            (INVALID, "volume_id", |r| r.volume_id.clear()),
            (INVALID, "staging_target_path", |r| r.staging_target_path.clear()),
            (INVALID, "staging_target_path", |r| r.staging_target_path = "x".into()),
        ]
    );
    let publish = || v1::NodePublishVolumeRequest {
        volume_id: "volume".into(),
        staging_target_path: "/tmp/x".into(),
        target_path: "/tmp/y".into(),
        volume_capability: Some(writer()),
        ..Default::default()
    };
    refuses!(
        node,
        node_publish_volume,
        publish(),
        [
            (INVALID, "volume_id", |r| r.volume_id.clear()),
            (INVALID, "target_path", |r| r.target_path.clear()),
            (INVALID, "volume_capability", |r| r.volume_capability = None),
            (INVALID, "target_path", |r| r.target_path = "some/path".into()),
            (INVALID, "target_path", |r| r.target_path = format!("/{}", "x".repeat(5000))),
            (INVALID, "staging_target_path", |r| r.staging_target_path = "some/path".into()),
            (Code::FailedPrecondition, "staging_target_path", |r| r.staging_target_path.clear()),
            (Code::NotFound, "unknown", |r| {
                r.volume_id = "unknown".into();
                r.target_path = "some/path".into();
            }),
        ]
    );
    let inline = || v1::NodePublishVolumeRequest {
        volume_id: "csi-inline".into(),
        staging_target_path: String::new(),
        volume_context: map(&[("csi.storage.k8s.io/ephemeral", "true"), ("template", "debian")]),
        ..publish()
    };
    refuses!(
        node,
        node_publish_volume,
        inline(),
        [
            (INVALID, "template", |r| drop(r.volume_context.remove("template"))),
            (INVALID, "Size", |r| r.volume_context.extend(map(&[("Size", "1Gi")]))),
            (INVALID, "size", |r| r.volume_context.extend(map(&[("size", "much")]))),
            (Code::OutOfRange, "debian", |r| r.volume_context.extend(map(&[("size", "4Ki")]))),
            (INVALID, "target_path", |r| r.target_path = "x".into()),
        ]
    );
    refuses!(
        node,
        node_unpublish_volume,
        v1::NodeUnpublishVolumeRequest { volume_id: "volume".into(), target_path: "/tmp/y".into() },
        [
            (INVALID, "volume_id", |r| r.volume_id.clear()),
            (INVALID, "target_path", |r| r.target_path.clear()),
            (INVALID, "target_path", |r| r.target_path = "/tmp/../y".into()),
        ]
    );
}

#[tokio::test]
async fn statistics_and_expansion_refuse() {
    let environment = Environment::new();
    let (mut controller, mut node, _server) = start(&environment).await;
    accepted(controller.create_volume(create())).await;

    let statistics = || v1::NodeGetVolumeStatsRequest {
        volume_id: "volume".into(),
        volume_path: "/tmp/nothing-here".into(),
        ..Default::default()
    };
    refuses!(
        node,
        node_get_volume_stats,
        statistics(),
        [
            (INVALID, "volume_id", |r| r.volume_id.clear()),
            (INVALID, "volume_path", |r| r.volume_path.clear()),
            (Code::NotFound, "/tmp/nothing-here", |_| {}),
            (Code::NotFound, "unknown", |r| r.volume_id = "unknown".into()),
            (Code::NotFound, "unknown", |r| {
                r.volume_id = "unknown".into();
                r.volume_path = "some/path".into();
            }),
            (Code::NotFound, "some/path", |r| r.volume_path = "some/path".into()),
        ]
    );
    let expand = || v1::NodeExpandVolumeRequest {
        volume_id: "volume".into(),
        volume_path: "/tmp/nothing-here".into(),
        capacity_range: range(2 * TEMPLATE_SIZE as i64, 0),
        ..Default::default()
    };
    refuses!(
        node,
        node_expand_volume,
        expand(),
        [
            (INVALID, "volume_id", |r| r.volume_id.clear()),
            (INVALID, "volume_path", |r| r.volume_path.clear()),
            (INVALID, "limit_bytes", |r| r.capacity_range = range(0, -1)),
            (Code::NotFound, "/tmp/nothing-here", |_| {}),
            (Code::NotFound, "unknown", |r| {
                r.volume_id = "unknown".into();
                r.volume_path = "some/path".into();
            }),
        ]
    );
    let unchanged = environment
        .pool()
        .volume("volume")
        .and_then(|volume| volume.status())
        .expect("the volume")
        .record
        .size;
    assert_eq!(unchanged, TEMPLATE_SIZE, "a refused expansion changes nothing");
}

#[tokio::test]
async fn what_is_unknown_is_gone_already() {
    let environment = Environment::new();
    let (mut controller, mut node, _server) = start(&environment).await;
    let volume_id = "unknown".to_owned();
    let path = environment.path("nothing").display().to_string();
    accepted(controller.delete_volume(v1::DeleteVolumeRequest {
        volume_id: volume_id.clone(),
        ..Default::default()
    }))
    .await;
    accepted(node.node_unpublish_volume(v1::NodeUnpublishVolumeRequest {
        volume_id: volume_id.clone(),
        target_path: path.clone(),
    }))
    .await;
    accepted(node.node_unstage_volume(v1::NodeUnstageVolumeRequest {
        volume_id,
        staging_target_path: path,
    }))
    .await;
}

/// Every comparison of a limit counts whole chunks.
#[tokio::test]
async fn validation_confirms_a_limit_that_a_repeated_create_accepts_and_no_other() {
    let environment = Environment::new();
    let (mut controller, _, _server) = start(&environment).await;
    let with = |limit: &str| map(&[("template", "debian"), ("cowLimit", limit)]);
    let first = v1::CreateVolumeRequest { parameters: with("5000"), ..create() };
    let made = accepted(controller.create_volume(first)).await.volume.expect("a volume");
    for (limit, same) in [("5000", true), ("8192", true), ("4096", false), ("8193", false)] {
        let again = v1::CreateVolumeRequest { parameters: with(limit), ..create() };
        let created = controller.create_volume(again).await;
        assert_eq!(created.is_ok(), same, "{limit}: {created:?}");
        let question = v1::ValidateVolumeCapabilitiesRequest {
            volume_id: made.volume_id.clone(),
            volume_capabilities: vec![writer()],
            parameters: with(limit),
            ..Default::default()
        };
        let answer = accepted(controller.validate_volume_capabilities(question)).await;
        assert_eq!(answer.confirmed.is_some(), same, "{limit}: {answer:?}");
    }
}

fn with_flags(flag: &str) -> v1::VolumeCapability {
    let mut capability = mount("ext4", Mode::SingleNodeWriter);
    if let Some(v1::volume_capability::AccessType::Mount(mount)) = &mut capability.access_type {
        mount.mount_flags = vec![flag.to_owned()];
    }
    capability
}

#[tokio::test]
async fn mount_options_that_staging_refuses_are_refused_at_creation() {
    let mut driver = Driver::start().await;
    driver.create(simulated_driver::create("volume")).await;
    let validate = |capability: &v1::VolumeCapability| v1::ValidateVolumeCapabilitiesRequest {
        volume_id: "volume".to_owned(),
        volume_capabilities: vec![capability.clone()],
        ..Default::default()
    };
    for flag in ["bind", "noatime,bind", "errors=panic", "nonsense", r#"context="a,b"#] {
        let capability = with_flags(flag);
        let staged = driver.node.node_stage_volume(driver.stage("volume", &capability));
        let (code, message) = refusal(staged).await;
        assert_eq!(code, INVALID, "{flag}: {message}");
        for name in ["new", "volume"] {
            let request = v1::CreateVolumeRequest {
                volume_capabilities: vec![capability.clone()],
                ..simulated_driver::create(name)
            };
            let (code, message) = refusal(driver.controller.create_volume(request)).await;
            assert_eq!(code, INVALID, "{flag} for {name}: {message}");
        }
        let question = validate(&capability);
        let answer = accepted(driver.controller.validate_volume_capabilities(question)).await;
        assert!(answer.confirmed.is_none() && !answer.message.is_empty(), "{flag}: {answer:?}");
    }

    let context = with_flags(r#"context="system_u:object_r:container_file_t:s0:c1,c2""#);
    let request = v1::CreateVolumeRequest {
        volume_capabilities: vec![context.clone()],
        ..simulated_driver::create("labelled")
    };
    driver.create(request).await;
    let answer = accepted(driver.controller.validate_volume_capabilities(validate(&context))).await;
    assert!(answer.confirmed.is_some(), "{answer:?}");
    driver.in_use("labelled", &context).await;
}
