//! One process per test: started, read, and judged by what it leaves behind.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use super::environment::{BOOT, KERNEL, ONE_TEST, TEST};
use super::leak::{self, KernelObjects};
use super::protocol::{Outcome, Report, Run};

/// The exit code by which a test asks for a reboot.
const REBOOT: i32 = 86;

/// How long to wait for output in a pipe after the test has ended.
const DRAIN: Duration = Duration::from_millis(500);

/// Crashes the machine as a power loss would (nothing is synced), boots it again with the same
/// disks, and runs this test from its start once more, with [`boot_count`] one higher.
pub fn crash_and_reboot() -> ! {
    std::process::exit(REBOOT)
}

/// How often this test has rebooted the machine.
pub fn boot_count() -> u32 {
    std::env::var(BOOT).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Runs one test to its end. `limit` is for a kernel without a watchdog outside.
pub(crate) fn run(run: &Run, limit: Option<Duration>, output: &mut dyn FnMut(String)) -> Report {
    let before = KernelObjects::take();
    let (outcome, mut leaks) = match start(run) {
        Ok((child, lines)) => follow(child, &lines, limit, output),
        Err(error) => (Outcome::Failed(format!("cannot start the test: {error}")), Vec::new()),
    };
    if outcome != Outcome::Reboot {
        leaks.extend(leak::left_beyond(&before));
    }
    Report { outcome, leaks }
}

fn start(run: &Run) -> std::io::Result<(std::process::Child, Receiver<String>)> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .envs(run.environment.iter().cloned())
        .env(KERNEL, ONE_TEST)
        .env(TEST, &run.test)
        // In a guest there is no udev to wait for; on this machine, udev must not touch test
        // devices.
        .env("DM_DISABLE_UDEV", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    if run.current_dir.is_dir() {
        command.current_dir(&run.current_dir);
    }
    let mut child = command.spawn()?;
    let (sender, lines) = mpsc::channel();
    forward(child.stdout.take(), sender.clone());
    forward(child.stderr.take(), sender);
    Ok((child, lines))
}

fn forward(from: Option<impl Read + Send + 'static>, to: Sender<String>) {
    let Some(from) = from else { return };
    thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut line = Vec::new();
        while from.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            if to.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                break;
            }
            line.clear();
        }
    });
}

fn follow(
    mut child: std::process::Child,
    lines: &Receiver<String>,
    limit: Option<Duration>,
    output: &mut dyn FnMut(String),
) -> (Outcome, Vec<String>) {
    let group = Pid::from_child(&child);
    let deadline = limit.map(|limit| Instant::now() + limit);
    let outcome = loop {
        match lines.recv_timeout(Duration::from_millis(20)) {
            Ok(line) => output(line),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => thread::sleep(Duration::from_millis(5)),
        }
        match child.try_wait() {
            Ok(Some(status)) => break judge(status),
            Ok(None) if deadline.is_some_and(|deadline| Instant::now() > deadline) => {
                let seconds = limit.unwrap_or_default().as_secs_f32();
                break Outcome::Failed(format!("did not end within {seconds} s and was killed"));
            }
            Ok(None) => {}
            Err(error) => break Outcome::Failed(format!("cannot wait for the test: {error}")),
        }
    };
    let left = left_processes(group, child.id());
    let _ = rustix::process::kill_process_group(group, Signal::KILL);
    let _ = child.wait();
    let drained = Instant::now() + DRAIN;
    while let Ok(line) = lines.recv_timeout(drained.saturating_duration_since(Instant::now())) {
        output(line);
    }
    (outcome, left)
}

fn judge(status: ExitStatus) -> Outcome {
    match (status.code(), status.signal()) {
        (Some(0), _) => Outcome::Passed,
        (Some(REBOOT), _) => Outcome::Reboot,
        // The exit code of a panic, whose message is on standard error.
        (Some(101), _) => Outcome::Failed("the test panicked".into()),
        (Some(code), _) => Outcome::Failed(format!("the test exited with code {code}")),
        (None, signal) => Outcome::Killed(signal.unwrap_or(0)),
    }
}

/// Processes that the test started and left running.
fn left_processes(group: Pid, test: u32) -> Vec<String> {
    let mut left = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // The name in parentheses may itself hold spaces and parentheses.
        let (Some((pid, _)), Some((head, tail))) = (stat.split_once(' '), stat.rsplit_once(") "))
        else {
            continue;
        };
        let name = head.split_once('(').map_or("", |(_, name)| name);
        let fields: Vec<&str> = tail.split(' ').collect();
        let in_group = fields.get(2) == Some(&group.as_raw_nonzero().to_string().as_str());
        let zombie = fields.first() == Some(&"Z");
        if in_group && !zombie && pid != test.to_string() {
            left.push(format!("process {pid} ({name})"));
        }
    }
    left
}
