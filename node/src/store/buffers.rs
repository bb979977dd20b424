//! Aligned buffers for groups of the journal, pooled by size.
//!
//! A buffer is filled by one [`GroupWriter`](seedlog_core::journal::GroupWriter), then frozen: from there on it is a
//! [`Bytes`] whose slices the journal, the segments and the consumers are written from. With the last slice it goes back to
//! the pool.

use bytes::Bytes;
use seedlog_core::journal::{BLOCK_BYTES, GroupBuffer};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// Buffers start on multiples of this in memory, as direct writes ask for.
pub const ALIGN_BYTES: usize = BLOCK_BYTES;
/// The sizes that are pooled. What is larger is allocated for one group and given back to the system.
const CLASSES: [usize; 4] = [64 << 10, 256 << 10, 1 << 20, 4 << 20];
/// Room beyond the nominal size, so that a group that is closed as it passes 4 MiB still fits with its table.
const MARGIN_BYTES: usize = 64 << 10;

/// A pool of group buffers. Clones are handles of the same one.
#[derive(Debug, Clone)]
pub struct Pool {
    shared: Arc<Mutex<Shelves>>,
}

#[derive(Default)]
struct Shelves {
    /// Buffers at rest, by class.
    idle: [Vec<Vec<u8>>; CLASSES.len()],
    /// Bytes of the buffers at rest.
    idle_bytes: usize,
    /// The most bytes that may be at rest.
    idle_bytes_max: usize,
    /// Bytes of the buffers that are in use, wherever their slices are.
    used_bytes: usize,
}

impl fmt::Debug for Shelves {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes idle, {} bytes used", self.idle_bytes, self.used_bytes)
    }
}

impl Pool {
    /// A pool that keeps at most `idle_bytes_max` bytes of buffers at rest.
    #[must_use]
    pub fn new(idle_bytes_max: usize) -> Self {
        Self { shared: Arc::new(Mutex::new(Shelves { idle_bytes_max, ..Shelves::default() })) }
    }

    /// A buffer for about `bytes` bytes; it grows as it must.
    #[must_use]
    pub fn take(&self, bytes: usize) -> AlignedBuffer {
        AlignedBuffer { storage: self.storage(bytes), len: 0, pool: self.clone() }
    }

    /// Bytes of all buffers whose slices somebody still holds.
    #[must_use]
    pub fn used_bytes(&self) -> usize {
        self.lock().used_bytes
    }

    fn storage(&self, bytes: usize) -> Storage {
        let class = CLASSES.iter().position(|&class| bytes <= class);
        let mut shelves = self.lock();
        let idle = class.and_then(|class| shelves.idle[class].pop());
        if let Some(vec) = &idle {
            shelves.idle_bytes -= vec.len();
        }
        let vec = idle.unwrap_or_else(|| {
            let room = class.map_or(bytes.next_multiple_of(CLASSES[3]), |class| CLASSES[class]);
            vec![0; room + MARGIN_BYTES + ALIGN_BYTES]
        });
        shelves.used_bytes += vec.len();
        drop(shelves);
        let start = vec.as_ptr().align_offset(ALIGN_BYTES);
        assert!(start < ALIGN_BYTES, "an address is at most one alignment away from an aligned one");
        Storage { vec, start, class }
    }

    fn put_back(&self, storage: &mut Storage) {
        let vec = std::mem::take(&mut storage.vec);
        let mut shelves = self.lock();
        shelves.used_bytes -= vec.len();
        if let Some(class) = storage.class
            && shelves.idle_bytes + vec.len() <= shelves.idle_bytes_max
        {
            shelves.idle_bytes += vec.len();
            shelves.idle[class].push(vec);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Shelves> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Memory with an aligned part.
struct Storage {
    vec: Vec<u8>,
    start: usize,
    class: Option<usize>,
}

impl Storage {
    fn room(&self) -> usize {
        self.vec.len() - self.start
    }
}

/// A group under construction.
pub struct AlignedBuffer {
    storage: Storage,
    len: usize,
    pool: Pool,
}

impl fmt::Debug for AlignedBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AlignedBuffer({} of {} bytes)", self.len, self.storage.room())
    }
}

impl AlignedBuffer {
    /// Bytes of memory that the buffer takes, full or not.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.storage.vec.len()
    }

    /// The bytes written, to be shared from here on. They start at an aligned address.
    #[must_use]
    pub fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }

    fn grow(&mut self, bytes: usize) {
        let mut larger = self.pool.storage(bytes);
        larger.vec[larger.start..larger.start + self.len].copy_from_slice(self.as_ref());
        std::mem::swap(&mut self.storage, &mut larger);
        self.pool.put_back(&mut larger);
    }
}

impl AsRef<[u8]> for AlignedBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.storage.vec[self.storage.start..self.storage.start + self.len]
    }
}

impl GroupBuffer for AlignedBuffer {
    fn len(&self) -> usize {
        self.len
    }

    fn extend(&mut self, bytes: &[u8]) {
        let end = self.len + bytes.len();
        if end > self.storage.room() {
            self.grow(end.max(2 * self.len));
        }
        let at = self.storage.start + self.len;
        self.storage.vec[at..at + bytes.len()].copy_from_slice(bytes);
        self.len = end;
    }

    fn patch_front(&mut self, bytes: &[u8]) {
        assert!(bytes.len() <= self.len, "only what was written can be patched");
        self.storage.vec[self.storage.start..self.storage.start + bytes.len()].copy_from_slice(bytes);
    }
}

impl Drop for AlignedBuffer {
    fn drop(&mut self) {
        self.pool.put_back(&mut self.storage);
    }
}

/// Zeros at an aligned address.
#[must_use]
pub fn aligned_zeros(bytes: usize) -> Bytes {
    let vec = vec![0; bytes + ALIGN_BYTES];
    let start = vec.as_ptr().align_offset(ALIGN_BYTES);
    Bytes::from(vec).slice(start..start + bytes)
}

/// A copy at an aligned address, filled up with zeros to whole blocks.
#[must_use]
pub fn aligned_copy(bytes: &[u8]) -> Bytes {
    let padded = bytes.len().next_multiple_of(ALIGN_BYTES);
    let mut vec = vec![0; padded + ALIGN_BYTES];
    let start = vec.as_ptr().align_offset(ALIGN_BYTES);
    vec[start..start + bytes.len()].copy_from_slice(bytes);
    Bytes::from(vec).slice(start..start + padded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_grow_and_return_to_the_pool() {
        let pool = Pool::new(16 << 20);
        let mut buffer = pool.take(10);
        for round in 0..300_u32 {
            buffer.extend(&[round as u8; 1000]);
        }
        buffer.patch_front(b"front");
        let frozen = buffer.freeze();
        assert_eq!(frozen.len(), 300_000);
        assert!(frozen.as_ptr().addr().is_multiple_of(ALIGN_BYTES));
        assert_eq!(&frozen[..5], b"front");
        assert_eq!(frozen[299_999], (299_u32 & 0xff) as u8);
        let slice = frozen.slice(1000..1001);
        drop(frozen);
        assert!(pool.used_bytes() > 0, "a slice keeps the buffer");
        assert_eq!(slice[0], 1);
        drop(slice);
        assert_eq!(pool.used_bytes(), 0);
        assert!(pool.lock().idle_bytes > 0);
    }

    #[test]
    fn a_pool_keeps_no_more_than_it_may() {
        let pool = Pool::new(0);
        drop(pool.take(1));
        assert_eq!(pool.lock().idle_bytes, 0);
        let mut large = pool.take(5 << 20);
        large.extend(&[1; 5 << 20]);
        drop(large.freeze());
        assert_eq!(pool.used_bytes(), 0);
    }
}
