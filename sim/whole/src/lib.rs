//! The whole world: the node's own driver, store and connections under madsim's tasks and time, on a net and a disk of ours.
//!
//! ```text
//!   clients (sim's) ──bytes──► net ──► node: listener, connection, driver, Broker, store ──► disk (sim's sectors)
//!        ▲                      ▲                    │ Env::watch                             ▲
//!        └── judges (sim's) ◄───┼────────────────────┘                                        │
//!                               └── faults: the plan's, and those of connections ─────────────┘
//! ```
//!
//! What the bare world models, this one runs: recovery, back-pressure, cancellation, cold reads, the order of replies. Plan,
//! clients, judges and trace are the bare world's, from `seedlog-sim`. A run is a function of (build, seed).
//!
//! * [`plan`]: the bare plan and faults of connections; * [`net`]: streams; * [`disk`]: the store's disk; * [`env`]: the node's
//!   world; * [`world`]: machines, clients, faults, judges; * [`run`]: one run; * [`marks`]; * [`cli`].
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
