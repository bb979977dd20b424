//! Plain counters of the store, for whoever shows them.

use std::fmt;
use std::time::Duration;

/// What the store did since it was opened.
#[derive(Default)]
pub struct Counters {
    /// Groups written to the journal.
    pub groups: u64,
    /// Entries in them.
    pub entries: u64,
    /// Bytes of them, padding included.
    pub journal_bytes: u64,
    /// Bytes of batches that entries brought.
    pub batch_bytes: u64,
    /// Bytes written to segments.
    pub segment_bytes: u64,
    /// Rounds of writing behind.
    pub rounds: u64,
    /// Batches that could not be read back from the journal when they were due for a segment.
    pub damaged_batches: u64,
    /// Cleaning passes that wrote new segments.
    pub compactions: u64,
    /// Bytes of the segments that they read.
    pub compacted_bytes: u64,
    /// Bytes of the segments that they wrote.
    pub compaction_written_bytes: u64,
    /// Snapshots written.
    pub snapshots: u64,
    /// Syncs that acknowledgements waited for.
    pub syncs: u64,
    /// The longest of them.
    pub sync_time_max: Duration,
    /// All of them.
    pub sync_time_total: Duration,
    /// Is told how long each of them took, for a histogram.
    pub on_sync: Option<Box<dyn FnMut(Duration) + Send>>,
}

impl Counters {
    /// A sync took so long, its write included.
    pub(super) fn on_sync(&mut self, time: Duration) {
        self.syncs += 1;
        self.sync_time_total += time;
        self.sync_time_max = self.sync_time_max.max(time);
        if let Some(hook) = &mut self.on_sync {
            hook(time);
        }
    }
}

impl fmt::Debug for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counters")
            .field("groups", &self.groups)
            .field("entries", &self.entries)
            .field("journal_bytes", &self.journal_bytes)
            .field("batch_bytes", &self.batch_bytes)
            .field("segment_bytes", &self.segment_bytes)
            .field("rounds", &self.rounds)
            .field("damaged_batches", &self.damaged_batches)
            .field("compactions", &self.compactions)
            .field("snapshots", &self.snapshots)
            .field("syncs", &self.syncs)
            .finish_non_exhaustive()
    }
}
