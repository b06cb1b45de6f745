//! Results on stdout, errors on stderr, for people or for programs.

use std::io::{self, Write as _};

use calf::{Error, Result};
use clap::ValueEnum;
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use jiff::Timestamp;
use serde::Serialize;

use super::{exit_code, logging};

/// How a command that did not fail ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// As wished.
    Success,
    /// It ran, and found something wrong, which it told on stdout.
    Failure,
}

/// How to print results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// For people
    Table,
    /// For programs: one JSON document, sizes in bytes
    Json,
}

impl Output {
    /// Prints a result: as it is in JSON, or as text for people.
    pub(super) fn result(
        self,
        value: &impl Serialize,
        human: impl FnOnce() -> String,
    ) -> Result<()> {
        match self {
            Self::Table => text(&human()),
            Self::Json => {
                let json = serde_json::to_string_pretty(value)
                    .map_err(|e| Error::io("write", "the result", io::Error::from(e)))?;
                text(&json)
            }
        }
    }

    /// Does something to as many of `names` as can be, and prints to which (as "`done` `kind`
    /// `name`"). The last error is the result; earlier ones are printed.
    pub(super) fn each(
        self,
        done: &str,
        kind: &str,
        names: &[String],
        action: impl Fn(&str) -> Result<()>,
    ) -> Result<()> {
        let mut succeeded = Vec::new();
        let mut failed = None;
        for name in names {
            match action(name) {
                Ok(()) => succeeded.push(name),
                Err(error) => {
                    if let Some(earlier) = failed.replace(error) {
                        self.error(&earlier);
                    }
                }
            }
        }
        self.result(&serde_json::json!({ done: succeeded }), || {
            succeeded.iter().map(|name| format!("{done} {kind} {name}\n")).collect()
        })?;
        failed.map_or(Ok(()), Err)
    }

    /// Prints an error.
    pub(super) fn error(self, error: &Error) {
        let message = match self {
            Self::Table => human_error(error, logging::colours()),
            Self::Json => json_error(error),
        };
        // Nobody is left to be told.
        let _ = writeln!(io::stderr(), "{message}");
    }
}

/// Prints text to stdout, ending the last line. A reader that has seen enough is fine.
pub(super) fn text(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    let written = write!(stdout, "{text}{end}").and_then(|()| stdout.flush());
    match written {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(Error::io("write to", "stdout", e)),
        _ => Ok(()),
    }
}

/// Lines of columns under a header.
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

/// Lines of a name and a value each.
pub(super) fn fields(fields: &[(&str, String)]) -> String {
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0) + 2;
    fields.iter().map(|(name, value)| format!("{name:<width$}{value}\n")).collect()
}

/// A moment, for people.
pub(super) fn moment(timestamp: Timestamp) -> String {
    timestamp.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
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
    fn columns_line_up_and_lines_have_no_blanks_at_their_end() {
        let rows = vec![["a".into(), "1".into()], ["long".into(), String::new()]];
        assert_eq!(table(["NAME", "N"], rows), "NAME  N\na     1\nlong");
        assert_eq!(fields(&[("a", "1".into()), ("long", "2".into())]), "a     1\nlong  2\n");
    }
}
