//! A log's numbers in the form that is kept on disk and sent to a follower that is reset.
//!
//! The form is postcard of [`LogSnapshot`]; whoever stores it adds the format version that every durable structure has.

use serde::{Deserialize, Serialize};

use crate::ids::{Generation, Offset};
use crate::log::epochs::EpochCache;
use crate::log::producers::ProducerTable;
use crate::log::sizes::Sizes;
use crate::log::{ActiveSegment, Log};

/// All of a [`Log`]. Appending what followed gives the same log as appending everything (S15).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogSnapshot {
    /// Offset of the first record that still exists.
    pub start: Offset,
    /// Offset that the next record takes.
    pub end: Offset,
    /// Rewrites so far.
    pub generation: Generation,
    /// Leader epochs.
    pub epochs: EpochCache,
    /// Idempotent producers, with what can be taken back.
    pub producers: ProducerTable,
    /// Byte marks.
    pub sizes: Sizes,
    /// The segment that is being filled.
    pub active: ActiveSegment,
    /// The end of what a cleaning pass has been through.
    pub cleaned_to: Offset,
    /// Behind the last tombstone that was dropped.
    pub tombstones_gone_to: Offset,
}

impl Log {
    /// Copies all of it.
    #[must_use]
    pub fn to_snapshot(&self) -> LogSnapshot {
        LogSnapshot {
            start: self.start,
            end: self.end,
            generation: self.generation,
            epochs: self.epochs.clone(),
            producers: self.producers.clone(),
            sizes: self.sizes.clone(),
            active: self.active,
            cleaned_to: self.cleaned_to,
            tombstones_gone_to: self.tombstones_gone_to,
        }
    }

    /// The log as it was. Panics when the numbers contradict each other: whoever read them has checked their CRC.
    #[must_use]
    pub fn from_snapshot(snapshot: LogSnapshot) -> Self {
        let LogSnapshot {
            start,
            end,
            generation,
            epochs,
            producers,
            sizes,
            active,
            cleaned_to,
            tombstones_gone_to,
        } = snapshot;
        let log =
            Self { start, end, generation, epochs, producers, sizes, active, cleaned_to, tombstones_gone_to };
        log.check_invariants();
        log
    }
}
