//! A booted guest: its process, the line to it, its console, and the watchdog.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use super::console::Console;
use super::environment;
use super::guard::Guard;
use super::hang;
use super::idle;
use super::protocol::{self, Outcome, Reply, Report, Request, Run, SetUp};

/// QEMU's message if the machine's KVM cannot run a guest.
const KVM_IS_BROKEN: &str = "KVM internal error";

/// How long a guest may take to tell what it waits for.
const EXPLANATION: Duration = Duration::from_secs(10);

/// Why a machine cannot be used again.
pub enum Broken {
    /// The kernel stood still by a fault of its own, whatever the test does.
    StoodStill(String),
    /// The test failed in a way that a kernel does not survive, or it hangs.
    ByTest(String),
}

pub struct Machine {
    process: Child,
    _guard: Guard,
    to_guest: ChildStdin,
    replies: Receiver<Reply>,
    console: Console,
}

impl Machine {
    /// Starts `command`, whose standard input and output are the line to the guest and whose
    /// standard error is its console, and waits until the guest can run tests.
    pub(crate) fn boot(command: Command, set_up: SetUp, limit: Duration) -> Result<Self, String> {
        let mut machine = Self::start(command)?;
        let ready = machine.set_up(set_up, environment::stretched(limit));
        ready.map_err(|why| {
            format!("the test kernel did not start: {why}\n{}", machine.console.tail())
        })?;
        Ok(machine)
    }

    fn start(mut command: Command) -> Result<Self, String> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let started = command.process_group(0).spawn();
        let mut process = started.map_err(|error| format!("cannot start {command:?}: {error}"))?;
        let guard = Guard::over(&process);
        let (Some(to_guest), Some(from_guest), Some(errors)) =
            (process.stdin.take(), process.stdout.take(), process.stderr.take())
        else {
            return Err("the test kernel has no standard streams".into());
        };
        let console = Console::default();
        console.follow(errors);
        let (sender, replies) = mpsc::channel();
        let noise = console.clone();
        thread::spawn(move || {
            let mut from_guest = BufReader::new(from_guest);
            let mut line = Vec::new();
            while from_guest.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                match serde_json::from_slice(&line) {
                    Ok(reply) => {
                        if sender.send(reply).is_err() {
                            break;
                        }
                    }
                    Err(_) => noise.add(&String::from_utf8_lossy(&line)),
                }
                line.clear();
            }
        });
        Ok(Self { process, _guard: guard?, to_guest, replies, console })
    }

    fn set_up(&mut self, set_up: SetUp, limit: Duration) -> Result<(), String> {
        let deadline = Instant::now() + limit;
        let mut request = Some(set_up);
        loop {
            match self.replies.recv_timeout(Duration::from_millis(100)) {
                Ok(Reply::Hello) => {
                    if let Some(set_up) = request.take() {
                        self.send(&Request::SetUp(set_up))?;
                    }
                }
                Ok(Reply::Ready) => return Ok(()),
                Ok(Reply::Unable(why)) => return Err(why),
                Ok(other) => return Err(format!("unexpected {other:?}")),
                Err(RecvTimeoutError::Disconnected) => return Err("it ended".into()),
                Err(RecvTimeoutError::Timeout) if self.console.contains(KVM_IS_BROKEN) => {
                    return Err(KVM_IS_BROKEN.into());
                }
                Err(RecvTimeoutError::Timeout) if Instant::now() > deadline => {
                    return Err(format!("no answer in {} s", limit.as_secs_f32()));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Runs one test. An error means that this machine cannot be used again, and says why.
    pub fn run(
        &mut self,
        run: Run,
        limit: Duration,
        output: &mut dyn FnMut(&str),
    ) -> Result<Report, Broken> {
        let deadline = Instant::now() + limit;
        self.send(&Request::Run(run)).map_err(Broken::ByTest)?;
        let broken = loop {
            match self.replies.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(Reply::Output(line)) => output(&line),
                Ok(Reply::Done(report)) => match (self.console.alarm(), &report.outcome) {
                    (Some(alarm), _) => break format!("the kernel reported: {alarm}"),
                    // Out of memory, for instance: the kernel's messages say why.
                    (None, Outcome::Killed(signal)) => {
                        break format!("the test was killed by signal {signal}");
                    }
                    (None, _) => return Ok(report),
                },
                Ok(other) => break format!("the guest sent an unexpected {other:?}"),
                Err(RecvTimeoutError::Disconnected) => {
                    // The last messages may still be arriving.
                    thread::sleep(Duration::from_millis(300));
                    break "the kernel died during this test".into();
                }
                Err(RecvTimeoutError::Timeout) => {
                    let seconds = limit.as_secs_f32();
                    let hung = format!("hung: not done within {seconds} s; the kernel was killed");
                    if let Some(fault) = self.kernel_fault() {
                        let tail = self.console.tail();
                        return Err(Broken::StoodStill(format!("{hung}\n{fault}\n{tail}")));
                    }
                    break hung;
                }
            }
        };
        Err(Broken::ByTest(format!("{broken}\n{}", self.console.tail())))
    }

    /// Has a guest in which a test hangs tell what it waits for, on its console. Returns whether that
    /// shows a fault of the kernel: it no longer lets timers expire, or it did nothing although it
    /// could, so that the request, an interrupt, made it go on.
    fn kernel_fault(&mut self) -> Option<&'static str> {
        let was_idle = idle::is_idle(self.process.id());
        let _ = self.send(&Request::ExplainHang);
        let deadline = Instant::now() + EXPLANATION;
        while Instant::now() < deadline {
            match self.replies.recv_timeout(Duration::from_millis(100)) {
                Ok(Reply::Output(_) | Reply::Done(_)) if was_idle => {
                    return Some("the kernel had stood still: asked what it waits for, it went on");
                }
                _ => {}
            }
        }
        let expire = self.console.contains(hang::TIMERS_EXPIRE);
        (!expire).then_some("the kernel stands still: its timers do not expire")
    }

    fn send(&mut self, request: &Request) -> Result<(), String> {
        protocol::send(&mut self.to_guest, request)
            .map_err(|error| format!("cannot reach the test kernel: {error}"))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // A guest needs no orderly shutdown, and for a test that reboots, this is the crash.
        let _ = rustix::process::kill_process_group(Pid::from_child(&self.process), Signal::KILL);
        let _ = self.process.wait();
    }
}
