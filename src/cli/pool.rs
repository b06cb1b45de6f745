//! `calf pool`

use calf::Result;
use clap::Subcommand;
use serde_json::json;

use super::context::Context;
use super::output::Outcome;

mod guard;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Make the directory a pool; repeating the command is safe
    ///
    /// The directory must be missing or empty. Mount its file system first.
    Create,
    /// Suspend volumes that write while the pool is nearly full; runs until it is stopped
    ///
    /// `calf serve` does the same, so this is for machines without it. Reads and writes of a suspended volume
    /// wait until there is room; nothing fails. When the command ends, suspended volumes stay
    /// suspended: start it again, or let them go on with `calf reconcile`.
    Guard(guard::Args),
}

pub(super) fn run(context: &Context, command: Command) -> Result<Outcome> {
    match command {
        Command::Create => create(context),
        Command::Guard(args) => guard::run(context, &args),
    }?;
    Ok(Outcome::Success)
}

fn create(context: &Context) -> Result<()> {
    let pool = context.pool()?;
    let (id, root) = (pool.id().as_str(), pool.root().display().to_string());
    let result = json!({ "id": id, "path": root });
    context.output.done(&result, [id], || format!("pool {root} has id {id}"))
}
