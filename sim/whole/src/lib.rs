//! The whole world: the nodes' own driver, store, connections and peer streams under madsim's tasks and time, on a net and a disk
//! of ours.
//!
//! ```text
//!   clients (sim's) ──bytes──► net ──► node: listener, connection, driver, Broker, store ──► disk (sim's sectors)
//!        ▲                      ▲ ▲              │      ▲ streams between nodes                  ▲
//!        │                      │ └──────────────┼──────┘                                        │
//!        └── judges (sim's) ◄───┼────────────────┘ Env::watch                                    │
//!                               └── faults: the plan's, and those of connections ────────────────┘
//! ```
//!
//! What the bare world models, this one runs: recovery, back-pressure, cancellation, cold reads, the order of replies, dialling
//! and greeting. Plan, clients, judges and trace are the bare world's, from `seedlog-sim`. A run is a function of (build, seed).
//!
//! * [`plan`]: the bare plan and faults of connections; * [`net`]: streams; * [`disk`]: the store's disk; * [`env`]: the node's
//!   world; * [`world`]: machines, clients, faults, judges; * [`run`]: one run; * [`marks`]; * [`cli`].
//!
//! # Judges
//!
//! S1 to S9, S11 to S13, S15, S16, S18, S24 (with S14), S25, S31 to S33, Q1, panics, after healing L1 to L4, L8, L10, and the
//! clients' history: those of the bare world, at the same places. S29 is `twice`. Two are asked for less: S18 sees what a recovery
//! came to and not which entries it visited; S33 sees a batch where it arrives, which on a stream is what left. A quorum in doubt
//! that lost a folder may stay without a leader (`l4::has_lost_quorum`): then nothing is read at the end.
//!
//! # Faults
//!
//! All kinds of the plan. On byte streams *noise* is lateness, loss that comes again later or breaks the connection, and never a
//! double; *tell* breaks the streams of two nodes in mid-frame; a folder that was set aside comes back on a machine of its own, at
//! the same address. Folders are taken from clusters only after their first entry of metadata is committed.
//!
//! All of it exists with `--cfg madsim` only, which the alias `cargo whole` sets.
#![cfg(madsim)]

pub mod cli;
pub mod disk;
pub mod env;
pub mod marks;
pub mod net;
pub mod plan;
pub mod run;
pub mod world;
