//! `/metrics`, `/healthz` and `/readyz` on a TCP port.
//!
//! Anyone who can reach the port may send requests, so everything is bounded: connections, the time
//! that each may take, the size of a request's head. One collection and one readiness check run at
//! a time, however many clients ask. Each keeps its slot until its thread has ended, even if the
//! client has gone: a file system that hangs costs two threads.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::encoding::prometheus_text;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::api::Pool;
use crate::error::{Error, ErrorKind, Result};
use crate::metrics::{Health, Metrics, figures};
use crate::template::required::RequiredTemplates;

/// Connections at once: a few Prometheus servers and the kubelet's probes.
const CONNECTIONS: usize = 16;
/// How long a client may take to send the head of its request.
const HEAD: Duration = Duration::from_secs(5);
/// How long a connection may take as a whole. Prometheus gives up after 10 s by default.
const CONNECTION: Duration = Duration::from_secs(30);
/// Largest head of a request, in bytes; the least that hyper allows.
const MAX_HEAD: usize = 8 << 10;
/// How long to wait for a thread before the driver counts as unable to serve.
const ALIVE: Duration = Duration::from_secs(10);
/// How long to wait after accepting a connection failed (most often for lack of file descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const INDEX: &str = "calf serves /metrics, /healthz and /readyz\n";

/// The state that is served over HTTP.
pub(crate) struct Exporter {
    pool: Pool,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    required: Arc<RequiredTemplates>,
    collecting: Arc<Semaphore>,
    probing: Arc<Semaphore>,
}

/// Listens on `address`.
pub(crate) async fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|e| {
        let kind = match e.kind() {
            std::io::ErrorKind::AddrInUse => ErrorKind::InUse,
            std::io::ErrorKind::PermissionDenied => ErrorKind::Permission,
            _ => ErrorKind::InvalidArgument,
        };
        Error::new(kind, "serve metrics on", address, e)
            .remedy("give a free address and port of this node with --metrics-address")
    })
}

impl Exporter {
    pub(crate) fn new(
        pool: Pool,
        metrics: Arc<Metrics>,
        health: Arc<Health>,
        required: Arc<RequiredTemplates>,
    ) -> Self {
        let [collecting, probing] = [(); 2].map(|()| Arc::new(Semaphore::new(1)));
        Self { pool, metrics, health, required, collecting, probing }
    }

    /// Serves until it is dropped.
    pub(crate) async fn serve(self, listener: TcpListener) {
        let exporter = Arc::new(self);
        let connections = Arc::new(Semaphore::new(CONNECTIONS));
        // Dropping this ends the connections with it.
        let mut tasks = tokio::task::JoinSet::new();
        loop {
            while tasks.try_join_next().is_some() {}
            let Ok(permit) = Arc::clone(&connections).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let exporter = Arc::clone(&exporter);
                    tasks.spawn(async move {
                        exporter.connection(stream).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection for metrics");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn connection(self: Arc<Self>, stream: TcpStream) {
        let answer = service_fn(move |request| {
            let exporter = Arc::clone(&self);
            async move { Ok::<_, Infallible>(exporter.answer(&request).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .max_buf_size(MAX_HEAD)
            // Otherwise an idle client would keep its slot.
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), answer);
        // Ignore clients that send nonsense, go away or take too long.
        let _ = tokio::time::timeout(CONNECTION, connection).await;
    }

    async fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if request.method() != Method::GET && request.method() != Method::HEAD {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "use GET or HEAD\n");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match request.uri().path() {
            "/metrics" => self.metrics().await,
            "/healthz" => alive().await,
            "/readyz" => self.ready().await,
            "/" => text(StatusCode::OK, INDEX),
            _ => text(StatusCode::NOT_FOUND, INDEX),
        }
    }

    async fn metrics(&self) -> Response<Full<Bytes>> {
        let (pool, metrics) = (self.pool.clone(), Arc::clone(&self.metrics));
        let required = Arc::clone(&self.required);
        let Ok(permit) = Arc::clone(&self.collecting).acquire_owned().await else {
            return text(StatusCode::SERVICE_UNAVAILABLE, "shutting down\n");
        };
        let collected = tokio::task::spawn_blocking(move || {
            let _permit = permit;
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

    async fn ready(&self) -> Response<Full<Bytes>> {
        let (pool, health) = (self.pool.clone(), Arc::clone(&self.health));
        let probing = Arc::clone(&self.probing);
        let ready = async {
            let permit = probing.acquire_owned().await.ok()?;
            let look = move || {
                let _permit = permit;
                health.ready(&pool)
            };
            tokio::task::spawn_blocking(look).await.ok()
        };
        match tokio::time::timeout(ALIVE, ready).await {
            Ok(Some(Ok(()))) => text(StatusCode::OK, "ok\n"),
            Ok(Some(Err(why))) => {
                text(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n"))
            }
            Ok(None) | Err(_) => text(
                StatusCode::SERVICE_UNAVAILABLE,
                "not ready: no answer from the pool: its file system or too many calls hang\n",
            ),
        }
    }
}

/// A CSI call needs a thread: without one, the process is of no use.
async fn alive() -> Response<Full<Bytes>> {
    match tokio::time::timeout(ALIVE, tokio::task::spawn_blocking(|| ())).await {
        Ok(Ok(())) => text(StatusCode::OK, "ok\n"),
        Ok(Err(_)) | Err(_) => {
            text(StatusCode::SERVICE_UNAVAILABLE, "no thread is free for a call\n")
        }
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, TEXT);
    response
}
