//! The `seedlog` binary. Everything is in the library: `cli` parses and acts.

use std::process::ExitCode;

fn main() -> ExitCode {
    #[cfg(not(madsim))]
    return seedlog::cli::main();
    // The simulated world drives the library and has no command line.
    #[cfg(madsim)]
    ExitCode::FAILURE
}
