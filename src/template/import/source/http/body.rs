//! The bytes of a file on a server, from the first to the last, over as many connections as that takes.

use std::io::{self, Read};
use std::time::Duration;

use crate::model::cancel::Cancel;
use crate::sys::Host;
use crate::template::import::pipeline;
use crate::template::import::source::http::server::{ATTEMPTS, Content, Failure, Server};
use crate::template::import::source::remote::Remote;

/// What repeating a request takes.
pub(super) struct Repeat<'a> {
    pub(super) host: &'a dyn Host,
    pub(super) cancel: &'a Cancel,
    /// Before the first repetition.
    pub(super) pause: Duration,
}

/// A file whose reader cannot go back: a lost connection is replaced by one for the rest of the same state
/// of the file. Where the server has no rest of it, reading fails.
pub(super) struct WholeBody<'a> {
    server: &'a Server<'a>,
    repeat: Repeat<'a>,
    remote: Remote,
    at: u64,
    current: Content<'a>,
    /// Connections in a row that brought nothing.
    failures: u32,
}

impl<'a> WholeBody<'a> {
    /// What comes after the first `at` bytes, which `current` gives.
    pub(super) fn new(
        server: &'a Server<'a>,
        repeat: Repeat<'a>,
        remote: Remote,
        at: u64,
        current: Content<'a>,
    ) -> Self {
        Self { server, repeat, remote, at, current, failures: 0 }
    }

    /// Asks for the rest, after a pause.
    fn reconnect(&mut self, error: io::Error) -> io::Result<()> {
        let (server, Repeat { host, cancel, pause }) = (self.server, &self.repeat);
        if self.remote.validator.is_none() {
            // The rest may be of another state of the file: the import begins anew.
            return Err(error);
        }
        let (why, again) = match server.broken(error) {
            Failure::Final(error) => (error, false),
            Failure::Passing(error) => (error, true),
        };
        self.failures += 1;
        if !again || self.failures >= ATTEMPTS {
            return Err(io::Error::other(why.remedy(
                "repeat it, which begins anew, since the image is compressed; or use another server",
            )));
        }
        let pause = *pause * 2_u32.pow(self.failures - 1);
        tracing::warn!("{}; asking for the rest in {pause:?}", why.report());
        host.pause(pause);
        server.wait(pause).map_err(io::Error::other)?;
        if cancel.is_requested() {
            return Err(io::Error::other(pipeline::cancelled()));
        }
        match server.rest(self.at, &self.remote) {
            Ok(rest) => self.current = rest,
            // The next read finds nothing, and asks again.
            Err(Failure::Passing(error)) => {
                tracing::warn!("{}", error.report());
                self.current = Box::new(io::empty());
            }
            Err(Failure::Final(error)) => return Err(io::Error::other(error)),
        }
        Ok(())
    }
}

impl Read for WholeBody<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at < self.remote.size {
            let error = match self.current.read(buffer) {
                Ok(0) => io::ErrorKind::UnexpectedEof.into(),
                Ok(read) => {
                    self.at += read as u64;
                    self.failures = 0;
                    return Ok(read);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
                Err(error) => error,
            };
            self.reconnect(error)?;
        }
        Ok(0)
    }
}
