//! Consumer groups (KIP-848): members say what they want, the coordinator assigns, and each member comes to its part in its own
//! time, step by step.
//!
//! ```text
//!   group epoch ──────► target assignment ──────► each member's current assignment
//!   somebody came,      an assignor made it       what it reads; it is one of
//!   went or changed     for that epoch
//!                                                   STABLE ◄────────────── all of its target is there
//!                                                     │                           ▲
//!                                                     │ something is to go        │ the last owner let go
//!                                                     ▼                           │
//!                                                   UNREVOKED ── it let go ──► UNRELEASED
//! ```
//!
//! A partition is given to a member once nobody else has it: its last owner said that it stopped, left, or was silent for too
//! long. All of this is in the log, so that another coordinator goes on where this one was; beside it are timers, and what is
//! being looked up.
//!
//! * `state`: what the log says; * `member`: one member; * `heartbeat`: what it says and is told; * `word`: what follows from that;
//!   `reconcile`: its steps; `leave`: how it goes; `target`: from members to targets; `patterns`: from patterns to topics; * `describe`: what
//!   administrators see; `offsets`: what members may do with these; * `migrate` and `classic`: members of the classic protocol.

mod classic;
mod decision;
mod describe;
mod heartbeat;
mod leave;
mod member;
mod migrate;
mod offsets;
mod patterns;
mod reconcile;
mod state;
mod target;
mod word;

pub(super) use offsets::MayCommit;
pub(super) use patterns::Lookup;
pub(super) use state::Consumer;

use crate::errors::ErrorCode;
use crate::time::WallMs;
use alloc::string::String;

/// The member goes for good.
const LEAVES: i32 = -1;
/// The static member goes, and comes back.
const LEAVES_FOR_NOW: i32 = -2;

/// What is known of a consumer group besides what the log says. It is lost with the leadership.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Watch {
    /// The version of the topics that the group's digest was last compared with.
    seen: Option<i64>,
    /// Topics of patterns that are being looked for.
    lookup: Option<Lookup>,
    /// Nobody is in it since then, as far as this coordinator knows.
    pub(super) empty_since: WallMs,
}

/// Why a member is turned down.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Refusal {
    code: ErrorCode,
    why: String,
}

impl Refusal {
    fn new(code: ErrorCode, why: impl Into<String>) -> Self {
        Self { code, why: why.into() }
    }
}
