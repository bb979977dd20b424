//! A partition's log as far as acknowledgements and reads tell it. What only a send of unknown outcome names is not in it.

use super::{Facts, ReadId, SentId, ValueId};
use crate::history::{Line, Offset};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Log {
    /// By offset; values that share one, in the order in which they became known.
    entries: Vec<LogEntry>,
    /// Acknowledged without an offset.
    unplaced: Vec<SentId>,
}

/// A value at an offset.
#[derive(Debug, Clone)]
pub(crate) struct LogEntry {
    pub(crate) offset: Offset,
    pub(crate) value: ValueId,
    /// Acknowledged here.
    pub(crate) acked: Option<(SentId, Line)>,
    /// Read here for the first time.
    pub(crate) read: Option<(ReadId, Line)>,
}

impl LogEntry {
    /// Since when it is known.
    pub(crate) fn since(&self) -> Line {
        let lines = self.acked.map(|(_, line)| line).into_iter().chain(self.read.map(|(_, line)| line));
        lines.min().expect("an entry is there because it was acknowledged or read")
    }
}

impl Log {
    pub(crate) fn entries(&self) -> &[LogEntry] {
        &self.entries
    }

    pub(crate) fn unplaced(&self) -> &[SentId] {
        &self.unplaced
    }

    /// Entries at or behind this offset.
    pub(crate) fn from(&self, offset: Offset) -> &[LogEntry] {
        let at = self.entries.partition_point(|entry| entry.offset < offset);
        &self.entries[at..]
    }
}

/// The logs of all partitions.
pub(super) fn build(facts: &Facts) -> Vec<Log> {
    let mut logs: Vec<Log> = Vec::new();
    logs.resize_with(facts.partitions.len(), Log::default);
    // Where a value became known first. Most reads find it there: they need no entry of their own.
    let mut first = facts.by_value(None);
    for (id, sent) in facts.all_sent() {
        let (Some(line), Some(partition)) = (facts.send_of(sent).acked(), sent.partition) else { continue };
        let log = &mut logs[partition.0];
        match sent.offset {
            Some(offset) => {
                first[sent.value.0] = Some((partition, log.entries.len()));
                let acked = Some((id, line));
                log.entries.push(LogEntry { offset, value: sent.value, acked, read: None });
            }
            None => log.unplaced.push(id),
        }
    }
    for (id, read) in facts.reads() {
        let seen = Some((id, read.line));
        let entries = &mut logs[read.partition.0].entries;
        let (partition, at) = *first[read.value.0].get_or_insert((read.partition, entries.len()));
        let known =
            entries.get_mut(at).filter(|entry| partition == read.partition && entry.offset == read.offset);
        if let Some(known) = known {
            known.read = known.read.or(seen);
            continue;
        }
        entries.push(LogEntry { offset: read.offset, value: read.value, acked: None, read: seen });
    }
    for log in &mut logs {
        // Of a value at one place the acknowledgement comes before its reads, and those in order: the sort keeps that.
        log.entries.sort_by_key(|entry| (entry.offset, entry.value));
        log.entries.dedup_by(|later, first| {
            let is_same = (later.offset, later.value) == (first.offset, first.value);
            if is_same {
                first.read = first.read.or(later.read);
            }
            is_same
        });
        for shared in log.entries.chunk_by_mut(|first, second| first.offset == second.offset) {
            shared.sort_by_key(LogEntry::since);
        }
    }
    logs
}
