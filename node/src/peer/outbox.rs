//! What waits to be sent to a peer on one stream: bounded, in order, dropped rather than waited for. Nothing rests on its
//! arrival (SAFETY R9): what is dropped is said again by the core.

use super::Records;
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// A message on its way.
#[derive(Debug)]
pub(super) struct Item<R> {
    pub(super) message: Message<R>,
    /// What it counts for.
    bytes: usize,
}

/// What of it is known.
#[derive(Debug)]
pub(super) enum Message<R> {
    /// All pieces, ready to be written.
    Ready(Vec<Bytes>),
    /// Its records have to be read first; the frame cannot be begun before their number of bytes is known.
    Unread(Box<seedlog_core::peer::PeerMessage>, R),
}

/// One stream's queue.
#[derive(Debug)]
pub(super) struct Outbox<R> {
    bytes_max: usize,
    state: Mutex<State<R>>,
    ready: Notify,
}

#[derive(Debug)]
struct State<R> {
    items: VecDeque<Item<R>>,
    /// Bytes of what waits and of what is being written.
    bytes: usize,
    /// There is somebody to send to.
    is_open: bool,
}

impl<R: Records> Outbox<R> {
    pub(super) fn new(bytes_max: usize) -> Self {
        let state = State { items: VecDeque::new(), bytes: 0, is_open: false };
        Self { bytes_max, state: Mutex::new(state), ready: Notify::new() }
    }

    /// Adds a message of about `bytes`; `false`: it is dropped, because nobody is connected or too much waits already.
    pub(super) fn push(&self, message: Message<R>, bytes: usize) -> bool {
        let mut state = self.lock();
        // A message alone may be larger than the queue: it could never be sent otherwise.
        let fits = state.bytes == 0 || state.bytes + bytes <= self.bytes_max;
        if !state.is_open || !fits {
            return false;
        }
        state.bytes += bytes;
        state.items.push_back(Item { message, bytes });
        drop(state);
        self.ready.notify_one();
        true
    }

    /// The next message, if there is one. What it counts for is given back with [`Outbox::written`].
    pub(super) fn pop(&self) -> Option<(Message<R>, usize)> {
        let item = self.lock().items.pop_front()?;
        Some((item.message, item.bytes))
    }

    /// So much was written.
    pub(super) fn written(&self, bytes: usize) {
        let mut state = self.lock();
        state.bytes = state.bytes.saturating_sub(bytes);
    }

    /// Waits until there may be a message.
    pub(super) async fn wait(&self) {
        self.ready.notified().await;
    }

    /// Somebody is connected, or nobody any more; in both cases what waited is gone.
    pub(super) fn reopen(&self, is_open: bool) {
        let mut state = self.lock();
        state.is_open = is_open;
        state.items.clear();
        state.bytes = 0;
    }

    /// The stream broke: what waited is gone.
    pub(super) fn clear(&self) {
        let is_open = self.lock().is_open;
        self.reopen(is_open);
    }

    /// Bytes that wait or are being written.
    pub(super) fn bytes(&self) -> usize {
        self.lock().bytes
    }

    fn lock(&self) -> MutexGuard<'_, State<R>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(outbox: &Outbox<Vec<Bytes>>, bytes: usize) -> bool {
        outbox.push(Message::Ready(vec![Bytes::from(vec![1; bytes])]), bytes)
    }

    #[test]
    fn it_takes_what_fits_and_one_message_of_any_size() {
        let outbox = Outbox::new(100);
        assert!(!push(&outbox, 10), "nobody is connected");
        outbox.reopen(true);
        assert!(push(&outbox, 60));
        assert!(!push(&outbox, 50));
        assert!(push(&outbox, 40));
        let (_, bytes) = outbox.pop().expect("the first");
        assert!(!push(&outbox, 10), "what is being written counts");
        outbox.written(bytes);
        assert!(push(&outbox, 10));
        outbox.clear();
        assert_eq!(outbox.bytes(), 0);
        assert!(outbox.pop().is_none());
        assert!(push(&outbox, 5000));
        assert!(!push(&outbox, 1));
        outbox.reopen(false);
        assert!(!push(&outbox, 1));
    }
}
