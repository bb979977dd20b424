//! The replies of one connection on their way out. Requests enter in the order they came; the driver answers them in any
//! order; they leave in the order they came (SAFETY K1).
//!
//! ```text
//!   reader ── open ──► [ 7: answered | 8: waits | 9: answered | 10: waits ] ◄── answer ── driver
//!                        └─► writer takes 7, then waits for 8
//! ```
//!
//! A slot also holds what its request took from the budget: the bytes are given back with the answer.

use crate::budget::Permit;
use seedlog_core::ids::RequestNumber;
use seedlog_core::output::Reply;
use seedlog_core::wire::ApiKey;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Between a connection's reader, its writer and the driver. `L` is the store's lease.
#[derive(Debug)]
pub struct Outbox<L> {
    state: Mutex<State<L>>,
    /// Wakes the writer: something may be ready.
    ready: Notify,
    /// Wakes the reader: there may be room.
    room: Notify,
}

#[derive(Debug)]
struct State<L> {
    /// Requests without a written reply, in order.
    slots: VecDeque<Slot<L>>,
    /// Those of them that are neither Produce nor Fetch.
    questions: usize,
    /// The number of the first slot.
    first: u64,
    /// Bytes that the writer has encoded and not written.
    unwritten_bytes: usize,
    /// What the driver asked for: end once what is ready is written.
    closing: Option<&'static str>,
    /// The reader is done: end once every slot is answered and written.
    is_finishing: bool,
}

/// One request.
#[derive(Debug)]
struct Slot<L> {
    about: About,
    read_at: Instant,
    progress: Progress<L>,
}

#[derive(Debug)]
enum Progress<L> {
    /// The core has it, and it holds its bytes.
    Waiting { _permit: Permit },
    /// Done without an answer (acks=0).
    Silent,
    /// Answered, not written.
    Ready(Answer<L>),
}

/// What the reply's header needs from the request's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct About {
    /// What was asked.
    pub(super) api: ApiKey,
    /// The version to answer in.
    pub(super) version: i16,
    /// Comes back in the answer.
    pub(super) correlation_id: i32,
}

impl About {
    /// How long the answer is, the question does not tell.
    fn is_question(&self) -> bool {
        !matches!(self.api, ApiKey::Produce | ApiKey::Fetch)
    }
}

/// A reply with its leases, in the order of its fills.
#[derive(Debug)]
pub struct Answer<L> {
    /// The reply.
    pub reply: Box<Reply>,
    /// One lease for each of `reply.fills`.
    pub leases: Vec<L>,
}

/// What the writer does next.
#[derive(Debug)]
pub(super) enum Next<L> {
    /// Write this.
    Write(About, Answer<L>),
    /// Nothing is ready.
    Wait,
    /// All is written that was to be written.
    End(&'static str),
}

impl<L> Outbox<L> {
    /// Of a new connection.
    pub(super) fn new() -> Self {
        let state = State {
            slots: VecDeque::new(),
            questions: 0,
            first: 0,
            unwritten_bytes: 0,
            closing: None,
            is_finishing: false,
        };
        Self { state: Mutex::new(state), ready: Notify::new(), room: Notify::new() }
    }

    /// Enters a request and says its number.
    pub(super) fn open(&self, about: About, permit: Permit) -> RequestNumber {
        let mut state = self.lock();
        let number = state.first + state.slots.len() as u64;
        let read_at = Instant::now();
        state.questions += usize::from(about.is_question());
        state.slots.push_back(Slot { about, read_at, progress: Progress::Waiting { _permit: permit } });
        RequestNumber(number)
    }

    /// Answers a request, or ends it without an answer. Says what it was and how long it took.
    pub fn answer(&self, number: RequestNumber, answer: Option<Answer<L>>) -> (ApiKey, Duration) {
        let mut state = self.lock();
        let at = number.0.checked_sub(state.first).and_then(|at| usize::try_from(at).ok());
        let slot = at.and_then(|at| state.slots.get_mut(at));
        let slot = slot.expect("the core answers a request once, and only those that it was given");
        assert!(matches!(slot.progress, Progress::Waiting { .. }), "the core answers a request once");
        slot.progress = answer.map_or(Progress::Silent, Progress::Ready);
        let took = (slot.about.api, slot.read_at.elapsed());
        drop(state);
        if at == Some(0) {
            self.ready.notify_one();
        }
        took
    }

    /// Ends the connection once the replies that are ready are written.
    pub fn close(&self, reason: &'static str) {
        self.lock().closing.get_or_insert(reason);
        self.ready.notify_one();
    }

    /// Ends the connection once every request that entered is answered and written.
    pub(super) fn finish(&self) {
        self.lock().is_finishing = true;
        self.ready.notify_one();
    }

    /// Takes the next reply to be written. The one taken before is written: its slot is gone.
    pub(super) fn next(&self) -> Next<L> {
        let mut state = self.lock();
        while matches!(state.slots.front(), Some(Slot { progress: Progress::Silent, .. })) {
            state.pop();
            self.room.notify_one();
        }
        if matches!(state.slots.front(), Some(Slot { progress: Progress::Ready(_), .. }))
            && let Some(Slot { about, progress: Progress::Ready(answer), .. }) = state.pop()
        {
            self.room.notify_one();
            return Next::Write(about, answer);
        }
        match state.closing {
            Some(reason) => Next::End(reason),
            None if state.is_finishing && state.slots.is_empty() => Next::End("all is answered"),
            None => Next::Wait,
        }
    }

    /// Waits until [`Outbox::next`] may have something.
    pub(super) async fn wait_ready(&self) {
        self.ready.notified().await;
    }

    /// Notes how much is encoded and not written.
    pub(super) fn set_unwritten(&self, bytes: usize) {
        self.lock().unwritten_bytes = bytes;
        self.room.notify_one();
    }

    /// What is encoded and not written.
    pub(super) fn unwritten(&self) -> usize {
        self.lock().unwritten_bytes
    }

    /// Waits until the connection may be read from: few enough requests are unanswered, in all and of those with answers of any
    /// length, and its replies are being read.
    pub(super) async fn wait_room(
        &self,
        (slots_max, questions_max): (usize, usize),
        unwritten_bytes_max: usize,
    ) {
        loop {
            {
                let state = self.lock();
                let has_slot = state.slots.len() < slots_max && state.questions < questions_max;
                if has_slot && state.unwritten_bytes <= unwritten_bytes_max {
                    return;
                }
            }
            self.room.notified().await;
        }
    }

    /// A request is unanswered, or a reply unwritten.
    pub(super) fn is_busy(&self) -> bool {
        let state = self.lock();
        !state.slots.is_empty() || state.unwritten_bytes > 0
    }

    fn lock(&self) -> MutexGuard<'_, State<L>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<L> State<L> {
    fn pop(&mut self) -> Option<Slot<L>> {
        let slot = self.slots.pop_front()?;
        self.first += 1;
        self.questions -= usize::from(slot.about.is_question());
        Some(slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Part;
    use seedlog_core::ids::ConnId;

    fn open(outbox: &Outbox<ConnId>, part: &Part, correlation_id: i32) -> RequestNumber {
        outbox.open(About { api: ApiKey::Produce, version: 0, correlation_id }, part.try_take(1).unwrap())
    }

    fn answer() -> Option<Answer<ConnId>> {
        use seedlog_core::wire::{ApiVersionsResponse, Response};
        let response = Response::ApiVersions(ApiVersionsResponse {
            error_code: 0,
            api_keys: Vec::new(),
            throttle_time_ms: 0,
            supported_features: Vec::new(),
            finalized_features_epoch: -1,
            finalized_features: Vec::new(),
            zk_migration_ready: false,
        });
        let reply = Reply { response, fills: Vec::new(), fill_bytes_max: 0, close: false, throttle_ms: 0 };
        Some(Answer { reply: Box::new(reply), leases: Vec::new() })
    }

    fn written(next: Next<ConnId>) -> Option<i32> {
        match next {
            Next::Write(about, _) => Some(about.correlation_id),
            Next::Wait | Next::End(_) => None,
        }
    }

    #[test]
    fn replies_leave_in_request_order_and_silence_takes_no_turn() {
        let part = Part::new("requests", 1 << 20);
        let outbox = Outbox::new();
        let numbers: Vec<_> = (0..4).map(|id| open(&outbox, &part, id)).collect();
        outbox.answer(numbers[1], answer());
        outbox.answer(numbers[3], answer());
        assert!(matches!(outbox.next(), Next::Wait));
        outbox.answer(numbers[2], None);
        assert_eq!(part.used_bytes(), 512, "an answer gives back what its request took");
        outbox.answer(numbers[0], answer());
        let order: Vec<_> = std::iter::from_fn(|| written(outbox.next())).collect();
        assert_eq!(order, [0, 1, 3]);
        assert!(!outbox.is_busy());
    }

    #[test]
    fn closing_writes_what_is_ready_and_finishing_waits_for_the_rest() {
        let part = Part::new("requests", 1 << 20);
        let outbox = Outbox::new();
        let numbers: Vec<_> = (0..3).map(|id| open(&outbox, &part, id)).collect();
        outbox.answer(numbers[0], answer());
        outbox.finish();
        assert_eq!(written(outbox.next()), Some(0));
        assert!(matches!(outbox.next(), Next::Wait));
        outbox.answer(numbers[1], answer());
        outbox.close("test");
        assert_eq!(written(outbox.next()), Some(1));
        assert!(matches!(outbox.next(), Next::End("test")));
    }
}
