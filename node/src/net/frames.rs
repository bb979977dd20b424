//! Frames off a stream: a length, then as many bytes. Lengths come from anybody, so a frame takes its bytes from the
//! budget before they are read, and both the wait for its first byte and the wait for its last one have an end.
//!
//! ```text
//!   stream ──► chunk (16 KiB, read ahead) ──┬─► small frame: copied out, so that it does not keep the chunk
//!                                           ├─► middling frame: a slice of the chunk
//!                                           └─► large frame: its start copied, the rest read in place, in a pooled buffer
//! ```

use super::Limits;
use super::pool::FramePool;
use crate::budget::{Part, Permit};
use crate::env::StreamReader;
use crate::peer::frame::GREETING_MAGIC;
use bytes::{Buf, Bytes, BytesMut};
use std::io;
use std::time::Duration;
use tokio::time::timeout;

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

    /// The next frame without its length, and the bytes that it took from `budget`. `is_busy` says whether the
    /// connection waits for something from us: then it is not idle.
    pub(super) async fn next(
        &mut self,
        budget: &Part,
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
        let permit = match budget.try_take(size as u64) {
            Some(permit) => permit,
            None => budget.take(size as u64).await,
        };
        self.chunk.advance(LENGTH_BYTES);
        let frame = if size > self.chunk.len() { self.read_rest(size).await? } else { self.cut(size) };
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
    async fn read_rest(&mut self, size: usize) -> Result<Bytes, FrameError> {
        let mut frame = self.pool.take(size);
        frame.buffer().extend_from_slice(&self.chunk);
        self.chunk.clear();
        let stream = &mut self.stream;
        let rest = async {
            loop {
                let missing = size - frame.buffer().len();
                if missing == 0 {
                    return Ok(());
                }
                if stream.read_into(frame.buffer(), missing).await? == 0 {
                    return Err(FrameError::Torn);
                }
            }
        };
        let wait = Duration::from_millis(self.limits.frame_ms(size));
        timeout(wait, rest).await.map_err(|_| FrameError::Slow)??;
        Ok(frame.freeze())
    }
}
