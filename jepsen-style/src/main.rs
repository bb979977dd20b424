//! The `seedlog-checker` binary: arguments in, exit code out. Everything else is in the library.

use std::process::ExitCode;

use clap::Parser;
use seedlog_checker::cli::{Cli, main as carry_out};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let (mut input, mut out) = (std::io::stdin().lock(), std::io::stdout().lock());
    ExitCode::from(carry_out(&cli, &mut input, &mut out, &mut std::io::stderr()))
}
