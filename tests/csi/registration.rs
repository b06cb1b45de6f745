//! The driver registers itself with kubelet.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use calf::ErrorKind;
use calf::csi::DEFAULT_DRIVER_NAME;
use calf::csi::registration::wire::registration_client::RegistrationClient;
use calf::csi::registration::wire::{InfoRequest, RegistrationStatus};
use calf_test_kit::http2;
use calf_test_kit::simulated_driver::{Server, accepted, connect};
use calf_test_kit::simulated_pool::Environment;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

/// A kubelet's directory, and the driver's sockets.
struct Node {
    environment: Environment,
}

impl Node {
    fn new() -> Self {
        Self { environment: Environment::new() }
    }

    fn kubelet(&self) -> PathBuf {
        self.environment.directory.path().join("kubelet")
    }

    fn endpoint(&self) -> PathBuf {
        self.kubelet().join("plugins").join(DEFAULT_DRIVER_NAME).join("csi.sock")
    }

    fn registration(&self) -> PathBuf {
        self.kubelet().join("plugins_registry").join(format!("{DEFAULT_DRIVER_NAME}-reg.sock"))
    }

    async fn start(&self) -> Result<Server, calf::Error> {
        let kubelet = self.kubelet();
        Server::start_with(self.environment.pool(), &self.endpoint(), |config| {
            config.register_with = Some(kubelet);
        })
        .await
    }

    /// As kubelet connects once it finds the socket.
    async fn found(&self) -> RegistrationClient<Channel> {
        for _ in 0..1000 {
            if let Ok(channel) = connect(&self.registration()).await {
                return RegistrationClient::new(channel);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("no socket {}", self.registration().display());
    }
}

#[tokio::test]
async fn kubelet_learns_where_the_driver_is() {
    let node = Node::new();
    let server = node.start().await.expect("a server");
    let info = accepted(node.found().await.get_info(InfoRequest {})).await;
    assert_eq!(info.r#type, "CSIPlugin");
    assert_eq!(info.name, DEFAULT_DRIVER_NAME);
    assert_eq!(info.supported_versions, ["1.13.0"]);
    // What kubelet then calls.
    assert_eq!(PathBuf::from(&info.endpoint), node.endpoint());
    connect(info.endpoint.as_ref()).await.expect("the driver");

    // Kubelet forgets a driver whose socket goes.
    assert!(node.registration().exists());
    server.stop().await;
    assert!(!node.registration().exists());
}

/// Kubelet names the socket's path for the server's host.
#[tokio::test]
async fn kubelet_may_name_a_path_for_a_host() {
    let node = Node::new();
    let server = node.start().await.expect("a server");
    drop(node.found().await);
    let socket = node.registration();
    let authorities = [socket.to_str().expect("text"), "%2Fvar%2Flib%2Fx.sock", "localhost"];
    let authorities = authorities.map(str::to_owned);
    let outcomes = tokio::task::spawn_blocking(move || {
        let method = "/pluginregistration.Registration/GetInfo";
        authorities.map(|authority| http2::call(&socket, method, &authority))
    });
    let outcomes = outcomes.await.expect("no panic");
    assert_eq!(outcomes, [http2::Outcome::Answered; 3]);
    server.stop().await;
}

#[tokio::test]
async fn a_refusal_shows_until_kubelet_registers_the_driver() {
    let node = Node::new();
    let server = node.start().await.expect("a server");
    let mut kubelet = node.found().await;
    let mut health = HealthClient::new(server.channel().await);
    let mut status = async || {
        let request = HealthCheckRequest { service: String::new() };
        accepted(health.check(request)).await.status()
    };
    assert_eq!(status().await, ServingStatus::Serving);
    for (registered, expected) in
        [(false, ServingStatus::NotServing), (true, ServingStatus::Serving)]
    {
        let error = if registered { "" } else { "the name is taken" };
        let notice = RegistrationStatus { plugin_registered: registered, error: error.to_owned() };
        accepted(kubelet.notify_registration_status(notice)).await;
        assert_eq!(status().await, expected);
    }
    server.stop().await;
}

#[tokio::test]
async fn a_socket_that_a_killed_driver_left_is_replaced_and_a_registrars_is_not() {
    let node = Node::new();
    fs::create_dir_all(node.kubelet().join("plugins_registry")).expect("a directory");
    let left = std::os::unix::net::UnixListener::bind(node.registration()).expect("a socket");
    let error = match node.start().await {
        Ok(server) => server.shut_down().await.expect("no panic").expect_err("it is in use"),
        Err(error) => error,
    };
    assert_eq!(error.kind(), ErrorKind::InUse, "{}", error.report());
    assert!(error.report().contains("reg.sock"), "{}", error.report());

    drop(left);
    let server = node.start().await.expect("a server");
    accepted(node.found().await.get_info(InfoRequest {})).await;
    server.stop().await;
}
