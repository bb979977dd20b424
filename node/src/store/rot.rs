//! What readers found to be damaged, on its way to the core: a lease is redeemed by a connection's task, far from the store.

use seedlog_core::ids::{Offset, TopicPartition};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// Partitions with the offset from which on something cannot be read back. Each is kept once.
#[derive(Debug, Default)]
pub(super) struct Rot {
    found: Mutex<Found>,
}

#[derive(Debug, Default)]
struct Found {
    from: BTreeMap<TopicPartition, Offset>,
    waker: Option<Waker>,
}

impl Rot {
    /// Something from this offset on cannot be read back.
    pub(super) fn report(&self, partition: TopicPartition, from: Offset) {
        let mut found = self.lock();
        found.from.entry(partition).and_modify(|known| *known = from.min(*known)).or_insert(from);
        if let Some(waker) = found.waker.take() {
            waker.wake();
        }
    }

    /// The next report.
    pub(super) fn poll_next(&self, cx: &Context<'_>) -> Poll<(TopicPartition, Offset)> {
        let mut found = self.lock();
        match found.from.pop_first() {
            Some(report) => Poll::Ready(report),
            None => {
                found.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
