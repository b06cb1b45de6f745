//! An image in a registry: its documents and layers are fetched into the directory of the import.
//!
//! ```text
//! tag ──▸ digest ──▸ index ──▸ manifest ──▸ configuration, layers ──▸ oci
//! ```
//!
//! A tag may move, so the digest that it led to is recorded. Everything below has a digest that the
//! document above it says. To be called with the import locked.

mod challenge;
mod client;
mod credentials;

use std::cell::{Cell, RefCell};
use std::io::Read as _;

use sha2::{Digest as _, Sha256};
use ureq::http::header::CONTENT_LENGTH;

use crate::error::{Error, ErrorKind, Result};
use crate::model::digest::Digest;
use crate::pool::PoolDir;
use crate::sys::OpenMode;
use crate::template::import::oci::model::{Descriptor, MAX_DOCUMENT};
use crate::template::import::oci::store::{Held, Part, Store};
use crate::template::import::oci::{self, Job};
use crate::template::import::pipeline::cancelled;
use crate::template::import::source::http::body::{Repeat, WholeBody};
use crate::template::import::source::http::registry::client::Client;
use crate::template::import::source::http::server::{ATTEMPTS, Failure, header, validator};
use crate::template::import::source::reference::ImageReference;
use crate::template::import::source::remote::Remote;
use crate::template::import::source::url::ImageUrl;
use crate::template::import::staging::Staging;
use crate::template::import::state::Origin;
use crate::template::spec::{ImportSpec, Progress};

const OPERATION: &str = "import";
const PART: usize = 1 << 20;
/// Bytes written between looks at the free space.
const ROOM: u64 = 32 << 20;

/// What a name led to: a document, and its digest.
pub(crate) struct Resolved {
    document: Vec<u8>,
    pub(crate) digest: Digest,
}

/// A registry, and the image that is wanted of it.
pub(crate) struct Registry<'a> {
    pool: &'a PoolDir,
    client: Client<'a>,
    spec: &'a ImportSpec,
}

impl<'a> Registry<'a> {
    pub(crate) fn new(
        pool: &'a PoolDir,
        reference: &'a ImageReference,
        spec: &'a ImportSpec,
    ) -> Result<Self> {
        let settings = pool.download_options();
        let credentials = match &settings.registry_auth {
            None => None,
            Some(file) => {
                let (registry, repository) = (reference.registry(), reference.repository());
                credentials::find(pool.host(), file, registry, repository)?
            }
        };
        Ok(Self { pool, client: Client::new(reference, credentials, settings), spec })
    }

    /// Asks which document the name leads to now.
    pub(crate) fn resolve(&self) -> Result<Resolved> {
        let reference = self.client.reference;
        let url = self.client.document(&reference.wanted())?;
        let document = self.repeated(|| self.document(&url))?;
        let digest = Digest::of(Sha256::new_with_prefix(&document));
        match reference.digest() {
            Some(expected) if *expected != digest => {
                let why = format!("the registry sent sha256:{digest} for it");
                Err(self
                    .refused(why)
                    .remedy("use another registry, or report this to its operator"))
            }
            _ => Ok(Resolved { document, digest }),
        }
    }

    /// Fetches the image, and makes a template of it.
    pub(crate) fn fetch(
        &self,
        job: Job<'_>,
        resolved: Resolved,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(Digest, Origin)> {
        let staging = job.staging;
        let progress = RefCell::new(progress);
        let done = Cell::new(0);
        let seen = |more: u64| {
            done.set(done.get() + more);
            (progress.borrow_mut())(Progress { done: done.get(), total: None });
        };
        let fetched = Fetched { registry: self, staging, seen: &seen };
        let Resolved { document, digest } = resolved;
        oci::make_from_store(job, &fetched, &document, digest, &mut |made| {
            (progress.borrow_mut())(made);
        })
    }

    fn refused(&self, why: impl Into<String>) -> Error {
        Error::new(ErrorKind::InvalidArgument, OPERATION, self.client.reference, why.into())
    }

    /// Tries again what may go better then, a few times.
    fn repeated<T>(&self, mut attempt: impl FnMut() -> Result<T, Failure>) -> Result<T> {
        let pause = self.pool.download_options().pause;
        for failures in 0.. {
            let error = match attempt() {
                Ok(done) => return Ok(done),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Passing(error)) => error,
            };
            if failures + 1 >= ATTEMPTS {
                return Err(error);
            }
            if self.spec.cancel.is_requested() {
                break;
            }
            let pause = pause * 2_u32.pow(failures);
            tracing::warn!("{}; trying again in {pause:?}", error.report());
            self.pool.host().pause(pause);
        }
        Err(cancelled())
    }

    fn document(&self, url: &ImageUrl) -> Result<Vec<u8>, Failure> {
        let (server, response) = self.client.ask(url)?;
        let mut bytes = Vec::new();
        let read = server.content(response).take(MAX_DOCUMENT + 1).read_to_end(&mut bytes);
        read.map_err(|error| server.broken(error))?;
        if bytes.len() as u64 > MAX_DOCUMENT {
            return Err(self.refused("a document of it has more than 4 MiB").into());
        }
        Ok(bytes)
    }

    /// Fetches a blob into a file, from its start.
    fn blob(
        &self,
        url: &ImageUrl,
        wanted: &Descriptor,
        name: &str,
        staging: &Staging<'_>,
        seen: &dyn Fn(u64),
    ) -> Result<(), Failure> {
        let (server, response) = self.client.ask(url)?;
        let length = header(&response, CONTENT_LENGTH).and_then(|text| text.parse::<u64>().ok());
        if length.is_some_and(|length| length != wanted.size) {
            let why = format!(
                "a blob of it has {} bytes instead of {}",
                length.unwrap_or(0),
                wanted.size
            );
            return Err(self.refused(why).into());
        }
        let remote = Remote {
            expected: name.to_owned(),
            size: wanted.size,
            validator: validator(&response),
        };
        let (host, cancel) = (self.pool.host(), &self.spec.cancel);
        let repeat = Repeat { host, cancel, pause: self.pool.download_options().pause };
        let content = server.content(response);
        let mut body = WholeBody::new(&server, repeat, remote, 0, content);
        let path = staging.part(name);
        host.remove_file(&path)?;
        staging.create(&path)?;
        let file = host.open_image(&path, OpenMode::Write)?;
        let mut buffer = Vec::with_capacity(PART);
        let (mut at, mut looked) = (0, 0);
        loop {
            buffer.clear();
            let read = (&mut body).take(PART as u64).read_to_end(&mut buffer);
            read.map_err(|error| server.broken(error))?;
            if buffer.is_empty() {
                return Ok(());
            }
            if cancel.is_requested() {
                return Err(cancelled().into());
            }
            if at >= looked + ROOM {
                looked = at;
                staging.check_room()?;
            }
            file.write_all_at(&buffer, at).map_err(|e| staging.write_failed(e))?;
            at += buffer.len() as u64;
            seen(buffer.len() as u64);
        }
    }
}

/// What was fetched of the image.
struct Fetched<'a> {
    registry: &'a Registry<'a>,
    staging: &'a Staging<'a>,
    /// Is told how many more bytes came.
    seen: &'a dyn Fn(u64),
}

impl Store for Fetched<'_> {
    fn blob(&self, wanted: &Descriptor, shown: &str) -> Result<Part<'_>> {
        let Registry { client, .. } = self.registry;
        let digest = oci::store::digest(wanted, shown)?;
        let name = digest.to_string();
        // Manifests have a place of their own, and images may have a layer twice.
        let (path, host) = (self.staging.part(&name), self.staging.pool.host());
        if host.file(&path)?.is_none() {
            let url = match wanted.is_document() {
                true => client.document(&format!("sha256:{digest}"))?,
                false => client.blob(&digest)?,
            };
            let _room = self.staging.claim_room(wanted.size)?;
            self.registry
                .repeated(|| self.registry.blob(&url, wanted, &name, self.staging, self.seen))?;
        }
        let file = host.open_image(&path, OpenMode::Read)?;
        Ok(Part { held: Held::Own(file), start: 0, size: wanted.size })
    }
}
