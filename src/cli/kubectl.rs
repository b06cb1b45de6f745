//! `kubectl calf`: the same binary under the name `kubectl-calf`, on the machine of an operator.
//!
//! It runs `calf` in the driver's container on each node and puts the answers together. All it knows of
//! the cluster comes from kubectl, which alone holds credentials (docs/adr/0096).

mod answers;
mod drivers;
mod program;
mod report;

use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use calf::Result;
use clap::{Args, Parser, Subcommand};

use super::exit_code;
use super::help;
use super::output::{Format, Outcome, Output};
use answers::Question;
use program::Kubectl;

/// What this program is called as a plugin.
const NAME: &str = "kubectl-calf";

/// Show volumes, templates and pools on the nodes of a cluster
#[derive(Parser)]
#[command(
    name = NAME,
    bin_name = "kubectl calf",
    version,
    after_help = help::KUBECTL,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub(super) struct Plugin {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: Command,
}

#[derive(Args)]
struct Options {
    /// Namespace of the driver; all namespaces by default
    #[arg(long, short, global = true)]
    namespace: Option<String>,

    /// Labels of the driver's pods
    #[arg(long, short = 'l', global = true, value_name = "LABELS", default_value = drivers::LABELS)]
    selector: String,

    /// Ask this node only; may be repeated
    #[arg(long = "node", global = true, value_name = "NODE")]
    nodes: Vec<String>,

    /// Give up a node that has not answered after this time
    #[arg(long, global = true, value_name = "TIME", default_value = "30s")]
    #[arg(value_parser = humantime::parse_duration)]
    timeout: Duration,

    /// How to print results
    #[arg(long, short, global = true, value_enum, value_name = "FORMAT")]
    #[arg(default_value_t = Format::Table)]
    output: Format,

    /// Context of the kubeconfig
    #[arg(long, global = true)]
    context: Option<String>,

    /// The kubeconfig
    #[arg(long, global = true, value_name = "FILE")]
    kubeconfig: Option<String>,

    /// User to impersonate
    #[arg(long = "as", global = true, value_name = "USER")]
    user: Option<String>,
}

#[derive(Clone, Copy, Subcommand)]
enum Command {
    /// List the volumes of all nodes
    #[command(visible_alias = "volume")]
    Volumes,
    /// List the templates of all nodes
    #[command(visible_alias = "template")]
    Templates,
    /// List the volumes that occupy most
    Top {
        /// How many
        #[arg(long, value_name = "NUMBER", default_value_t = 20)]
        count: usize,
    },
    /// Show each node's pool
    Status,
    /// Check each node and its pool
    Doctor,
}

/// Whether this process was started as kubectl's plugin.
pub(super) fn is_called() -> bool {
    let program = std::env::args_os().next().unwrap_or_default();
    Path::new(&program).file_name() == Some(OsStr::new(NAME))
}

/// Runs the plugin.
pub(super) fn main() -> ExitCode {
    let plugin = Plugin::parse();
    let output = Output { format: plugin.options.output, quiet: false };
    match run(&plugin, output) {
        Ok(Outcome::Success) => ExitCode::SUCCESS,
        Ok(Outcome::Failure) => ExitCode::from(exit_code::FAILURE),
        Err(error) => {
            output.error(&error);
            ExitCode::from(exit_code::of(error.kind()))
        }
    }
}

fn run(plugin: &Plugin, output: Output) -> Result<Outcome> {
    let Options { namespace, selector, nodes, timeout, context, kubeconfig, user, .. } =
        &plugin.options;
    let flags = [("--context", context), ("--kubeconfig", kubeconfig), ("--as", user)];
    let kubectl = Kubectl::new(&flags, *timeout);
    let drivers = drivers::find(&kubectl, namespace.as_deref(), selector, nodes)?;
    let question = match plugin.command {
        Command::Volumes | Command::Top { .. } => Question::Volumes,
        Command::Templates => Question::Templates,
        Command::Status => Question::Status,
        Command::Doctor => Question::Doctor,
    };
    let mut answers = answers::ask(&kubectl, &drivers, question);
    if let Command::Top { count } = plugin.command {
        answers.keep_largest(count);
    }
    report::print(output, question, &answers)?;
    let healthy = answers.documents.iter().all(|document| document["ready"] != false);
    let mut failed = answers.failed.into_iter();
    let Some(last) = failed.next_back() else {
        return Ok(if healthy { Outcome::Success } else { Outcome::Failure });
    };
    failed.for_each(|failure| output.error(&failure.error));
    Err(last.error)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        super::Plugin::command().debug_assert();
    }
}
