//! The command line: one binary, noun and verb, with Kafka's spellings where Kafka has one.
//!
//! JSON (`--json`) is the stable contract, tables are for people. What went wrong is one sentence on stderr. Exit codes:
//! 0 done, 1 failed, 2 wrong usage, 3 done but what was found is unhealthy. Everything is printed through `output`; what
//! talks to brokers is in `client`.

mod batch;
mod cluster;
mod config;
mod consume;
mod demo;
mod dev;
mod doctor;
mod dump;
mod group;
mod health;
mod input;
mod json;
mod local;
mod log;
mod node;
mod output;
mod produce;
mod proto;
mod remote;
mod time;
mod topic;
mod verdict;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand, ValueEnum};

pub use node::NodeArgs;
use output::{CliResult, Output};

/// A distributed commit log that speaks Apache Kafka's wire protocol.
#[derive(Debug, Parser)]
#[command(name = "seedlog", version, propagate_version = true, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a node.
    Node(NodeArgs),
    /// Show the nodes of a cluster, and whether it is healthy.
    #[command(subcommand)]
    Cluster(cluster::ClusterCommand),
    /// Create, list, describe and delete topics.
    #[command(subcommand)]
    Topic(topic::TopicCommand),
    /// List, describe and delete consumer groups, and move what they committed.
    #[command(subcommand)]
    Group(group::GroupCommand),
    /// Show, change and explain settings.
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Write records to a topic, one for each line of standard input.
    Produce(Box<produce::ProduceArgs>),
    /// Read records from topics, by itself or as a member of a consumer group.
    Consume(Box<consume::ConsumeArgs>),
    /// Look into the folder of a stopped node: print what is there, check every checksum.
    #[command(subcommand)]
    Log(log::LogCommand),
    /// Read frames of Kafka's protocol.
    #[command(subcommand)]
    Proto(proto::ProtoCommand),
    /// Check whether this machine is fit for a node: limits, clock, disk, ports, memory. Ends with code 3 if it is not.
    Doctor(doctor::DoctorArgs),
    /// Run a cluster on this machine to try things on, until Ctrl-C.
    Dev(dev::DevArgs),
    /// Run a cluster, kill the node that leads while records are written, restart it, and count what is left.
    Demo(demo::DemoArgs),
    /// Print the version.
    Version {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the manual page of this program, or write those of all commands into a folder.
    Man {
        /// Where to write the pages, such as /usr/local/share/man/man1; without it the page of this program is printed
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// Print a script that completes commands and flags in a shell.
    Completions {
        /// The shell.
        #[arg(value_enum)]
        shell: Shell,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Parses this process's arguments and does what they say.
#[must_use]
pub fn main() -> ExitCode {
    let mut output = Output::stdio();
    let result = match Cli::parse().command {
        Command::Node(args) => return node::run(&args, &mut output),
        Command::Cluster(command) => block_on(cluster::run(&command, &mut output)),
        Command::Topic(command) => block_on(topic::run(&command, &mut output)),
        Command::Group(command) => block_on(group::run(&command, &mut output)),
        Command::Config(command) => block_on(config::run(&command, &mut output)),
        Command::Produce(args) => block_on(produce::run(&args, &mut output)),
        Command::Consume(args) => block_on(consume::run(&args, &mut output)),
        Command::Log(command) => block_on(log::run(&command, &mut output)),
        Command::Proto(command) => proto::run(&command, &mut output),
        Command::Doctor(args) => doctor::run(&args, &mut output),
        Command::Dev(args) => block_on(dev::run(&args, &mut output)),
        Command::Demo(args) => block_on(demo::run(&args, &mut output)),
        Command::Version { json } => version(json, &mut output),
        Command::Man { dir } => man(dir.as_deref(), &mut output),
        Command::Completions { shell } => completions(shell, &mut output),
    };
    output.end(result)
}

/// Runs a command on a runtime of its own. Nothing waits for threads that still block in a read when it is over.
fn block_on(command: impl Future<Output = CliResult>) -> CliResult {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| output::CliError::io("the runtime", source))?;
    let result = runtime.block_on(command);
    runtime.shutdown_background();
    result
}

fn version(json: bool, output: &mut Output) -> CliResult {
    let version = env!("CARGO_PKG_VERSION");
    if json {
        return output.json(&serde_json::json!({ "name": "seedlog", "version": version }));
    }
    output.line(&format!("seedlog {version}"))
}

fn man(dir: Option<&Path>, output: &mut Output) -> CliResult {
    let failed = |what: &dyn std::fmt::Display, source| output::CliError::io(what, source);
    let Some(dir) = dir else {
        let mut page = Vec::new();
        let written = clap_mangen::Man::new(Cli::command().disable_help_subcommand(true)).render(&mut page);
        written.map_err(|error| failed(&"cannot write the page", error))?;
        output.bytes(&page)?;
        return output.flush();
    };
    std::fs::create_dir_all(dir).map_err(|error| failed(&dir.display(), error))?;
    clap_mangen::generate_to(Cli::command(), dir).map_err(|error| failed(&dir.display(), error))?;
    output.line(&format!(
        "wrote the pages to {}; read one with `man -l {}`",
        dir.display(),
        dir.join("seedlog.1").display()
    ))
}

fn completions(shell: Shell, output: &mut Output) -> CliResult {
    let mut command = Cli::command();
    let shell = match shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "seedlog", &mut script);
    output.bytes(&script)?;
    output.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }
}
