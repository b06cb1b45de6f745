//! The output for the user: numbered steps with a few indented lines each, and colours only on a
//! terminal.
//!
//! Inside User-Mode Linux the lines go to the process outside, which shows them: see [`relay`].

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Passes to the process in the guest whether the output goes to a terminal.
pub(crate) const TERMINAL: &str = "CALF_DEMO_TERMINAL";

/// Starts a line that the next one replaces.
const FLEETING: char = '\r';
const INDENT: &str = "     ";

const BOLD: &str = "1";
const DIM: &str = "2";
const RED: &str = "31";
const GREEN: &str = "32";
const CYAN: &str = "36";

#[derive(Clone, Copy)]
struct Output {
    terminal: bool,
    colour: bool,
    /// Another process shows what this one prints.
    relayed: bool,
}

static OUTPUT: OnceLock<Output> = OnceLock::new();

/// Whether a temporary line is on the screen.
static IS_FLEETING: AtomicBool = AtomicBool::new(false);

fn output() -> Output {
    *OUTPUT.get_or_init(|| {
        let given = std::env::var(TERMINAL).ok();
        let terminal =
            given.as_deref().map_or_else(|| io::stdout().is_terminal(), |value| value == "1");
        let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Output { terminal, colour, relayed: given.is_some() }
    })
}

/// The environment of the process in the guest.
pub(crate) fn environment() -> Vec<(String, String)> {
    let terminal = if output().terminal { "1" } else { "0" };
    let mut variables = vec![(TERMINAL.into(), terminal.into())];
    variables.extend(std::env::var("NO_COLOR").ok().map(|value| ("NO_COLOR".into(), value)));
    variables
}

pub(crate) fn title(text: &str) {
    show(&paint(BOLD, text));
}

pub(crate) fn done(text: &str) {
    show("");
    show(&paint(BOLD, text));
}

pub(crate) fn step(number: u32, text: &str) {
    show("");
    show(&format!("{} {}", paint(CYAN, &format!("{number:2}.")), paint(BOLD, text)));
}

pub(crate) fn say(text: &str) {
    show(&format!("{INDENT}{text}"));
}

/// Shows a fact that was checked.
pub(crate) fn good(text: &str) {
    show(&format!("{INDENT}{} {text}", paint(GREEN, "✓")));
}

/// Shows a remark, or a command as the user would type it.
pub(crate) fn aside(text: &str) {
    show(&format!("{INDENT}{}", paint(DIM, text)));
}

/// Shows a line from the microVM.
pub(crate) fn guest(text: &str) {
    show(&format!("{INDENT}{} {text}", paint(CYAN, "│")));
}

/// Shows progress. On a terminal, the next line replaces it.
pub(crate) fn progress(text: &str) {
    let line = format!("{INDENT}{}", paint(DIM, text));
    if output().terminal { show(&format!("{FLEETING}{line}")) } else { show(&line) }
}

pub(crate) fn failure(text: &str) {
    show("");
    show(&format!("{} {text}", paint(RED, "demo failed:")));
}

pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

pub(crate) fn milliseconds(time: Duration) -> String {
    format!("{:.0} ms", time.as_secs_f64() * 1e3)
}

/// Shows a line that the process in the guest printed.
pub(crate) fn relay(line: &str) {
    show(line.trim_end_matches('\n'));
}

fn show(line: &str) {
    let mut out = io::stdout().lock();
    // If nobody reads the output, the error cannot be reported.
    let _ = if output().relayed || !output().terminal {
        writeln!(out, "{line}")
    } else {
        let clear = if IS_FLEETING.load(Ordering::Relaxed) { "\r\x1b[2K" } else { "" };
        let fleeting = line.strip_prefix(FLEETING);
        IS_FLEETING.store(fleeting.is_some(), Ordering::Relaxed);
        match fleeting {
            Some(text) => write!(out, "{clear}{text}"),
            None => writeln!(out, "{clear}{line}"),
        }
    };
    let _ = out.flush();
}

fn paint(code: &str, text: &str) -> String {
    if output().colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.into() }
}
