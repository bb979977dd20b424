//! One fetch session: its partitions and the queue of those that may have something to say.

use crate::fetch::{PartKey, Waiting};
use crate::ids::{LeaderEpoch, Offset, TopicPartition};
use crate::time::MonoMs;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

/// What a reader wants of one partition, and what it was told last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The partition, once its topic is known.
    pub partition: Option<TopicPartition>,
    /// The first offset wanted.
    pub offset: Offset,
    /// The most bytes wanted.
    pub bytes_max: u32,
    /// The leader epoch that the reader knows.
    pub current_leader_epoch: Option<LeaderEpoch>,
    /// The epoch of the last record that the reader has.
    pub last_fetched_epoch: Option<LeaderEpoch>,
    /// Any replica may answer, not the leader alone.
    pub any_replica: bool,
    /// The high watermark that the reader was told.
    pub told_high_watermark: Option<Offset>,
    /// The log start that the reader was told.
    pub told_log_start: Option<Offset>,
    /// Bytes that a waiting request counts for this partition, and which of the session's requests that is.
    counted: (u64, u64),
    /// It stands in the queue.
    queued: bool,
}

impl Part {
    /// What a request says of a partition.
    #[must_use]
    pub fn new(partition: Option<TopicPartition>, offset: Offset, bytes_max: u32) -> Self {
        Self {
            partition,
            offset,
            bytes_max,
            current_leader_epoch: None,
            last_fetched_epoch: None,
            any_replica: false,
            told_high_watermark: None,
            told_log_start: None,
            counted: (0, 0),
            queued: false,
        }
    }
}

/// A fetch session, or a fetch without one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The epoch that the next request must have (KIP-227).
    pub next_epoch: i32,
    /// The reader names topics by id; may not change within a session (KIP-516).
    pub by_id: bool,
    /// The partitions.
    pub parts: BTreeMap<PartKey, Part>,
    /// The request that waits for an answer.
    waiting: Option<Waiting>,
    /// Requests that waited so far.
    rounds: u64,
    /// When it was used last.
    pub last_used: MonoMs,
    queue: VecDeque<PartKey>,
}

impl Session {
    /// An empty session.
    #[must_use]
    pub fn new(by_id: bool, now: MonoMs) -> Self {
        Self {
            next_epoch: 1,
            by_id,
            parts: BTreeMap::new(),
            waiting: None,
            rounds: 0,
            last_used: now,
            queue: VecDeque::new(),
        }
    }

    /// Sets what is wanted of a partition, keeps what the reader was told of it, and queues it. Gives back what the key
    /// stood for before.
    pub fn want(&mut self, key: PartKey, part: Part) -> Option<TopicPartition> {
        let mut part = part;
        let old = self.parts.remove(&key);
        let before = old.as_ref().and_then(|old| old.partition);
        if let Some(old) = old {
            part.queued = old.queued;
            if before == part.partition {
                part.told_high_watermark = old.told_high_watermark;
                part.told_log_start = old.told_log_start;
            }
        }
        self.parts.insert(key.clone(), part);
        self.enqueue(&key);
        before
    }

    /// Puts a partition at the end of the queue unless it stands there.
    pub fn enqueue(&mut self, key: &PartKey) {
        // Forgotten partitions leave their keys behind: a reader that asks and forgets over and over must not pile them up.
        if self.queue.len() > 2 * self.parts.len() + 16 {
            self.queue.retain(|queued| self.parts.get(queued).is_some_and(|part| part.queued));
        }
        if let Some(part) = self.parts.get_mut(key)
            && !part.queued
        {
            part.queued = true;
            self.queue.push_back(key.clone());
        }
    }

    /// Takes the first partition out of the queue.
    fn dequeue(&mut self) -> Option<PartKey> {
        loop {
            let key = self.queue.pop_front()?;
            // A partition that was forgotten meanwhile left its key behind.
            if let Some(part) = self.parts.get_mut(&key)
                && part.queued
            {
                part.queued = false;
                return Some(key);
            }
        }
    }

    /// A request begins to wait.
    pub fn start_waiting(&mut self, waiting: Waiting) {
        assert!(self.waiting.is_none(), "one request waits in a session at a time");
        self.rounds += 1;
        self.waiting = Some(waiting);
    }

    /// The request waits no longer.
    pub fn stop_waiting(&mut self) -> Option<Waiting> {
        self.waiting.take()
    }

    /// The request that waits.
    #[must_use]
    pub fn waiting(&self) -> Option<&Waiting> {
        self.waiting.as_ref()
    }

    /// Counts `bytes` for a partition in the waiting request's sum. `true`: the request has as much as it asked for.
    pub fn count(&mut self, key: &PartKey, bytes: u64) -> bool {
        let (Some(part), Some(waiting)) = (self.parts.get_mut(key), &mut self.waiting) else {
            return false;
        };
        let bytes = bytes.min(u64::from(part.bytes_max));
        let before = if part.counted.0 == self.rounds { part.counted.1 } else { 0 };
        part.counted = (self.rounds, bytes);
        waiting.available = (waiting.available - before).saturating_add(bytes);
        waiting.available >= waiting.bytes_min
    }

    /// Takes all that is queued, each partition once, in order.
    pub fn take_queue(&mut self) -> Vec<PartKey> {
        let mut keys = Vec::new();
        while let Some(key) = self.dequeue() {
            keys.push(key);
        }
        keys
    }

    /// Moves on to the next epoch; after the largest comes 1 (KIP-227).
    pub fn bump_epoch(&mut self) {
        self.next_epoch = if self.next_epoch == i32::MAX { 1 } else { self.next_epoch + 1 };
    }

    pub(super) fn check_invariants(&self) {
        let queued = self.parts.values().filter(|part| part.queued).count();
        assert!(queued <= self.queue.len());
    }
}
