//! The command line, which uses the engine without a daemon or beside one.
//!
//! Results go to stdout, everything else to stderr. Each command is a module with its arguments and
//! a `run`; shared code is in [`context`], [`output`] and [`exit_code`].

mod complete;
mod context;
mod doctor;
mod exit_code;
mod help;
mod interrupt;
mod kubectl;
mod logging;
mod man;
mod output;
mod pool;
mod progress;
mod reconcile;
mod refusals;
mod serve;
mod snapshot;
mod status;
mod template;
mod udev;
mod volume;

use std::process::ExitCode;

use calf::Result;
use clap::{CommandFactory as _, Parser, Subcommand};
use context::{Context, GlobalArgs};
use output::Outcome;

/// Copy-on-write root disks for microVMs, in milliseconds
#[derive(Parser)]
#[command(
    name = "calf",
    version,
    long_about = help::ABOUT,
    after_help = help::EXAMPLES,
    after_long_help = help::LONG,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true
)]
struct Cli {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Import, list, inspect and remove templates
    #[command(subcommand, visible_alias = "templates")]
    Template(template::Command),
    /// Create, list, inspect, activate, expand, publish and delete volumes
    #[command(subcommand, visible_alias = "volumes")]
    Volume(volume::Command),
    /// Make snapshots of volumes, list, inspect and delete them
    #[command(subcommand, visible_alias = "snapshots")]
    Snapshot(snapshot::Command),
    /// Create a pool
    #[command(subcommand)]
    Pool(pool::Command),
    /// Show the pool, its templates and the state of its volumes
    Status,
    /// Check this machine and the pool, and say how to fix what is wrong
    #[command(after_help = help::DOCTOR)]
    Doctor,
    /// Complete or undo what a crash left behind, and remove what is no longer needed
    #[command(after_help = help::RECONCILE)]
    Reconcile(reconcile::Args),
    /// Run the CSI driver
    #[command(after_help = help::SERVE)]
    Serve(serve::Args),
    /// Print or install the udev rules that keep the host away from volumes
    #[command(after_help = help::UDEV_RULES)]
    UdevRules(udev::Args),
    /// Print a page of the manual, or install all pages
    #[command(after_help = help::MAN)]
    Man(man::Args),
    /// Print a completion script for a shell
    #[command(after_help = help::COMPLETIONS)]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Runs the command line of this process.
pub(crate) fn main() -> ExitCode {
    if kubectl::is_called() {
        return kubectl::main();
    }
    complete::answer_shell();
    let cli = Cli::parse();
    let output = cli.global.output();
    match run(cli) {
        Ok(Outcome::Success) => ExitCode::SUCCESS,
        Ok(Outcome::Failure) => ExitCode::from(exit_code::FAILURE),
        Err(error) => {
            output.error(&error);
            ExitCode::from(exit_code::of(error.kind()))
        }
    }
}

fn run(cli: Cli) -> Result<Outcome> {
    match &cli.command {
        Command::Serve(args) => logging::for_service(cli.global.verbosity(), args.log_format),
        _ => logging::for_command(cli.global.verbosity()),
    }
    let context = Context::new(cli.global);
    match cli.command {
        Command::Template(command) => template::run(&context, command),
        Command::Volume(command) => volume::run(&context, command),
        Command::Snapshot(command) => snapshot::run(&context, command),
        Command::Pool(command) => pool::run(&context, command),
        Command::Status => status::run(&context),
        Command::Doctor => doctor::run(&context),
        Command::Reconcile(args) => reconcile::run(&context, &args),
        Command::Serve(args) => serve::run(&context, args),
        Command::UdevRules(args) => udev::run(&context, &args).map(|()| Outcome::Success),
        Command::Man(args) => man::run(&context, Cli::command(), &args).map(|()| Outcome::Success),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "calf", &mut script);
            output::text(&String::from_utf8_lossy(&script)).map(|()| Outcome::Success)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
