//! `seedlog node`: the arguments of a node. What a node does with them is in `run`, what a configuration may say in
//! `config`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::output::{CliError, CliResult, Output};
use crate::config::{self, Sources};
use crate::logging::LogFormat;
use crate::run::{NodeOptions, run_node};
use crate::shutdown;

/// The arguments of `seedlog node`.
#[derive(Debug, Clone, Default, Args)]
pub struct NodeArgs {
    /// The configuration: a .properties file with Kafka's key names
    #[arg(long, short, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// A setting that wins over file and environment; may be repeated
    #[arg(long = "override", value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
    /// Print every setting with its origin, and do not start
    #[arg(long)]
    pub show_config: bool,
    /// How to log: human or json; without it human on a terminal, otherwise json
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    /// What to log: a level such as info, or targets such as seedlog::store=debug,info
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// Print `ready listener=NAME://HOST:PORT` for each listener on standard output once the node serves
    #[arg(long)]
    pub print_ready: bool,
    /// Stop when the process that started this one is gone
    #[arg(long, hide = true)]
    pub ends_with_parent: bool,
}

/// Runs a node, or shows its configuration.
pub(super) fn run(args: &NodeArgs, output: &mut Output) -> ExitCode {
    if args.show_config {
        let shown = show_config(args, output);
        return output.end(shown);
    }
    if args.ends_with_parent {
        shutdown::with_parent();
    }
    run_node(&NodeOptions {
        file: args.config.clone(),
        overrides: args.overrides.clone(),
        log_format: args.log_format,
        log_level: args.log_level.clone(),
        print_ready: args.print_ready,
    })
}

fn show_config(args: &NodeArgs, output: &mut Output) -> CliResult {
    let failed = |error: config::ConfigErrors| CliError::Failed(error.to_string());
    let sources = Sources::of_process(args.config.as_deref(), &args.overrides);
    let loaded = config::load(&sources.map_err(|error| failed(error.into()))?).map_err(failed)?;
    for warning in &loaded.warnings {
        output.notice(&format_args!("warning: {warning}"));
    }
    output.bytes(loaded.show().as_bytes())?;
    output.flush()
}
