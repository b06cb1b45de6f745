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
//! whatever a server or a cache did in between. A compressed image is unpacked as it comes: a lost
//! connection is taken up where it was, but not by another command. A qcow2 image is downloaded as a raw one
//! is, and its disk made of it then. To be called with the import locked.

mod body;
mod copy;
mod download;
#[cfg(feature = "formats")]
pub(crate) mod registry;
mod server;

use std::io::{self, Cursor, Read as _};
use std::sync::Mutex;

use jiff::Timestamp;
use ureq::Body;
use ureq::http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use ureq::http::{Response, StatusCode};

use crate::error::{Error, ErrorKind, Result};
use crate::model::digest::Digest;
use crate::model::units::format_size;
use crate::pool::PoolDir;
use crate::pool::room::RoomClaim;
use crate::sys::ImageFile;
use crate::template::import::files::{self, PEEK};
use crate::template::import::format::Packing;
use crate::template::import::hash::ContentHash;
use crate::template::import::pipeline::Input;
use crate::template::import::source::http::body::{Repeat, WholeBody};
use crate::template::import::source::http::copy::Previous;
use crate::template::import::source::http::download::Download;
use crate::template::import::source::http::server::{
    ATTEMPTS, Content, Failure, Server, header, validator,
};
use crate::template::import::source::remote::Remote;
use crate::template::import::source::unexpected;
use crate::template::import::source::url::ImageUrl;
use crate::template::import::staging::Staging;
use crate::template::import::state::{ImportRecord, Origin, Start, State};
use crate::template::import::stream::{self, Stream};
use crate::template::import::{format, inspection, pipeline, qcow2};
use crate::template::spec::{ImportFormat, ImportSpec, Progress};
use crate::template::superblock::PREFIX;

/// Brings the content of `url` into the directory of its import, from where an interrupted import
/// was. Returns its digest and what it was made of. The digest of the content or that of the file is the
/// expected one.
pub(crate) fn download(
    pool: &PoolDir,
    url: &ImageUrl,
    expected: &Digest,
    spec: &ImportSpec,
    progress: &mut dyn FnMut(Progress),
) -> Result<(Digest, Origin)> {
    let unknown = Remote { expected: expected.as_str().to_owned(), size: 0, validator: None };
    let staging = Staging::new(pool, &Origin::Remote(unknown), url);
    let settings = pool.download_options();
    let server = Server::new(url, settings)?;
    let download = Download {
        staging,
        server,
        expected,
        spec,
        partition: spec.partition.as_ref(),
        cancel: &spec.cancel,
        pause: settings.pause,
    };
    let outcome = download.run(progress);
    // Repeating these goes on from nothing of use, and a full pool wants its room back.
    if let Err(e) = &outcome
        && matches!(e.kind(), ErrorKind::NoSpace | ErrorKind::InvalidArgument)
    {
        download.staging.discard();
    }
    outcome
}

/// An answer that has the whole file, of which the first bytes were read.
struct Opened<'a> {
    prefix: Vec<u8>,
    rest: Content<'a>,
    remote: Remote,
    disk: Option<qcow2::Header>,
}

impl Download<'_> {
    fn run(&self, progress: &mut dyn FnMut(Progress)) -> Result<(Digest, Origin)> {
        let (mut failures, mut reached) = (0, 0);
        loop {
            let error = match self.attempt(progress) {
                Ok(made) => return Ok(made),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Passing(error)) => error,
            };
            let now = self.offset()?;
            failures = if now > reached { 1 } else { failures + 1 };
            reached = reached.max(now);
            if failures >= ATTEMPTS {
                return Err(error);
            }
            let pause = self.pause * 2_u32.pow(failures - 1);
            tracing::warn!("{}; trying again in {pause:?}", error.report());
            self.staging.pool.host().pause(pause);
            self.server.wait(pause)?;
            if self.cancel.is_requested() {
                return Err(pipeline::cancelled());
            }
        }
    }

    /// How much is durable.
    fn offset(&self) -> Result<u64> {
        Ok(match self.staging.previous()?.map(|previous| previous.state) {
            Some(State::Reading { offset, .. }) => offset,
            Some(State::Fetched { .. } | State::Complete { .. }) | None => 0,
        })
    }

    fn attempt(&self, progress: &mut dyn FnMut(Progress)) -> Result<(Digest, Origin), Failure> {
        let resumable = match self.previous()? {
            Previous::Complete(digest, identity) => return Ok((digest, identity)),
            Previous::Fetched(record, digest) => {
                return self.make_of_copy(record, digest, progress);
            }
            Previous::Reading(start, remote) => Some((start, remote)),
            Previous::Nothing => None,
        };
        let response =
            self.server.ask(resumable.as_ref().map(|(start, remote)| (start.offset, remote)))?;
        let (start, body, room, disk) = match (response.status(), resumable) {
            (StatusCode::PARTIAL_CONTENT, Some((start, remote))) => {
                if let Err(failure) = self.server.check_range(&response, start.offset, remote.size)
                {
                    self.staging.clear()?;
                    return Err(failure);
                }
                tracing::info!(
                    "resuming the import of {} at {} of {}",
                    self.server.url,
                    format_size(start.offset),
                    format_size(remote.size)
                );
                let room = self.staging.pool.room().reclaim(remote.size - start.offset);
                let disk = self.disk_in(&self.staging.image())?;
                (start, self.server.content(response), room, disk)
            }
            (StatusCode::OK, _) => {
                let opened = self.open(response)?;
                let packing = Packing::of_head(&opened.prefix);
                let is_read_once =
                    packing.is_some() || (self.partition.is_some() && opened.disk.is_none());
                if is_read_once || self.format(&opened.prefix)?.is_some() {
                    return self.read_once(opened, packing, progress);
                }
                let disk = opened.disk.clone();
                let (start, body, room) = self.begin(opened)?;
                (start, body, room, disk)
            }
            (StatusCode::RANGE_NOT_SATISFIABLE, Some(_)) => {
                self.staging.clear()?;
                return Err(Failure::Passing(
                    self.server.refused(StatusCode::RANGE_NOT_SATISFIABLE),
                ));
            }
            (status, _) => return Err(self.server.status(status)),
        };
        self.read(start, body, room, disk, progress)
    }

    /// Reads the first bytes of a file, if it is one that can be imported.
    fn open(&self, response: Response<Body>) -> Result<Opened<'_>, Failure> {
        let server = &self.server;
        if let Some(encoding) = header(&response, CONTENT_ENCODING)
            && encoding != "identity"
        {
            let why = format!("the server sends it {encoding}-encoded, though asked not to");
            return Err(server
                .refuse(why)
                .remedy("have the server send the image as it is")
                .into());
        }
        let length =
            header(&response, CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
        let validator = validator(&response);
        let mut rest = server.content(response);
        let mut prefix = Vec::new();
        let read = (&mut rest).take(PREFIX as u64).read_to_end(&mut prefix);
        let packed = Packing::of_head(&prefix).is_some();
        let disk = qcow2::header(&prefix, &server.url.to_string())?;
        let is_raw = !packed && disk.is_none() && self.format(&prefix)?.is_none();
        if is_raw {
            // A login page often has no length, and its format says more.
            format::check_head(&prefix[..prefix.len().min(format::HEAD)], server.url)?;
        }
        read.map_err(|error| server.broken(error))?;
        let Some(size) = length else {
            let why = "the server does not tell its size (Content-Length)";
            return Err(server.refuse(why).remedy("use a server that does").into());
        };
        if (prefix.len() as u64) < size.min(PREFIX as u64) {
            return Err(server.broken(io::ErrorKind::UnexpectedEof.into()));
        }
        if is_raw {
            inspection::inspect_prefix(&prefix, size, server.url)?;
        }
        let expected = self.expected.as_str().to_owned();
        Ok(Opened { prefix, rest, remote: Remote { expected, size, validator }, disk })
    }

    fn format(&self, prefix: &[u8]) -> Result<Option<ImportFormat>> {
        files::format(prefix, self.spec, &self.server.url.to_string())
    }

    /// Reads a file of which the content is made to its end.
    fn read_once(
        &self,
        opened: Opened<'_>,
        packing: Option<Packing>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(Digest, Origin), Failure> {
        let Opened { mut prefix, rest, remote, .. } = opened;
        let lost = Mutex::new(false);
        let pool = self.staging.pool;
        let repeat = Repeat { host: pool.host(), cancel: self.cancel, pause: self.pause };
        let at = prefix.len() as u64;
        let mut body = WholeBody::new(&self.server, repeat, remote.clone(), at, rest);
        if packing.is_some() {
            // What is in it shows after the first of its blocks.
            let more = (PEEK as u64).saturating_sub(at);
            let read = (&mut body).take(more).read_to_end(&mut prefix);
            read.map_err(|error| self.server.broken(error))?;
        }
        let format = self.format(&prefix)?;
        let stream = Stream {
            shown: self.server.url.to_string(),
            size: Some(remote.size),
            origin: Origin::Remote(remote),
            bytes: Box::new(Cursor::new(prefix).chain(body)),
            packing,
            partition: self.partition,
            source_digest: None,
            failed: &|error| self.read_failed(error, &lost),
            check: &|| Ok(()),
        };
        let outcome = match format {
            Some(format) => files::read_stream(pool, stream, format, self.spec, progress),
            None => stream::read(pool, stream, self.cancel, progress),
        };
        outcome.map_err(|error| Self::failure(error, lost))
    }

    /// The error of a read, and whether asking again may help.
    fn read_failed(&self, error: io::Error, lost: &Mutex<bool>) -> Error {
        let broken = self.server.broken(error);
        *lost.lock().unwrap_or_else(|e| e.into_inner()) = matches!(broken, Failure::Passing(_));
        broken.into_error()
    }

    fn failure(error: Error, lost: Mutex<bool>) -> Failure {
        match lost.into_inner().unwrap_or_else(|e| e.into_inner()) {
            true => Failure::Passing(error),
            false => Failure::Final(error),
        }
    }

    /// Prepares for content from its start.
    fn begin<'b>(
        &self,
        opened: Opened<'b>,
    ) -> Result<(Start, Content<'b>, RoomClaim<'_>), Failure> {
        let Opened { prefix, rest, remote, .. } = opened;
        let size = remote.size;
        self.staging.clear()?;
        let room = self.staging.claim_room(size)?;
        let hash = ContentHash::default();
        let record = ImportRecord {
            source: self.server.url.to_string(),
            identity: Origin::Remote(remote),
            started: Timestamp::now(),
            state: State::Reading { offset: 0, hash: hash.save(), cloned: false },
        };
        self.staging.write_record(&record)?;
        self.staging.create_image()?;
        let body: Content<'_> = Box::new(Cursor::new(prefix).chain(rest));
        Ok((Start { record, offset: 0, hash, cloned: false }, body, room))
    }

    /// Reads the rest, and compares the digest.
    fn read(
        &self,
        start: Start,
        content: Content<'_>,
        mut room: RoomClaim<'_>,
        disk: Option<qcow2::Header>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(Digest, Origin), Failure> {
        let staging = &self.staging;
        let image = staging.open_image()?;
        let size = start.record.identity.size();
        // A disk is made in a second pass.
        let total = Some(size + disk.as_ref().map_or(0, qcow2::Header::disk_size));
        staging.rewind(&*image, start.offset, size)?;
        let lost = Mutex::new(false);
        let checkpoint = |offset, hash: &ContentHash| {
            let state = State::Reading { offset, hash: hash.save(), cloned: false };
            staging.write_record(&ImportRecord { state, ..start.record.clone() })
        };
        let job = pipeline::Job {
            source: Input::Stream(Mutex::new(content)),
            size: Some(size),
            destination: Some(&*image),
            start: start.offset,
            hash: start.hash.clone(),
            read_failed: &|error| self.read_failed(error, &lost),
            write_failed: &|error| staging.write_failed(error),
            cancel: self.cancel.clone(),
            room: &|_| staging.check_room(),
            checkpoint: &checkpoint,
        };
        progress(Progress { done: start.offset, total });
        let read = pipeline::run(job, &mut |done| {
            room.shrink_to(size - done);
            progress(Progress { done, total });
        });
        let digest = read.map_err(|error| Self::failure(error, lost))?.digest;
        drop(room);
        match disk {
            Some(_) => self.keep_copy(start.record, &*image, digest, progress),
            None => self.complete(start.record, &*image, digest),
        }
    }

    fn complete(
        &self,
        record: ImportRecord,
        image: &dyn ImageFile,
        digest: Digest,
    ) -> Result<(Digest, Origin), Failure> {
        if digest != *self.expected {
            return Err(unexpected(self.server.url, &digest, None, self.expected).into());
        }
        // The end of the image is available only now.
        inspection::inspect(image, record.identity.size(), self.server.url)?;
        self.staging.seal(image)?;
        let identity = record.identity.clone();
        let state = State::Complete { digest: digest.clone() };
        self.staging.write_record(&ImportRecord { state, ..record })?;
        Ok((digest, identity))
    }
}
