//! A small Kafka client for the command line: internal, no promise to anybody outside this repository.
//!
//! ```text
//!   cli ──► producer ───────────────┐
//!       ──► consumer ───────────────┼──► cluster (who leads what, retries) ──► connection (one socket, pipelined)
//!       ──► member, groups ─────────┤
//!       ──► admin, configs, health ─┘
//! ```
//!
//! It trusts no broker: whatever bytes come back, the outcome is an error with a sentence, never a panic, and memory stays
//! within the bounds named in each file. It speaks to Kafka 4.x and to Seedlog alike.

pub mod admin;
mod assignor;
mod cluster;
pub mod configs;
mod connection;
mod consumer;
pub mod consumer_protocol;
mod error;
pub mod groups;
pub mod health;
mod lane;
mod member;
mod partition_name;
mod partitioner;
mod producer;

pub use cluster::{Cluster, PartitionView, TopicView, parse_addresses};
pub use connection::{Connection, ConnectionOptions, FRAME_BYTES_MAX};
pub use consumer::{Consumer, ConsumerOptions, FetchedBatch};
pub use error::{ClientError, CorruptBatch, Result};
pub use member::{Member, MemberOptions, Membership};
pub use partition_name::PartitionName;
pub use partitioner::{StickyPartitioner, murmur2, partition_for_key};
pub use producer::{Acks, Delivery, Producer, ProducerOptions, ProducerRecord};
