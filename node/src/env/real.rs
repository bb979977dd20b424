//! The real world: tokio's sockets and tasks, the machine's clocks, the kernel's randomness.

use super::{Env, Listener, Stream, StreamReader, StreamWriter};
use crate::clock::Clock;
use bytes::buf::BufMut;
use bytes::{Bytes, BytesMut};
use seedlog_core::time::Now;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// The world that the process is in.
#[derive(Debug, Clone)]
pub struct RealEnv {
    clock: Arc<Clock>,
}

impl RealEnv {
    /// The world as it is from here on.
    pub fn new() -> Self {
        Self { clock: Arc::new(Clock::start()) }
    }
}

impl Default for RealEnv {
    fn default() -> Self {
        Self::new()
    }
}

impl Env for RealEnv {
    type Listener = TcpListener;

    fn now(&self) -> Now {
        self.clock.now()
    }

    fn fill_random(&self, bytes: &mut [u8]) -> io::Result<()> {
        let mut filled = 0;
        while filled < bytes.len() {
            filled += rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty())?;
        }
        Ok(())
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(task);
    }

    async fn bind(&self, host: Option<&str>, port: u16) -> io::Result<TcpListener> {
        match host {
            Some(host) => TcpListener::bind((host, port)).await,
            // An IPv6 socket takes both families; where there is no IPv6, IPv4 remains.
            None => match TcpListener::bind(("::", port)).await {
                Ok(listener) => Ok(listener),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(error),
                Err(_) => TcpListener::bind(("0.0.0.0", port)).await,
            },
        }
    }

    async fn connect(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        let stream = TcpStream::connect((host, port)).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Self::local_addr(self)
    }

    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, peer) = Self::accept(self).await?;
        // Replies are written whole: waiting for more to send only delays them.
        stream.set_nodelay(true)?;
        Ok((stream, peer))
    }
}

impl Stream for TcpStream {
    type Reader = OwnedReadHalf;
    type Writer = OwnedWriteHalf;

    fn split(self) -> (OwnedReadHalf, OwnedWriteHalf) {
        self.into_split()
    }
}

impl StreamReader for OwnedReadHalf {
    async fn read_into(&mut self, buffer: &mut BytesMut, bytes_max: usize) -> io::Result<usize> {
        loop {
            self.readable().await?;
            buffer.reserve(bytes_max);
            match self.try_read_buf(&mut (&mut *buffer).limit(bytes_max)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return done,
            }
        }
    }
}

/// Pieces that one system call takes: far below the kernel's 1,024, and all that fits a page of the stack.
const PIECES_MAX: usize = 64;

impl StreamWriter for OwnedWriteHalf {
    async fn write_chain(&mut self, pieces: &[Bytes]) -> io::Result<usize> {
        loop {
            let written = {
                let mut slices = [IoSlice::new(&[]); PIECES_MAX];
                let count = pieces.len().min(PIECES_MAX);
                for (slice, piece) in slices.iter_mut().zip(pieces) {
                    *slice = IoSlice::new(piece);
                }
                self.try_write_vectored(&slices[..count])
            };
            match written {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable().await?,
                done => return done,
            }
        }
    }

    async fn close(&mut self) {
        // The other end may be gone, and then there is nothing to tell it.
        let _ = tokio::io::AsyncWriteExt::shutdown(self).await;
    }
}
