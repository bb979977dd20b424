//! Judges what the clients of a partitioned log saw: a history goes in, a verdict comes out. It knows nothing of how the log
//! works, so one judge serves the simulator, the simulated cluster and real processes.
//!
//! ```text
//!  HistoryWriter ──> history.jsonl ──> HistoryReader ──> Judge ──> Facts ──> checks ──> Verdict
//!   (who runs)        (one event a line)                (one event at a time)           (words, JSON)
//! ```
//!
//! [`history`] is the format and what it needs where; [`judge`] and [`Judge`] are the way in; [`verdict`] is what comes out.
//! The definition of each anomaly stands on top of its file in `checks/`; their names are those of Jepsen's Kafka workload
//! (`jepsen.tests.kafka`), its findings are not: they are judged anew here.
//!
//! Not here: cycles between transactions, time (how late a record is seen), retention and compaction, which may drop records.

mod checks;
pub mod cli;
mod facts;
pub mod history;
pub mod verdict;

use std::io::BufRead;

use facts::intake::Intake;
use history::{Event, HistoryError, HistoryReader, Malformed};
use verdict::Verdict;

/// Takes the events of one history and judges them. Its memory grows with the number of records, not with their size.
#[derive(Debug, Default)]
pub struct Judge {
    intake: Intake,
}

impl Judge {
    /// Has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next event.
    ///
    /// # Errors
    /// It cannot be in a history: nothing that was invoked is completed by it, or a value is sent twice.
    pub fn on_event(&mut self, event: &Event) -> Result<(), Malformed> {
        self.intake.on_event(event)
    }

    /// What is to be said of all of them.
    #[must_use]
    pub fn verdict(self) -> Verdict {
        let (facts, summary) = self.intake.close();
        checks::verdict(&facts, summary)
    }
}

/// Judges a text.
///
/// # Errors
/// It cannot be read, or it is not a history. One without any line is none: whoever was to write it did not.
pub fn judge(text: impl BufRead) -> Result<Verdict, HistoryError> {
    let mut judge = Judge::new();
    let mut reader = HistoryReader::new(text);
    for event in reader.by_ref() {
        judge.on_event(&event?)?;
    }
    let line = reader.line();
    if line.0 <= 1 {
        return Err(Malformed { line, what: "the history is empty".to_owned() }.into());
    }
    Ok(judge.verdict())
}
