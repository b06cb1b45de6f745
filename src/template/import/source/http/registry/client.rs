//! Requests to a registry, and what it wants to know of who asks.
//!
//! A registry that answers 401 names how to prove oneself: by user name and password, or by a token from
//! another server, which anybody may have for a public image. Both are sent to the registry alone, and not
//! where it redirects to.

use std::cell::RefCell;
use std::io::Read as _;

use serde::Deserialize;
use ureq::Body;
use ureq::http::header::{ACCEPT, AUTHORIZATION, WWW_AUTHENTICATE};
use ureq::http::{HeaderName, Response, StatusCode};

use crate::error::{Error, ErrorKind, Result};
use crate::model::digest::Digest;
use crate::model::download::DownloadOptions;
use crate::template::import::source::http::registry::challenge::Challenge;
use crate::template::import::source::http::registry::credentials::Credentials;
use crate::template::import::source::http::server::{Failure, Server, header};
use crate::template::import::source::reference::ImageReference;
use crate::template::import::source::url::ImageUrl;

const OPERATION: &str = "import";
/// All documents that lead to an image.
const DOCUMENTS: &str = "application/vnd.oci.image.index.v1+json, \
     application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.docker.distribution.manifest.v2+json";
const MAX_TOKEN: u64 = 64 << 10;

/// Asks one registry for one image.
pub(super) struct Client<'a> {
    pub(super) reference: &'a ImageReference,
    credentials: Option<Credentials>,
    settings: &'a DownloadOptions,
    /// The header that the registry accepts, once it asked for one.
    authorization: RefCell<Option<String>>,
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

impl<'a> Client<'a> {
    pub(super) fn new(
        reference: &'a ImageReference,
        credentials: Option<Credentials>,
        settings: &'a DownloadOptions,
    ) -> Self {
        Self { reference, credentials, settings, authorization: RefCell::new(None) }
    }

    /// Where a document is that leads to an image: an index or a manifest.
    pub(super) fn document(&self, wanted: &str) -> Result<ImageUrl> {
        ImageUrl::parse(&format!("{}/manifests/{wanted}", self.reference.base()))
    }

    /// Where a layer or a configuration is.
    pub(super) fn blob(&self, digest: &Digest) -> Result<ImageUrl> {
        ImageUrl::parse(&format!("{}/blobs/sha256:{digest}", self.reference.base()))
    }

    /// A server that knows who asks. Having asked once, the registry is not asked in vain again.
    pub(super) fn server<'b>(&self, url: &'b ImageUrl) -> Result<Server<'b>> {
        let headers = self.headers();
        Ok(Server::new(url, self.settings)?.with_headers(headers))
    }

    fn headers(&self) -> Vec<(HeaderName, String)> {
        let mut headers = vec![(ACCEPT, format!("{DOCUMENTS}, */*"))];
        headers.extend(self.authorization.borrow().clone().map(|value| (AUTHORIZATION, value)));
        headers
    }

    /// Asks for a document or a blob. If the registry wants to know who asks, proves that and asks again.
    pub(super) fn ask<'b>(
        &self,
        url: &'b ImageUrl,
    ) -> Result<(Server<'b>, Response<Body>), Failure> {
        let server = self.server(url)?;
        let response = server.ask(None)?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return self.accepted(server, response);
        }
        self.authorize(&server, &response)?;
        let server = self.server(url)?;
        let response = server.ask(None)?;
        self.accepted(server, response)
    }

    fn accepted<'b>(
        &self,
        server: Server<'b>,
        response: Response<Body>,
    ) -> Result<(Server<'b>, Response<Body>), Failure> {
        match response.status() {
            StatusCode::OK => Ok((server, response)),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(self.denied().into()),
            StatusCode::NOT_FOUND => {
                let error = Error::new(
                    ErrorKind::NotFound,
                    OPERATION,
                    self.reference,
                    "the registry has no such image",
                );
                Err(error
                    .remedy(
                        "check the name and the tag; a registry may also hide a private image so",
                    )
                    .into())
            }
            status => Err(server.status(status)),
        }
    }

    fn denied(&self) -> Error {
        let (why, remedy) = match self.credentials {
            None => (
                "the registry wants credentials",
                "log in (`docker login`), and give the file that this writes: --registry-auth-file \
                 ~/.docker/config.json",
            ),
            Some(_) => (
                "the registry does not accept the credentials, or they do not allow to read the image",
                "log in once more (`docker login`), with an account that may read it",
            ),
        };
        Error::new(ErrorKind::Permission, OPERATION, self.reference, why).remedy(remedy)
    }

    /// Finds the header that the registry asks for.
    fn authorize(&self, server: &Server<'_>, response: &Response<Body>) -> Result<(), Failure> {
        let challenge = header(response, WWW_AUTHENTICATE).and_then(Challenge::parse);
        let value = match (challenge, &self.credentials) {
            (Some(Challenge::Basic), Some(Credentials::Basic(encoded))) => {
                format!("Basic {encoded}")
            }
            (Some(Challenge::Bearer { realm, service, scope }), _) => {
                let fallback = format!("repository:{}:pull", self.reference.repository());
                let scope = scope.unwrap_or(fallback);
                format!("Bearer {}", self.token(server, &realm, service.as_deref(), &scope)?)
            }
            _ => return Err(self.denied().into()),
        };
        // A line break would begin another header.
        if value.bytes().any(|byte| !(0x20..0x7F).contains(&byte)) {
            return Err(server.error(ErrorKind::Internal, "its token is no text").into());
        }
        *self.authorization.borrow_mut() = Some(value);
        Ok(())
    }

    /// Gets a token from the server that the registry names.
    fn token(
        &self,
        registry: &Server<'_>,
        realm: &str,
        service: Option<&str>,
        scope: &str,
    ) -> Result<String, Failure> {
        let mut query = format!("scope={}", encoded(scope));
        if let Some(service) = service {
            query.push_str(&format!("&service={}", encoded(service)));
        }
        let separator = if realm.contains('?') { '&' } else { '?' };
        let url = ImageUrl::parse(&format!("{realm}{separator}{query}"))
            .map_err(|_| registry.error(ErrorKind::Internal, "it names no server for tokens"))?;
        if registry.url.is_https() && !url.is_https() {
            let why = "it names a server for tokens that is asked without TLS";
            return Err(registry.error(ErrorKind::Internal, why).into());
        }
        let mut server = Server::new(&url, self.settings)?;
        match &self.credentials {
            Some(Credentials::Basic(basic)) => {
                server = server.with_headers(vec![(AUTHORIZATION, format!("Basic {basic}"))]);
            }
            Some(Credentials::Refresh(_)) => {
                let why = "it has an identity token, which calf does not exchange";
                return Err(registry
                    .error(ErrorKind::Unsupported, why)
                    .remedy("log in with a user name and a password or an access token")
                    .into());
            }
            None => {}
        }
        let response = server.ask(None)?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(self.denied().into()),
            status => return Err(server.status(status)),
        }
        let mut bytes = Vec::new();
        let read = server.content(response).take(MAX_TOKEN).read_to_end(&mut bytes);
        read.map_err(|error| server.broken(error))?;
        // The parser's message may show what it could not parse.
        let token = serde_json::from_slice::<Token>(&bytes).ok();
        let token = token.and_then(|token| token.token.or(token.access_token));
        token.ok_or_else(|| server.error(ErrorKind::Internal, "it answered without a token").into())
    }
}

/// Text as a part of a URL's query.
fn encoded(text: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
    text.bytes()
        .map(|byte| match plain(&byte) {
            true => char::from(byte).to_string(),
            false => format!("%{byte:02X}"),
        })
        .collect()
}
