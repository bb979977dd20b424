#![no_std]
//! The Seedlog broker as one deterministic state machine: events in, consequences out. No clock, file, socket or thread.
//!
//! ```text
//!            frame                 Input                     Output
//!  client ----------> door::admit ------> broker::Broker::step ------> driver: journal, replies, store
//!                     wire, records        |        |       |
//!                                       cluster  replica   fetch
//!                                       (metadata) (log)   (sessions)
//!  disk  <---------- journal::format <----------------------'
//!        ----------> journal::recovery -> recovered::replay -> Broker::new
//! ```
//!
//! Nodes of a cluster are brokers that write to each other:
//!
//! ```text
//!              broker::{lead, follow}: sessions, appends, acks      broker::membership: what the metadata says
//!                    replica::{leader, progress, session}                 ▲ committed entries only
//!  other nodes <─ Output::Send, Input::Peer ─> broker::{quorum, metadata_log, founding} ── quorum::Quorum
//!                    peer::PeerMessage                                    │ the leader of the quorum
//!                                                broker::controller ◄─────┘ cluster::decide
//! ```
//!
//! A produce request: `door::admit` checks the batch; `Broker::step` hands it to `broker::produce`, which asks
//! `replica::Replica` to append, which plans offsets in `log::Log` and gives out a journal entry; the driver writes and syncs
//! it and tells `Input::Durable`; followers acknowledge what is on their disks; the high watermark moves over what the whole
//! ISR has, and the waiting answer leaves.
//!
//! # Glossary
//! *Log end offset*: where the next record goes. *High watermark*: the end of what every in-sync replica has on disk; what
//! consumers see. *Leader epoch*: number of a leader's term over a partition. *Lsn*: number of an entry in the journal.
//! *Extent*: a run of batches of one partition, named by offsets. *Generation*: how often a log was rewritten.

extern crate alloc;
extern crate self as seedlog_core;

pub mod broker;
pub mod cluster;
pub mod config;
pub mod door;
pub mod errors;
pub mod fetch;
pub mod group;
pub mod ids;
pub mod input;
pub mod journal;
pub mod log;
pub mod museum;
pub mod output;
pub mod peer;
pub mod quorum;
pub mod records;
pub mod recovered;
pub mod replica;
pub mod rng;
pub mod settings;
pub mod time;
mod timers;
pub mod wire;
