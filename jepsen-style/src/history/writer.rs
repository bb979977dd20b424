//! Writes a history. A recorder that several threads share holds a lock around it, and takes the lock before it sends what
//! it invokes.

use std::io::{self, Write};

use super::line::RawLine;
use super::{Event, Operation, Phase, Process};

impl Event {
    /// The event without index, and without words about a failure.
    #[must_use]
    pub fn new(time_us: u64, process: Process, phase: Phase, operation: Operation) -> Self {
        Self { index: None, time_us, process, phase, operation, error: None }
    }

    /// Its line, without the end.
    #[must_use]
    pub fn to_line(&self) -> String {
        serde_json::to_string(&RawLine::from(self)).expect("texts and numbers have a form in JSON")
    }
}

/// Writes events, one a line, and numbers them. Nothing is buffered here.
#[derive(Debug)]
pub struct HistoryWriter<W> {
    output: W,
    index: u64,
}

impl<W: Write> HistoryWriter<W> {
    /// Writes to here.
    pub fn new(output: W) -> Self {
        Self { output, index: 0 }
    }

    /// Something is about to be asked for.
    ///
    /// # Errors
    /// What the output says.
    pub fn invoke(&mut self, time_us: u64, process: Process, operation: Operation) -> io::Result<()> {
        self.write(Event::new(time_us, process, Phase::Invoke, operation))
    }

    /// Something was done.
    ///
    /// # Errors
    /// What the output says.
    pub fn ok(&mut self, time_us: u64, process: Process, operation: Operation) -> io::Result<()> {
        self.write(Event::new(time_us, process, Phase::Ok, operation))
    }

    /// Something was certainly not done, for this reason.
    ///
    /// # Errors
    /// What the output says.
    pub fn fail(
        &mut self,
        time_us: u64,
        process: Process,
        operation: Operation,
        error: &str,
    ) -> io::Result<()> {
        let event = Event::new(time_us, process, Phase::Fail, operation);
        self.write(Event { error: Some(error.to_owned()), ..event })
    }

    /// Nobody knows whether something was done, for this reason.
    ///
    /// # Errors
    /// What the output says.
    pub fn info(
        &mut self,
        time_us: u64,
        process: Process,
        operation: Operation,
        error: &str,
    ) -> io::Result<()> {
        let event = Event::new(time_us, process, Phase::Info, operation);
        self.write(Event { error: Some(error.to_owned()), ..event })
    }

    /// Any event. Its index becomes the next.
    ///
    /// # Errors
    /// What the output says.
    pub fn write(&mut self, event: Event) -> io::Result<()> {
        let mut line = Event { index: Some(self.index), ..event }.to_line();
        line.push('\n');
        self.index += 1;
        self.output.write_all(line.as_bytes())
    }

    /// Hands on what the output holds back.
    ///
    /// # Errors
    /// What the output says.
    pub fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }

    /// The output.
    #[must_use]
    pub fn into_inner(self) -> W {
        self.output
    }
}
