//! Fuzzing of CSI requests: from their bytes on the wire, through validation and planning, to a
//! simulated machine that panics if anything outside its directory is touched.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use prost::Message;
use tonic::{Request, Status};

use crate::api::{Pool, PoolOptions};
use crate::csi::driver::{Driver, Service};
use crate::csi::inline::InlineVolumes;
use crate::csi::topology::Topology;
use crate::csi::v1;
use crate::csi::v1::controller_server::Controller as _;
use crate::csi::v1::identity_server::Identity as _;
use crate::csi::v1::node_server::Node as _;
use crate::kubernetes::Events;
use crate::metrics::Metrics;
use crate::sys::fake::FakeHost;
use crate::template::spec::ImportSpec;

/// Maximum number of requests in one input.
const MOST: usize = 8;

/// A few requests in a row to one driver: for each, a byte for the method, two for the length
/// (little-endian), and the message. Paths in them are taken as relative to the machine's directory.
///
/// # Panics
///
/// If the driver panics, touches anything outside, or leaves something that reconciliation cannot
/// repair.
pub fn requests(data: &[u8]) {
    static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
    });
    let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    let directory = directory.expect("a directory");
    let machine = Machine::new(directory.path());
    let mut rest = data;
    for _ in 0..MOST {
        let [method, low, high, tail @ ..] = rest else { break };
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(tail.len());
        let (message, tail) = tail.split_at(length);
        rest = tail;
        if let Some(Err(status)) = RUNTIME.block_on(machine.send(*method, message)) {
            assert!(!status.message().contains("panicked"), "{status:?}");
        }
    }
    let report = machine.pool.reconcile().expect("reconciliation succeeds");
    assert_eq!(report.failed, Vec::<String>::new());
    machine.pool.volumes().expect("they can be listed");
}

struct Machine {
    pool: Pool,
    driver: Driver,
    root: PathBuf,
}

impl Machine {
    /// A driver with one template, `base`, on a machine that is confined to `root`.
    fn new(root: &Path) -> Self {
        let host = FakeHost::new();
        host.confine(root);
        let options = PoolOptions::default().host(Arc::new(host)).kata_root(root.join("kata"));
        let pool = options.open(root.join("pool"));
        let pool = pool.expect("a pool");
        let source = root.join("base.img");
        fs::write(&source, image()).expect("an image");
        let import = ImportSpec::new(source, "base");
        pool.import_template(&import, &mut |_| ()).expect("an import");
        let service = Service {
            pool: pool.clone(),
            driver_name: "calf.csi.dev".to_owned(),
            topology: Topology::new("calf.csi.dev", "node").expect("a node"),
            max_volumes_per_node: 0,
            inline: InlineVolumes::default(),
            events: Events::off(),
            metrics: Arc::new(Metrics::new()),
        };
        let driver = Driver::new(service);
        Self { pool, driver, root: root.to_owned() }
    }

    /// Calls a method; `None` if the bytes are not a valid message.
    async fn send(&self, method: u8, message: &[u8]) -> Option<Result<(), Status>> {
        macro_rules! call {
            ($kind:ident, $method:ident $(, $path:ident)*) => {{
                #[allow(unused_mut)]
                let mut message = v1::$kind::decode(message).ok()?;
                $(self.move_in(&mut message.$path);)*
                Some(self.driver.$method(Request::new(message)).await.map(drop))
            }};
        }
        match method % 18 {
            0 => call!(CreateVolumeRequest, create_volume),
            1 => call!(DeleteVolumeRequest, delete_volume),
            2 => call!(NodeStageVolumeRequest, node_stage_volume, staging_target_path),
            3 => call!(NodeUnstageVolumeRequest, node_unstage_volume, staging_target_path),
            4 => call!(
                NodePublishVolumeRequest,
                node_publish_volume,
                staging_target_path,
                target_path
            ),
            5 => call!(NodeUnpublishVolumeRequest, node_unpublish_volume, target_path),
            6 => call!(
                NodeGetVolumeStatsRequest,
                node_get_volume_stats,
                volume_path,
                staging_target_path
            ),
            7 => {
                call!(NodeExpandVolumeRequest, node_expand_volume, volume_path, staging_target_path)
            }
            8 => call!(ControllerExpandVolumeRequest, controller_expand_volume),
            9 => call!(ValidateVolumeCapabilitiesRequest, validate_volume_capabilities),
            10 => call!(ListVolumesRequest, list_volumes),
            11 => call!(GetCapacityRequest, get_capacity),
            12 => call!(ControllerGetVolumeRequest, controller_get_volume),
            13 => call!(ProbeRequest, probe),
            14 => call!(CreateSnapshotRequest, create_snapshot),
            15 => call!(DeleteSnapshotRequest, delete_snapshot),
            16 => call!(ListSnapshotsRequest, list_snapshots),
            _ => call!(GetSnapshotRequest, get_snapshot),
        }
    }

    /// Prefixes an absolute path with the machine's directory. An invalid path stays invalid.
    fn move_in(&self, path: &mut String) {
        if path.starts_with('/') {
            path.insert_str(0, &self.root.to_string_lossy());
        }
    }
}

/// The smallest image that passes for ext4: 8 KiB with a superblock.
fn image() -> Vec<u8> {
    let mut image = vec![0; 8192];
    let superblock = &mut image[1024..];
    superblock[0x18..0x1c].copy_from_slice(&2_u32.to_le_bytes());
    superblock[0x38..0x3a].copy_from_slice(&0xef53_u16.to_le_bytes());
    superblock[0x5c..0x60].copy_from_slice(&0x4_u32.to_le_bytes());
    superblock[0x60..0x64].copy_from_slice(&0x40_u32.to_le_bytes());
    superblock[0xe0..0xe4].copy_from_slice(&8_u32.to_le_bytes());
    image
}
