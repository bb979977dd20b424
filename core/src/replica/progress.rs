//! The leader's side of a replication session: what a follower has, what is on its way to it, and whether it keeps up.
//!
//! ```text
//!   acked ........... next ........... the log's end
//!     `-- in flight --'`-- to be sent --'
//! ```
//!
//! A follower at the tail gets each batch as it is appended. One that is behind gets runs of batches whose sizes only the
//! driver knows: after each such run the leader waits for the acknowledgement that says how far it reached (*probing*).

use crate::ids::{LeaderEpoch, Offset, RunId, SessionNumber, Uuid};
use crate::log::Log;
use crate::museum::exhibit;
use crate::peer::{Ack, Open, OpenAnswer};
use crate::time::MonoMs;
use alloc::collections::VecDeque;

/// A run of the follower's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerRun {
    /// Its folder.
    pub incarnation: Uuid,
    /// Its run.
    pub run: RunId,
}

/// Where a leader is with one follower.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    link: Option<Link>,
    /// When it was first known to this leader.
    known_at: MonoMs,
    /// The furthest that it acknowledged to this leader, in any session (SAFETY R5).
    acked_max: Offset,
    /// It had everything that the leader had then; `None` once it was found to have lost something.
    caught_up_at: Option<MonoMs>,
    /// An end that the leader had, and when: once it is acknowledged, the follower was caught up then.
    mark: Option<(MonoMs, Offset)>,
}

/// An open session.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Link {
    peer: PeerRun,
    number: SessionNumber,
    acked: Offset,
    next: Offset,
    /// A run of unknown length was sent from `next`.
    is_probing: bool,
    in_flight: VecDeque<(Offset, u64)>,
    in_flight_bytes: u64,
    /// When something was sent to an empty window, or acknowledged last.
    moved_at: MonoMs,
    /// The follower's high watermark as it said.
    high_watermark: Offset,
    /// Where the follower's log starts on its disk, as it said.
    log_start: Offset,
    /// Up to where tombstones were gone from what it copied, as it said.
    tombstones_gone_to: Offset,
    /// When it acknowledged anything last.
    heard_at: MonoMs,
}

/// What to send next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Push {
    /// The session.
    pub number: SessionNumber,
    /// The first offset.
    pub from: Offset,
    /// The offset before which it ends.
    pub to: Offset,
    /// Most bytes, and what is counted as being on its way.
    pub bytes: u64,
}

/// Most bytes of a run that is sent to a follower that is behind.
const RUN_BYTES_MAX: u64 = 1 << 20;

impl Progress {
    /// A follower that has no session yet, as of a moment when it counts as caught up.
    #[must_use]
    pub fn new(now: MonoMs) -> Self {
        Self { link: None, known_at: now, acked_max: Offset::ZERO, caught_up_at: Some(now), mark: None }
    }

    /// Whether an attempt to open a session comes after the one that is known of the same run.
    #[must_use]
    pub fn is_news(&self, peer: PeerRun, number: SessionNumber) -> bool {
        self.link.as_ref().is_none_or(|link| link.peer != peer || link.number < number)
    }

    /// A session is open from the follower's durable end on. Gives back the bytes that are no longer on their way, and
    /// whether the follower has less than it acknowledged (SAFETY R5).
    pub fn on_opened(&mut self, now: MonoMs, peer: PeerRun, open: &Open) -> (u64, bool) {
        let freed = self.close();
        let end = open.end;
        self.link = Some(Link {
            peer,
            number: open.number,
            acked: end,
            next: end,
            is_probing: false,
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            moved_at: now,
            high_watermark: Offset::ZERO,
            log_start: Offset::ZERO,
            tombstones_gone_to: open.tombstones_gone_to,
            heard_at: now,
        });
        let has_lost = end < self.acked_max;
        self.acked_max = end;
        if has_lost {
            self.caught_up_at = None;
            self.mark = None;
        }
        (freed, has_lost)
    }

    /// The session is over. Gives back the bytes that were on their way.
    pub fn close(&mut self) -> u64 {
        self.link.take().map_or(0, |link| link.in_flight_bytes)
    }

    /// The follower says how far it got. Gives back the bytes that are no longer on their way; `None`: it speaks of another
    /// session.
    pub fn on_ack(&mut self, now: MonoMs, peer: PeerRun, ack: &Ack, log_end: Offset) -> Option<u64> {
        let link = self.link.as_mut()?;
        if link.peer != peer || link.number != ack.number || ack.durable > log_end {
            return None;
        }
        link.high_watermark = link.high_watermark.max(ack.high_watermark);
        link.log_start = link.log_start.max(ack.log_start);
        link.heard_at = now;
        let mut freed_bytes = 0;
        if ack.durable > link.acked {
            link.acked = ack.durable;
            link.moved_at = now;
            if link.is_probing && link.acked > link.next {
                // The run of unknown length is answered, wherever it ended: nothing was sent behind it.
                link.is_probing = false;
                link.in_flight.clear();
                freed_bytes += core::mem::take(&mut link.in_flight_bytes);
            }
            link.next = link.next.max(link.acked);
            while let Some(&(end, bytes)) = link.in_flight.front()
                && end <= link.acked
            {
                link.in_flight.pop_front();
                link.in_flight_bytes -= bytes;
                freed_bytes += bytes;
            }
        }
        if let Some(from) = ack.resend_from
            && link.acked <= from
            && from <= link.next
        {
            link.next = from;
            link.is_probing = false;
            freed_bytes += link.in_flight_bytes;
            link.in_flight.clear();
            link.in_flight_bytes = 0;
        }
        self.acked_max = self.acked_max.max(link.acked);
        if link.acked >= log_end {
            self.caught_up_at = Some(now);
            self.mark = None;
        } else if let Some((at, end)) = self.mark
            && link.acked >= end
        {
            self.caught_up_at = self.caught_up_at.max(Some(at));
            self.mark = Some((now, log_end));
        }
        Some(freed_bytes)
    }

    /// The leader's log grew.
    pub fn on_appended(&mut self, now: MonoMs, (before, log_end): (Offset, Offset)) {
        if self.acked().is_some_and(|acked| acked >= before) {
            self.caught_up_at = Some(now);
        }
        if self.mark.is_none() {
            self.mark = Some((now, log_end));
        }
    }

    /// What to send next of a log up to `limit`, with `room_bytes` in the peer's window.
    #[must_use]
    pub fn plan(&self, log: &Log, limit: Offset, room_bytes: u64) -> Option<Push> {
        let link = self.link.as_ref()?;
        if link.is_probing || link.next >= limit || link.is_below(log) {
            return None;
        }
        // A single batch may be larger than the window: it goes alone.
        if room_bytes == 0 {
            return None;
        }
        let bytes = RUN_BYTES_MAX.min(room_bytes);
        Some(Push { number: link.number, from: link.next, to: limit, bytes })
    }

    /// The run was sent. `exact_bytes`: all of it up to `push.to`, in so many bytes; otherwise only the follower will know
    /// how far it reached. Gives back the bytes that count as on their way.
    pub fn on_sent(&mut self, now: MonoMs, push: &Push, exact_bytes: Option<u64>) -> u64 {
        let link = self.link.as_mut().expect("a run is planned for an open session");
        assert!(link.number == push.number && link.next == push.from, "a plan is carried out at once");
        if link.in_flight.is_empty() {
            link.moved_at = now;
        }
        let bytes = exact_bytes.unwrap_or(push.bytes);
        link.in_flight.push_back((push.to, bytes));
        link.in_flight_bytes += bytes;
        if exact_bytes.is_some() {
            link.next = push.to;
        } else {
            link.is_probing = true;
        }
        bytes
    }

    /// What comes next for it is gone from the log, or tombstones of it are: only a reset helps, and only a new session brings it.
    #[must_use]
    pub fn is_below(&self, log: &Log) -> bool {
        self.link.as_ref().is_some_and(|link| link.is_below(log))
    }

    /// Nothing came back for too long: everything from the acknowledged end on is sent again. Gives back the bytes that are
    /// no longer on their way.
    pub fn rewind_if_stalled(&mut self, now: MonoMs, resend_ms: u64) -> u64 {
        let Some(link) = self.link.as_mut() else { return 0 };
        if link.in_flight.is_empty() && !link.is_probing || now - link.moved_at < resend_ms {
            return 0;
        }
        link.next = link.acked;
        link.is_probing = false;
        link.moved_at = now;
        link.in_flight.clear();
        core::mem::take(&mut link.in_flight_bytes)
    }

    /// Nothing is on its way and nothing is left to send up to `limit`.
    #[must_use]
    pub fn is_quiet(&self, limit: Offset) -> bool {
        self.link.as_ref().is_none_or(|link| link.acked >= limit && link.in_flight.is_empty())
    }

    /// The end that the follower acknowledged in the open session.
    #[must_use]
    pub fn acked(&self) -> Option<Offset> {
        self.link.as_ref().map(|link| link.acked)
    }

    /// When it acknowledged anything last in the open session.
    #[must_use]
    pub fn heard_at(&self) -> Option<MonoMs> {
        self.link.as_ref().map(|link| link.heard_at)
    }

    /// When it had everything that the leader had then, if that was seen: [`Progress::new`] only takes it for granted.
    #[must_use]
    pub fn was_caught_up_at(&self) -> Option<MonoMs> {
        self.caught_up_at.filter(|at| *at > self.known_at)
    }

    /// It keeps up: within `lag_ms` it had everything that the leader had then.
    #[must_use]
    pub fn is_in_sync(&self, now: MonoMs, lag_ms: u64, log_end: Offset) -> bool {
        self.acked().is_some_and(|acked| acked >= log_end)
            || self.caught_up_at.is_some_and(|at| now - at <= lag_ms)
    }

    /// It was found to have less than it acknowledged, and has not had everything since (SAFETY R5).
    #[must_use]
    pub fn has_lost(&self) -> bool {
        self.caught_up_at.is_none()
    }

    /// When it will be out of sync if it stays silent.
    #[must_use]
    pub fn lag_deadline(&self, lag_ms: u64) -> MonoMs {
        self.caught_up_at.map_or(MonoMs(0), |at| at + lag_ms + 1)
    }

    /// The follower is not known to have this watermark, and this start.
    #[must_use]
    pub fn needs_mark(&self, high_watermark: Offset, log_start: Offset) -> bool {
        self.link
            .as_ref()
            .is_some_and(|link| link.high_watermark < high_watermark || link.log_start < log_start)
    }

    /// Where the follower's log starts on its disk, as far as this run of it said in the open session.
    #[must_use]
    pub fn log_start(&self, run: PeerRun) -> Offset {
        self.told_start().filter(|_| self.session().is_some_and(|(_, peer)| peer == run)).unwrap_or_default()
    }

    /// Where the follower's log started when it said so last.
    #[must_use]
    pub fn told_start(&self) -> Option<Offset> {
        self.link.as_ref().map(|link| link.log_start)
    }

    /// The open session's number and the follower's run.
    #[must_use]
    pub fn session(&self) -> Option<(SessionNumber, PeerRun)> {
        self.link.as_ref().map(|link| (link.number, link.peer))
    }
}

impl Link {
    fn is_below(&self, log: &Log) -> bool {
        self.next < log.start() || log.has_tombstones_gone_for(self.next, self.tombstones_gone_to)
    }
}

/// How a leader answers a follower that opens a session: where do the logs part (KIP-101, KIP-279)? `None`: below the
/// leader's start, or it would miss tombstones: a reset.
#[must_use]
pub fn find_divergence(log: &Log, open: &Open) -> Option<OpenAnswer> {
    if open.end < log.start() || log.has_tombstones_gone_for(open.end, open.tombstones_gone_to) {
        return None;
    }
    let diverges = |epoch: Option<LeaderEpoch>, end: Offset| Some(OpenAnswer::Diverges { epoch, end });
    let Some(last) = open.last_epoch else {
        // A log without any epoch was never written to, or was reset to a start that was committed.
        return if open.end <= log.end() { Some(OpenAnswer::Agreed) } else { None };
    };
    match log.end_offset_for_epoch(last) {
        // A3: an end without its epoch is taken for the end of the follower's own.
        Some(found) if exhibit!(A3, found.epoch == last, true) && open.end <= found.end => {
            Some(OpenAnswer::Agreed)
        }
        Some(found) => diverges(Some(found.epoch), found.end),
        None => diverges(log.latest_epoch(), log.end()),
    }
}
