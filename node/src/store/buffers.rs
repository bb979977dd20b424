//! Memory of journal groups: a ring of chunks, from which groups are cut one behind the other.
//!
//! ```text
//! chunk     | group | group | group, being filled ->        rest         |
//! retired   | group |  gone | group |           lost            |          waits until nobody holds a slice
//! ```
//!
//! A group is filled through [`GroupBuffer`] with one copy per byte; frozen it is a [`Bytes`] whose slices the journal, the
//! segments and the consumers are written from. What a group leaves of its chunk is the next one's, so that small groups take
//! as little memory as they have bytes. With the last slice of its groups a chunk can be used again.

use bytes::{Buf, Bytes, BytesMut};
use seedlog_core::journal::{BLOCK_BYTES, GroupBuffer};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// Groups start on multiples of this in memory, as direct writes ask for.
pub const ALIGN_BYTES: usize = BLOCK_BYTES;

/// A pool of chunks. Clones are handles of the same one.
#[derive(Debug, Clone)]
pub struct Pool {
    shared: Arc<Mutex<Chunks>>,
}

/// One allocation, or what is left of it for groups to come.
#[derive(Default)]
struct Chunk {
    rest: BytesMut,
    /// The size of the whole.
    bytes: usize,
}

struct Chunks {
    /// Where the next group goes.
    current: Option<Chunk>,
    /// Chunks that take no more groups, some of whose slices may still be held.
    retired: Vec<Chunk>,
    idle: Vec<Chunk>,
    /// The size of a usual chunk. What is larger is allocated for one group and given back to the system.
    chunk_bytes: usize,
    /// The most bytes that may be idle.
    idle_bytes_max: usize,
    /// Bytes of all chunks that are not idle.
    used_bytes: usize,
    /// Ends of chunks that no group fitted into since the last group began.
    lost_bytes: usize,
}

impl fmt::Debug for Chunks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} idle chunks, {} bytes used", self.idle.len(), self.used_bytes)
    }
}

impl Chunk {
    fn new(bytes: usize) -> Self {
        let mut chunk =
            Self { rest: BytesMut::with_capacity(bytes + ALIGN_BYTES), bytes: bytes + ALIGN_BYTES };
        chunk.align();
        chunk
    }

    /// Leaves the same room wherever the memory lies. What does not fit is counted, and caches give up records by that count.
    fn align(&mut self) {
        align(&mut self.rest, 0);
        drop(self.rest.split_off(self.bytes - ALIGN_BYTES));
    }

    /// All of it is there for groups: nobody has a slice of it any more.
    fn is_reclaimed(&mut self) -> bool {
        let reclaimed = self.rest.try_reclaim(self.bytes);
        if reclaimed {
            self.align();
        }
        reclaimed
    }

    fn room(&self) -> usize {
        self.rest.capacity() - self.rest.len()
    }
}

impl Chunks {
    /// A chunk with room for a group of `bytes` bytes.
    fn take(&mut self, bytes: usize) -> Chunk {
        if let Some(current) = self.current.take() {
            if current.room() >= bytes.max(ALIGN_BYTES) {
                return current;
            }
            self.retire(current);
        }
        self.reclaim();
        let idle = if bytes <= self.chunk_bytes { self.idle.pop() } else { None };
        let chunk = idle.unwrap_or_else(|| Chunk::new(bytes.next_multiple_of(self.chunk_bytes)));
        self.used_bytes += chunk.bytes;
        chunk
    }

    /// A group needs no more of its chunk.
    fn put_back(&mut self, chunk: Chunk) {
        let smaller = match self.current.take() {
            Some(current) if current.room() >= chunk.room() => {
                self.current = Some(current);
                chunk
            }
            current => {
                self.current = Some(chunk);
                let Some(current) = current else { return };
                current
            }
        };
        self.retire(smaller);
    }

    fn retire(&mut self, chunk: Chunk) {
        self.lost_bytes += chunk.room();
        self.retired.push(chunk);
    }

    /// Looks which chunks are free by now.
    fn reclaim(&mut self) {
        for mut chunk in std::mem::take(&mut self.retired) {
            if !chunk.is_reclaimed() {
                self.retired.push(chunk);
                continue;
            }
            self.used_bytes -= chunk.bytes;
            let is_usual = chunk.bytes == self.chunk_bytes + ALIGN_BYTES;
            if is_usual && (self.idle.len() + 1) * chunk.bytes <= self.idle_bytes_max {
                self.idle.push(chunk);
            }
        }
    }
}

impl Pool {
    /// A pool of chunks of `chunk_bytes`, a multiple of [`ALIGN_BYTES`], that keeps at most `idle_bytes_max` bytes of them
    /// beyond those that are in use.
    #[must_use]
    pub fn new(chunk_bytes: usize, idle_bytes_max: usize) -> Self {
        let chunks = Chunks {
            current: None,
            retired: Vec::new(),
            idle: Vec::new(),
            chunk_bytes,
            idle_bytes_max,
            used_bytes: 0,
            lost_bytes: 0,
        };
        Self { shared: Arc::new(Mutex::new(chunks)) }
    }

    /// A buffer for about `bytes` bytes; it grows as it must.
    #[must_use]
    pub fn take(&self, bytes: usize) -> AlignedBuffer {
        let mut chunks = self.lock();
        let chunk = chunks.take(bytes);
        let lost_bytes = std::mem::take(&mut chunks.lost_bytes);
        drop(chunks);
        AlignedBuffer { chunk, lost_bytes, pool: self.clone() }
    }

    /// Bytes of all chunks of which somebody still holds a slice, and of the one that the next group goes to.
    #[must_use]
    pub fn used_bytes(&self) -> usize {
        let mut chunks = self.lock();
        chunks.reclaim();
        chunks.used_bytes
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Chunks> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A group under construction. It has the rest of its chunk to itself.
pub struct AlignedBuffer {
    chunk: Chunk,
    lost_bytes: usize,
    pool: Pool,
}

impl fmt::Debug for AlignedBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AlignedBuffer({} of {} bytes)", self.chunk.rest.len(), self.chunk.rest.capacity())
    }
}

impl AlignedBuffer {
    /// Bytes of memory that the group takes: its own, and those that were lost at the end of the chunk before.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.chunk.rest.len() + self.lost_bytes
    }

    /// The bytes written, to be shared from here on. They start at an aligned address.
    #[must_use]
    pub fn freeze(mut self) -> Bytes {
        self.chunk.rest.split().freeze()
    }

    fn grow(&mut self, bytes: usize) {
        let mut larger = self.pool.lock().take(bytes);
        larger.rest.extend_from_slice(&self.chunk.rest);
        std::mem::swap(&mut self.chunk, &mut larger);
        larger.rest.clear();
        self.pool.lock().put_back(larger);
    }
}

impl GroupBuffer for AlignedBuffer {
    fn len(&self) -> usize {
        self.chunk.rest.len()
    }

    fn extend(&mut self, bytes: &[u8]) {
        if bytes.len() > self.chunk.room() {
            let end = self.chunk.rest.len() + bytes.len();
            self.grow(end.max(2 * self.chunk.rest.len()));
        }
        self.chunk.rest.extend_from_slice(bytes);
    }

    fn patch_front(&mut self, bytes: &[u8]) {
        self.chunk.rest[..bytes.len()].copy_from_slice(bytes);
    }

    fn close(&mut self, bytes: usize) {
        if bytes <= self.chunk.rest.capacity() {
            // The rest has the chunk's size from here on; what the group keeps of it is retired as it is.
            let rest = self.chunk.rest.split_off(bytes);
            self.pool.lock().put_back(Chunk { rest, bytes: std::mem::take(&mut self.chunk.bytes) });
        }
    }
}

impl Drop for AlignedBuffer {
    fn drop(&mut self) {
        if self.chunk.bytes > 0 {
            self.chunk.rest.clear();
            let chunk = std::mem::take(&mut self.chunk);
            self.pool.lock().put_back(chunk);
        }
    }
}

/// Bytes on their way into a file, gathered so that whole blocks of the file are aligned in memory as direct writes ask for. What
/// does not fill a block waits for the bytes that follow it.
#[derive(Debug, Default)]
pub struct Stage {
    memory: BytesMut,
    /// Where in the file it begins.
    start: u64,
    carried: Vec<u8>,
}

impl Stage {
    /// Begins to gather about `bytes` bytes that belong at `position` of the file: behind those that were carried over.
    pub fn begin(&mut self, position: u64, bytes: usize) {
        self.start = position - self.carried.len() as u64;
        let room = self.carried.len() + bytes + ALIGN_BYTES;
        self.memory.clear();
        if !self.memory.try_reclaim(room) {
            self.memory = BytesMut::with_capacity(room);
        }
        align(&mut self.memory, self.start);
        self.memory.extend_from_slice(&self.carried);
        self.carried.clear();
    }

    /// Adds bytes at the end.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.memory.extend_from_slice(bytes);
    }

    /// What was gathered, and where in the file it goes. Unless the file `ends` here, what does not fill its last block is carried
    /// over.
    pub fn finish(&mut self, ends: bool) -> (u64, Bytes) {
        if !ends {
            let over = (self.start + self.memory.len() as u64) % ALIGN_BYTES as u64;
            let whole = self.memory.len().saturating_sub(usize::try_from(over).unwrap_or(0));
            self.carried.extend_from_slice(&self.memory[whole..]);
            self.memory.truncate(whole);
        }
        (self.start, self.memory.split().freeze())
    }
}

/// Skips the beginning of empty memory, up to an address that leaves the same rest as `position`.
fn align(memory: &mut BytesMut, position: u64) {
    let rest = usize::try_from(position % ALIGN_BYTES as u64).unwrap_or(0);
    let skipped = (memory.as_ptr().align_offset(ALIGN_BYTES) + rest) % ALIGN_BYTES;
    memory.resize(skipped, 0);
    memory.advance(skipped);
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

    fn group(pool: &Pool, bytes: usize, fill: u8) -> Bytes {
        let mut buffer = pool.take(bytes);
        buffer.extend(&vec![fill; bytes]);
        buffer.freeze()
    }

    #[test]
    fn groups_are_aligned_grow_and_leave_their_chunk_for_use_again() {
        let pool = Pool::new(64 << 10, 1 << 20);
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
        drop(pool.take(1 << 20));
        assert!(pool.used_bytes() > 300_000, "a slice keeps its chunk");
        assert_eq!(slice[0], 1);
        drop(slice);
        drop(pool.take(2 << 20));
        assert_eq!(
            pool.used_bytes(),
            (2 << 20) + ALIGN_BYTES,
            "only the last chunk is kept for the next group"
        );
    }

    #[test]
    fn small_groups_share_a_chunk_and_none_sees_another_ones_bytes() {
        let pool = Pool::new(64 << 10, 1 << 20);
        let groups: Vec<Bytes> = (0..16).map(|fill| group(&pool, ALIGN_BYTES, fill)).collect();
        assert_eq!(pool.used_bytes(), (64 << 10) + ALIGN_BYTES);
        let more = group(&pool, ALIGN_BYTES, 99);
        for (fill, group) in (0..).zip(&groups) {
            assert!(group.iter().all(|&byte| byte == fill));
            assert!(group.as_ptr().addr().is_multiple_of(ALIGN_BYTES));
        }
        assert_eq!(pool.used_bytes(), 2 * ((64 << 10) + ALIGN_BYTES));
        drop(groups);
        assert_eq!(pool.used_bytes(), (64 << 10) + ALIGN_BYTES, "all of the first chunk's groups are gone");
        assert!(more.iter().all(|&byte| byte == 99));
    }

    #[test]
    fn a_closed_group_leaves_the_rest_of_its_chunk_to_the_next() {
        let pool = Pool::new(64 << 10, 1 << 20);
        let mut first = pool.take(100);
        first.extend(&[1; 100]);
        first.close(2 * ALIGN_BYTES);
        let second = group(&pool, ALIGN_BYTES, 2);
        first.extend(&[3; 2 * ALIGN_BYTES - 100]);
        let first = first.freeze();
        assert_eq!(pool.used_bytes(), (64 << 10) + ALIGN_BYTES);
        assert_eq!(second.as_ptr().addr() - first.as_ptr().addr(), 2 * ALIGN_BYTES);
        assert!(second.iter().all(|&byte| byte == 2));
        assert_eq!((first[99], first[100], first.len()), (1, 3, 2 * ALIGN_BYTES));
        drop((first, second));
        drop(pool.take(1 << 20));
        assert_eq!(pool.used_bytes(), (1 << 20) + ALIGN_BYTES);
    }

    #[test]
    fn what_no_group_fits_into_counts_with_the_next_group() {
        let pool = Pool::new(64 << 10, 0);
        let _first = group(&pool, 40 << 10, 1);
        let mut second = pool.take(40 << 10);
        second.extend(&[2; 40 << 10]);
        let lost = second.memory_bytes() - (40 << 10);
        assert_eq!(lost, 24 << 10);
    }

    #[test]
    fn what_groups_take_does_not_depend_on_where_their_memory_lies() {
        let taken = |_| {
            let pool = Pool::new(8 << 10, 32 << 10);
            let mut held = std::collections::VecDeque::new();
            let groups = (0..100_usize).map(|at| {
                let mut buffer = pool.take(1);
                buffer.extend(&vec![7; at * 797 % 12_000]);
                held.push_back((buffer.memory_bytes(), buffer.freeze()));
                if held.len() > 5 {
                    held.pop_front();
                }
                (held.back().map(|(bytes, _)| *bytes), pool.used_bytes())
            });
            groups.collect::<Vec<_>>()
        };
        // Each shift stays allocated, so that what follows lies elsewhere.
        let mut shifts = Vec::new();
        let all: Vec<_> =
            (0..50).inspect(|shift| shifts.push(vec![0_u8; 100 + 48 * shift])).map(taken).collect();
        assert!(all.iter().all(|groups| *groups == all[0]));
    }

    #[test]
    fn a_stage_gives_whole_blocks_at_aligned_addresses_and_carries_the_rest_over() {
        let mut stage = Stage::default();
        let bytes: Vec<u8> = (0..3 * ALIGN_BYTES).map(|at| (at % 251) as u8).collect();
        let (first, second) = bytes.split_at(2 * ALIGN_BYTES - 50);
        stage.begin(100, first.len());
        stage.extend(&first[..1000]);
        stage.extend(&first[1000..]);
        let (at, written) = stage.finish(false);
        assert_eq!((at, written.len()), (100, 2 * ALIGN_BYTES - 100), "up to the end of a block");
        assert_eq!(written, first[..first.len() - 50]);
        assert_eq!(written.as_ptr().addr() % ALIGN_BYTES, 100);
        stage.begin(100 + first.len() as u64, second.len());
        stage.extend(second);
        let (at, written) = stage.finish(true);
        assert_eq!(at, 2 * ALIGN_BYTES as u64);
        assert_eq!(written, bytes[first.len() - 50..]);
        assert_eq!(written.as_ptr().addr() % ALIGN_BYTES, 0);
        stage.begin(10, 5);
        stage.extend(b"short");
        assert_eq!(stage.finish(false), (10, Bytes::new()), "less than a block is all carried over");
        stage.begin(15, 1);
        stage.extend(b"!");
        assert_eq!(stage.finish(true), (10, Bytes::from_static(b"short!")));
    }

    #[test]
    fn a_pool_keeps_no_more_than_it_may() {
        let pool = Pool::new(64 << 10, 0);
        drop(group(&pool, 64 << 10, 1));
        drop(group(&pool, 64 << 10, 1));
        assert_eq!(pool.used_bytes(), (64 << 10) + ALIGN_BYTES);
        assert!(pool.lock().idle.is_empty());
    }
}
