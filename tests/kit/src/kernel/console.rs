//! The guest kernel's messages, kept to show them if something goes wrong.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::environment;

/// Lines to keep: enough for a panic, or for the stacks of a few blocked tasks.
const LINES_KEPT: usize = 300;

/// Messages that show that the kernel itself is broken.
const ALARMS: [&str; 5] =
    ["BUG: ", "Oops", "general protection fault", "WARNING: CPU", "Kernel panic"];

/// The last messages of the kernel. Clones share them.
#[derive(Clone, Default)]
pub struct Console(Arc<Mutex<Lines>>);

#[derive(Default)]
struct Lines {
    kept: VecDeque<String>,
    alarm: Option<String>,
}

impl Console {
    /// Follows `from` to its end, in a thread.
    pub fn follow(&self, from: impl Read + Send + 'static) {
        let console = self.clone();
        thread::spawn(move || {
            let mut from = BufReader::new(from);
            let mut line = Vec::new();
            while from.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                console.add(&String::from_utf8_lossy(&line));
                line.clear();
            }
        });
    }

    pub(crate) fn add(&self, line: &str) {
        let line = without_control_characters(line);
        if line.is_empty() {
            return;
        }
        if environment::console_is_shown() {
            eprintln!("[kernel] {line}");
        }
        let mut lines = self.lock();
        if lines.alarm.is_none() && ALARMS.iter().any(|alarm| line.contains(alarm)) {
            lines.alarm = Some(line.clone());
        }
        if lines.kept.len() == LINES_KEPT {
            lines.kept.pop_front();
        }
        lines.kept.push_back(line);
    }

    /// The first message since the start that shows that the kernel is broken.
    pub fn alarm(&self) -> Option<String> {
        self.lock().alarm.clone()
    }

    pub(crate) fn contains(&self, text: &str) -> bool {
        self.lock().kept.iter().any(|line| line.contains(text))
    }

    /// The last messages, formatted to appear below a failure.
    pub fn tail(&self) -> String {
        let lines = self.lock();
        if lines.kept.is_empty() {
            return "the kernel printed no messages\n".into();
        }
        let mut text = String::from("the kernel's last messages:\n");
        for line in &lines.kept {
            text.push_str("  | ");
            text.push_str(line);
            text.push('\n');
        }
        text
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A line without terminal escapes (firmware clears the screen) and line ends.
fn without_control_characters(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        if character == '\u{1b}' {
            if characters.next_if_eq(&'[').is_some() {
                while characters.next().is_some_and(|c| !c.is_ascii_alphabetic()) {}
            } else {
                characters.next();
            }
        } else if !character.is_control() || character == '\t' {
            text.push(character);
        }
    }
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_escapes_are_no_part_of_a_message() {
        assert_eq!(
            without_control_characters("\u{1b}c\u{1b}[?7l\u{1b}[2J[ 1.0] hello\r\n"),
            "[ 1.0] hello"
        );
    }

    #[test]
    fn the_first_alarm_is_kept() {
        let console = Console::default();
        for line in ["all is well", "BUG: first", "BUG: second"] {
            console.add(line);
        }
        assert_eq!(console.alarm().as_deref(), Some("BUG: first"));
        assert!(console.tail().contains("  | all is well\n"));
    }
}
