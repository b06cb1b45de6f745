//! Runs kubectl, for a bounded time and with bounded output: what answers is a node's container.

use std::io::{self, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

/// The most that is read of one run, in bytes.
const MOST: u64 = 64 << 20;

/// How often to look whether a program that has closed its output has ended.
const POLL: Duration = Duration::from_millis(5);

/// kubectl, with the options that the user gave for it.
pub(super) struct Kubectl {
    flags: Vec<String>,
    timeout: Duration,
}

/// What came of a run.
pub(super) struct Ran {
    pub(super) status: ExitStatus,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: String,
}

impl Kubectl {
    pub(super) fn new(flags: &[(&str, &Option<String>)], timeout: Duration) -> Self {
        let given = flags.iter().filter_map(|(flag, value)| Some((flag, value.as_ref()?)));
        let flags = given.map(|(flag, value)| format!("{flag}={value}")).collect();
        Self { flags, timeout }
    }

    /// Runs kubectl to its end. The error is one of starting it or of reading what it prints.
    pub(super) fn run(&self, arguments: &[&str]) -> io::Result<Ran> {
        let mut command = Command::new("kubectl");
        command.args(&self.flags).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let ran = self.wait(&mut child);
        if ran.is_err() {
            // One that has ended cannot be killed; then there is only its status to collect.
            let _ = child.kill();
            let _ = child.wait();
        }
        ran
    }

    fn wait(&self, child: &mut Child) -> io::Result<Ran> {
        let deadline = Instant::now() + self.timeout;
        let stdout = child.stdout.take().map(read);
        let stderr = child.stderr.take().map(read);
        let stdout = self.receive(stdout, deadline)?;
        let stderr = self.receive(stderr, deadline)?;
        let status = loop {
            match child.try_wait()? {
                Some(status) => break status,
                None if Instant::now() >= deadline => return Err(self.late()),
                None => thread::sleep(POLL),
            }
        };
        Ok(Ran { status, stdout, stderr: String::from_utf8_lossy(&stderr).into_owned() })
    }

    fn receive(
        &self,
        output: Option<Receiver<io::Result<Vec<u8>>>>,
        deadline: Instant,
    ) -> io::Result<Vec<u8>> {
        let Some(output) = output else { return Ok(Vec::new()) };
        let left = deadline.saturating_duration_since(Instant::now());
        let read = output.recv_timeout(left).map_err(|_| self.late())??;
        if read.len() as u64 > MOST {
            return Err(io::Error::other(format!("it printed more than {} MiB", MOST >> 20)));
        }
        Ok(read)
    }

    fn late(&self) -> io::Error {
        let timeout = humantime::format_duration(self.timeout);
        io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {timeout}"))
    }
}

/// Reads a stream in a thread of its own, which nobody waits for: a program that kubectl has
/// started may keep the stream open.
fn read(stream: impl Read + Send + 'static) -> Receiver<io::Result<Vec<u8>>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = stream.take(MOST + 1).read_to_end(&mut bytes).map(|_| bytes);
        // The receiver is gone if the time is over.
        let _ = sender.send(read);
    });
    receiver
}
