//! Buffers for large frames, by size. A frame that was copied into the journal's buffer gives its memory to the next one
//! instead of to the system, which would have to clear it again.

use bytes::{Bytes, BytesMut};
use std::sync::{Arc, Mutex, PoisonError};

/// Sizes that are kept: 32 KiB to 4 MiB by powers of two. Smaller ones the allocator keeps itself, larger ones are rare.
const CLASSES: usize = 8;
const CLASS_BYTES_MIN: usize = 32 << 10;

/// A pool. Clones are handles of the same one.
#[derive(Debug, Clone)]
pub(super) struct FramePool(Arc<Mutex<Shelves>>);

#[derive(Debug)]
struct Shelves {
    idle: [Vec<BytesMut>; CLASSES],
    idle_bytes: usize,
    idle_bytes_max: usize,
}

impl FramePool {
    /// A pool that keeps at most `idle_bytes_max` bytes that nobody uses.
    pub(super) fn new(idle_bytes_max: usize) -> Self {
        let idle = std::array::from_fn(|_| Vec::new());
        Self(Arc::new(Mutex::new(Shelves { idle, idle_bytes: 0, idle_bytes_max })))
    }

    /// An empty buffer with room for `bytes`.
    pub(super) fn take(&self, bytes: usize) -> FrameBuffer {
        let class = class_of(bytes);
        let idle = class.and_then(|class| self.with(|shelves| shelves.pop(class)));
        let buffer = idle.unwrap_or_else(|| {
            BytesMut::with_capacity(class.map_or(bytes, |class| CLASS_BYTES_MIN << class))
        });
        FrameBuffer { buffer, class, pool: self.clone() }
    }

    fn with<T>(&self, work: impl FnOnce(&mut Shelves) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Shelves {
    fn pop(&mut self, class: usize) -> Option<BytesMut> {
        let buffer = self.idle[class].pop()?;
        self.idle_bytes -= CLASS_BYTES_MIN << class;
        Some(buffer)
    }

    fn push(&mut self, class: usize, buffer: BytesMut) {
        let bytes = CLASS_BYTES_MIN << class;
        if self.idle_bytes + bytes <= self.idle_bytes_max {
            self.idle_bytes += bytes;
            self.idle[class].push(buffer);
        }
    }
}

/// The smallest class with room for `bytes`; `None` for what is not pooled.
fn class_of(bytes: usize) -> Option<usize> {
    if bytes < CLASS_BYTES_MIN / 2 {
        return None;
    }
    (0..CLASSES).find(|&class| bytes <= CLASS_BYTES_MIN << class)
}

/// A buffer that goes back to its pool with the last slice of it.
#[derive(Debug)]
pub(super) struct FrameBuffer {
    buffer: BytesMut,
    class: Option<usize>,
    pool: FramePool,
}

impl FrameBuffer {
    /// To be filled, within the room that was asked for.
    pub(super) fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// The bytes, to be shared from here on.
    pub(super) fn freeze(mut self) -> Bytes {
        match self.class {
            Some(_) => Bytes::from_owner(self),
            None => std::mem::take(&mut self.buffer).freeze(),
        }
    }
}

impl AsRef<[u8]> for FrameBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for FrameBuffer {
    fn drop(&mut self) {
        if let Some(class) = self.class {
            let mut buffer = std::mem::take(&mut self.buffer);
            buffer.clear();
            // One that had to grow belongs to no class.
            if buffer.capacity() == CLASS_BYTES_MIN << class {
                self.pool.with(|shelves| shelves.push(class, buffer));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_with_its_last_slice_and_is_used_again() {
        let pool = FramePool::new(1 << 20);
        let mut first = pool.take(100_000);
        first.buffer().extend_from_slice(&[7; 100_000]);
        let frame = first.freeze();
        let address = frame.as_ptr();
        let slice = frame.slice(5..10);
        drop(frame);
        assert_eq!(pool.with(|shelves| shelves.idle_bytes), 0, "a slice keeps it");
        drop(slice);
        assert_eq!(pool.with(|shelves| shelves.idle_bytes), 128 << 10);
        let mut second = pool.take(70_000);
        assert!(second.buffer().is_empty());
        second.buffer().extend_from_slice(b"x");
        assert_eq!(second.freeze().as_ptr(), address);
    }

    #[test]
    fn a_pool_keeps_no_more_than_it_may() {
        let pool = FramePool::new(64 << 10);
        let three: Vec<_> = (0..3).map(|_| pool.take(30_000).freeze()).collect();
        drop(three);
        assert_eq!(pool.with(|shelves| shelves.idle_bytes), 64 << 10);
        drop(pool.take(16 << 20).freeze());
        drop(pool.take(10).freeze());
        assert_eq!(pool.with(|shelves| shelves.idle_bytes), 64 << 10);
    }
}
