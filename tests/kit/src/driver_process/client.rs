//! A blocking CSI client, with the few calls of a volume's life.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use calf::csi::v1;
use calf::csi::v1::controller_client::ControllerClient;
use calf::csi::v1::identity_client::IdentityClient;
use calf::csi::v1::node_client::NodeClient;
use calf::csi::v1::volume_capability::access_mode::Mode;
use calf::csi::v1::volume_capability::{AccessMode, AccessType, BlockVolume, MountVolume};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Request, Status};

/// Longer than any call on an emulated machine under load.
const DEADLINE: Duration = Duration::from_secs(120);

/// A connection to a driver.
pub struct Client {
    runtime: Runtime,
    channel: Channel,
}

/// One use of a volume: its paths and how it is accessed.
#[derive(Clone, Debug)]
pub struct Usage {
    pub volume: String,
    pub staging: PathBuf,
    pub target: PathBuf,
    pub block: bool,
    pub read_only: bool,
    kata: bool,
}

impl Usage {
    /// Volume `volume` with its paths in `directory`.
    pub fn new(volume: &str, directory: &Path, block: bool) -> Self {
        Self {
            volume: volume.to_owned(),
            staging: directory.join(format!("{volume}-staging")),
            target: directory.join(format!("{volume}-target")),
            block,
            read_only: false,
            kata: false,
        }
    }

    /// Mounted by a Kata guest instead of the host.
    pub fn kata(self) -> Self {
        Self { kata: true, ..self }
    }

    /// The same, read-only.
    pub fn read_only(self) -> Self {
        Self { read_only: true, ..self }
    }

    fn capability(&self) -> v1::VolumeCapability {
        let access = match self.block {
            true => AccessType::Block(BlockVolume {}),
            false => AccessType::Mount(MountVolume::default()),
        };
        v1::VolumeCapability {
            access_mode: Some(AccessMode { mode: Mode::SingleNodeWriter.into() }),
            access_type: Some(access),
        }
    }
}

impl Client {
    pub fn new(socket: &Path) -> Self {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let socket = socket.to_owned();
        let _context = runtime.enter();
        // The URI is not used: the connector goes to the socket.
        let channel = Endpoint::from_static("http://localhost").connect_with_connector_lazy(
            tower::service_fn(move |_: Uri| {
                let socket = socket.clone();
                async move { UnixStream::connect(socket).await.map(TokioIo::new) }
            }),
        );
        drop(_context);
        Self { runtime, channel }
    }

    pub fn probe(&self) -> Result<(), Status> {
        self.call(v1::ProbeRequest {}, |channel, request| async {
            IdentityClient::new(channel).probe(request).await.map(drop)
        })
    }

    /// The cheapest call: the driver checks nothing for it.
    pub fn node_info(&self) -> Result<(), Status> {
        self.call(v1::NodeGetInfoRequest {}, |channel, request| async {
            NodeClient::new(channel).node_get_info(request).await.map(drop)
        })
    }

    /// Probe's report on how volumes are made.
    pub fn mode(&self) -> Result<String, Status> {
        let mut identity = IdentityClient::new(self.channel.clone());
        let response = self.runtime.block_on(identity.probe(v1::ProbeRequest {}))?;
        let mode = response.metadata().get("calf-mode").and_then(|mode| mode.to_str().ok());
        Ok(mode.unwrap_or_default().to_owned())
    }

    pub fn create(&self, volume: &str, template: &str) -> Result<(), Status> {
        self.create_for(&Usage::new(volume, Path::new("/"), true), template)
    }

    /// Creates a volume that can be used in this way.
    pub fn create_for(&self, usage: &Usage, template: &str) -> Result<(), Status> {
        let kata = usage.kata.to_string();
        let parameters = [("template", template), ("kataDirectVolume", kata.as_str())];
        self.call(
            v1::CreateVolumeRequest {
                name: usage.volume.clone(),
                volume_capabilities: vec![usage.capability()],
                parameters: parameters
                    .map(|(key, value)| (key.to_owned(), value.to_owned()))
                    .into(),
                ..Default::default()
            },
            |channel, request| async {
                ControllerClient::new(channel).create_volume(request).await.map(drop)
            },
        )
    }

    /// The conditions of the volumes of one page: whether each is abnormal, and its text.
    pub fn list(&self, max_entries: i32) -> Result<Vec<(bool, String)>, Status> {
        let request = v1::ListVolumesRequest { max_entries, ..Default::default() };
        let mut controller = ControllerClient::new(self.channel.clone());
        let call = controller.list_volumes(request);
        let entries = self.runtime.block_on(call)?.into_inner().entries;
        let conditions = entries.into_iter().filter_map(|entry| entry.status?.volume_condition);
        Ok(conditions.map(|condition| (condition.abnormal, condition.message)).collect())
    }

    pub fn delete(&self, volume: &str) -> Result<(), Status> {
        self.call(
            v1::DeleteVolumeRequest { volume_id: volume.to_owned(), ..Default::default() },
            |channel, request| async {
                ControllerClient::new(channel).delete_volume(request).await.map(drop)
            },
        )
    }

    pub fn stage(&self, usage: &Usage) -> Result<(), Status> {
        self.stage_within(usage, DEADLINE)
    }

    /// Stages the volume, and waits no longer than `deadline`.
    pub fn stage_within(&self, usage: &Usage, deadline: Duration) -> Result<(), Status> {
        let mut request = Request::new(stage_request(usage));
        request.set_timeout(deadline);
        let mut node = NodeClient::new(self.channel.clone());
        self.runtime.block_on(node.node_stage_volume(request)).map(drop)
    }

    pub fn publish(&self, usage: &Usage) -> Result<(), Status> {
        self.call(
            v1::NodePublishVolumeRequest {
                volume_id: usage.volume.clone(),
                staging_target_path: usage.staging.display().to_string(),
                target_path: usage.target.display().to_string(),
                volume_capability: Some(usage.capability()),
                readonly: usage.read_only,
                ..Default::default()
            },
            |channel, request| async {
                NodeClient::new(channel).node_publish_volume(request).await.map(drop)
            },
        )
    }

    /// Expands the volume to `size` bytes.
    pub fn expand(&self, usage: &Usage, size: u64) -> Result<(), Status> {
        let range = v1::CapacityRange {
            required_bytes: i64::try_from(size).expect("a size"),
            limit_bytes: 0,
        };
        self.call(
            v1::NodeExpandVolumeRequest {
                volume_id: usage.volume.clone(),
                volume_path: usage.target.display().to_string(),
                capacity_range: Some(range),
                volume_capability: Some(usage.capability()),
                ..Default::default()
            },
            |channel, request| async {
                NodeClient::new(channel).node_expand_volume(request).await.map(drop)
            },
        )
    }

    /// The abnormal condition of the published volume, if any.
    pub fn condition(&self, usage: &Usage) -> Result<(bool, String), Status> {
        let request = v1::NodeGetVolumeStatsRequest {
            volume_id: usage.volume.clone(),
            volume_path: usage.target.display().to_string(),
            ..Default::default()
        };
        let mut node = NodeClient::new(self.channel.clone());
        let response = self.runtime.block_on(node.node_get_volume_stats(request))?.into_inner();
        let condition = response.volume_condition.unwrap_or_default();
        Ok((condition.abnormal, condition.message))
    }

    pub fn unpublish(&self, usage: &Usage) -> Result<(), Status> {
        self.call(
            v1::NodeUnpublishVolumeRequest {
                volume_id: usage.volume.clone(),
                target_path: usage.target.display().to_string(),
            },
            |channel, request| async {
                NodeClient::new(channel).node_unpublish_volume(request).await.map(drop)
            },
        )
    }

    pub fn unstage(&self, usage: &Usage) -> Result<(), Status> {
        self.call(
            v1::NodeUnstageVolumeRequest {
                volume_id: usage.volume.clone(),
                staging_target_path: usage.staging.display().to_string(),
            },
            |channel, request| async {
                NodeClient::new(channel).node_unstage_volume(request).await.map(drop)
            },
        )
    }

    /// Takes the volume down completely, from any state.
    pub fn end(&self, usage: &Usage) -> Result<(), Status> {
        self.unpublish(usage)?;
        self.unstage(usage)?;
        self.delete(&usage.volume)
    }

    fn call<T, F>(
        &self,
        message: T,
        send: impl FnOnce(Channel, Request<T>) -> F,
    ) -> Result<(), Status>
    where
        F: Future<Output = Result<(), Status>>,
    {
        let mut request = Request::new(message);
        request.set_timeout(DEADLINE);
        self.runtime.block_on(send(self.channel.clone(), request))
    }
}

fn stage_request(usage: &Usage) -> v1::NodeStageVolumeRequest {
    v1::NodeStageVolumeRequest {
        volume_id: usage.volume.clone(),
        staging_target_path: usage.staging.display().to_string(),
        volume_capability: Some(usage.capability()),
        ..Default::default()
    }
}
