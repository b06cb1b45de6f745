//! Runs programs for the demonstration: passes on their lines as they arrive, limits every wait,
//! and lets no program outlive the demonstration.

use std::io::{BufRead as _, BufReader, Read};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use crate::{Result, stop};

const TICK: Duration = Duration::from_millis(20);
/// How long a program may take to end after SIGTERM, and to take down what it made.
const GRACE: Duration = Duration::from_secs(20);

/// A running program, in a process group of its own (the demonstration handles ^C itself). Dropping
/// it asks the program to end.
pub(crate) struct Process {
    name: String,
    child: Child,
    status: Option<ExitStatus>,
    lines: Receiver<String>,
}

impl Process {
    /// Starts `command`. Reads standard output and error as lines, unless the caller redirects both
    /// by passing `Stdio`s.
    pub(crate) fn start(mut command: Command, streams: Option<(Stdio, Stdio)>) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let (out, err) = streams.unwrap_or_else(|| (Stdio::piped(), Stdio::piped()));
        command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0);
        let started = command.spawn();
        let mut child = started.map_err(|error| format!("cannot start {name}: {error}"))?;
        let (sender, lines) = mpsc::channel();
        forward(child.stdout.take(), sender.clone());
        forward(child.stderr.take(), sender);
        Ok(Self { name, child, status: None, lines })
    }

    /// Waits for the next line; `None` if there are no more.
    pub(crate) fn line(&mut self, deadline: Instant) -> Result<Option<String>> {
        loop {
            match self.lines.recv_timeout(TICK) {
                Ok(line) => return Ok(Some(line)),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) => self.check(deadline)?,
            }
        }
    }

    /// The program's exit status, if it has ended.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        if self.status.is_none() {
            let failed = |error| format!("cannot wait for {}: {error}", self.name);
            self.status = self.child.try_wait().map_err(failed)?;
        }
        Ok(self.status)
    }

    pub(crate) fn wait(&mut self, deadline: Instant) -> Result<ExitStatus> {
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            self.check(deadline)?;
            thread::sleep(TICK);
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        if self.status.is_none() {
            // It may have ended in the meantime.
            let _ = rustix::process::kill_process_group(Pid::from_child(&self.child), signal);
        }
    }

    fn check(&self, deadline: Instant) -> Result<()> {
        stop::check()?;
        if Instant::now() < deadline {
            return Ok(());
        }
        Err(format!("{} took too long, and was stopped", self.name))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::TERM);
        let deadline = Instant::now() + GRACE;
        while matches!(self.ended(), Ok(None)) && Instant::now() < deadline {
            thread::sleep(TICK);
        }
        self.signal(Signal::KILL);
        let _ = self.child.wait();
    }
}

fn forward(from: Option<impl Read + Send + 'static>, to: Sender<String>) {
    let Some(from) = from else { return };
    thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut line = Vec::new();
        while from.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            let text = String::from_utf8_lossy(&line);
            if to.send(text.trim_end().to_owned()).is_err() {
                break;
            }
            line.clear();
        }
    });
}

/// Runs a program to its end and passes each line to `line`. The program must succeed; otherwise,
/// the error has its last lines.
pub(crate) fn run(command: Command, limit: Duration, line: &mut dyn FnMut(&str)) -> Result<()> {
    let deadline = Instant::now() + limit;
    let mut process = Process::start(command, None)?;
    let mut last = Vec::new();
    while let Some(text) = process.line(deadline)? {
        line(&text);
        if last.len() == 10 {
            last.remove(0);
        }
        last.push(text);
    }
    let status = process.wait(deadline)?;
    if status.success() {
        return Ok(());
    }
    Err(format!("{} failed ({status}):\n{}", process.name, last.join("\n")))
}

/// Runs a program to its end and returns what it printed, lines of standard error included.
pub(crate) fn output(command: Command, limit: Duration) -> Result<String> {
    let mut lines = Vec::new();
    run(command, limit, &mut |line| lines.push(line.to_owned()))?;
    Ok(lines.join("\n"))
}

/// `program` as a child that the kernel kills if this process is killed.
pub(crate) fn bound(program: &std::path::Path, signal: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", signal, "--"]).arg(program);
    command
}
