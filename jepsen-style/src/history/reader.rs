//! Reads a history line by line. It holds one line at a time, never more than [`LINE_BYTES_MAX`] of it, and says of a bad one
//! which it is and what is wrong with it.

use std::io::{self, BufRead, Read as _};

use super::line::RawLine;
use super::{Event, Line};

/// The longest line that is read.
pub const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{line}: {what}")]
pub struct Malformed {
    /// Which.
    pub line: Line,
    /// In words.
    pub what: String,
}

/// Why a history cannot be judged.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// It cannot be read.
    #[error("{line}: it cannot be read: {source}")]
    Io {
        /// The line that was due.
        line: Line,
        /// The system's reason.
        source: io::Error,
    },
    /// It is not a history.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

/// The events of a text, in order. It ends at the first error.
#[derive(Debug)]
pub struct HistoryReader<R> {
    input: R,
    buffer: Vec<u8>,
    line: Line,
    is_over: bool,
}

impl<R: BufRead> HistoryReader<R> {
    /// Reads from here.
    pub fn new(input: R) -> Self {
        Self { input, buffer: Vec::new(), line: Line(0), is_over: false }
    }

    /// The line that was read last.
    #[must_use]
    pub fn line(&self) -> Line {
        self.line
    }

    fn read_event(&mut self) -> Result<Option<Event>, HistoryError> {
        self.buffer.clear();
        self.line.0 += 1;
        let limit = LINE_BYTES_MAX as u64 + 1;
        let read = self.input.by_ref().take(limit).read_until(b'\n', &mut self.buffer);
        read.map_err(|source| HistoryError::Io { line: self.line, source })?;
        let text = match self.buffer.strip_suffix(b"\n") {
            Some(text) => text.strip_suffix(b"\r").unwrap_or(text),
            None if self.buffer.is_empty() => return Ok(None),
            None if self.buffer.len() > LINE_BYTES_MAX => {
                return Err(self.malformed(format!("it is longer than {LINE_BYTES_MAX} bytes")));
            }
            None => &self.buffer,
        };
        if text.trim_ascii().is_empty() {
            return Err(self.malformed("it is empty: every line is a JSON object".to_owned()));
        }
        let Ok(text) = std::str::from_utf8(text) else {
            return Err(self.malformed("it is not UTF-8".to_owned()));
        };
        let parsed = serde_json::from_str::<RawLine<'_>>(text).map_err(|error| not_json(&error));
        match parsed.and_then(RawLine::parse) {
            Ok(event) => Ok(Some(event)),
            Err(what) => Err(self.malformed(what)),
        }
    }

    fn malformed(&self, what: String) -> HistoryError {
        HistoryError::Malformed(Malformed { line: self.line, what })
    }
}

impl<R: BufRead> Iterator for HistoryReader<R> {
    type Item = Result<Event, HistoryError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let next = self.read_event().transpose();
        let goes_on = next.as_ref().is_some_and(Result::is_ok);
        self.is_over = !goes_on;
        next
    }
}

/// The parser numbers lines of its own, of which it has seen one.
fn not_json(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let what = text.rsplit_once(" at line ").map_or(&*text, |(what, _)| what);
    format!("column {}: {what}", error.column())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{HistoryWriter, Offset};
    use crate::history::{Operation, Partition, Phase, Polled, Position, Process, Read, Sent};

    #[test]
    fn what_is_written_is_read() {
        let partition = || Partition::new("naïve \"topic\"\n", 3);
        let operations = [
            Operation::Send(vec![
                Sent::new("t", 7).partition(0).key("k\t").at(Offset(u64::MAX)),
                Sent::new("t", "text").partition(1),
            ]),
            Operation::Poll(Polled {
                records: vec![
                    Read::new(partition(), Offset(0), -1).key("k"),
                    Read::new(partition(), Offset(1), ""),
                ],
                assignment: Some(vec![partition()]),
                rebalanced: vec![partition()],
            }),
            Operation::Poll(Polled::default()),
            Operation::Assign(vec![Position { partition: partition(), offset: Some(Offset(5)) }]),
            Operation::Seek(vec![Position { partition: partition(), offset: None }]),
            Operation::Subscribe(vec!["t".to_owned()]),
            Operation::Crash,
            Operation::Trim(vec![Position { partition: partition(), offset: Some(Offset(2)) }]),
            Operation::Final(None),
            Operation::Final(Some(vec![partition()])),
            Operation::Note("node 2 was killed".to_owned()),
        ];
        let mut writer = HistoryWriter::new(Vec::new());
        for operation in &operations {
            writer.ok(1, Process(2), operation.clone()).unwrap();
        }
        let text = writer.into_inner();
        let read: Vec<Event> = HistoryReader::new(&*text).map(Result::unwrap).collect();
        assert_eq!(read.iter().map(|event| event.operation.clone()).collect::<Vec<_>>(), operations);
        assert_eq!(
            read.iter().map(|event| event.index).collect::<Vec<_>>(),
            (0..11).map(Some).collect::<Vec<_>>()
        );
        assert!(read.iter().all(|event| event.phase == Phase::Ok && event.process == Process(2)));
    }

    #[test]
    fn a_line_without_end_takes_no_memory() {
        let endless = io::BufReader::new(io::repeat(b'['));
        let mut reader = HistoryReader::new(endless);
        let error = reader.next().unwrap().unwrap_err();
        assert_eq!(error.to_string(), "line 1: it is longer than 16777216 bytes");
        assert!(reader.buffer.capacity() <= 2 * LINE_BYTES_MAX + 2);
        assert!(reader.next().is_none());
    }

    #[test]
    fn the_last_line_may_have_no_end_and_lines_may_end_as_on_windows() {
        let text = "{\"time_us\":1,\"process\":1,\"type\":\"info\",\"f\":\"crash\"}";
        let text = format!("{text}\r\n{text}");
        assert_eq!(HistoryReader::new(text.as_bytes()).map(Result::unwrap).count(), 2);
    }
}
