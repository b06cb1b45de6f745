//! The two sites of a driver: one for probes, and one with metrics.
//!
//! A driver's health must not depend on who reads its metrics. So probes have a port of their own;
//! the site with metrics answers them too, for those who use only one port.

use std::sync::Arc;

use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use prometheus_client::encoding::prometheus_text;
use tokio::sync::Semaphore;

use crate::api::Pool;
use crate::metrics::http::{Answer, Site, text};
use crate::metrics::{Health, Metrics, figures};
use crate::template::required::RequiredTemplates;

/// `/healthz` and `/readyz`.
pub(crate) struct Probes(pub(crate) Arc<Health>);

impl Probes {
    /// The answer, if the path is that of a probe.
    async fn probe(&self, path: &str) -> Option<Answer> {
        let refused = match path {
            "/healthz" => self.0.alive().await.err().map(|why| format!("{why}\n")),
            "/readyz" => self.0.ready().await.err().map(|why| format!("not ready: {why}\n")),
            _ => return None,
        };
        Some(match refused {
            None => text(StatusCode::OK, "ok\n"),
            Some(why) => text(StatusCode::SERVICE_UNAVAILABLE, why),
        })
    }
}

impl Site for Probes {
    async fn get(&self, path: &str) -> Answer {
        match self.probe(path).await {
            Some(answer) => answer,
            None => other(path, "calf serves /healthz and /readyz\n"),
        }
    }
}

/// `/metrics`, `/healthz` and `/readyz`.
///
/// One collection runs at a time, however many clients ask, and keeps its turn until its thread has
/// ended, even if the client has gone: a file system that hangs costs one thread.
pub(crate) struct Exporter {
    probes: Probes,
    pool: Pool,
    metrics: Arc<Metrics>,
    required: Arc<RequiredTemplates>,
    collecting: Arc<Semaphore>,
}

impl Exporter {
    pub(crate) fn new(
        pool: Pool,
        metrics: Arc<Metrics>,
        health: Arc<Health>,
        required: Arc<RequiredTemplates>,
    ) -> Self {
        let (probes, collecting) = (Probes(health), Arc::new(Semaphore::new(1)));
        Self { probes, pool, metrics, required, collecting }
    }

    async fn metrics(&self) -> Answer {
        let (pool, metrics) = (self.pool.clone(), Arc::clone(&self.metrics));
        let required = Arc::clone(&self.required);
        let Ok(turn) = Arc::clone(&self.collecting).acquire_owned().await else {
            return text(StatusCode::SERVICE_UNAVAILABLE, "shutting down\n");
        };
        let collected = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let mut text = String::new();
            metrics
                .encode(&mut text)
                .and_then(|()| figures::encode(&pool, &required, &mut text))
                .map(|()| text)
        });
        match collected.await {
            Ok(Ok(collected)) => {
                let mut response = text(StatusCode::OK, collected);
                let kind = HeaderValue::from_static(prometheus_text::CONTENT_TYPE);
                response.headers_mut().insert(CONTENT_TYPE, kind);
                response
            }
            Ok(Err(_)) | Err(_) => {
                text(StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be collected\n")
            }
        }
    }
}

impl Site for Exporter {
    async fn get(&self, path: &str) -> Answer {
        if path == "/metrics" {
            return self.metrics().await;
        }
        match self.probes.probe(path).await {
            Some(answer) => answer,
            None => other(path, "calf serves /metrics, /healthz and /readyz\n"),
        }
    }
}

/// The answer to a path at which nothing is.
fn other(path: &str, index: &'static str) -> Answer {
    text(if path == "/" { StatusCode::OK } else { StatusCode::NOT_FOUND }, index)
}
