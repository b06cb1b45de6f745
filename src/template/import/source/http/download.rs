//! What one download needs.

use std::time::Duration;

use crate::model::cancel::Cancel;
use crate::model::digest::Digest;
use crate::model::partition::Partition;
use crate::template::import::source::http::server::Server;
use crate::template::import::staging::Staging;
use crate::template::spec::ImportSpec;

/// An image on a server, on its way to the pool.
pub(super) struct Download<'a> {
    pub(super) staging: Staging<'a>,
    pub(super) server: Server<'a>,
    pub(super) expected: &'a Digest,
    pub(super) spec: &'a ImportSpec,
    pub(super) partition: Option<&'a Partition>,
    pub(super) cancel: &'a Cancel,
    /// Before the first repetition of a request.
    pub(super) pause: Duration,
}
