//! `calf pool`

use calf::Result;
use clap::Subcommand;
use serde_json::json;

use super::context::Context;
use super::output::Outcome;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Make the directory a pool; repeating the command is safe
    ///
    /// The directory must be missing or empty. Mount its file system first.
    Create,
}

pub(super) fn run(context: &Context, command: Command) -> Result<Outcome> {
    match command {
        Command::Create => create(context),
    }?;
    Ok(Outcome::Success)
}

fn create(context: &Context) -> Result<()> {
    let pool = context.pool()?;
    let (id, root) = (pool.id().as_str(), pool.root().display().to_string());
    let result = json!({ "id": id, "path": root });
    context.output.done(&result, [id], || format!("pool {root} has id {id}"))
}
