//! The `seedlog-sim` binary: arguments in, exit code out. Everything else is in the library.

use clap::Parser;
use seedlog_sim::cli::{Cli, main as carry_out};
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    ExitCode::from(carry_out(cli, &mut std::io::stdout().lock(), &mut std::io::stderr()))
}
