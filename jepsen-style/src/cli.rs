//! The command line: `check` a history.
//!
//! Exit codes: 0 valid, 1 anomalies, 2 wrong usage or a history that cannot be judged. The verdict goes to standard output, as
//! words or, with `--json`, as one JSON object; what went wrong is one sentence on standard error.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};

use crate::judge;
use crate::verdict::Verdict;

/// No anomaly was found.
pub const VALID: u8 = 0;
/// Anomalies were found.
pub const ANOMALIES: u8 = 1;
/// There is nothing to judge.
pub const USAGE: u8 = 2;

const BUFFER_BYTES: usize = 256 * 1024;

/// Judges what the clients of a log saw.
#[derive(Debug, Parser)]
#[command(name = "seedlog-checker", version, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Judge a history: lost, duplicated, skipped, reordered, invented records.
    #[command(after_help = "\
Exit codes:
  0  valid
  1  anomalies were found
  2  wrong usage, or the history cannot be read or is malformed")]
    Check(CheckArgs),
}

#[derive(Debug, Args)]
struct CheckArgs {
    /// The history, one JSON object a line; `-` is standard input.
    file: PathBuf,
    /// Print the verdict as one JSON object.
    #[arg(long)]
    json: bool,
}

/// Carries out a command and returns the exit code.
pub fn main(cli: &Cli, input: &mut dyn BufRead, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let Command::Check(args) = &cli.command;
    match check(args, input, out) {
        Ok(code) => code,
        Err(why) => {
            // Nobody is left to be told when this fails too.
            drop(writeln!(err, "error: {why}"));
            USAGE
        }
    }
}

fn check(args: &CheckArgs, input: &mut dyn BufRead, out: &mut dyn Write) -> Result<u8, String> {
    let name = args.file.display();
    let verdict = if args.file == Path::new("-") {
        judge(input)
    } else {
        let file = File::open(&args.file).map_err(|error| format!("{name}: {error}"))?;
        judge(BufReader::with_capacity(BUFFER_BYTES, file))
    };
    let verdict = verdict.map_err(|error| format!("{name}: {error}"))?;
    let code = if verdict.valid { VALID } else { ANOMALIES };
    match print(&verdict, args.json, &name.to_string(), out) {
        // Whoever read our output has enough; the exit code still says what was found.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(code),
        Err(error) => Err(format!("standard output: {error}")),
        Ok(()) => Ok(code),
    }
}

fn print(verdict: &Verdict, as_json: bool, name: &str, out: &mut dyn Write) -> std::io::Result<()> {
    if as_json {
        let line = serde_json::to_string(verdict).map_err(std::io::Error::other)?;
        writeln!(out, "{line}")?;
    } else {
        write!(out, "{name}: {verdict}")?;
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }
}
