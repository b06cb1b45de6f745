//! The driver over a real unix socket: its identity, what it refuses, who owns the socket, and how
//! the driver ends.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use calf::csi::v1::controller_client::ControllerClient;
use calf::csi::v1::volume_capability::access_mode::Mode;
use calf::csi::{DEFAULT_DRIVER_NAME, v1};
use calf::sys::lock;
use calf::{ErrorKind, Fallback, Pool};
use calf_test_kit::service_manager::ServiceManager;
use calf_test_kit::simulated_driver::{NODE, Server, accepted, block, refusal};
use calf_test_kit::simulated_pool::Environment;
use tonic::Code;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

fn socket(environment: &Environment) -> PathBuf {
    environment.directory.path().join("run/csi.sock")
}

async fn start(environment: &Environment) -> Server {
    Server::start(environment.pool(), &socket(environment)).await.expect("a server")
}

async fn start_error(pool: Pool, environment: &Environment) -> calf::Error {
    match Server::start(pool, &socket(environment)).await {
        Ok(_) => panic!("the driver must not start"),
        Err(error) => error,
    }
}

// === Identity ===

#[tokio::test]
async fn identity_tells_name_version_mode_and_capabilities() {
    let environment = Environment::new();
    let server = start(&environment).await;
    let mut identity = server.identity().await;

    let info = accepted(identity.get_plugin_info(v1::GetPluginInfoRequest {})).await;
    assert_eq!(info.name, DEFAULT_DRIVER_NAME);
    assert_eq!(info.vendor_version, env!("CARGO_PKG_VERSION"));
    assert_eq!(info.manifest["mode"], "snapshot");

    let probe = identity.probe(v1::ProbeRequest {}).await.expect("a probe");
    assert_eq!(probe.metadata().get("calf-mode").expect("metadata"), "snapshot");
    assert_eq!(probe.get_ref().ready, Some(true));

    let capabilities =
        accepted(identity.get_plugin_capabilities(v1::GetPluginCapabilitiesRequest {})).await;
    assert_eq!(capabilities.capabilities.len(), 6);
    server.stop().await;
}

#[tokio::test]
async fn a_kernel_that_loses_dm_snapshot_fails_the_probe() {
    let environment = Environment::new();
    let server = start(&environment).await;
    environment.host.without_snapshot(true);
    let mut identity = server.identity().await;
    let (code, message) = refusal(identity.probe(v1::ProbeRequest {})).await;
    assert_eq!(code, Code::FailedPrecondition);
    assert!(message.contains("modprobe dm-snapshot"), "{message}");
    let info = accepted(identity.get_plugin_info(v1::GetPluginInfoRequest {})).await;
    assert_eq!(info.manifest["mode"], "unavailable");
    let mut controller = server.controller().await;
    let capacity = accepted(controller.get_capacity(v1::GetCapacityRequest::default())).await;
    assert_eq!((capacity.available_capacity, capacity.maximum_volume_size), (0, Some(0)));
}

#[tokio::test]
async fn without_dm_snapshot_only_a_fallback_serves_and_says_so() {
    let environment = Environment::new();
    environment.host.without_snapshot(true);
    let error = start_error(environment.pool(), &environment).await;
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(!socket(&environment).exists());

    for (fallback, mode) in
        [(Fallback::Reflink, "fallback-reflink"), (Fallback::Copy, "fallback-copy")]
    {
        let pool = environment
            .options()
            .fallback(Some(fallback))
            .open(environment.directory.path().join("pool"))
            .expect("a pool");
        let server = Server::start(pool, &socket(&environment)).await.expect("a server");
        let probe = server.identity().await.probe(v1::ProbeRequest {}).await.expect("a probe");
        assert_eq!(probe.metadata().get("calf-mode").expect("metadata"), mode);
        server.stop().await;
    }
}

#[tokio::test]
async fn the_node_tells_where_it_is() {
    let environment = Environment::new();
    let server = Server::start_with(environment.pool(), &socket(&environment), |config| {
        config.driver_name = "other.example.com".to_owned();
        config.max_volumes_per_node = 300;
    })
    .await
    .expect("a server");
    let info = accepted(server.node().await.node_get_info(v1::NodeGetInfoRequest {})).await;
    assert_eq!(info.node_id, NODE);
    assert_eq!(info.max_volumes_per_node, 300);
    assert_eq!(info.accessible_topology.expect("one").segments["other.example.com/node"], NODE);
}

// === for tools that do not know CSI ===

#[tokio::test]
async fn reflection_lists_what_is_served_and_describes_it() {
    const SERVED: [&str; 7] = [
        "csi.v1.Controller",
        "csi.v1.GroupController",
        "csi.v1.Identity",
        "csi.v1.Node",
        "csi.v1.SnapshotMetadata",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
    ];
    let environment = Environment::new();
    let server = start(&environment).await;
    let mut client = ServerReflectionClient::new(server.channel().await);
    let question = |message_request| ServerReflectionRequest {
        host: String::new(),
        message_request: Some(message_request),
    };
    let questions = [
        question(MessageRequest::ListServices(String::new())),
        question(MessageRequest::FileContainingSymbol("csi.v1.Node".to_owned())),
        question(MessageRequest::FileContainingSymbol("grpc.health.v1.Health".to_owned())),
    ];
    let answers = client.server_reflection_info(tokio_stream::iter(questions)).await;
    let mut answers = answers.expect("answers").into_inner();
    let mut next =
        async || answers.message().await.expect("an answer").and_then(|a| a.message_response);

    let Some(MessageResponse::ListServicesResponse(list)) = next().await else { panic!("no list") };
    let mut names: Vec<String> = list.service.into_iter().map(|service| service.name).collect();
    names.sort();
    assert_eq!(names, SERVED);
    for message in ["NodePublishVolumeRequest", "HealthCheckRequest"] {
        let Some(MessageResponse::FileDescriptorResponse(files)) = next().await else {
            panic!("no description of {message}")
        };
        let contains =
            |file: &Vec<u8>| file.windows(message.len()).any(|w| w == message.as_bytes());
        assert!(files.file_descriptor_proto.iter().any(contains), "{message}");
    }
    server.stop().await;
}

#[tokio::test]
async fn the_health_service_says_what_the_probe_says() {
    let environment = Environment::new();
    let server = start(&environment).await;
    let mut client = HealthClient::new(server.channel().await);
    let of = |service: &str| HealthCheckRequest { service: service.to_owned() };
    for (without, status) in [
        (false, ServingStatus::Serving),
        (true, ServingStatus::NotServing),
        (false, ServingStatus::Serving),
    ] {
        environment.host.without_snapshot(without);
        let probe = server.identity().await.probe(v1::ProbeRequest {}).await;
        assert_eq!(probe.is_err(), without);
        for service in
            ["", "csi.v1.Identity", "csi.v1.Controller", "csi.v1.GroupController", "csi.v1.Node"]
        {
            let health = accepted(client.check(of(service))).await;
            assert_eq!(health.status(), status, "{service}");
        }
        let mut watched = client.watch(of("csi.v1.Node")).await.expect("a watch").into_inner();
        let first = watched.message().await.expect("an answer").expect("a status");
        assert_eq!(first.status(), status);
    }
    let (code, message) = refusal(client.check(of("csi.v1.Other"))).await;
    assert_eq!(code, Code::NotFound, "{message}");
    let (code, _) = refusal(client.watch(of("other"))).await;
    assert_eq!(code, Code::NotFound);

    // A client that keeps watching must not delay the shutdown.
    let _watched = client.watch(of("")).await.expect("a watch");
    tokio::time::timeout(Duration::from_secs(10), server.stop()).await.expect("it ends");
}

/// The test that starts and stops a driver, run as a service of a manager.
#[test]
fn a_service_manager_is_told_of_the_start_and_of_the_end() {
    let directory = tempfile::tempdir().expect("a directory");
    let manager = ServiceManager::start(directory.path());
    let service = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "socket::the_socket_is_private_and_goes_with_the_driver"])
        .env("NOTIFY_SOCKET", manager.path())
        .output()
        .expect("start the test");
    assert!(service.status.success(), "{service:?}");
    assert_eq!([manager.next(), manager.next()], ["READY=1\n", "STOPPING=1\n"]);
}

// === the socket ===

#[tokio::test]
async fn the_socket_is_private_and_goes_with_the_driver() {
    let environment = Environment::new();
    let server = start(&environment).await;
    let mode =
        |path: &PathBuf| fs::symlink_metadata(path).expect("metadata").permissions().mode() & 0o777;
    let path = socket(&environment);
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(&path.parent().expect("a parent").to_owned()), 0o700);
    server.stop().await;
    assert!(!path.exists());
}

#[tokio::test]
async fn a_stale_socket_is_replaced() {
    let environment = Environment::new();
    let path = socket(&environment);
    fs::create_dir(path.parent().expect("a parent")).expect("a directory");
    drop(UnixListener::bind(&path).expect("a socket"));
    start(&environment).await.stop().await;
}

#[tokio::test]
async fn a_live_socket_is_left_to_its_driver() {
    let environment = Environment::new();
    let server = start(&environment).await;
    let error = start_error(environment.pool(), &environment).await;
    assert_eq!(error.kind(), ErrorKind::InUse);
    accepted(server.identity().await.probe(v1::ProbeRequest {})).await;
    server.stop().await;
}

#[tokio::test]
async fn what_is_no_socket_is_not_removed() {
    let environment = Environment::new();
    let path = socket(&environment);
    fs::create_dir(path.parent().expect("a parent")).expect("a directory");
    fs::write(&path, "precious").expect("a file");
    let error = start_error(environment.pool(), &environment).await;
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert_eq!(fs::read_to_string(&path).expect("the file"), "precious");
}

// === shutdown and cancellation ===

fn create(name: &str) -> v1::CreateVolumeRequest {
    v1::CreateVolumeRequest {
        name: name.to_owned(),
        volume_capabilities: vec![block(Mode::SingleNodeWriter)],
        parameters: [("template".to_owned(), "debian".to_owned())].into(),
        ..Default::default()
    }
}

/// Long enough for a request to be in progress, even on a busy machine.
const ARRIVAL: Duration = Duration::from_millis(300);

/// Blocks the creation of every volume of template `debian`, as an import of it would.
fn hold_template(environment: &Environment) -> lock::Lock {
    let pool = environment.pool();
    let digest = pool
        .template("debian")
        .and_then(|template| template.record())
        .expect("the template")
        .digest;
    let lock_file = pool.root().join("lock");
    lock::lock(&lock_file, &format!("image/{digest}"), lock::Mode::Exclusive).expect("a lock")
}

#[tokio::test]
async fn a_shutdown_lets_calls_end_and_takes_no_new_ones() {
    let environment = Environment::new();
    let server = start(&environment).await;
    let held = hold_template(&environment);
    let mut controller = server.controller().await;
    let call = tokio::spawn(async move { controller.create_volume(create("volume")).await });
    tokio::time::sleep(ARRIVAL).await;

    let path = server.socket.clone();
    let ended = server.shut_down();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!ended.is_finished());
    assert!(std::os::unix::net::UnixStream::connect(&path).is_err());
    drop(held);
    call.await.expect("no panic").expect("the call that was running succeeds");
    ended.await.expect("no panic").expect("a graceful end");
}

#[tokio::test]
async fn a_call_goes_on_without_its_caller_and_is_drained() {
    let environment = Environment::new();
    let server = start(&environment).await;
    let held = hold_template(&environment);
    let mut controller = server.controller().await;
    let mut request = tonic::Request::new(create("volume"));
    request.set_timeout(ARRIVAL);
    controller.create_volume(request).await.expect_err("the client's deadline passes");
    drop(controller);

    let ended = server.shut_down();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!ended.is_finished(), "work without a caller is waited for");
    drop(held);
    ended.await.expect("no panic").expect("a graceful end");
    environment
        .pool()
        .volume("volume")
        .and_then(|volume| volume.status())
        .expect("the volume was made");
}

/// An orchestrator keeps its connection open for as long as the driver lives.
#[tokio::test]
async fn an_idle_connection_does_not_hold_up_the_end() {
    let environment = Environment::new();
    let server = start(&environment).await;
    let mute = tokio::net::UnixStream::connect(&server.socket).await.expect("a connection");
    // Ten seconds are far below the drain timeout and far above what an idle driver needs.
    tokio::time::timeout(Duration::from_secs(10), server.stop()).await.expect("it ends");
    drop(mute);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_ends_with_its_timeout() {
    let environment = Environment::new();
    let server = Server::start_with(environment.pool(), &socket(&environment), |config| {
        config.drain_timeout = Duration::from_millis(100);
    })
    .await
    .expect("a server");
    let held = hold_template(&environment);
    let mut controller = server.controller().await;
    let call = tokio::spawn(async move { controller.create_volume(create("volume")).await });
    tokio::time::sleep(ARRIVAL).await;
    let start = Instant::now();
    server.stop().await;
    assert!(start.elapsed() < Duration::from_secs(5));
    drop(held);
    let _ = call.await;
}

#[tokio::test]
async fn a_second_call_for_a_volume_is_aborted_and_other_volumes_do_not_wait() {
    let environment = Environment::new();
    environment.import("alpine", 1);
    let server = start(&environment).await;
    let held = hold_template(&environment);
    let call = |mut controller: ControllerClient<Channel>| {
        tokio::spawn(async move { controller.create_volume(create("volume")).await })
    };
    let mut controller = server.controller().await;
    let (mut one, mut two) = (call(controller.clone()), call(controller.clone()));
    let (refused, waiting) = tokio::select! {
        ended = &mut one => (ended, two),
        ended = &mut two => (ended, one),
    };
    let status = refused.expect("no panic").expect_err("one of two calls is refused");
    assert_eq!(status.code(), Code::Aborted, "{status}");
    let mut other = create("other");
    other.parameters.insert("template".to_owned(), "alpine".to_owned());
    accepted(controller.create_volume(other)).await;
    drop(held);
    waiting.await.expect("no panic").expect("the other call succeeds");
}

#[tokio::test]
async fn what_is_not_offered_is_unimplemented() {
    let environment = Environment::new();
    let server = start(&environment).await;
    let mut controller = server.controller().await;
    for code in [
        refusal(
            controller.controller_publish_volume(v1::ControllerPublishVolumeRequest::default()),
        )
        .await
        .0,
        refusal(
            controller.controller_unpublish_volume(v1::ControllerUnpublishVolumeRequest::default()),
        )
        .await
        .0,
        refusal(controller.controller_expand_volume(v1::ControllerExpandVolumeRequest::default()))
            .await
            .0,
        refusal(controller.controller_modify_volume(v1::ControllerModifyVolumeRequest::default()))
            .await
            .0,
    ] {
        assert_eq!(code, Code::Unimplemented);
    }
}
