//! The server that has an image: requests to it, and what its answers mean.

use std::io;
use std::time::{Duration, Instant};

use ureq::http::header::{ACCEPT_ENCODING, CONTENT_RANGE, ETAG, IF_RANGE, LAST_MODIFIED, RANGE};
use ureq::http::{HeaderName, Response, StatusCode};
use ureq::{Agent, Body};

use crate::error::{Error, ErrorKind, Result};
use crate::http;
use crate::model::download::DownloadOptions;
use crate::template::import::source::pace::{Pace, Paced, TooSlow};
use crate::template::import::source::remote::Remote;
use crate::template::import::source::url::ImageUrl;

const OPERATION: &str = "import";
/// How often in a row a connection may fail without a byte of progress.
pub(super) const ATTEMPTS: u32 = 5;
/// Largest value of a validator that is kept, in bytes.
const MAX_VALIDATOR: usize = 256;

/// The server of one URL.
pub(super) struct Server<'a> {
    agent: Agent,
    pub(super) url: &'a ImageUrl,
    /// Sent with each request, but not where it is redirected to.
    headers: Vec<(HeaderName, String)>,
    pace: Pace,
}

/// Why an attempt did not end with the content.
pub(super) enum Failure {
    /// Asking again will not help.
    Final(Error),
    /// It may.
    Passing(Error),
}

impl Failure {
    pub(super) fn into_error(self) -> Error {
        match self {
            Self::Final(error) | Self::Passing(error) => error,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}

impl<'a> Server<'a> {
    pub(super) fn new(url: &'a ImageUrl, settings: &DownloadOptions) -> Result<Self> {
        let agent = http::agent(&http::Options {
            certificates: settings.certificates.as_deref(),
            proxy: true,
            https_only: url.is_https(),
            stall: settings.stall,
            total: None,
        })?;
        Ok(Self { agent, url, headers: Vec::new(), pace: Pace::new(settings) })
    }

    /// The same, with these headers.
    #[cfg(feature = "formats")]
    pub(super) fn with_headers(self, headers: Vec<(HeaderName, String)>) -> Self {
        Self { headers, ..self }
    }

    /// Sends the request, for the part that is missing if that can be said.
    pub(super) fn ask(&self, from: Option<(u64, &Remote)>) -> Result<Response<Body>, Failure> {
        let mut request = self.agent.get(self.url.as_str()).header(ACCEPT_ENCODING, "identity");
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if let Some((offset, remote)) = from.filter(|(offset, _)| *offset > 0) {
            request = request.header(RANGE, format!("bytes={offset}-"));
            if let Some(validator) = &remote.validator {
                request = request.header(IF_RANGE, validator);
            }
        }
        let start = Instant::now();
        let response = request.call().map_err(|error| self.failed(error));
        self.pace.note(start.elapsed(), 0).map_err(|slow| self.too_slow(slow))?;
        response
    }

    /// Takes note of a pause before a request.
    pub(super) fn wait(&self, pause: Duration) -> Result<()> {
        self.pace.note(pause, 0).map_err(|slow| self.too_slow(slow))
    }

    /// What the same state of a file has from the byte `at` on.
    pub(super) fn rest(&self, at: u64, remote: &Remote) -> Result<Content<'_>, Failure> {
        let response = self.ask(Some((at, remote)))?;
        match response.status() {
            StatusCode::PARTIAL_CONTENT => {
                self.check_range(&response, at, remote.size)?;
                Ok(self.content(response))
            }
            StatusCode::OK => {
                let why =
                    "the file was replaced while it was read, or the server sends no part of it";
                Err(Failure::Final(self.error(ErrorKind::InUse, why).remedy("import it again")))
            }
            status => Err(self.status(status)),
        }
    }

    /// The body of a response, from where reading goes on.
    pub(super) fn content(&self, response: Response<Body>) -> Content<'_> {
        Box::new(Paced::new(response.into_body().into_reader(), &self.pace))
    }

    /// Checks that the answer is the rest of a file of `size` bytes, from `start` on.
    pub(super) fn check_range(
        &self,
        response: &Response<Body>,
        start: u64,
        size: u64,
    ) -> Result<(), Failure> {
        let range = header(response, CONTENT_RANGE).unwrap_or_default();
        if range == format!("bytes {start}-{}/{size}", size - 1) {
            return Ok(());
        }
        let why = format!("the server sent the range {range:.80?} of an image of {size} bytes");
        Err(Failure::Passing(self.error(ErrorKind::Internal, why)))
    }

    pub(super) fn status(&self, status: StatusCode) -> Failure {
        let error = self.refused(status);
        let passing = status.is_server_error()
            || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT);
        if passing { Failure::Passing(error) } else { Failure::Final(error) }
    }

    pub(super) fn refused(&self, status: StatusCode) -> Error {
        let kind = match status {
            StatusCode::NOT_FOUND | StatusCode::GONE => ErrorKind::NotFound,
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ErrorKind::Permission,
            _ => ErrorKind::Internal,
        };
        self.error(kind, format!("the server answered {status}"))
            .remedy("check the URL, and that this machine may read it")
    }

    fn failed(&self, error: ureq::Error) -> Failure {
        let remedy = "check the URL, and that this machine can reach it";
        match error {
            ureq::Error::TooManyRedirects => {
                let why = format!("the server redirected more than {} times", http::MAX_REDIRECTS);
                Failure::Final(self.error(ErrorKind::Internal, why).remedy("check the URL"))
            }
            ureq::Error::RequireHttpsOnly(_) => {
                let why = "the server redirected to a URL without https";
                Failure::Final(
                    self.error(ErrorKind::Internal, why).remedy("give a URL that stays https"),
                )
            }
            ureq::Error::Io(e) => {
                Failure::Passing(self.error(ErrorKind::Internal, e).remedy(remedy))
            }
            error @ (ureq::Error::Timeout(_)
            | ureq::Error::HostNotFound
            | ureq::Error::ConnectionFailed) => {
                Failure::Passing(self.error(ErrorKind::Internal, error).remedy(remedy))
            }
            error => Failure::Final(self.error(ErrorKind::Internal, error).remedy(remedy)),
        }
    }

    /// Why the content could not be read on.
    pub(super) fn broken(&self, error: io::Error) -> Failure {
        let error = match error.downcast::<Error>() {
            Ok(known) => return Failure::Final(known),
            Err(error) => error,
        };
        match error.downcast::<TooSlow>() {
            Ok(slow) => Failure::Final(self.too_slow(slow)),
            Err(error) => {
                let why = format!("the connection was lost: {error}");
                let remedy = "repeat it: it goes on from where it was";
                Failure::Passing(self.error(ErrorKind::Internal, why).remedy(remedy))
            }
        }
    }

    fn too_slow(&self, slow: TooSlow) -> Error {
        self.error(ErrorKind::Internal, slow).remedy(
            "repeat it, since it goes on from where it was; or use another server, or give a lower \
             --min-download-rate",
        )
    }

    pub(super) fn refuse(&self, why: impl Into<String>) -> Error {
        self.error(ErrorKind::InvalidArgument, why.into())
    }

    pub(super) fn error(
        &self,
        kind: ErrorKind,
        why: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Error {
        Error::new(kind, OPERATION, self.url, why)
    }
}

/// What is read of an image, from where that goes on.
pub(super) type Content<'a> = Box<dyn io::Read + Send + 'a>;

pub(super) fn header(response: &Response<Body>, name: HeaderName) -> Option<&str> {
    response.headers().get(name)?.to_str().ok()
}

/// What names the state of the server's file for `If-Range`. A weak `ETag` does not.
pub(super) fn validator(response: &Response<Body>) -> Option<String> {
    let strong = header(response, ETAG).filter(|tag| !tag.starts_with("W/"));
    let validator = strong.or_else(|| header(response, LAST_MODIFIED))?;
    (validator.len() <= MAX_VALIDATOR).then(|| validator.to_owned())
}
