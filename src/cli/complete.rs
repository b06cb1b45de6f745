//! Completion at a Tab: the ids of volumes and the names of templates and snapshots in the pool.
//!
//! A Tab changes nothing and prints no errors: without a pool, or if the pool cannot be read, it
//! offers no choices.

use calf::units::format_size;
use calf::{Pool, Result};
use clap::{CommandFactory as _, FromArgMatches as _};
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use clap_complete::env::CompleteEnv;

use super::Cli;
use super::context::{Context, GlobalArgs};

/// Answers the shell and ends the process, if a shell asked for completion: the script that
/// `COMPLETE=bash calf` prints starts this program at each Tab.
pub(super) fn answer_shell() {
    CompleteEnv::with_factory(Cli::command).complete();
}

/// An argument that is the id of a volume.
pub(super) fn volume() -> ArgValueCandidates {
    candidates(|pool| {
        let volumes = pool.volume_records()?.into_iter();
        let told = volumes.map(|volume| {
            let help = format!("{} of {}", format_size(volume.size), volume.template);
            candidate(volume.id, help)
        });
        Ok(told.collect())
    })
}

/// An argument that is the name of a snapshot.
pub(super) fn snapshot() -> ArgValueCandidates {
    candidates(|pool| {
        let snapshots = pool.snapshots()?.into_iter().map(|snapshot| snapshot.record);
        let told = snapshots.map(|snapshot| {
            let help = format!("{} of {}", format_size(snapshot.size), snapshot.volume);
            candidate(snapshot.name, help)
        });
        Ok(told.collect())
    })
}

/// An argument that is the name of a template.
pub(super) fn template() -> ArgValueCandidates {
    candidates(|pool| {
        let templates = pool.templates()?.into_iter();
        Ok(templates.map(|template| candidate(template.name, format_size(template.size))).collect())
    })
}

fn candidates(list: fn(&Pool) -> Result<Vec<CompletionCandidate>>) -> ArgValueCandidates {
    ArgValueCandidates::new(move || pool().and_then(|pool| list(&pool).ok()).unwrap_or_default())
}

/// A choice, with a word for shells that show one.
fn candidate(value: String, help: String) -> CompletionCandidate {
    CompletionCandidate::new(value).help(Some(help.into()))
}

/// The pool that the unfinished command line names.
fn pool() -> Option<Pool> {
    // What the user has typed follows `--`.
    let words = std::env::args_os().skip_while(|word| word != "--").skip(1);
    let matches = Cli::command().ignore_errors(true).try_get_matches_from(words).ok()?;
    let global = GlobalArgs::from_arg_matches(&matches).ok()?;
    Context::new(global).existing_pool().ok()
}
