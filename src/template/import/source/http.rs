//! Reading an image from an HTTP server into the directory of its import, resumably.
//!
//! ```text
//!   ask ──▸ 200: from the start    ──┐
//!    ▴  └─▸ 206: from the checkpoint ─┴─▸ read, hash, checkpoints ──▸ complete
//!    │                                         │
//!    └── connection lost, server busy ◂────────┘   a bounded number of times without progress
//! ```
//!
//! The digest is known beforehand. It names the import, so that a repeated command, even from
//! another mirror, goes on where an interrupted one stopped; and it is the proof of the content,
//! whatever a server or a cache did in between. To be called with the import locked.

use std::io::{self, Cursor, Read};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use ureq::http::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, ETAG, IF_RANGE,
    LAST_MODIFIED, RANGE,
};
use ureq::http::{HeaderName, Response, StatusCode};
use ureq::{Agent, Body};

use crate::error::{Error, ErrorKind, Result};
use crate::http;
use crate::model::cancel::Cancel;
use crate::model::digest::Digest;
use crate::model::units::format_size;
use crate::pool::PoolDir;
use crate::pool::room::RoomClaim;
use crate::sys::ImageFile;
use crate::template::import::hash::ContentHash;
use crate::template::import::pipeline::Input;
use crate::template::import::source::pace::{Pace, Paced, TooSlow};
use crate::template::import::source::remote::Remote;
use crate::template::import::source::unexpected;
use crate::template::import::source::url::ImageUrl;
use crate::template::import::staging::Staging;
use crate::template::import::state::{ImportRecord, Origin, Start, State};
use crate::template::import::{format, inspection, pipeline};
use crate::template::spec::Progress;
use crate::template::superblock::PREFIX;

const OPERATION: &str = "import";
/// How often in a row a connection may fail without a byte of progress.
const ATTEMPTS: u32 = 5;
/// Largest value of a validator that is kept, in bytes.
const MAX_VALIDATOR: usize = 256;

/// Brings the content of `url` into the directory of its import, from where an interrupted import
/// was. Returns what it is; its digest is the expected one.
pub(crate) fn download(
    pool: &PoolDir,
    url: &ImageUrl,
    expected: &Digest,
    cancel: &Cancel,
    progress: &mut dyn FnMut(Progress),
) -> Result<Origin> {
    let unknown = Remote { expected: expected.as_str().to_owned(), size: 0, validator: None };
    let staging = Staging::new(pool, &Origin::Remote(unknown), url);
    let settings = pool.download_options();
    let agent = http::agent(&http::Options {
        certificates: settings.certificates.as_deref(),
        proxy: true,
        https_only: url.is_https(),
        stall: settings.stall,
        total: None,
    })?;
    let pace = Pace::new(settings);
    let download = Download { staging, agent, url, expected, cancel, pace };
    let outcome = download.run(settings.pause, progress);
    // Repeating these goes on from nothing of use, and a full pool wants its room back.
    if let Err(e) = &outcome
        && matches!(e.kind(), ErrorKind::NoSpace | ErrorKind::InvalidArgument)
    {
        download.staging.discard();
    }
    outcome
}

struct Download<'a> {
    staging: Staging<'a>,
    agent: Agent,
    url: &'a ImageUrl,
    expected: &'a Digest,
    cancel: &'a Cancel,
    pace: Pace,
}

/// Why an attempt did not end with the content.
enum Failure {
    /// Asking again will not help.
    Final(Error),
    /// It may.
    Passing(Error),
}

impl Failure {
    fn into_error(self) -> Error {
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

impl Download<'_> {
    fn run(&self, first_pause: Duration, progress: &mut dyn FnMut(Progress)) -> Result<Origin> {
        let (mut failures, mut reached) = (0, 0);
        loop {
            let error = match self.attempt(progress) {
                Ok(origin) => return Ok(origin),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Passing(error)) => error,
            };
            let now = self.offset()?;
            failures = if now > reached { 1 } else { failures + 1 };
            reached = reached.max(now);
            if failures >= ATTEMPTS {
                return Err(error);
            }
            let pause = first_pause * 2_u32.pow(failures - 1);
            tracing::warn!("{}; trying again in {pause:?}", error.report());
            self.staging.pool.host().pause(pause);
            self.pace.note(pause, 0).map_err(|slow| self.too_slow(slow))?;
            if self.cancel.is_requested() {
                return Err(pipeline::cancelled());
            }
        }
    }

    /// How much is durable.
    fn offset(&self) -> Result<u64> {
        Ok(match self.staging.previous()?.map(|previous| previous.state) {
            Some(State::Reading { offset, .. }) => offset,
            Some(State::Complete { .. }) | None => 0,
        })
    }

    fn attempt(&self, progress: &mut dyn FnMut(Progress)) -> Result<Origin, Failure> {
        let previous = self.staging.previous()?;
        if let Some(ImportRecord { identity, state: State::Complete { .. }, .. }) = previous {
            return Ok(identity);
        }
        let resumable = previous.and_then(ImportRecord::resume).and_then(|start| {
            match start.record.identity.clone() {
                Origin::Remote(remote) => Some((start, remote)),
                Origin::File(_) => None,
            }
        });
        let response =
            self.ask(resumable.as_ref().map(|(start, remote)| (start.offset, remote)))?;
        let (start, body, room) = match (response.status(), resumable) {
            (StatusCode::PARTIAL_CONTENT, Some((start, remote))) => {
                self.check_range(&response, start.offset, remote.size)?;
                tracing::info!(
                    "resuming the import of {} at {} of {}",
                    self.url,
                    format_size(start.offset),
                    format_size(remote.size)
                );
                let room = self.staging.pool.room().reclaim(remote.size - start.offset);
                (start, self.content(response), room)
            }
            (StatusCode::OK, _) => self.begin(response)?,
            (StatusCode::RANGE_NOT_SATISFIABLE, Some(_)) => {
                self.staging.clear()?;
                return Err(Failure::Passing(self.refused(StatusCode::RANGE_NOT_SATISFIABLE)));
            }
            (status, _) => return Err(self.status(status)),
        };
        self.read(start, body, room, progress)
    }

    /// Sends the request, for the part that is missing if that can be said.
    fn ask(&self, from: Option<(u64, &Remote)>) -> Result<Response<Body>, Failure> {
        let mut request = self.agent.get(self.url.as_str()).header(ACCEPT_ENCODING, "identity");
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

    /// Prepares for content from its start, if it is what can be imported.
    fn begin(
        &self,
        response: Response<Body>,
    ) -> Result<(Start, Content<'_>, RoomClaim<'_>), Failure> {
        if let Some(encoding) = header(&response, CONTENT_ENCODING)
            && encoding != "identity"
        {
            let why = format!("the server sends it {encoding}-encoded, though asked not to");
            return Err(self.refuse(why).remedy("have the server send the image as it is").into());
        }
        let length =
            header(&response, CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
        let validator = validator(&response);
        let mut body = self.content(response);
        let mut prefix = Vec::new();
        let read = (&mut body).take(PREFIX as u64).read_to_end(&mut prefix);
        // A login page often has no length, and its format says more.
        format::check_head(&prefix[..prefix.len().min(format::HEAD)], self.url)?;
        read.map_err(|error| self.broken(error))?;
        let Some(size) = length else {
            let why = "the server does not tell its size (Content-Length)";
            return Err(self.refuse(why).remedy("use a server that does").into());
        };
        if (prefix.len() as u64) < size.min(PREFIX as u64) {
            return Err(self.broken(io::ErrorKind::UnexpectedEof.into()));
        }
        inspection::inspect_prefix(&prefix, size, self.url)?;

        self.staging.clear()?;
        let room = self.staging.claim_room(size)?;
        let hash = ContentHash::default();
        let remote = Remote { expected: self.expected.as_str().to_owned(), size, validator };
        let record = ImportRecord {
            source: self.url.to_string(),
            identity: Origin::Remote(remote),
            started: Timestamp::now(),
            state: State::Reading { offset: 0, hash: hash.save(), cloned: false },
        };
        self.staging.write_record(&record)?;
        self.staging.create_image()?;
        let body: Content<'_> = Box::new(Cursor::new(prefix).chain(body));
        Ok((Start { record, offset: 0, hash, cloned: false }, body, room))
    }

    /// The body of a response, from where reading goes on.
    fn content(&self, response: Response<Body>) -> Content<'_> {
        Box::new(Paced::new(response.into_body().into_reader(), &self.pace))
    }

    /// Reads the rest, and compares the digest.
    fn read(
        &self,
        start: Start,
        content: Content<'_>,
        mut room: RoomClaim<'_>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Origin, Failure> {
        let staging = &self.staging;
        let image = staging.open_image()?;
        let total = start.record.identity.size();
        staging.rewind(&*image, start.offset, total)?;
        let lost = Mutex::new(false);
        let checkpoint = |offset, hash: &ContentHash| {
            let state = State::Reading { offset, hash: hash.save(), cloned: false };
            staging.write_record(&ImportRecord { state, ..start.record.clone() })
        };
        let job = pipeline::Job {
            source: Input::Stream(Mutex::new(content)),
            size: total,
            destination: Some(&*image),
            start: start.offset,
            hash: start.hash.clone(),
            read_failed: &|error| {
                let broken = self.broken(error);
                let is_passing = matches!(broken, Failure::Passing(_));
                *lost.lock().unwrap_or_else(|e| e.into_inner()) = is_passing;
                broken.into_error()
            },
            write_failed: &|error| staging.write_failed(error),
            cancel: self.cancel.clone(),
            room: &|| staging.check_room(),
            checkpoint: &checkpoint,
        };
        progress(Progress { done: start.offset, total });
        let digest = match pipeline::run(job, &mut |done| {
            room.shrink_to(total - done);
            progress(Progress { done, total });
        }) {
            Ok(digest) => digest,
            Err(error) if lost.into_inner().unwrap_or_else(|e| e.into_inner()) => {
                return Err(Failure::Passing(error));
            }
            Err(error) => return Err(Failure::Final(error)),
        };
        self.complete(start.record, &*image, digest)
    }

    fn complete(
        &self,
        record: ImportRecord,
        image: &dyn ImageFile,
        digest: Digest,
    ) -> Result<Origin, Failure> {
        if digest != *self.expected {
            return Err(unexpected(self.url, &digest, self.expected).into());
        }
        // The end of the image is available only now.
        inspection::inspect(image, record.identity.size(), self.url)?;
        self.staging.seal(image)?;
        let identity = record.identity.clone();
        let state = State::Complete { digest };
        self.staging.write_record(&ImportRecord { state, ..record })?;
        Ok(identity)
    }

    // --- what servers say ---

    fn check_range(&self, response: &Response<Body>, start: u64, size: u64) -> Result<(), Failure> {
        let range = header(response, CONTENT_RANGE).unwrap_or_default();
        if range == format!("bytes {start}-{}/{size}", size - 1) {
            return Ok(());
        }
        self.staging.clear()?;
        let why = format!("the server sent the range {range:.80?} of an image of {size} bytes");
        Err(Failure::Passing(self.error(ErrorKind::Internal, why)))
    }

    fn status(&self, status: StatusCode) -> Failure {
        let error = self.refused(status);
        let passing = status.is_server_error()
            || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT);
        if passing { Failure::Passing(error) } else { Failure::Final(error) }
    }

    fn refused(&self, status: StatusCode) -> Error {
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
    fn broken(&self, error: io::Error) -> Failure {
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

    fn refuse(&self, why: impl Into<String>) -> Error {
        self.error(ErrorKind::InvalidArgument, why.into())
    }

    fn error(
        &self,
        kind: ErrorKind,
        why: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Error {
        Error::new(kind, OPERATION, self.url, why)
    }
}

/// What is read of an image, from where that goes on.
type Content<'a> = Box<dyn Read + Send + 'a>;

fn header(response: &Response<Body>, name: HeaderName) -> Option<&str> {
    response.headers().get(name)?.to_str().ok()
}

/// What names the state of the server's file for `If-Range`. A weak `ETag` does not.
fn validator(response: &Response<Body>) -> Option<String> {
    let strong = header(response, ETAG).filter(|tag| !tag.starts_with("W/"));
    let validator = strong.or_else(|| header(response, LAST_MODIFIED))?;
    (validator.len() <= MAX_VALIDATOR).then(|| validator.to_owned())
}
