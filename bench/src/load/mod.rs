//! The load generator: prebuilt batches over plain sockets on one thread, so that it costs less than the brokers that it loads.
//!
//! * [`client`]: what is asked before and after; * [`produce`]: a closed loop with so many requests in flight, or an open one at a
//!   rate; * [`fetch`]: readers; * [`roundtrip`]: from the producer's hand to the consumer's; * [`groups`]: members that share
//!   partitions, and groups that commit; * [`compaction`], [`retention`]: what brokers do of their own; * [`tools`]: other
//!   people's; * `socket`: bytes in and out; * `caller`, `closed`: one request at a time and many, over it.

mod caller;
pub mod client;
mod closed;
pub(crate) mod compaction;
pub mod fetch;
pub(crate) mod groups;
pub mod produce;
pub(crate) mod retention;
pub mod roundtrip;
mod socket;
pub mod tools;

use hdrhistogram::Histogram;
use seedlog_core::wire::{ApiKey, WireError};
use serde::Serialize;
use std::io;
use std::time::Duration;

/// Why a load ended early. Whatever it measured until then counts for nothing.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A connection.
    #[error("the connection to the broker: {0}")]
    Io(#[from] io::Error),
    /// What cannot be read or written.
    #[error("the protocol: {0}")]
    Wire(#[from] WireError),
    /// The broker refuses, or answers too late.
    #[error("{0}")]
    Refused(String),
    /// Records are missing, or there are too many.
    #[error("{found} records are there, and {expected} were acknowledged")]
    Miscounted {
        /// What was acknowledged.
        expected: u64,
        /// What is there.
        found: u64,
    },
}

impl LoadError {
    fn unexpected(api: ApiKey, what: &str) -> Self {
        Self::Refused(format!("an answer to {} is {what}", api.name()))
    }

    fn of_system(error: rustix::io::Errno) -> Self {
        Self::Io(error.into())
    }
}

/// Latencies, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Latency {
    /// The median.
    pub p50_us: u64,
    /// 99 in 100 are at most this.
    pub p99_us: u64,
    /// 999 in 1,000.
    pub p999_us: u64,
    /// All.
    pub max_us: u64,
}

/// What a load did.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Loaded {
    /// Requests that were answered.
    pub requests: u64,
    /// Records that were acknowledged, or read.
    pub records: u64,
    /// Bytes of their values; of what was read, as [`Self::batch_bytes`].
    pub value_bytes: u64,
    /// Bytes of their batches.
    pub batch_bytes: u64,
    /// From the first request to the last answer, in seconds.
    pub seconds: f64,
    /// Processor time of the generator, in seconds.
    pub own_cpu_s: f64,
    /// From when a request was sent, or was to be sent at a rate, to its answer; of a round trip, to the consumer.
    pub latency: Latency,
}

impl Loaded {
    /// What was written, and what was read meanwhile: together, with the latency of the first and its bytes of batches.
    #[must_use]
    pub fn with(self, other: &Self) -> Self {
        Self {
            requests: self.requests + other.requests,
            records: self.records + other.records,
            value_bytes: self.value_bytes + other.value_bytes,
            batch_bytes: self.batch_bytes,
            seconds: self.seconds.max(other.seconds),
            own_cpu_s: self.own_cpu_s + other.own_cpu_s,
            latency: self.latency,
        }
    }
}

/// A histogram of latencies: three digits, up to ten minutes.
#[derive(Debug)]
struct Latencies(Histogram<u64>);

impl Latencies {
    fn new() -> Self {
        let nanos_max = 600_000_000_000;
        Self(Histogram::new_with_bounds(1_000, nanos_max, 3).expect("the bounds are in order"))
    }

    fn add(&mut self, latency: Duration) {
        self.0.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
    }

    fn summary(&self) -> Latency {
        let at = |quantile| self.0.value_at_quantile(quantile) / 1_000;
        Latency { p50_us: at(0.5), p99_us: at(0.99), p999_us: at(0.999), max_us: self.0.max() / 1_000 }
    }
}

/// Processor time of this thread so far.
fn own_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), nanos)
}
