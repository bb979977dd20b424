//! What a node takes from the world around it: listeners and their streams, tasks, clocks and random bytes. Driver and
//! connections are generic over [`Env`], so that a simulated world runs the very same code.
//!
//! Sleeping and channels are not here: both worlds have tokio's. Neither are runtimes, threads and signals, which only
//! the real one has (`run.rs`). The disk is a trait of the store's own.

#[cfg(not(madsim))]
mod real;

#[cfg(not(madsim))]
pub use real::RealEnv;

use crate::store::OpenReport;
use bytes::{Bytes, BytesMut};
use seedlog_core::broker::Broker;
use seedlog_core::input::Input;
use seedlog_core::output::{Output, Outputs};
use seedlog_core::recovered::Recovered;
use seedlog_core::time::Now;
use std::io;
use std::net::SocketAddr;

/// A world to run in.
pub trait Env: Clone + Send + Sync + 'static {
    /// Its listeners.
    type Listener: Listener;

    /// What both clocks say.
    fn now(&self) -> Now;

    /// Fills `bytes` with randomness; secret in production, a function of the run's number in a simulation.
    fn fill_random(&self, bytes: &mut [u8]) -> io::Result<()>;

    /// Starts a task of its own.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static);

    /// Shows what a node does to whoever watches: a simulation judges it, in the real world nobody does.
    fn watch(&self, seen: Seen<'_>) {
        let _ = seen;
    }

    /// Listens on a host (a name or an address; `None` for every interface) and a port (0 for any free one).
    fn bind(&self, host: Option<&str>, port: u16) -> impl Future<Output = io::Result<Self::Listener>> + Send;

    /// Opens a connection to a host (a name or an address) and a port. Dropping the future gives it up.
    fn connect(
        &self,
        host: &str,
        port: u16,
    ) -> impl Future<Output = io::Result<<Self::Listener as Listener>::Stream>> + Send;
}

/// What there is to watch, in the order in which it happens.
#[derive(Debug, Clone, Copy)]
pub enum Seen<'a> {
    /// The data folder was read back; the broker is not built yet.
    Recovered(&'a Recovered, &'a OpenReport),
    /// The broker is about to be stepped.
    Input(&'a Input),
    /// It was stepped; none of the outputs is carried out yet.
    Decided(&'a Broker, &'a Outputs),
    /// One of the step's outputs is about to be carried out.
    Output(&'a Broker, &'a Output),
    /// All outputs of the step are carried out.
    Stepped,
}

/// Where connections come in.
pub trait Listener: Send + 'static {
    /// Its connections.
    type Stream: Stream;

    /// The address that was bound, with the port that was chosen.
    fn local_addr(&self) -> io::Result<SocketAddr>;

    /// The next connection and its other end. Cancel-safe.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>> + Send;
}

/// A connection. Dropping both halves closes it.
pub trait Stream: Send + 'static {
    /// The half that reads.
    type Reader: StreamReader;
    /// The half that writes.
    type Writer: StreamWriter;

    /// The two halves, to be used at the same time.
    fn split(self) -> (Self::Reader, Self::Writer);
}

/// The half of a connection that reads.
pub trait StreamReader: Send + 'static {
    /// Appends between 1 and `bytes_max` bytes to `buffer`, which grows only once there is something to read; 0 at the
    /// end of the stream. Cancel-safe: what was not appended was not read.
    fn read_into(
        &mut self,
        buffer: &mut BytesMut,
        bytes_max: usize,
    ) -> impl Future<Output = io::Result<usize>> + Send;
}

/// The half of a connection that writes.
pub trait StreamWriter: Send + 'static {
    /// Writes from the front of `pieces` as much as the stream takes at once, and says how many bytes that was: at least
    /// one. Cancel-safe: what is not reported was not written.
    fn write_chain(&mut self, pieces: &[Bytes]) -> impl Future<Output = io::Result<usize>> + Send;

    /// Says that nothing more will be written.
    fn close(&mut self) -> impl Future<Output = ()> + Send;
}
