//! What a process holds of the net: listeners, and streams in halves. Dropping the last half closes the stream.

use super::pipe::{Found, Taken};
use super::{Host, Net, now_us};
use bytes::{Bytes, BytesMut};
use seedlog::env::{Listener, Stream, StreamReader, StreamWriter};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::sleep;

/// A port that is listened on until this is dropped.
#[derive(Debug)]
pub struct SimListener {
    net: Net,
    at: (Host, u16),
    token: u64,
    arrived: Arc<Notify>,
}

/// A stream.
#[derive(Debug)]
pub struct SimStream(Arc<Held>);

/// The half that reads.
#[derive(Debug)]
pub struct SimReader {
    held: Arc<Held>,
    readable: Arc<Notify>,
}

/// The half that writes.
#[derive(Debug)]
pub struct SimWriter {
    held: Arc<Held>,
    writable: Arc<Notify>,
}

#[derive(Debug)]
struct Held {
    net: Net,
    conn: u64,
    end: usize,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.net.lock().close(self.conn, self.end);
    }
}

impl SimListener {
    pub(super) fn new(net: Net, at: (Host, u16), token: u64, arrived: Arc<Notify>) -> Self {
        Self { net, at, token, arrived }
    }

    fn next(&self) -> Option<(u64, Host)> {
        let mut state = self.net.lock();
        let door = state.doors.get_mut(&self.at).filter(|door| door.token == self.token)?;
        let conn = door.waiting.pop_front()?;
        let host = state.conns.get(&conn)?.ends[0].host;
        Some((conn, host))
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        let mut state = self.net.lock();
        let is_ours = state.doors.get(&self.at).is_some_and(|door| door.token == self.token);
        if let Some(door) = state.doors.remove(&self.at).filter(|_| is_ours) {
            for conn in door.waiting {
                state.close(conn, 1);
            }
        }
    }
}

impl Listener for SimListener {
    type Stream = SimStream;

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(SocketAddr::new(self.at.0.ip(), self.at.1))
    }

    async fn accept(&mut self) -> io::Result<(SimStream, SocketAddr)> {
        loop {
            if let Some((conn, host)) = self.next() {
                let port = 40_000 + u16::try_from(conn % 20_000).unwrap_or(0);
                return Ok((SimStream::new(self.net.clone(), conn, 1), SocketAddr::new(host.ip(), port)));
            }
            self.arrived.notified().await;
        }
    }
}

impl SimStream {
    pub(super) fn new(net: Net, conn: u64, end: usize) -> Self {
        Self(Arc::new(Held { net, conn, end }))
    }

    /// Its number.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.0.conn
    }
}

impl Stream for SimStream {
    type Reader = SimReader;
    type Writer = SimWriter;

    fn split(self) -> (SimReader, SimWriter) {
        let (readable, writable) = {
            let state = self.0.net.lock();
            let pipes = state.conns.get(&self.0.conn).map(|conn| &conn.pipes);
            let readable = pipes.map(|pipes| Arc::clone(&pipes[1 - self.0.end].readable));
            let writable = pipes.map(|pipes| Arc::clone(&pipes[self.0.end].writable));
            (readable.unwrap_or_default(), writable.unwrap_or_default())
        };
        (SimReader { held: Arc::clone(&self.0), readable }, SimWriter { held: self.0, writable })
    }
}

/// Waits for a word, or until a time.
async fn wait(word: &Notify, until: Option<u64>) {
    let left = until.map(|at| Duration::from_micros(at.saturating_sub(now_us())));
    tokio::select! {
        biased;
        () = word.notified() => {}
        () = sleep(left.unwrap_or_default()), if left.is_some() => {}
    }
}

impl StreamReader for SimReader {
    async fn read_into(&mut self, buffer: &mut BytesMut, bytes_max: usize) -> io::Result<usize> {
        loop {
            let found = self.held.net.lock().read(self.held.conn, self.held.end, bytes_max);
            match found {
                Found::Bytes(bytes) => {
                    buffer.extend_from_slice(&bytes);
                    return Ok(bytes.len());
                }
                Found::End => return Ok(0),
                Found::Reset => return Err(io::ErrorKind::ConnectionReset.into()),
                Found::Nothing(until) => wait(&self.readable, until).await,
            }
        }
    }
}

impl StreamWriter for SimWriter {
    async fn write_chain(&mut self, pieces: &[Bytes]) -> io::Result<usize> {
        loop {
            let taken = self.held.net.lock().write(self.held.conn, self.held.end, pieces);
            match taken {
                Taken::Bytes(bytes) => return Ok(bytes),
                Taken::Broken => return Err(io::ErrorKind::BrokenPipe.into()),
                Taken::Nothing(until) => wait(&self.writable, until).await,
            }
        }
    }

    async fn close(&mut self) {
        self.held.net.lock().finish(self.held.conn, self.held.end);
    }
}
