//! `images/<hex>/config.json`: how the container image is run that content was made of.

use serde::{Deserialize, Serialize};

use crate::model::digest::Digest;
use crate::pool::record::Record;

/// What is kept of a container image besides its files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[non_exhaustive]
pub struct ImageConfig {
    /// SHA-256 of the image's manifest; that of the archive for one of `docker save`.
    pub manifest: Digest,
    /// The platform that it is for, such as `linux/amd64`.
    pub platform: String,
    /// How it is run.
    pub run: Run,
}

impl Record for ImageConfig {
    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

/// How a container image is run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[non_exhaustive]
pub struct Run {
    /// Environment variables, as `NAME=value`.
    pub env: Vec<String>,
    /// The program, with arguments that are always there.
    pub entrypoint: Vec<String>,
    /// The arguments, or the program if there is no entry point.
    pub cmd: Vec<String>,
    /// Where it runs.
    pub working_dir: String,
    /// As whom: a name or a number, possibly with a group after a colon.
    pub user: String,
    /// The signal that ends it.
    pub stop_signal: String,
}
