//! The memory budget: one number, split into named parts. Who wants bytes takes a permit first and waits until there are
//! some; nobody allocates and hopes. Waiting is in order, so a large permit is not starved by small ones.
//!
//! Who takes much and gives it back late must not keep everybody else waiting: one address has half of a part at most
//! ([`Share`]), large requests together have half of theirs, and connections ask whether somebody waits for what they hold.

use crate::config::MemoryBudget;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The parts of the budget that the door hands out. The tail cache counts its own, the core has limits of its own.
#[derive(Debug, Clone)]
pub struct Budget {
    /// Requests that were read, or are about to be, and are not answered.
    pub requests: Part,
    /// Those of them that are large: the others always have what these leave.
    large_requests: Part,
    /// What requests take besides their frames: a short one may name a million things.
    pub tables: Part,
    /// Record bytes of replies that are not written.
    pub replies: Part,
    /// Record batches of other nodes that are not in the journal.
    pub peers: Part,
}

/// A request above this is large. Producers send at most so much unless told otherwise (`max.request.size`).
const LARGE_BYTES: u64 = (1 << 20) + (64 << 10);

/// Tables of so many bytes are borne whatever the budget.
const TABLES_BYTES_MAX_LEAST: usize = 16 << 20;

/// What the connections of one address may take together: half of what there is for all, or a single request or reply that is
/// larger.
#[derive(Debug, Clone)]
pub struct Share {
    requests: Part,
    tables: Part,
    replies: Part,
}

impl Budget {
    /// The budget as configured; `requests_bytes_max` may make the part of requests smaller.
    pub fn new(memory: &MemoryBudget, requests_bytes_max: Option<u64>) -> Self {
        let requests_bytes =
            requests_bytes_max.map_or(memory.requests_bytes, |max| max.min(memory.requests_bytes));
        let tables_bytes = requests_bytes / 4;
        let requests_bytes = requests_bytes - tables_bytes;
        Self {
            requests: Part::new("requests", requests_bytes),
            large_requests: Part::new("large requests", requests_bytes / 2),
            tables: Part::new("request tables", tables_bytes),
            replies: Part::new("replies", memory.replies_bytes),
            peers: Part::new("peers", memory.peers_bytes),
        }
    }

    /// The share of an address.
    pub fn share(&self) -> Share {
        let half = |part: &Part| Part::new(part.name, part.bytes() / 2);
        Share { requests: half(&self.requests), tables: half(&self.tables), replies: half(&self.replies) }
    }

    /// A request that takes more than this besides its frame is refused. One that takes more than the whole part, and no more
    /// than this, has the part alone: `queued.max.request.bytes` may be small, and requests are as large as they were.
    pub fn tables_bytes_max(&self) -> usize {
        usize::try_from(self.tables.bytes()).unwrap_or(usize::MAX).max(TABLES_BYTES_MAX_LEAST)
    }

    /// What a request's tables take beyond what its frame has paid for; `None` where that is nothing.
    pub fn tables_to_pay(frame_bytes: usize, tables_bytes: usize) -> Option<u64> {
        let paid = frame_bytes.next_multiple_of(UNIT_BYTES as usize) - frame_bytes;
        tables_bytes.checked_sub(paid).filter(|bytes| *bytes > 0).map(|bytes| bytes as u64)
    }

    /// The bytes of a request's tables, if they are there at once.
    pub fn try_take_tables(&self, share: &Share, bytes: u64) -> Option<Permit> {
        let own = share.tables.try_take(bytes)?;
        Some(own.with(Some(self.tables.try_take(bytes)?)))
    }

    /// Waits for the bytes of a request's tables. Who has them waits for nothing but its answer: nobody waits in a circle.
    pub async fn take_tables(&self, share: &Share, bytes: u64) -> Permit {
        let own = share.tables.take(bytes).await;
        own.with(Some(self.tables.take(bytes).await))
    }

    /// Waits for the bytes of a request.
    pub async fn take_request(&self, share: &Share, bytes: u64) -> Permit {
        // All take in this order, and who has the last one waits for nothing more: nobody waits in a circle.
        let own = share.requests.take(bytes).await;
        let large = if bytes > LARGE_BYTES { Some(self.large_requests.take(bytes).await) } else { None };
        own.with(large).with(Some(self.requests.take(bytes).await))
    }

    /// Waits for the bytes of a reply.
    pub async fn take_reply(&self, share: &Share, bytes: u64) -> Permit {
        let own = share.replies.take(bytes).await;
        own.with(Some(self.replies.take(bytes).await))
    }

    /// Somebody waits for bytes of requests that others hold.
    pub fn lacks_request_bytes(&self, share: &Share) -> bool {
        [&share.requests, &self.large_requests, &self.requests].into_iter().any(Part::is_wanted)
    }

    /// Somebody waits for bytes of replies that others hold.
    pub fn lacks_reply_bytes(&self, share: &Share) -> bool {
        [&share.replies, &self.replies].into_iter().any(Part::is_wanted)
    }
}

/// One part.
#[derive(Debug, Clone)]
pub struct Part {
    name: &'static str,
    units: u32,
    free: Arc<Semaphore>,
    /// Who waits.
    wanted: Arc<AtomicUsize>,
}

/// What is counted. It is also the least that a permit costs: a request of a few bytes occupies tables too.
const UNIT_BYTES: u64 = 512;

impl Part {
    /// A part of `bytes`.
    pub fn new(name: &'static str, bytes: u64) -> Self {
        let units = u32::try_from(bytes / UNIT_BYTES).unwrap_or(u32::MAX).max(1);
        // A semaphore holds less than 2^61 permits on every platform that has 64 bits, and 2^29 where it has 32.
        let units = units.min(1 << 28);
        Self { name, units, free: Arc::new(Semaphore::new(units as usize)), wanted: Arc::default() }
    }

    /// Waits for `bytes`. More than the whole part counts as the whole part: then it is alone.
    pub async fn take(&self, bytes: u64) -> Permit {
        if let Some(permit) = self.try_take(bytes) {
            return permit;
        }
        let _waiting = Waiting::begin(&self.wanted);
        let units = self.units_of(bytes);
        let permit = Arc::clone(&self.free).acquire_many_owned(units).await;
        Permit::of(permit.expect("a part's semaphore is never closed"))
    }

    /// The bytes if they are there at once.
    pub fn try_take(&self, bytes: u64) -> Option<Permit> {
        let units = self.units_of(bytes);
        Arc::clone(&self.free).try_acquire_many_owned(units).ok().map(Permit::of)
    }

    /// Somebody waits for bytes.
    pub fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed) > 0
    }

    /// The part's name, for metrics.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The size of the part.
    pub fn bytes(&self) -> u64 {
        u64::from(self.units) * UNIT_BYTES
    }

    /// What is taken of it.
    pub fn used_bytes(&self) -> u64 {
        self.bytes() - self.free.available_permits() as u64 * UNIT_BYTES
    }

    fn units_of(&self, bytes: u64) -> u32 {
        u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX).clamp(1, self.units)
    }
}

/// Who waits for a part, until this is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn begin(wanted: &'a AtomicUsize) -> Self {
        wanted.fetch_add(1, Ordering::Relaxed);
        Self(wanted)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Bytes of parts, given back when dropped.
#[derive(Debug)]
pub struct Permit {
    /// Of up to three parts for a frame, and two for its tables.
    units: [Option<OwnedSemaphorePermit>; 5],
}

impl Permit {
    fn of(units: OwnedSemaphorePermit) -> Self {
        Self { units: [Some(units), None, None, None, None] }
    }

    /// Takes what another permit has.
    pub fn with(mut self, other: Option<Self>) -> Self {
        let mut units = other.into_iter().flat_map(|other| other.units).flatten();
        for free in self.units.iter_mut().filter(|held| held.is_none()) {
            *free = units.next();
        }
        debug_assert!(units.next().is_none(), "a permit is of five parts at most");
        self
    }
}

/// A budget with these bytes for the frames of requests, and 8 MiB for replies.
#[cfg(test)]
pub(crate) fn budget_for_tests(requests_bytes: u64) -> Budget {
    let memory = MemoryBudget {
        total_bytes: 64 << 20,
        tail_cache_bytes: 8 << 20,
        cold_cache_bytes: 4 << 20,
        requests_bytes: requests_bytes * 4 / 3,
        replies_bytes: 8 << 20,
        peers_bytes: 0,
        core_bytes: 0,
    };
    Budget::new(&memory, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_hands_out_what_it_has_and_takes_it_back() {
        let part = Part::new("requests", 4096);
        let first = part.try_take(3000).unwrap();
        assert_eq!(part.used_bytes(), 3072);
        assert!(part.try_take(2000).is_none());
        let second = part.try_take(1024).unwrap();
        assert!(part.try_take(0).is_none(), "even nothing costs a unit");
        drop((first, second));
        assert_eq!(part.used_bytes(), 0);
        let whole = part.try_take(1 << 40).unwrap();
        assert_eq!(part.used_bytes(), part.bytes());
        drop(whole);
    }

    /// Polls once.
    fn now<T>(future: impl Future<Output = T>) -> Option<T> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match std::pin::pin!(future).poll(&mut context) {
            std::task::Poll::Ready(done) => Some(done),
            std::task::Poll::Pending => None,
        }
    }

    #[test]
    fn an_address_and_large_requests_leave_something_for_others() {
        let budget = budget_for_tests(16 << 20);
        let (one, two, three) = (budget.share(), budget.share(), budget.share());
        let large = now(budget.take_request(&one, 8 << 20)).expect("half of all is an address's own");
        assert!(now(budget.take_request(&one, 1)).is_none(), "and no more");
        assert!(
            now(budget.take_request(&two, 2 << 20)).is_none(),
            "large requests have half of all together"
        );
        let small: Vec<_> = (0..8).filter_map(|_| now(budget.take_request(&two, 1 << 20))).collect();
        assert_eq!(small.len(), 8, "the rest is for small ones");
        assert_eq!(budget.requests.used_bytes(), budget.requests.bytes());
        assert!(now(budget.take_request(&three, 1)).is_none());
        drop((large, small));
        assert_eq!(budget.requests.used_bytes(), 0);
        let all = [&one, &two].map(|share| now(budget.take_reply(share, 4 << 20)).expect("half of all"));
        assert_eq!(budget.replies.used_bytes(), budget.replies.bytes());
        drop(all);
        assert_eq!(budget.replies.used_bytes() + one.replies.used_bytes(), 0);
    }

    #[test]
    fn it_is_known_that_somebody_waits() {
        let budget = budget_for_tests(16 << 20);
        let (one, two) = (budget.share(), budget.share());
        let held = now(budget.take_reply(&one, 8 << 20)).expect("it is free");
        assert!(!budget.lacks_reply_bytes(&one));
        let mut waiting = Box::pin(budget.take_reply(&one, 1));
        assert!(now(&mut waiting).is_none());
        assert!(budget.lacks_reply_bytes(&one));
        assert!(!budget.lacks_reply_bytes(&two), "what one address lacks is its own affair");
        drop(waiting);
        assert!(!budget.lacks_reply_bytes(&one), "who gives up waits no longer");
        drop(held);
    }
}
