//! Serving one site on a TCP port.
//!
//! Anyone who can reach the port may send requests, so everything is bounded: connections (see
//! [`connections`](super::connections)), the time that each may take, the size of a request's head.

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
use tokio::net::{TcpListener, TcpStream};

use crate::error::{Error, ErrorKind, Result};
use crate::metrics::connections;
use crate::metrics::connections::Asked;

/// How long a client may take to send the head of its request.
const HEAD: Duration = Duration::from_secs(5);
/// How long a connection may take as a whole. Prometheus gives up after 10 s by default.
const CONNECTION: Duration = Duration::from_secs(30);
/// Largest head of a request, in bytes; the least that hyper allows.
const MAX_HEAD: usize = 8 << 10;

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// A complete answer.
pub(super) type Answer = Response<Full<Bytes>>;

/// What is served on a port.
pub(crate) trait Site: Send + Sync + 'static {
    /// The answer to a request for this path.
    fn get(&self, path: &str) -> impl Future<Output = Answer> + Send;
}

/// Listens on `address`, which `option` gave.
pub(crate) async fn bind(address: SocketAddr, option: &str) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|e| {
        let kind = match e.kind() {
            std::io::ErrorKind::AddrInUse => ErrorKind::InUse,
            std::io::ErrorKind::PermissionDenied => ErrorKind::Permission,
            _ => ErrorKind::InvalidArgument,
        };
        Error::new(kind, "serve HTTP on", address, e)
            .remedy(format!("give a free address and port of this node with {option}"))
    })
}

/// Serves a site until it is dropped.
pub(crate) async fn serve(listener: TcpListener, site: Arc<impl Site>) {
    connections::accept(listener, |stream, asked| connection(stream, asked, Arc::clone(&site)))
        .await;
}

async fn connection(stream: TcpStream, asked: Asked, site: Arc<impl Site>) {
    let service = service_fn(move |request| {
        asked.set();
        let site = Arc::clone(&site);
        async move { Ok::<_, Infallible>(answer(&*site, &request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(MAX_HEAD)
        // Otherwise an idle client would keep its slot.
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    // Ignore clients that send nonsense, go away or take too long.
    let _ = tokio::time::timeout(CONNECTION, connection).await;
}

async fn answer(site: &impl Site, request: &Request<Incoming>) -> Answer {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "use GET or HEAD\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    site.get(request.uri().path()).await
}

/// An answer of plain text.
pub(super) fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, TEXT);
    response
}
