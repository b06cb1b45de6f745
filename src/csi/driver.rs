//! The common part of the three gRPC services: the pool, and how a call is run.
//!
//! Each call runs to its end on a thread of its own, whether or not its caller still waits: when
//! a client's deadline passes, tonic drops the handler at its `await`, but the work goes on, is
//! logged, and is waited for at shutdown. Work that may take minutes ends then, and at shutdown, at the
//! next opportunity, and the repeated call goes on with it. Nothing here makes calls wait for each other; the
//! engine's locks are per volume.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Response, Status};

use crate::api::Pool;
use crate::csi::inline::InlineVolumes;
use crate::csi::log::Call;
use crate::csi::status;
use crate::csi::topology::Topology;
use crate::error::{Error, ErrorKind, Result};
use crate::kubernetes::Events;
use crate::metrics::Metrics;
use crate::model::cancel::Cancel;

/// The blocking handlers behind the RPCs; see `identity`, `controller` and `node`.
pub(super) struct Service {
    pub(super) pool: Pool,
    pub(super) driver_name: String,
    pub(super) topology: Topology,
    /// 0 means that the orchestrator decides.
    pub(super) max_volumes_per_node: u32,
    pub(super) inline: InlineVolumes,
    pub(super) events: Events,
    pub(super) metrics: Arc<Metrics>,
}

/// The gRPC services. Clones refer to the same driver.
#[derive(Clone)]
pub(super) struct Driver {
    service: Arc<Service>,
    work: TaskTracker,
    calls: Arc<Calls>,
    /// Cancelled when the driver stops.
    stop: CancellationToken,
}

/// Counts calls.
#[derive(Default)]
struct Calls {
    begun: AtomicU64,
    running: AtomicUsize,
    ended: Notify,
}

/// A call in progress. Its drop is its end.
struct Running(Arc<Calls>);

impl Running {
    fn begin(calls: &Arc<Calls>) -> Self {
        calls.begun.fetch_add(1, Ordering::AcqRel);
        calls.running.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(calls))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::AcqRel);
        self.0.ended.notify_one();
    }
}

impl Driver {
    pub(super) fn new(service: Service) -> Self {
        Self {
            service: Arc::new(service),
            work: TaskTracker::new(),
            calls: Arc::default(),
            stop: CancellationToken::new(),
        }
    }

    /// Runs `work` for the request `method` about `volume` (empty if there is none).
    pub(super) async fn call<T: Send + 'static>(
        &self,
        method: &'static str,
        volume: &str,
        work: impl FnOnce(&Service) -> Result<T> + Send + 'static,
    ) -> Result<Response<T>, Status> {
        self.long_call(method, volume, |service, _| work(service)).await
    }

    /// Runs `work`, which may take long, in the same way. The condition that it is given holds once nobody
    /// waits for the response, or the driver stops.
    pub(super) async fn long_call<T: Send + 'static>(
        &self,
        method: &'static str,
        volume: &str,
        work: impl FnOnce(&Service, Cancel) -> Result<T> + Send + 'static,
    ) -> Result<Response<T>, Status> {
        let running = Running::begin(&self.calls);
        let token = self.stop.child_token();
        // Dropped with this future, which tonic drops at the deadline, or when the client is gone.
        let _waiting = token.clone().drop_guard();
        let cancel = Cancel::when(move || token.is_cancelled());
        let call = Call::start(method, volume);
        let request = self.service.metrics.request(method);
        let service = Arc::clone(&self.service);
        let task = self.work.spawn_blocking(move || {
            let result = catch_unwind(AssertUnwindSafe(|| work(&service, cancel)))
                .unwrap_or_else(|panic| Err(panicked(method, &*panic)));
            call.end(&result);
            request.end(status::name(status::outcome(&result)));
            drop(running);
            result
        });
        match task.await {
            Ok(result) => Ok(Response::new(result?)),
            // A blocking task that has not started is cancelled when the runtime shuts down.
            Err(_) => Err(Status::unavailable("the driver is shutting down; call again")),
        }
    }

    /// The number of calls that have begun since the start.
    pub(super) fn begun(&self) -> u64 {
        self.calls.begun.load(Ordering::Acquire)
    }

    /// The number of calls in progress, including calls whose caller has gone.
    pub(super) fn running(&self) -> usize {
        self.calls.running.load(Ordering::Acquire)
    }

    /// Ends long calls at the next opportunity.
    pub(super) fn stop_long_calls(&self) {
        self.stop.cancel();
    }

    /// Waits until a call has ended since the last wait. By then it is not [`running`](Self::running).
    pub(super) async fn call_ended(&self) {
        self.calls.ended.notified().await;
    }

    /// Waits until no call is in progress. No new calls may arrive by then.
    pub(super) async fn finished(&self) {
        self.work.close();
        self.work.wait().await;
    }
}

/// The answer to an RPC that this driver does not implement.
pub(super) fn unimplemented<T>(method: &'static str, why: &str) -> Result<Response<T>, Status> {
    tracing::info!(target: "calf::csi", method, code = "UNIMPLEMENTED", "response");
    Err(Status::unimplemented(format!("{method} is not implemented: {why}")))
}

fn panicked(method: &'static str, panic: &(dyn std::any::Any + Send)) -> Error {
    let text = panic
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned());
    Error::new(ErrorKind::Internal, "complete", method, format!("the driver panicked: {text}"))
        .remedy("this is a bug in calf: report it with the log")
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use tonic::{Code, Request};

    use super::*;
    use crate::api::PoolOptions;
    use crate::csi::v1::controller_server::Controller as _;
    use crate::csi::{source, v1};
    use crate::model::snapshot::VolumeSource;
    use crate::model::volume::VolumeSpec;
    use crate::sys::fake::FakeHost;
    use crate::template::spec::ImportSpec;

    /// A driver on a simulated machine, and its pool.
    pub(in crate::csi) fn driver(directory: &tempfile::TempDir) -> (Driver, Pool) {
        let pool = PoolOptions::default()
            .host(Arc::new(FakeHost::new()))
            .open(directory.path().join("pool"))
            .unwrap();
        let service = Service {
            pool: pool.clone(),
            driver_name: "d".into(),
            topology: Topology::new("d", "n").unwrap(),
            max_volumes_per_node: 0,
            inline: InlineVolumes::default(),
            events: Events::off(),
            metrics: Arc::new(Metrics::new()),
        };
        (Driver::new(service), pool)
    }

    #[tokio::test]
    async fn how_long_writers_waited_is_counted_once_for_each_cut() {
        let directory = tempfile::tempdir().unwrap();
        let (driver, pool) = driver(&directory);
        let image = directory.path().join("base.img");
        std::fs::write(&image, vec![7; 1 << 20]).unwrap();
        pool.import_template(&ImportSpec::new(image, "base"), &mut |_| ()).unwrap();
        pool.create_volume(&VolumeSpec::new("v", "base")).unwrap().activate().unwrap();
        let snapshot = v1::CreateSnapshotRequest {
            source_volume_id: "v".into(),
            name: "s".into(),
            ..Default::default()
        };
        let from = VolumeSource::Volume("v".into());
        let clone = v1::CreateVolumeRequest {
            name: "w".into(),
            volume_capabilities: vec![v1::VolumeCapability {
                access_mode: Some(v1::volume_capability::AccessMode { mode: 1 }),
                access_type: Some(v1::volume_capability::AccessType::Block(<_>::default())),
            }],
            volume_content_source: Some(source::to_wire(&from, &driver.service.topology)),
            ..Default::default()
        };
        // A repeated call finds what the first made, and nobody waits for that.
        for _ in 0..2 {
            driver.create_snapshot(Request::new(snapshot.clone())).await.unwrap();
            driver.create_volume(Request::new(clone.clone())).await.unwrap();
        }
        let mut text = String::new();
        driver.service.metrics.encode(&mut text).unwrap();
        for operation in ["snapshot", "clone"] {
            let line = format!("calf_writers_waited_seconds_count{{operation=\"{operation}\"}} 1");
            assert!(text.lines().any(|found| found == line), "{line} is missing from:\n{text}");
        }
    }

    #[tokio::test]
    async fn work_outlives_its_caller_and_is_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let (driver, _) = driver(&directory);
        let (release, blocked) = mpsc::channel::<()>();
        let (done, result) = mpsc::channel();
        let call = driver.call("CreateVolume", "v", move |_| {
            blocked.recv().unwrap();
            done.send(()).unwrap();
            Ok(())
        });
        assert!(tokio::time::timeout(Duration::from_millis(50), call).await.is_err());
        assert_eq!(driver.running(), 1);
        let finished = tokio::spawn({
            let driver = driver.clone();
            async move { driver.finished().await }
        });
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!finished.is_finished());
        release.send(()).unwrap();
        finished.await.unwrap();
        result.recv_timeout(Duration::ZERO).unwrap();
        assert_eq!(driver.running(), 0);
    }

    #[tokio::test]
    async fn long_work_ends_with_its_caller_and_with_the_driver() {
        let directory = tempfile::tempdir().unwrap();
        let (driver, _) = driver(&directory);
        let work = |_: &Service, cancel: Cancel| {
            while !cancel.is_requested() {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err::<(), _>(Error::new(ErrorKind::Cancelled, "grow", "v", "the call was ended early"))
        };
        let call = driver.long_call("NodeStageVolume", "v", work);
        assert!(tokio::time::timeout(Duration::from_millis(50), call).await.is_err());
        while driver.running() > 0 {
            driver.call_ended().await;
        }

        let (stopped, ()) = tokio::join!(driver.long_call("NodeStageVolume", "v", work), async {
            driver.stop_long_calls();
        });
        assert_eq!(stopped.unwrap_err().code(), Code::Cancelled);
    }

    #[tokio::test]
    async fn errors_and_panics_become_statuses() {
        let directory = tempfile::tempdir().unwrap();
        let (driver, _) = driver(&directory);
        let refused = driver
            .call("Probe", "", |_| Err::<(), _>(crate::csi::request::missing("volume_id")))
            .await
            .unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        let panicked =
            driver.call("Probe", "", |_| -> Result<()> { panic!("oh") }).await.unwrap_err();
        assert_eq!(panicked.code(), Code::Internal);
        assert!(panicked.message().contains("oh"), "{}", panicked.message());
    }
}
