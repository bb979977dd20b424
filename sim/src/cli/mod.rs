//! The command line: `run` a range of seeds, `replay` one, `twice` for determinism, `plan` to look before.
//!
//! Exit codes: 0 nothing found, 1 found, 2 the command cannot be carried out.

mod exhibit;
mod range;
mod single;

pub use single::twice;

use crate::judges::{Enabled, Judge};
use crate::plan::Scenario;
use crate::run::hush_panics;
use clap::{Args, Parser, Subcommand};
use std::io::Write;
use std::path::PathBuf;

pub use exhibit::{Row, row, switch};

/// Nothing was found.
pub const CLEAN: u8 = 0;
/// A judge found something.
pub const FOUND: u8 = 1;
/// The command cannot be carried out.
pub const USAGE: u8 = 2;

/// The simulator of Seedlog: finds failures by seed and replays them.
#[derive(Debug, Parser)]
#[command(name = "seedlog-sim", version)]
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
        /// Seeds at a time, each on a thread of its own.
        #[arg(long, default_value_t = 1)]
        jobs: usize,
        /// Does not stop at the first failure: lists and counts all of them.
        #[arg(long)]
        keep_going: bool,
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
        /// Prints every input and output of the brokers in full.
        #[arg(long)]
        aloud: bool,
        /// Writes what the clients saw, for `seedlog-checker check`.
        #[arg(long, value_name = "FILE")]
        history: Option<PathBuf>,
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
}

/// What all commands take.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// Switches a museum exhibit on; needs a build with the feature `museum`.
    #[arg(long)]
    exhibit: Option<String>,
    /// The scenario.
    #[arg(long, default_value = "standard", value_parser = parse_scenario)]
    scenario: Scenario,
    /// Judges that may end a run, as in S1,S18; `all` for every one. An exhibit is hunted by those that its row names.
    #[arg(long)]
    judges: Option<String>,
}

/// Carries out a command. Everything that is printed goes through `out`; complaints go through `err`.
pub fn main(cli: Cli, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let done = match cli.command {
        Command::Run { seeds, jobs, keep_going, common } => prepare(&common).and_then(|enabled| {
            range::run(&range::Range { seeds, jobs, keep_going, enabled, common: &common }, out, err)
        }),
        Command::Replay { seed, plan, aloud, history, common } => prepare(&common).and_then(|enabled| {
            let (plan, history) = (plan.as_deref(), history.as_deref());
            single::replay(&single::Replay { seed, plan, aloud, history, common: &common, enabled }, out)
        }),
        Command::Twice { seed, common } => {
            prepare(&common).and_then(|_| twice(seed, &arguments(&common), out))
        }
        Command::Plan { seed, common } => single::plan(seed, &common, out),
    };
    match done {
        Ok(code) => code,
        Err(why) => {
            // A broken pipe leaves nobody to complain to.
            let _ = writeln!(err, "seedlog-sim: {why}");
            USAGE
        }
    }
}

/// Switches the exhibit on and finds out who judges.
fn prepare(common: &Common) -> Result<Enabled, String> {
    let hunted = common.exhibit.as_deref().map(switch).transpose()?;
    hush_panics();
    judging(common.judges.as_deref(), hunted)
}

/// Who judges, from the names that were given, if any, and the exhibit that is hunted, if any.
///
/// # Errors
/// There is no such judge.
pub fn judging(names: Option<&str>, hunted: Option<Row>) -> Result<Enabled, String> {
    match (names, hunted) {
        (None, Some(row)) => Ok(Enabled::only(row.judges)),
        (None | Some("all"), _) => Ok(Enabled::all()),
        (Some(names), _) => {
            let named = names
                .split(',')
                .map(|name| Judge::named(name.trim()).ok_or_else(|| format!("there is no judge {name}")));
            Ok(Enabled::only(&named.collect::<Result<Vec<_>, _>>()?))
        }
    }
}

/// A range of seeds: the first, and the one behind the last.
///
/// # Errors
/// It is none, or empty.
pub fn parse_range(text: &str) -> Result<(u64, u64), String> {
    let (first, end) = text.split_once("..").ok_or("write it as A..B")?;
    let parse = |part: &str| part.replace('_', "").parse::<u64>().map_err(|error| error.to_string());
    let (first, end) = (parse(first)?, parse(end)?);
    if first < end { Ok((first, end)) } else { Err("the range is empty".to_owned()) }
}

/// A scenario by its name.
///
/// # Errors
/// There is none of that name; which there are.
pub fn parse_scenario(name: &str) -> Result<Scenario, String> {
    Scenario::named(name).ok_or_else(|| {
        let names: Vec<&str> = Scenario::ALL.into_iter().map(Scenario::name).collect();
        format!("the scenarios are {}", names.join(", "))
    })
}

/// The arguments that make another process run the same.
fn arguments(common: &Common) -> Vec<String> {
    let mut words = Vec::new();
    if common.scenario != Scenario::Standard {
        words.extend(["--scenario".to_owned(), common.scenario.name().to_owned()]);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_written() {
        assert_eq!(parse_range("0..2_000"), Ok((0, 2_000)));
        assert!(parse_range("5..5").is_err());
        assert!(parse_range("5").is_err());
    }

    #[test]
    fn a_plan_is_printed_as_json() {
        let mut out = Vec::new();
        let cli = Cli::try_parse_from(["seedlog-sim", "plan", "7"]).unwrap();
        assert_eq!(main(cli, &mut out, &mut Vec::new()), CLEAN);
        assert!(serde_json::from_slice::<crate::plan::Plan>(&out).is_ok());
    }

    #[cfg(not(feature = "museum"))]
    #[test]
    fn a_build_without_the_museum_says_so() {
        let mut err = Vec::new();
        let cli = Cli::try_parse_from(["seedlog-sim", "run", "--seeds", "0..1", "--exhibit", "H5"]).unwrap();
        assert_eq!(main(cli, &mut Vec::new(), &mut err), USAGE);
        assert!(String::from_utf8(err).unwrap().contains("feature `museum`"));
    }
}
