//! The few requests that calf sends to the API server.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;
use ureq::Agent;
use ureq::http::StatusCode;

use crate::error::{Error, ErrorKind, Result};
use crate::http;
use crate::kubernetes::KubernetesConfig;

/// How long a request may take as a whole.
const TOTAL: Duration = Duration::from_secs(15);
/// Largest answer that is read, in bytes: a page of 500 claims has about one MiB.
const MAX_ANSWER: u64 = 32 << 20;
/// How much of an error's body is shown, in bytes.
const SHOWN: usize = 300;

/// A connection to the API server with the current token and certificates.
pub(super) struct Api<'a> {
    agent: Agent,
    server: &'a str,
    authorization: String,
}

/// The answer to a request that the server may refuse for a reason that matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Done,
    /// An object of that name already exists.
    Exists,
}

impl<'a> Api<'a> {
    pub(super) fn connect(config: &'a KubernetesConfig) -> Result<Self> {
        let token = std::fs::read_to_string(&config.token)
            .map_err(|e| Error::io("read the token in", config.token.display(), e))?;
        let agent = http::agent(&http::Options {
            certificates: config.certificates.as_deref(),
            proxy: false,
            https_only: config.server.starts_with("https:"),
            stall: TOTAL,
            total: Some(TOTAL),
        })?;
        let authorization = format!("Bearer {}", token.trim());
        Ok(Self { agent, server: &config.server, authorization })
    }

    /// Reads an object or a list.
    pub(super) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let request = self.agent.get(self.url(path)).header("Authorization", &self.authorization);
        let mut response = request.call().map_err(|e| failed(path, e))?;
        let status = response.status();
        let body = response.body_mut().with_config().limit(MAX_ANSWER).read_to_vec();
        let body = body.map_err(|e| failed(path, e))?;
        if !status.is_success() {
            return Err(refused(path, status, &body));
        }
        serde_json::from_slice(&body)
            .map_err(|e| Error::new(ErrorKind::Internal, OPERATION, path, e))
    }

    /// Makes an object.
    pub(super) fn create(&self, path: &str, object: &Value) -> Result<Answer> {
        let request = self.agent.post(self.url(path)).content_type("application/json");
        self.send(path, request, object)
    }

    /// Changes an object.
    pub(super) fn merge(&self, path: &str, change: &Value) -> Result<Answer> {
        let request = self.agent.patch(self.url(path));
        self.send(path, request.content_type("application/merge-patch+json"), change)
    }

    fn send(
        &self,
        path: &str,
        request: ureq::RequestBuilder<ureq::typestate::WithBody>,
        object: &Value,
    ) -> Result<Answer> {
        let request = request.header("Authorization", &self.authorization);
        let mut response = request.send(object.to_string()).map_err(|e| failed(path, e))?;
        let status = response.status();
        // Always read the body: only then can the next request use the same connection.
        let body = response.body_mut().with_config().limit(MAX_ANSWER).read_to_vec();
        match status {
            StatusCode::CONFLICT => Ok(Answer::Exists),
            status if status.is_success() => Ok(Answer::Done),
            status => Err(refused(path, status, &body.unwrap_or_default())),
        }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.server)
    }
}

const OPERATION: &str = "ask the Kubernetes API for";

fn failed(path: &str, error: ureq::Error) -> Error {
    Error::new(ErrorKind::Internal, OPERATION, path, error)
}

fn refused(path: &str, status: StatusCode, body: &[u8]) -> Error {
    #[derive(serde::Deserialize)]
    struct Status {
        message: String,
    }
    let message = serde_json::from_slice::<Status>(body).map_or_else(
        |_| String::from_utf8_lossy(&body[..body.len().min(SHOWN)]).into_owned(),
        |status| status.message,
    );
    let kind = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ErrorKind::Permission,
        StatusCode::NOT_FOUND => ErrorKind::NotFound,
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => ErrorKind::InvalidArgument,
        _ => ErrorKind::Internal,
    };
    let error = Error::new(kind, OPERATION, path, format!("{status}: {message}"));
    match kind {
        ErrorKind::Permission => error.remedy(
            "let the service account create, get and patch events, and list \
             persistentvolumeclaims and storageclasses",
        ),
        _ => error,
    }
}
