//! The progress of an import: a bar on a terminal, otherwise a line after each tenth.

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
    /// The last tenth that was reported.
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
                let tenth = progress.done.saturating_mul(10) / progress.total.max(1);
                if told.replace(tenth) != Some(tenth) {
                    let done = format_size(progress.done);
                    let total = format_size(progress.total);
                    // If stderr is closed, nobody reads the progress.
                    let _ = writeln!(io::stderr(), "{:3} %  {done} of {total}", tenth * 10);
                }
            }
        }
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        if let Self::Bar(Some(bar)) = self {
            bar.finish_and_clear();
        }
    }
}

fn new_bar(progress: Progress) -> ProgressBar {
    let style = ProgressStyle::with_template(
        "{wide_bar} {percent:>3} %  {bytes:>10} of {total_bytes}  {bytes_per_sec:>12}  {eta:>3} left",
    )
    .unwrap_or_else(|_| ProgressStyle::default_bar());
    // The speed of a resumed import does not include what was done before.
    ProgressBar::new(progress.total).with_style(style).with_position(progress.done)
}
