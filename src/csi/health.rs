//! gRPC's own health protocol, for tools that do not know CSI. Its answer is that of `/readyz`.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_stream::wrappers::IntervalStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status, async_trait};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::Health;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::csi::reflection;
use crate::metrics;

/// How often to check health for `Watch`.
const INTERVAL: Duration = Duration::from_secs(10);

/// The health service of a driver.
#[derive(Clone)]
pub(super) struct Checks(pub(super) Arc<metrics::Health>);

impl Checks {
    async fn status(&self) -> HealthCheckResponse {
        let status = match self.0.ready().await {
            Ok(()) => ServingStatus::Serving,
            Err(_) => ServingStatus::NotServing,
        };
        HealthCheckResponse { status: status.into() }
    }
}

#[async_trait]
impl Health for Checks {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        require_known(&request)?;
        Ok(Response::new(self.status().await))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        require_known(&request)?;
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let checks = self.clone();
        let looks = IntervalStream::new(ticks).then(move |_| {
            let checks = checks.clone();
            async move { checks.status().await }
        });
        let mut last = None;
        let changes =
            looks.filter_map(move |now| (last.replace(now) != Some(now)).then_some(Ok(now)));
        Ok(Response::new(Box::pin(changes)))
    }
}

/// The driver as a whole, which has no name, and all of its services share one health.
fn require_known(request: &Request<HealthCheckRequest>) -> Result<(), Status> {
    let service = request.get_ref().service.as_str();
    if service.is_empty() || reflection::SERVICES.contains(&service) {
        return Ok(());
    }
    Err(Status::not_found(format!("there is no service {service:?} here")))
}
