//! The progress of an import: a bar on a terminal, otherwise a line after each tenth, or after each GiB if
//! nobody knows how much is to come.

use std::io::{self, IsTerminal as _, Write as _};

use calf::Progress;
use calf::units::format_size;
use indicatif::{ProgressBar, ProgressStyle};

use super::output::{Format, Output};

/// Shows the progress of one import on stderr.
pub(super) enum Display {
    /// Shows nothing: a program reads stderr, or the user gave `--quiet`.
    Silent,
    Bar(Option<ProgressBar>),
    /// The last tenth or GiB that was reported.
    Lines(Option<u64>),
}

impl Display {
    pub(super) fn new(output: Output) -> Self {
        match output {
            Output { quiet: true, .. } | Output { format: Format::Json, .. } => Self::Silent,
            _ if io::stderr().is_terminal() => Self::Bar(None),
            _ => Self::Lines(None),
        }
    }

    pub(super) fn update(&mut self, progress: Progress) {
        match self {
            Self::Silent => {}
            Self::Bar(bar) => {
                bar.get_or_insert_with(|| new_bar(progress)).set_position(progress.done);
            }
            Self::Lines(told) => {
                let (step, line) = line(progress);
                if told.replace(step) != Some(step) {
                    // If stderr is closed, nobody reads the progress.
                    let _ = writeln!(io::stderr(), "{line}");
                }
            }
        }
    }
}

/// The step that a line is printed for once, and the line.
fn line(Progress { done, total, .. }: Progress) -> (u64, String) {
    let so_far = format_size(done);
    let Some(total) = total else { return (done >> 30, so_far) };
    let tenth = done.saturating_mul(10) / total.max(1);
    (tenth, format!("{:3} %  {so_far} of {}", tenth * 10, format_size(total)))
}

impl Drop for Display {
    fn drop(&mut self) {
        if let Self::Bar(Some(bar)) = self {
            bar.finish_and_clear();
        }
    }
}

fn new_bar(progress: Progress) -> ProgressBar {
    let (template, bar) = match progress.total {
        Some(total) => (
            "{wide_bar} {percent:>3} %  {bytes:>10} of {total_bytes}  {bytes_per_sec:>12}  {eta:>3} left",
            ProgressBar::new(total),
        ),
        None => ("{spinner} {bytes:>10}  {bytes_per_sec:>12}", ProgressBar::no_length()),
    };
    let style =
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    // The speed of a resumed import does not include what was done before.
    bar.with_style(style).with_position(progress.done)
}
