//! Registers the driver with kubelet, which calls every socket in its directory `plugins_registry`.
//!
//! ```text
//! kubelet ──GetInfo──▸ <kubelet-dir>/plugins_registry/<driver>-reg.sock
//!         ──NodeGetInfo──▸ the driver's endpoint
//!         ──NotifyRegistrationStatus──▸ …-reg.sock
//! ```
//!
//! Kubelet forgets the driver when the socket is removed, so the socket stays until the last call has
//! ended. It finds the socket again when it is restarted, and repeats a registration that failed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::UnixListener;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status, async_trait};

use crate::csi::authority::Localhost;
use crate::csi::registration::wire::registration_server::RegistrationServer;
use crate::csi::socket;
use crate::csi::socket::SocketFile;
use crate::error::Result;
use crate::metrics::Health;

/// The generated types, clients and servers of kubelet's protocol.
#[allow(missing_docs, clippy::all)]
pub mod wire {
    tonic::include_proto!("pluginregistration");
}

/// The kind of plugin, and the version of CSI, by which kubelet chooses how to call.
const PLUGIN_TYPE: &str = "CSIPlugin";
const CSI_VERSION: &str = "1.13.0";

/// Largest request in bytes: kubelet sends an error's text at most.
const LARGEST: usize = 1 << 16;

/// The registration of a driver. Dropping the file ends it.
pub(super) struct Registration {
    socket: PathBuf,
    answers: Answers,
    listener: std::os::unix::net::UnixListener,
}

/// What the driver tells kubelet, and where what kubelet says goes.
#[derive(Clone)]
struct Answers {
    driver_name: String,
    endpoint: PathBuf,
    health: Arc<Health>,
}

impl Registration {
    /// Makes the socket by which a driver with this name registers its `endpoint`.
    ///
    /// # Errors
    ///
    /// Those of [`socket::listen`].
    pub(super) fn listen(
        kubelet_dir: &Path,
        driver_name: &str,
        endpoint: &Path,
        health: Arc<Health>,
    ) -> Result<(Self, SocketFile)> {
        let name = format!("{driver_name}-reg.sock");
        let socket = kubelet_dir.join("plugins_registry").join(name);
        let socket = socket::parse_endpoint(&socket.to_string_lossy())?;
        let (listener, file) = socket::listen(&socket)?;
        let answers =
            Answers { driver_name: driver_name.to_owned(), endpoint: endpoint.to_owned(), health };
        Ok((Self { socket, answers, listener }, file))
    }

    /// Answers kubelet, as often as it asks.
    pub(super) async fn serve(self) {
        let socket = self.socket.display().to_string();
        tracing::info!(target: "calf::csi", socket, "waiting for kubelet to register the driver");
        let served = async {
            let listener = UnixListener::from_std(self.listener)?;
            Server::builder()
                .add_service(
                    RegistrationServer::new(self.answers).max_decoding_message_size(LARGEST),
                )
                .serve_with_incoming(
                    UnixListenerStream::new(listener).map(|stream| stream.map(Localhost::new)),
                )
                .await
                .map_err(std::io::Error::other)
        };
        if let Err(error) = served.await {
            tracing::error!(
                target: "calf::csi", socket, %error,
                "kubelet can no longer register the driver: restart the driver"
            );
        }
    }
}

#[async_trait]
impl wire::registration_server::Registration for Answers {
    async fn get_info(
        &self,
        _: Request<wire::InfoRequest>,
    ) -> std::result::Result<Response<wire::PluginInfo>, Status> {
        Ok(Response::new(wire::PluginInfo {
            r#type: PLUGIN_TYPE.to_owned(),
            name: self.driver_name.clone(),
            endpoint: self.endpoint.display().to_string(),
            supported_versions: vec![CSI_VERSION.to_owned()],
        }))
    }

    async fn notify_registration_status(
        &self,
        request: Request<wire::RegistrationStatus>,
    ) -> std::result::Result<Response<wire::RegistrationStatusResponse>, Status> {
        let status = request.into_inner();
        if status.plugin_registered {
            tracing::info!(target: "calf::csi", driver = self.driver_name, "kubelet registered the driver");
            self.health.registered(Ok(()));
        } else {
            tracing::error!(
                target: "calf::csi", driver = self.driver_name, error = status.error,
                "kubelet refused to register the driver, and tries again"
            );
            self.health.registered(Err(status.error));
        }
        Ok(Response::new(wire::RegistrationStatusResponse {}))
    }
}
