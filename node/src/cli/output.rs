//! The one place that prints: results to standard output, sentences to standard error, and the exit code.

use std::fmt::Display;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::process::ExitCode;

use anstream::eprintln;
use clap::builder::styling::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::advice;
use crate::client::ClientError;

const FAILED: u8 = 1;
const USAGE: u8 = 2;
const UNHEALTHY: u8 = 3;

/// Why a command did not end well.
#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    /// A broker, or the way to it.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A file, a pipe, a process.
    #[error("{what}: {source}{}", advice::of_io(source))]
    Io {
        /// Which.
        what: String,
        /// The system's reason.
        source: io::Error,
    },
    /// Anything else, as a sentence.
    #[error("{0}")]
    Failed(String),
    /// Arguments that contradict each other or mean nothing.
    #[error("{0}; see --help")]
    Usage(String),
    /// The command did its work and found what should not be.
    #[error("{0}")]
    Unhealthy(String),
}

/// How a command ends.
pub(super) type CliResult<T = ()> = Result<T, CliError>;

impl CliError {
    pub(super) fn io(what: impl Display, source: io::Error) -> Self {
        Self::Io { what: what.to_string(), source }
    }

    fn exit_code(&self) -> u8 {
        match self {
            Self::Client(ClientError::Address { .. }) | Self::Usage(_) => USAGE,
            Self::Client(_) | Self::Io { .. } | Self::Failed(_) => FAILED,
            Self::Unhealthy(_) => UNHEALTHY,
        }
    }

    /// Whoever read our output has enough: `seedlog consume | head`.
    fn is_broken_pipe(&self) -> bool {
        if let Self::Io { source, .. } = self { source.kind() == io::ErrorKind::BrokenPipe } else { false }
    }
}

/// Standard output, buffered, and standard error.
pub(super) struct Output {
    out: BufWriter<io::Stdout>,
    terminal: bool,
}

impl Output {
    /// This process's own.
    pub(super) fn stdio() -> Self {
        let out = io::stdout();
        Self { terminal: out.is_terminal(), out: BufWriter::with_capacity(64 * 1024, out) }
    }

    /// Whether a person is looking.
    pub(super) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// One line.
    pub(super) fn line(&mut self, text: &str) -> CliResult {
        writeln!(self.out, "{text}").and_then(|()| self.out.flush()).map_err(stdout_failed)
    }

    /// One of many lines: flush afterwards.
    pub(super) fn unflushed(&mut self, text: &str) -> CliResult {
        writeln!(self.out, "{text}").map_err(stdout_failed)
    }

    /// One JSON value on a line of its own.
    pub(super) fn json(&mut self, value: &impl Serialize) -> CliResult {
        self.json_unflushed(value)?;
        self.flush()
    }

    /// The same, for many of them: flush afterwards.
    pub(super) fn json_unflushed(&mut self, value: &impl Serialize) -> CliResult {
        serde_json::to_writer(&mut self.out, value).map_err(|error| stdout_failed(error.into()))?;
        self.bytes(b"\n")
    }

    /// Bytes as they are: records are not ours to change. Flush afterwards.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> CliResult {
        self.out.write_all(bytes).map_err(stdout_failed)
    }

    /// Hands on what was written.
    pub(super) fn flush(&mut self) -> CliResult {
        self.out.flush().map_err(stdout_failed)
    }

    /// A sentence for people, beside the results.
    pub(super) fn notice(&self, text: &dyn Display) {
        eprintln!("{text}");
    }

    /// Ends the process's work: says what went wrong, if anything.
    pub(super) fn end(&mut self, result: CliResult) -> ExitCode {
        match result.and_then(|()| self.flush()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) if error.is_broken_pipe() => ExitCode::SUCCESS,
            Err(error) => {
                let red = Style::new().fg_color(Some(AnsiColor::Red.into())).bold();
                eprintln!("{red}error:{red:#} {error}");
                ExitCode::from(error.exit_code())
            }
        }
    }
}

/// How far long work is, on standard error, and only where that is a terminal. `what` follows the bar, in indicatif's template.
pub(super) fn progress(length: u64, what: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template(&format!("{{bar:40}} {what}, {{elapsed}}"));
    bar.with_style(style.expect("the template is constant"))
}

fn stdout_failed(source: io::Error) -> CliError {
    CliError::io("cannot write to standard output", source)
}
