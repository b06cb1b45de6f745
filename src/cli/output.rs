//! Results on stdout, errors on stderr, for people or for programs.

use std::io::{self, Write as _};

use calf::{Error, Result};
use clap::ValueEnum;
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use jiff::Timestamp;
use serde::Serialize;

use super::{exit_code, logging};

/// The outcome of a command that returned no error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It succeeded.
    Success,
    /// It ran, and reported a problem on stdout.
    Failure,
}

/// How to print results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people
    Table,
    /// For programs: one JSON document, sizes in bytes
    Json,
    /// For xargs: only ids or names, one per line
    Name,
}

/// Where results, confirmations and errors go, and in which format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Output {
    pub(super) format: Format,
    /// Leave out everything but requested output and errors.
    pub(super) quiet: bool,
}

/// Whether something was there to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    There,
    Absent,
}

impl Output {
    /// Prints requested output: as JSON, as names, or as text for people.
    pub(super) fn result<N: AsRef<str>>(
        self,
        value: &impl Serialize,
        names: impl IntoIterator<Item = N>,
        human: impl FnOnce() -> String,
    ) -> Result<()> {
        text(&self.formatted(value, names, human)?)
    }

    fn formatted<N: AsRef<str>>(
        self,
        value: &impl Serialize,
        names: impl IntoIterator<Item = N>,
        human: impl FnOnce() -> String,
    ) -> Result<String> {
        Ok(match self.format {
            Format::Table => human(),
            Format::Json => serde_json::to_string_pretty(value)
                .map_err(|e| Error::io("write", "the result", io::Error::from(e)))?,
            Format::Name => names.into_iter().map(|name| format!("{}\n", name.as_ref())).collect(),
        })
    }

    /// Prints a confirmation: like a result, but with `--quiet` people see nothing.
    pub(super) fn done<N: AsRef<str>>(
        self,
        value: &impl Serialize,
        names: impl IntoIterator<Item = N>,
        sentence: impl FnOnce() -> String,
    ) -> Result<()> {
        match self {
            Self { format: Format::Table, quiet: true } => Ok(()),
            _ => self.result(value, names, sentence),
        }
    }

    /// Prints a confirmation of a command whose stdout has something else: to stderr.
    pub(super) fn done_aside<N: AsRef<str>>(
        self,
        value: &impl Serialize,
        names: impl IntoIterator<Item = N>,
        sentence: impl FnOnce() -> String,
    ) -> Result<()> {
        if self != (Self { format: Format::Table, quiet: true }) {
            let text = self.formatted(value, names, sentence)?;
            // If stderr is closed, nobody reads it.
            let _ = writeln!(io::stderr(), "{}", text.trim_end());
        }
        Ok(())
    }

    /// Applies an action to as many of `names` as possible, and prints which succeeded (as "`done`
    /// `kind` `name`") and which were not there. Returns the last error, and prints earlier errors.
    pub(super) fn each(
        self,
        done: &str,
        kind: &str,
        names: &[String],
        action: impl Fn(&str) -> Result<Found>,
    ) -> Result<()> {
        let (mut succeeded, mut absent) = (Vec::new(), Vec::new());
        let mut failed = None;
        for name in names {
            match action(name) {
                Ok(Found::There) => succeeded.push(name),
                Ok(Found::Absent) => absent.push(name),
                Err(error) => {
                    if let Some(earlier) = failed.replace(error) {
                        self.error(&earlier);
                    }
                }
            }
        }
        let mut result = serde_json::json!({ done: succeeded });
        if !absent.is_empty() {
            result["absent"] = serde_json::json!(absent);
        }
        self.done(&result, &succeeded, || {
            let succeeded = succeeded.iter().map(|name| format!("{done} {kind} {name}\n"));
            let absent = absent.iter().map(|name| format!("there is no {kind} {name}\n"));
            succeeded.chain(absent).collect()
        })?;
        failed.map_or(Ok(()), Err)
    }

    /// Prints an error.
    pub(super) fn error(self, error: &Error) {
        let message = match self.format {
            Format::Table | Format::Name => human_error(error, logging::colours()),
            Format::Json => json_error(error),
        };
        // If stderr is closed, the error cannot be reported.
        let _ = writeln!(io::stderr(), "{message}");
    }
}

/// Prints text to stdout, ending the last line. It is not an error if the reader has closed the
/// pipe.
pub(super) fn text(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    let written = write!(stdout, "{text}{end}").and_then(|()| stdout.flush());
    match written {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(Error::io("write to", "stdout", e)),
        _ => Ok(()),
    }
}

/// Formats rows in columns under a header.
pub(super) fn table<const N: usize>(header: [&str; N], rows: Vec<[String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(header).add_rows(rows);
    for column in 0..N {
        if let Some(column) = table.column_mut(column) {
            column.set_padding((0, 2));
        }
    }
    table.trim_fmt()
}

/// Formats lines with a name and a value each.
pub(super) fn fields(fields: &[(&str, String)]) -> String {
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0) + 2;
    fields.iter().map(|(name, value)| format!("{name:<width$}{value}\n")).collect()
}

/// Formats a point in time for people.
pub(super) fn moment(timestamp: Timestamp) -> String {
    timestamp.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// Formats how long ago a point in time was, for people, in the largest unit of which it has at
/// least one.
pub(super) fn age(of: Timestamp, now: Timestamp) -> String {
    const DAY: i64 = 24 * 60 * 60;
    const UNITS: [(i64, &str); 5] =
        [(365 * DAY, "y"), (DAY, "d"), (60 * 60, "h"), (60, "m"), (1, "s")];
    // The clock may have been set back since.
    let seconds = now.duration_since(of).as_secs().max(0);
    let fills = UNITS.into_iter().find(|(length, _)| seconds >= *length);
    fills.map_or_else(|| "0s".into(), |(length, unit)| format!("{}{unit}", seconds / length))
}

fn human_error(error: &Error, colours: bool) -> String {
    let label = |name: &str, colour: u8| {
        if colours { format!("\x1b[1;{colour}m{name}:\x1b[0m") } else { format!("{name}:") }
    };
    let mut message = format!("{} {}", label("error", 31), error.story());
    for remedy in error.remedies() {
        message.push_str(&format!("\n{} {remedy}", label("help", 36)));
    }
    message
}

fn json_error(error: &Error) -> String {
    let kind = error.kind();
    serde_json::json!({
        "error": {
            "kind": exit_code::name(kind),
            "exitCode": exit_code::of(kind),
            "message": error.story(),
            "help": error.remedies(),
        }
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use calf::ErrorKind;

    #[test]
    fn an_error_is_told_with_its_help() {
        let error =
            Error::new(ErrorKind::InUse, "delete volume", "vm1", "it is open").remedy("stop it");
        assert_eq!(
            human_error(&error, false),
            "error: cannot delete volume vm1: it is open\nhelp: stop it"
        );
        assert_eq!(
            json_error(&error),
            "{\"error\":{\"exitCode\":5,\"help\":[\"stop it\"],\"kind\":\"inUse\",\
             \"message\":\"cannot delete volume vm1: it is open\"}}"
        );
    }

    #[test]
    fn an_age_is_told_in_its_largest_unit() {
        let now = Timestamp::from_second(2_000_000_000).unwrap();
        for (seconds, text) in [
            (-5, "0s"),
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (7199, "1h"),
            (86_400, "1d"),
            (364 * 86_400, "364d"),
            (800 * 86_400, "2y"),
        ] {
            let of = Timestamp::from_second(2_000_000_000 - seconds).unwrap();
            assert_eq!(age(of, now), text, "{seconds}");
        }
    }

    #[test]
    fn columns_line_up_and_lines_have_no_blanks_at_their_end() {
        let rows = vec![["a".into(), "1".into()], ["long".into(), String::new()]];
        assert_eq!(table(["NAME", "N"], rows), "NAME  N\na     1\nlong");
        assert_eq!(fields(&[("a", "1".into()), ("long", "2".into())]), "a     1\nlong  2\n");
    }
}
