//! The command line: `run` a range of seeds, one process a seed; `replay` one; `twice` for determinism; `plan` to look before.
//!
//! Exit codes: 0 nothing found, 1 found, 2 the command cannot be carried out.

mod range;
mod report;
mod single;

use clap::{Args, Parser, Subcommand};
use seedlog_sim::cli::{CLEAN, FOUND, USAGE, judging, parse_range, parse_scenario, switch, twice};
use seedlog_sim::judges::{Enabled, Judge};
use seedlog_sim::plan::Scenario;
use seedlog_sim::run::hush_panics;
use std::io::Write;
use std::path::PathBuf;

/// The whole world of Seedlog's simulator: the node's own driver, store and connections.
#[derive(Debug, Parser)]
#[command(name = "seedlog-sim-whole", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a range of seeds up to the first failure.
    Run {
        /// First seed and the one behind the last, as in 0..200.
        #[arg(long, value_parser = parse_range)]
        seeds: (u64, u64),
        /// Processes at a time.
        #[arg(long, default_value_t = 2)]
        jobs: usize,
        /// Does not stop at the first failure: lists and counts all of them.
        #[arg(long)]
        keep_going: bool,
        /// Finding nothing is a failure if a coverage mark was missed.
        #[arg(long)]
        all_marks: bool,
        #[command(flatten)]
        common: Common,
    },
    /// Runs one seed and prints every event.
    Replay {
        /// The seed.
        seed: u64,
        /// A plan instead of the one drawn from the seed.
        #[arg(long)]
        plan: Option<PathBuf>,
        /// Writes what clients saw, as `seedlog-checker` reads it.
        #[arg(long)]
        history: Option<PathBuf>,
        /// The nodes' own logs on stderr, from this level on: error, warn, info, debug or trace.
        #[arg(long)]
        log: Option<tracing_subscriber::filter::LevelFilter>,
        #[command(flatten)]
        common: Common,
    },
    /// Runs one seed in two processes and compares their traces.
    Twice {
        /// The seed.
        seed: u64,
        #[command(flatten)]
        common: Common,
    },
    /// Prints the plan of a seed as JSON.
    Plan {
        /// The seed.
        seed: u64,
        #[command(flatten)]
        common: Common,
    },
    /// Runs one seed and prints what it came to, for `run`.
    #[command(hide = true)]
    One {
        /// The seed.
        seed: u64,
        #[command(flatten)]
        common: Common,
    },
}

/// What all commands take.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// Switches a museum exhibit on; needs a build with the feature `museum`.
    #[arg(long)]
    exhibit: Option<String>,
    /// The scenario: a mixture of alone and standard, if none is named.
    #[arg(long, value_parser = parse_scenario)]
    scenario: Option<Scenario>,
    /// Judges that may end a run, as in S1,S18; `all` for every one. An exhibit is hunted by those that its row names.
    #[arg(long)]
    judges: Option<String>,
}

/// Carries out a command. Everything that is printed goes through `out`; complaints go through `err`.
pub fn main(cli: Cli, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let done = match cli.command {
        Command::Run { seeds, jobs, keep_going, all_marks, common } => prepare(&common).and_then(|_| {
            range::run(&range::Range { seeds, jobs, keep_going, all_marks, common: &common }, out)
        }),
        Command::Replay { seed, plan, history, log, common } => {
            log.into_iter().for_each(single::tell_logs);
            prepare(&common).and_then(|enabled| {
                single::replay(seed, (plan.as_deref(), history.as_deref()), &common, enabled, out)
            })
        }
        Command::Twice { seed, common } => {
            prepare(&common).and_then(|_| twice(seed, &arguments(&common), out))
        }
        Command::Plan { seed, common } => single::plan(seed, &common, out),
        Command::One { seed, common } => {
            prepare(&common).and_then(|enabled| single::one(seed, &common, enabled, out))
        }
    };
    match done {
        Ok(code) => code,
        Err(why) => {
            // A broken pipe leaves nobody to complain to.
            let _ = writeln!(err, "seedlog-sim-whole: {why}");
            USAGE
        }
    }
}

/// Switches the exhibit on and finds out who judges.
fn prepare(common: &Common) -> Result<Enabled, String> {
    let hunted = common.exhibit.as_deref().map(switch).transpose()?;
    hush_panics();
    match hunted {
        // A single journal holds the quorum's metadata too: what is lost of it keeps the node from starting before S1 is asked.
        Some(row) if row.name == "N3" && common.judges.is_none() => {
            Ok(Enabled::only(&[Judge::S1, Judge::S18]))
        }
        hunted => judging(common.judges.as_deref(), hunted),
    }
}

/// The arguments that make another process run the same.
fn arguments(common: &Common) -> Vec<String> {
    let mut words = Vec::new();
    if let Some(scenario) = common.scenario {
        words.extend(["--scenario".to_owned(), scenario.name().to_owned()]);
    }
    if let Some(exhibit) = &common.exhibit {
        words.extend(["--exhibit".to_owned(), exhibit.clone()]);
    }
    if let Some(judges) = &common.judges {
        words.extend(["--judges".to_owned(), judges.clone()]);
    }
    words
}

fn said(error: std::io::Error) -> String {
    error.to_string()
}

/// The exit code of a run.
fn code(found: bool) -> u8 {
    if found { FOUND } else { CLEAN }
}
