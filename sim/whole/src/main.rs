//! The `seedlog-sim-whole` binary: arguments in, exit code out. Everything else is in the library.

use std::process::ExitCode;

#[cfg(madsim)]
fn main() -> ExitCode {
    use clap::Parser;
    use seedlog_sim_whole::cli::{Cli, main as carry_out};
    let cli = Cli::parse();
    ExitCode::from(carry_out(cli, &mut std::io::stdout().lock(), &mut std::io::stderr()))
}

/// This world exists with `--cfg madsim` only.
#[cfg(not(madsim))]
fn main() -> ExitCode {
    use std::io::{Write, stderr};
    // Where stderr is closed the exit code has to do.
    let _ = writeln!(
        stderr(),
        "seedlog-sim-whole: this build has no whole world; use `cargo whole`, and no RUSTFLAGS beside it"
    );
    ExitCode::from(2)
}
