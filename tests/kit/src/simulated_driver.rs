//! Shared code of tests of the driver: a driver on a simulated machine, and a client on its socket.

use std::collections::HashMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use calf::csi::v1::controller_client::ControllerClient;
use calf::csi::v1::identity_client::IdentityClient;
use calf::csi::v1::node_client::NodeClient;
use calf::csi::v1::volume_capability::access_mode::Mode;
use calf::csi::v1::volume_capability::{AccessMode, AccessType, BlockVolume, MountVolume};
use calf::csi::{ServeConfig, serve, v1};
use calf::{Error, Pool};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Response, Status};

use crate::simulated_pool::{Environment, TEMPLATE_SIZE};

/// Size of the template `debian`, in CSI's type.
pub const SIZE: i64 = TEMPLATE_SIZE as i64;
/// The node of every driver under test.
pub const NODE: &str = "node-1";

/// A running driver.
pub struct Server {
    pub socket: PathBuf,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), Error>>,
}

impl Server {
    /// Starts a driver and waits until it accepts connections.
    pub async fn start(pool: Pool, socket: &Path) -> Result<Self, Error> {
        Self::start_with(pool, socket, |_| {}).await
    }

    /// The same with changes to its configuration.
    pub async fn start_with(
        pool: Pool,
        socket: &Path,
        change: impl FnOnce(&mut ServeConfig),
    ) -> Result<Self, Error> {
        let mut config = ServeConfig::new(format!("unix://{}", socket.display()), NODE);
        config.inline.enabled = true;
        (config.inline.reserve, config.inline.durable) = (true, true);
        change(&mut config);
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(serve(pool, config, async {
            let _ = stopped.await;
        }));
        while !task.is_finished() {
            let mut identity = match connect(socket).await {
                Ok(channel) => IdentityClient::new(channel),
                Err(_) => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    continue;
                }
            };
            // If another driver serves the socket, this one ends.
            let _ = identity.probe(v1::ProbeRequest {}).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
            if !task.is_finished() {
                return Ok(Self { socket: socket.to_owned(), stop, task });
            }
        }
        match task.await.expect("the server does not panic") {
            Ok(()) => panic!("the server ended before it was told to"),
            Err(error) => Err(error),
        }
    }

    /// A client's connection.
    pub async fn channel(&self) -> Channel {
        connect(&self.socket).await.expect("a connection")
    }

    pub async fn identity(&self) -> IdentityClient<Channel> {
        IdentityClient::new(self.channel().await)
    }

    pub async fn controller(&self) -> ControllerClient<Channel> {
        ControllerClient::new(self.channel().await)
    }

    pub async fn node(&self) -> NodeClient<Channel> {
        NodeClient::new(self.channel().await)
    }

    /// Tells the driver to stop; the returned task ends with it.
    pub fn shut_down(self) -> JoinHandle<Result<(), Error>> {
        let _ = self.stop.send(());
        self.task
    }

    /// Stops the driver and waits for it.
    pub async fn stop(self) {
        self.shut_down().await.expect("no panic").expect("a graceful end");
    }
}

/// A driver and its clients on a simulated machine.
pub struct Driver {
    pub environment: Environment,
    pub controller: ControllerClient<Channel>,
    pub node: NodeClient<Channel>,
    server: Server,
}

impl Driver {
    pub async fn start() -> Self {
        let environment = Environment::new();
        let pool = environment.pool();
        Self::start_on(environment, pool).await
    }

    /// A driver on a pool that was opened with options of its own.
    pub async fn start_on(environment: Environment, pool: Pool) -> Self {
        let socket = environment.directory.path().join("csi.sock");
        let server = Server::start(pool, &socket).await.expect("a server");
        let (controller, node) = (server.controller().await, server.node().await);
        Self { environment, controller, node, server }
    }

    /// A client's connection.
    pub async fn channel(&self) -> Channel {
        self.server.channel().await
    }

    pub fn path(&self, name: &str) -> String {
        self.environment.path(name).display().to_string()
    }

    pub async fn create(&mut self, request: v1::CreateVolumeRequest) -> v1::Volume {
        accepted(self.controller.create_volume(request)).await.volume.expect("a volume")
    }

    pub fn stage(&self, id: &str, capability: &v1::VolumeCapability) -> v1::NodeStageVolumeRequest {
        v1::NodeStageVolumeRequest {
            volume_id: id.to_owned(),
            staging_target_path: self.path("staging"),
            volume_capability: Some(capability.clone()),
            ..Default::default()
        }
    }

    pub fn publish(
        &self,
        id: &str,
        target: &str,
        capability: &v1::VolumeCapability,
    ) -> v1::NodePublishVolumeRequest {
        v1::NodePublishVolumeRequest {
            volume_id: id.to_owned(),
            staging_target_path: self.path("staging"),
            target_path: self.path(target),
            volume_capability: Some(capability.clone()),
            ..Default::default()
        }
    }

    /// A volume, staged and published at `target`.
    pub async fn in_use(&mut self, id: &str, capability: &v1::VolumeCapability) {
        self.create(create(id)).await;
        accepted(self.node.node_stage_volume(self.stage(id, capability))).await;
        accepted(self.node.node_publish_volume(self.publish(id, "target", capability))).await;
    }

    pub async fn stats(&mut self, id: &str, path: &str) -> v1::NodeGetVolumeStatsResponse {
        accepted(self.node.node_get_volume_stats(v1::NodeGetVolumeStatsRequest {
            volume_id: id.to_owned(),
            volume_path: self.path(path),
            ..Default::default()
        }))
        .await
    }
}

/// Connects to a unix socket.
pub async fn connect(socket: &Path) -> Result<Channel, tonic::transport::Error> {
    let socket = socket.to_owned();
    // The URI is not used: the connector goes to the socket.
    Endpoint::from_static("http://localhost")
        .connect_with_connector(tower::service_fn(move |_: Uri| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        }))
        .await
}

/// The code and message of a call that must fail.
pub async fn refusal<T: std::fmt::Debug>(
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> (Code, String) {
    let status = call.await.expect_err("the call is refused");
    (status.code(), status.message().to_owned())
}

/// The response of a call that must succeed.
pub async fn accepted<T>(call: impl Future<Output = Result<Response<T>, Status>>) -> T {
    call.await.expect("the call succeeds").into_inner()
}

pub fn block(mode: Mode) -> v1::VolumeCapability {
    capability(AccessType::Block(BlockVolume {}), mode)
}

pub fn mount(fs_type: &str, mode: Mode) -> v1::VolumeCapability {
    let mount = MountVolume { fs_type: fs_type.to_owned(), ..MountVolume::default() };
    capability(AccessType::Mount(mount), mode)
}

fn capability(access: AccessType, mode: Mode) -> v1::VolumeCapability {
    v1::VolumeCapability {
        access_type: Some(access),
        access_mode: Some(AccessMode { mode: mode.into() }),
    }
}

pub fn map(pairs: &[(&str, &str)]) -> HashMap<String, String> {
    pairs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

pub fn create(name: &str) -> v1::CreateVolumeRequest {
    v1::CreateVolumeRequest {
        name: name.to_owned(),
        volume_capabilities: vec![block(Mode::SingleNodeWriter)],
        parameters: map(&[("template", "debian"), ("csi.storage.k8s.io/pvc/name", "claim")]),
        ..Default::default()
    }
}

pub fn sized(name: &str, required_bytes: i64, limit_bytes: i64) -> v1::CreateVolumeRequest {
    let capacity_range = Some(v1::CapacityRange { required_bytes, limit_bytes });
    v1::CreateVolumeRequest { capacity_range, ..create(name) }
}
