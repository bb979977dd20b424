//! The follower's side of a replication session (SAFETY R1): opening it, and what of a leader's records is taken.
//!
//! ```text
//!             Diverges: cut, ask again
//!              .-----------.
//!              v           |
//!   new epoch ─► Opening ──┴─ Agreed ──► Open ──► appends, acknowledgements
//!                 ▲  ▲────── Reset parts          │
//!                 └───────── another epoch at the previous offset
//! ```
//!
//! Knows numbers only: the owner of the log (a data partition, the metadata log) cuts, appends and journals.

use crate::ids::{LeaderEpoch, NodeId, Offset, RunId, SessionNumber, TopicPartition};
use crate::log::Log;
use crate::museum::exhibit;
use crate::peer::{Append, Open};
use alloc::vec::Vec;

/// A follower's session with the leader of one epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    leader: NodeId,
    epoch: LeaderEpoch,
    state: State,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// Nothing was asked yet, or an answer is waited for.
    Opening {
        /// The last attempt; 0 before the first.
        number: SessionNumber,
        /// Parts of a reset that have come.
        reset: Option<PartialReset>,
    },
    /// Records are taken.
    Open {
        number: SessionNumber,
        /// The leader's run: another one has no part in this session.
        leader_run: RunId,
    },
}

/// What has come of a reset.
#[derive(Debug, Clone, PartialEq, Eq)]
struct PartialReset {
    start: Offset,
    epoch: Option<LeaderEpoch>,
    total: u64,
    bytes: Vec<u8>,
}

/// A reset that has come whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WholeReset {
    /// Where the log begins anew.
    pub start: Offset,
    /// The epoch of the record before.
    pub epoch: Option<LeaderEpoch>,
    /// What the leader sent with it.
    pub bytes: Vec<u8>,
}

/// Most bytes that a reset may bring.
pub const RESET_BYTES_MAX: u64 = 1 << 30;

/// What to do with a leader's records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intake {
    /// They belong to no session of ours.
    Stale,
    /// Something before them is missing: ask for it.
    Gap,
    /// Another epoch stands before them: the session must be opened anew.
    Reopen,
    /// Append what begins at the log's end or behind it; the rest is there already.
    Take,
}

impl Session {
    /// A session that is to be opened.
    #[must_use]
    pub fn new(leader: NodeId, epoch: LeaderEpoch) -> Self {
        Self { leader, epoch, state: State::Opening { number: SessionNumber(0), reset: None } }
    }

    /// The next attempt to open it.
    pub fn ask(&mut self, partition: TopicPartition, number: SessionNumber, log: &Log) -> Open {
        let reset = match &mut self.state {
            State::Opening { reset, .. } => reset.take(),
            State::Open { .. } => None,
        };
        let reset_bytes = reset.as_ref().map(|reset| (reset.start, reset.bytes.len() as u64));
        self.state = State::Opening { number, reset };
        Open {
            partition,
            epoch: self.epoch,
            number,
            last_epoch: log.latest_epoch(),
            end: log.end(),
            tombstones_gone_to: log.tombstones_gone_to(),
            reset_bytes,
        }
    }

    /// An answer to this attempt is waited for.
    #[must_use]
    pub fn awaits(&self, leader: NodeId, epoch: LeaderEpoch, number: SessionNumber) -> bool {
        self.leader == leader
            && self.epoch == epoch
            && matches!(self.state, State::Opening { number: asked, .. } if asked == number)
    }

    /// The leader agrees.
    pub fn on_agreed(&mut self, leader_run: RunId) {
        let number = match &self.state {
            State::Opening { number, .. } => *number,
            State::Open { .. } => unreachable!("only an attempt is agreed to"),
        };
        self.state = State::Open { number, leader_run };
    }

    /// A part of a reset came. Gives back the whole, once it is.
    pub fn on_reset_part(
        &mut self,
        start: Offset,
        epoch: Option<LeaderEpoch>,
        (from, total): (u64, u64),
        part: &[u8],
    ) -> Option<WholeReset> {
        let State::Opening { reset, .. } = &mut self.state else { return None };
        if total > RESET_BYTES_MAX {
            return None;
        }
        let fits = reset.as_ref().is_some_and(|held| {
            held.start == start
                && held.total == total
                && held.epoch == epoch
                && held.bytes.len() as u64 == from
        });
        if !fits {
            if from != 0 {
                *reset = None; // The leader's snapshot is another one by now: from the beginning.
                return None;
            }
            *reset = Some(PartialReset { start, epoch, total, bytes: Vec::new() });
        }
        let held = reset.as_mut().expect("it was put there");
        if held.bytes.len() as u64 + part.len() as u64 > total {
            *reset = None;
            return None;
        }
        held.bytes.extend_from_slice(part);
        if (held.bytes.len() as u64) < total {
            return None;
        }
        reset.take().map(|whole| WholeReset { start: whole.start, epoch: whole.epoch, bytes: whole.bytes })
    }

    /// What to do with records that the run `from_run` of `from` sent.
    #[must_use]
    pub fn intake(&self, from: NodeId, from_run: RunId, append: &Append, log: &Log) -> Intake {
        if !self.is_open_with(from, from_run, append.epoch, append.number) {
            return Intake::Stale;
        }
        let previous = append.previous_offset;
        if previous > log.end() {
            return Intake::Gap;
        }
        // Below a log's start nothing is known, and nothing is missing. The metadata's leader knows the term before its own.
        let is_leaders_start = append.partition.is_data() && previous <= append.log_start;
        let known = previous > log.start() && !is_leaders_start;
        let held = previous.0.checked_sub(1).and_then(|before| log.epoch_at(Offset(before)));
        let agrees = !known || held == append.previous_epoch;
        if exhibit!(A3, agrees, true) { Intake::Take } else { Intake::Reopen }
    }

    /// Messages of this leader, run, epoch and number belong to the session, and it is open.
    #[must_use]
    pub fn is_open_with(
        &self,
        from: NodeId,
        from_run: RunId,
        epoch: LeaderEpoch,
        number: SessionNumber,
    ) -> bool {
        let State::Open { number: open, leader_run } = self.state else { return false };
        self.leader == from && self.epoch == epoch && open == number && leader_run == from_run
    }

    /// An attempt was made, and its answer may come.
    #[must_use]
    pub fn has_asked(&self) -> bool {
        matches!(&self.state, State::Opening { number, .. } if number.0 > 0)
    }

    /// Begins anew: what was agreed on does not hold.
    pub fn reopen(&mut self) {
        self.state = State::Opening { number: SessionNumber(0), reset: None };
    }

    /// The leader.
    #[must_use]
    pub fn leader(&self) -> NodeId {
        self.leader
    }

    /// The leader's epoch.
    #[must_use]
    pub fn epoch(&self) -> LeaderEpoch {
        self.epoch
    }

    /// The session's number and the leader's run, once it is open.
    #[must_use]
    pub fn open(&self) -> Option<(SessionNumber, RunId)> {
        match self.state {
            State::Open { number, leader_run } => Some((number, leader_run)),
            State::Opening { .. } => None,
        }
    }
}

/// Where a follower must cut when the leader's log ends `epoch` at `end` (KIP-101, KIP-279): at the lesser of both ends of that
/// epoch. A follower that has nothing of it keeps what is of lower ones and asks for the end of those: the leader's end of an epoch
/// that it does not have may lie in the middle of one of its batches.
#[must_use]
pub fn cut_point(log: &Log, epoch: Option<LeaderEpoch>, end: Offset) -> Offset {
    let to = match epoch.map(|epoch| (epoch, log.end_offset_for_epoch(epoch))) {
        Some((epoch, Some(own))) if own.epoch == epoch => own.end.min(end),
        Some((_, Some(lower))) => lower.end,
        Some((_, None)) => end,
        None => log.start(),
    };
    // A3: an end without its epoch is taken for the end of whatever the follower has.
    let to = exhibit!(A3, to, end);
    to.min(log.end()).max(log.start())
}
