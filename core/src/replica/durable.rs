//! How far one log is on disk.

use crate::ids::{Lsn, Offset};
use alloc::collections::VecDeque;

/// The durable end of a log, and the ends of what is on its way to the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DurableEnd {
    end: Offset,
    /// Ends of appends by the entry that makes them durable.
    in_flight: VecDeque<(Lsn, Offset)>,
}

impl DurableEnd {
    /// All of a log is on disk.
    #[must_use]
    pub fn new(end: Offset) -> Self {
        Self { end, in_flight: VecDeque::new() }
    }

    /// The entry `lsn` carries the log to `end`.
    pub fn appended(&mut self, lsn: Lsn, end: Offset) {
        assert!(self.in_flight.back().is_none_or(|&(last, _)| last < lsn), "entries are numbered in order");
        assert!(end > self.end, "an append goes beyond what is durable");
        self.in_flight.push_back((lsn, end));
    }

    /// The journal is durable up to `lsn`. `true`: the end moved.
    pub fn on_durable(&mut self, lsn: Lsn) -> bool {
        let mut moved = false;
        while let Some(&(first, end)) = self.in_flight.front()
            && first <= lsn
        {
            self.end = end;
            self.in_flight.pop_front();
            moved = true;
        }
        moved
    }

    /// The log was cut at `to`. What is left of it is as durable as it was: if the cut itself is lost with the next crash,
    /// the log is longer again, and nothing rests on its being short.
    pub fn cut(&mut self, to: Offset) {
        self.end = self.end.min(to);
        while self.in_flight.back().is_some_and(|&(_, end)| end > to) {
            self.in_flight.pop_back();
        }
    }

    /// The log begins anew, empty, at `start`, by an entry that is given out next.
    pub fn reset(&mut self, start: Offset) {
        *self = Self::new(start);
    }

    /// The entry `lsn` has reset the log. Were its start named as an end before that is on disk, a crash could bring back an
    /// older log that ends below.
    pub fn reset_as(&mut self, lsn: Lsn) {
        assert!(self.in_flight.is_empty(), "a reset log has nothing on its way");
        self.in_flight.push_back((lsn, self.end));
    }

    /// The durable end.
    #[must_use]
    pub fn end(&self) -> Offset {
        self.end
    }

    /// Nothing is on its way.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.in_flight.is_empty()
    }
}
