//! Frames off a stream: a length, then as many bytes. Lengths come from anybody, so a frame takes its bytes from the
//! budget before they are read, the wait for its first byte has an end, and it keeps them only as long as more arrives.
//!
//! ```text
//!   stream ──► chunk (16 KiB, read ahead) ──┬─► small frame: copied out, so that it does not keep the chunk
//!                                           ├─► middling frame: a slice of the chunk
//!                                           └─► large frame: its start copied, the rest read in place, in a pooled buffer
//! ```

use super::Limits;
use super::pool::FramePool;
use crate::budget::{Budget, Permit, Share};
use crate::env::StreamReader;
use crate::peer::frame::GREETING_MAGIC;
use bytes::{Buf, Bytes, BytesMut};
use std::io;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// Read ahead of what is known to come. Not charged: it is bounded by the number of connections.
const CHUNK_BYTES: usize = 16 << 10;
/// A frame below this is copied out of its chunk.
const COPY_BYTES_MAX: usize = 4 << 10;
const LENGTH_BYTES: usize = 4;

/// Why there is no further frame.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    /// The client closed the connection between two frames, as it should.
    #[error("closed by the client")]
    Closed,
    /// The client closed the connection inside a frame.
    #[error("closed by the client inside a frame")]
    Torn,
    /// The length is not one of a request.
    #[error("a frame of {length} bytes; a request has between 8 and {bytes_max} (socket.request.max.bytes)")]
    Length {
        /// As sent.
        length: i32,
        /// The limit.
        bytes_max: usize,
    },
    /// Another node, at the wrong port.
    #[error(
        "a node of the cluster dialled a listener for clients; check the ports in controller.quorum.voters"
    )]
    Peer,
    /// The frame takes too long.
    #[error("a frame that began did not end in time")]
    Slow,
    /// Nothing came for `connections.max.idle.ms`.
    #[error("idle for too long (connections.max.idle.ms)")]
    Idle,
    /// The stream failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The header up to the correlation id: nothing shorter is a request.
const FRAME_BYTES_MIN: usize = 8;

/// Whose bytes a frame takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Purse<'a> {
    pub(super) budget: &'a Budget,
    /// Of the connection's address.
    pub(super) share: &'a Share,
}

/// Cuts a stream into frames.
pub(super) struct FrameReader<R> {
    stream: R,
    chunk: BytesMut,
    pool: FramePool,
    limits: Limits,
}

impl<R: StreamReader> FrameReader<R> {
    pub(super) fn new(stream: R, pool: FramePool, limits: Limits) -> Self {
        Self { stream, chunk: BytesMut::new(), pool, limits }
    }

    /// The next frame without its length, and the bytes that it took from the budget. `is_busy` says whether the
    /// connection waits for something from us: then it is not idle.
    pub(super) async fn next(
        &mut self,
        purse: Purse<'_>,
        is_busy: impl Fn() -> bool + Send,
    ) -> Result<(Bytes, Permit), FrameError> {
        self.read_length(is_busy).await?;
        let length = (&self.chunk[..]).get_i32();
        if length == i32::from_be_bytes(GREETING_MAGIC) {
            return Err(FrameError::Peer);
        }
        let refused = FrameError::Length { length, bytes_max: self.limits.request_bytes_max };
        let size = usize::try_from(length).ok();
        let Some(size) = size.filter(|size| (FRAME_BYTES_MIN..=self.limits.request_bytes_max).contains(size))
        else {
            return Err(refused);
        };
        // Waiting costs nobody else: this connection is not read from meanwhile.
        let permit = purse.budget.take_request(purse.share, size as u64).await;
        self.chunk.advance(LENGTH_BYTES);
        let frame = if size > self.chunk.len() { self.read_rest(size, purse).await? } else { self.cut(size) };
        if self.chunk.is_empty() {
            // An idle connection holds no buffer.
            self.chunk = BytesMut::new();
        }
        Ok((frame, permit))
    }

    async fn read_length(&mut self, is_busy: impl Fn() -> bool + Send) -> Result<(), FrameError> {
        while self.chunk.len() < LENGTH_BYTES {
            let began = !self.chunk.is_empty();
            let wait_ms = if began { Some(self.limits.frame_ms_base) } else { self.limits.idle_ms_max };
            let bytes_max = CHUNK_BYTES - self.chunk.len();
            let read = self.stream.read_into(&mut self.chunk, bytes_max);
            let read = match wait_ms {
                Some(ms) => timeout(Duration::from_millis(ms), read).await,
                None => Ok(read.await),
            };
            match read {
                Ok(Ok(0)) => return Err(if began { FrameError::Torn } else { FrameError::Closed }),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(error.into()),
                Err(_) if began => return Err(FrameError::Slow),
                Err(_) if is_busy() => {}
                Err(_) => return Err(FrameError::Idle),
            }
        }
        Ok(())
    }

    /// A frame that is in the chunk already.
    fn cut(&mut self, size: usize) -> Bytes {
        if size > COPY_BYTES_MAX {
            return self.chunk.split_to(size).freeze();
        }
        let frame = Bytes::copy_from_slice(&self.chunk[..size]);
        self.chunk.advance(size);
        frame
    }

    /// A frame whose end is not in the chunk.
    async fn read_rest(&mut self, size: usize, purse: Purse<'_>) -> Result<Bytes, FrameError> {
        let mut frame = self.pool.take(size);
        frame.buffer().extend_from_slice(&self.chunk);
        self.chunk.clear();
        let begun = Instant::now();
        let look = Duration::from_millis(self.limits.look_ms());
        loop {
            let arrived = frame.buffer().len();
            if arrived == size {
                return Ok(frame.freeze());
            }
            let is_crowded = purse.budget.lacks_request_bytes(purse.share);
            if self.limits.is_late(begun.elapsed(), arrived, is_crowded) {
                return Err(FrameError::Slow);
            }
            // Looked at again from time to time, whether anything arrives or not.
            let read = timeout(look, self.stream.read_into(frame.buffer(), size - arrived)).await;
            if matches!(read, Ok(Ok(0))) {
                return Err(FrameError::Torn);
            }
            if let Ok(Err(error)) = read {
                return Err(error.into());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::budget_for_tests as budget;
    use std::pin::pin;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    struct Reader(DuplexStream);

    impl StreamReader for Reader {
        async fn read_into(&mut self, buffer: &mut BytesMut, bytes_max: usize) -> io::Result<usize> {
            let mut bytes = vec![0; bytes_max.min(4096)];
            let count = self.0.read(&mut bytes).await?;
            buffer.extend_from_slice(&bytes[..count]);
            Ok(count)
        }
    }

    fn limits() -> Limits {
        Limits { frame_ms_base: 600_000, crowded_ms_base: 100, ..Limits::default() }
    }

    async fn begun_frame(size: i32, limits: Limits) -> (DuplexStream, FrameReader<Reader>) {
        let (mut client, server) = tokio::io::duplex(64 << 10);
        client.write_all(&size.to_be_bytes()).await.unwrap();
        client.write_all(&[7; 100]).await.unwrap();
        (client, FrameReader::new(Reader(server), FramePool::new(1 << 20), limits))
    }

    fn run<T>(test: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test)
    }

    #[test]
    fn a_frame_that_stops_arriving_keeps_nobody_from_what_it_announced() {
        run(async {
            let budget = budget(16 << 20);
            let share = budget.share();
            let purse = Purse { budget: &budget, share: &share };
            let (client, mut reader) = begun_frame(8 << 20, limits()).await;
            let mut slow = pin!(reader.next(purse, || false));
            let patience = Duration::from_millis(500);
            assert!(timeout(patience, &mut slow).await.is_err(), "there is time as long as nobody waits");
            assert_eq!(budget.requests.used_bytes(), 8 << 20);
            let other = budget.take_request(&share, 1000);
            let (ended, other) = tokio::join!(slow, other);
            assert!(matches!(ended, Err(FrameError::Slow)));
            drop((client, other));
            assert_eq!(budget.requests.used_bytes(), 0);
        });
    }

    #[test]
    fn a_frame_that_stops_arriving_ends_soon_whatever_its_length() {
        run(async {
            let (budget, limits) = (budget(200 << 20), Limits { frame_ms_base: 200, ..Limits::default() });
            let share = budget.share();
            // It would have 27 minutes, if what is announced counted.
            let (_client, mut reader) = begun_frame(100 << 20, limits).await;
            let next = reader.next(Purse { budget: &budget, share: &share }, || false);
            assert!(matches!(next.await, Err(FrameError::Slow)));
        });
    }
}
